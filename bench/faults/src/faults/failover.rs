//! What goes wrong when another Redis takes over.

use std::time::Duration;

use anyhow::{Context, Result};
use fantail_testkit::proxy::Cut;
use tokio::time::sleep;

use crate::stage::{Stage, ask, wait_until_linked};

/// The replica hears its master no more, and the master goes on and acknowledges. Then it dies, the replica is made
/// master, and everyone goes there.
pub async fn tail_lost(stage: &mut Stage, hold: Duration) -> Result<()> {
    let replication = stage.replication.as_ref().context("there is a replica")?;
    replication.pause();
    sleep(hold).await;
    stage.redis[0].kill();
    replication.refuse().await?;
    replication.cut(Cut::Reset).await?;
    ask(&stage.redis[1], &["REPLICAOF", "NO", "ONE"]).await?;
    let new_master = stage.redis[1].addr();
    for proxy in stage.to_redis.iter().chain(&stage.publishers) {
        proxy.retarget(new_master);
        proxy.cut(Cut::Reset).await?;
    }
    Ok(())
}

/// The replica is made master and the master its replica. Publishers move; the nodes' connections stay where they are, and
/// only new ones go to the new master. Then the old master is detached for a while: what passes then, nodes that still
/// listen to it will never hear. It is attached again, and never closed a connection.
pub async fn detached(stage: &mut Stage, hold: Duration) -> Result<()> {
    let (old, new) = (&stage.redis[0], &stage.redis[1]);
    let replication = stage.replication.as_ref().context("there is a replica")?;
    ask(new, &["REPLICAOF", "NO", "ONE"]).await?;
    replication.retarget(new.addr());
    replication.cut(Cut::Reset).await?;
    for proxy in stage.to_redis.iter().chain(&stage.publishers) {
        proxy.retarget(new.addr());
    }
    stage.publishers.as_ref().context("publishers have a proxy")?.cut(Cut::Reset).await?;
    ask(old, &["REPLICAOF", "127.0.0.1", &replication.addr().port().to_string()]).await?;
    wait_until_linked(old).await?;
    sleep(hold / 10).await;
    replication.refuse().await?;
    replication.cut(Cut::Reset).await?;
    sleep(hold / 10).await;
    replication.accept().await?;
    sleep(hold / 10 * 8).await;
    wait_until_linked(old).await
}
