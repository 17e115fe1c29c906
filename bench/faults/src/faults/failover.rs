//! Faults when another Redis takes over.

use std::time::Duration;

use anyhow::{Context, Result};
use fantail_testkit::proxy::Cut;
use tokio::time::sleep;

use crate::trial_setup::{TrialSetup, ask, wait_until_linked};

/// How often a node checks its connections' server, and a little more.
const ASK_INTERVAL: Duration = Duration::from_secs(12);

/// The replica loses its master, and the master goes on and acknowledges. Then it dies, the replica is made master, and
/// every client goes there.
pub async fn tail_lost(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    let replication = setup.replication.as_ref().context("there is a replica")?;
    replication.pause();
    sleep(hold).await;
    setup.redis[0].kill();
    replication.refuse().await?;
    replication.cut(Cut::Reset).await?;
    ask(&setup.redis[1], &["REPLICAOF", "NO", "ONE"]).await?;
    let new_master = setup.redis[1].addr();
    for proxy in setup.to_broker.iter().chain(&setup.publishers) {
        proxy.retarget(new_master);
        proxy.cut(Cut::Reset).await?;
    }
    Ok(())
}

/// The replica is made master and the master its replica. Publishers move. The nodes' connections stay, and only new
/// ones go to the new master. Then the old master is detached for a while: nodes that still listen to it miss the
/// events of that time. It is attached again, and never closed a connection.
pub async fn detached(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    let (old, new) = (&setup.redis[0], &setup.redis[1]);
    let replication = setup.replication.as_ref().context("there is a replica")?;
    ask(new, &["REPLICAOF", "NO", "ONE"]).await?;
    replication.retarget(new.addr());
    replication.cut(Cut::Reset).await?;
    for proxy in setup.to_broker.iter().chain(&setup.publishers) {
        proxy.retarget(new.addr());
    }
    setup.publishers.as_ref().context("publishers have a proxy")?.cut(Cut::Reset).await?;
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

/// The master is made a replica that hears nothing, and the replica a master, to which publishers move. Before a node
/// checks its master's role, everything is as before. Events accepted meanwhile are lost, and no connection of a node
/// ended.
///
/// Not for plain pub/sub: there a replica takes events as well, and the gap stands where the node found out, behind
/// events that it heard in between. The judge requires it in its place.
pub async fn there_and_back(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    let (old, new) = (&setup.redis[0], &setup.redis[1]);
    let publishers = setup.publishers.as_ref().context("publishers have a proxy")?;
    ask(old, &["REPLICAOF", "127.0.0.1", "1"]).await?;
    ask(new, &["REPLICAOF", "NO", "ONE"]).await?;
    publishers.retarget(new.addr());
    publishers.cut(Cut::Reset).await?;
    sleep(hold).await;
    ask(old, &["REPLICAOF", "NO", "ONE"]).await?;
    ask(new, &["REPLICAOF", "127.0.0.1", &old.addr().port().to_string()]).await?;
    publishers.retarget(old.addr());
    publishers.cut(Cut::Reset).await?;
    // Each connection has been checked by then.
    sleep(ASK_INTERVAL).await;
    Ok(())
}
