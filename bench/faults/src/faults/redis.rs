//! Faults of Redis itself.

use std::time::Duration;

use anyhow::Result;
use fantail_testkit::{Direction, FaultProxy, RespConnection, SseClient};
use tokio::time::{Instant, sleep};

use crate::trial_setup::{LOGIN, TrialSetup, info};
use crate::trial_state::Part;
use fantail_testkit::TrialPublisher;
use fantail_testkit::trial::Way;

const KILL_INTERVAL: Duration = Duration::from_millis(500);
/// Keys that make loading take its time.
const FILLERS: usize = 5_000;
/// A burst of more bytes than sockets and proxies hold.
const BURST: (usize, usize) = (160, 120_000);

/// Kills it and starts it again with its data on disk.
pub async fn killed(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    setup.master().kill();
    sleep(hold).await;
    Ok(setup.master().restart().await?)
}

/// Freezes it.
pub async fn stopped(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    setup.master().stop_signal()?;
    sleep(hold).await;
    Ok(setup.master().cont()?)
}

/// Kills it when it has so much data that it answers LOADING for seconds.
pub async fn loading(setup: &mut TrialSetup, _: Duration) -> Result<()> {
    let script = format!("for i = 1, {FILLERS} do redis.call('SET', 'filler:' .. i, i) end");
    setup.ask(&["EVAL", &script, "0"]).await?;
    setup.master().kill();
    let began = Instant::now();
    setup.master().restart().await?;
    setup.remarks.push(format!("redis took {:.1} s to load", began.elapsed().as_secs_f64()));
    Ok(())
}

/// Disconnects subscribers.
pub async fn subscribers_killed(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    kill_clients(setup, hold, &["pubsub"]).await
}

/// Disconnects all clients.
pub async fn clients_killed(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    kill_clients(setup, hold, &["pubsub", "normal"]).await
}

async fn kill_clients(setup: &TrialSetup, hold: Duration, kinds: &[&str]) -> Result<()> {
    let until = Instant::now() + hold;
    while Instant::now() < until {
        for kind in kinds {
            setup.ask(&["CLIENT", "KILL", "TYPE", kind]).await?;
        }
        sleep(KILL_INTERVAL).await;
    }
    Ok(())
}

/// Lets nodes fall behind by more than Redis keeps for a subscriber.
pub async fn output_buffer_overrun(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    let limit = ["CONFIG", "SET", "client-output-buffer-limit"];
    setup.ask(&[&limit[..], &["pubsub 1mb 1mb 1"]].concat()).await?;
    fall_behind(setup, hold).await?;
    setup.ask(&[&limit[..], &["pubsub 32mb 8mb 60"]].concat()).await?;
    let clients = info(&setup.redis[0], "stats").await?;
    let dropped = clients.lines().find(|line| line.starts_with("client_output_buffer_limit_disconnections"));
    setup.remarks.extend(dropped.map(ToOwned::to_owned));
    Ok(())
}

/// No node hears anything while a burst goes out.
pub(super) async fn fall_behind(setup: &TrialSetup, hold: Duration) -> Result<()> {
    let mut random = setup.state.random(Part::Fault, 0);
    let channel = setup.state.channel_sets[0].choose_rare(&mut random).to_owned();
    let path = format!("/sse/{channel}");
    let mut followers = Vec::new();
    for addr in setup.state.public {
        followers.push(SseClient::connect(addr, &path).await?);
    }
    for proxy in &setup.to_broker {
        proxy.pause_direction(Direction::FromTarget);
    }
    let mut publisher = TrialPublisher::new(&setup.state, random);
    for _ in 0..BURST.0 {
        publisher.publish(Way::Broker, &[&channel], BURST.1).await;
    }
    sleep(hold).await;
    setup.to_broker.iter().for_each(FaultProxy::pass);
    Ok(())
}

/// Changes the nodes' password.
pub async fn password_changed(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    let (user, password) = LOGIN;
    setup.ask(&["ACL", "SETUSER", user, "resetpass", ">another"]).await?;
    setup.ask(&["CLIENT", "KILL", "USER", user]).await?;
    sleep(hold).await;
    setup.ask(&["ACL", "SETUSER", user, "resetpass", &format!(">{password}")]).await?;
    Ok(())
}

/// Takes the nodes' right to their channels. Redis drops subscribers without the right to their channel.
pub async fn channels_forbidden(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    setup.ask(&["ACL", "SETUSER", LOGIN.0, "resetchannels", "&fantail-service:*"]).await?;
    sleep(hold).await;
    setup.ask(&["ACL", "SETUSER", LOGIN.0, "allchannels"]).await?;
    Ok(())
}

/// Leaves no memory for writes.
pub async fn out_of_memory(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    setup.ask(&["CONFIG", "SET", "maxmemory", "1"]).await?;
    sleep(hold).await;
    setup.ask(&["CONFIG", "SET", "maxmemory", "0"]).await?;
    Ok(())
}

/// Leaves too little memory for all keys, and evicts any.
pub async fn evicting(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    evict(setup, hold, "allkeys-random").await
}

/// The same, and evicts the keys that were not used for longest.
pub async fn evicting_oldest(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    evict(setup, hold, "allkeys-lru").await
}

/// The same, and evicts events alone.
pub async fn evicting_streams(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    evict(setup, hold, "volatile-random").await
}

async fn evict(setup: &mut TrialSetup, hold: Duration, policy: &str) -> Result<()> {
    let memory = info(&setup.redis[0], "memory").await?;
    let used = memory.lines().find_map(|line| line.strip_prefix("used_memory:")?.parse::<u64>().ok()).unwrap_or(0);
    setup.ask(&["CONFIG", "SET", "maxmemory-policy", policy]).await?;
    setup.ask(&["CONFIG", "SET", "maxmemory", &(used - used / 50).to_string()]).await?;
    sleep(hold).await;
    setup.ask(&["CONFIG", "SET", "maxmemory", "0"]).await?;
    let stats = info(&setup.redis[0], "stats").await?;
    setup.remarks.extend(stats.lines().find(|line| line.starts_with("evicted_keys")).map(ToOwned::to_owned));
    Ok(())
}

/// The number of channels with a subscriber.
pub async fn channels_followed(connection: &mut RespConnection) -> Result<usize> {
    Ok(connection.command(&["PUBSUB", "CHANNELS"]).await?.array().map_or(0, <[_]>::len))
}
