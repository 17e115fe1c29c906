//! What goes wrong with Redis itself.

use std::time::Duration;

use anyhow::Result;
use fantail_testkit::{Direction, RespConnection, SseClient};
use tokio::time::{Instant, sleep};

use crate::publishing::Voice;
use crate::scene::Part;
use crate::sender::Way;
use crate::stage::{LOGIN, Stage, info};

const KILL_INTERVAL: Duration = Duration::from_millis(500);
/// Keys that make loading take its time.
const FILLERS: usize = 5_000;
/// A burst of more bytes than sockets and proxies hold.
const BURST: (usize, usize) = (160, 120_000);

/// Kills it and lets it come back with what it has on disk.
pub async fn killed(stage: &mut Stage, hold: Duration) -> Result<()> {
    stage.master().kill();
    sleep(hold).await;
    Ok(stage.master().restart().await?)
}

/// Freezes it.
pub async fn stopped(stage: &mut Stage, hold: Duration) -> Result<()> {
    stage.master().stop_signal()?;
    sleep(hold).await;
    Ok(stage.master().cont()?)
}

/// Kills it when it has so much data that it answers LOADING for seconds.
pub async fn loading(stage: &mut Stage, _: Duration) -> Result<()> {
    let script = format!("for i = 1, {FILLERS} do redis.call('SET', 'filler:' .. i, i) end");
    stage.ask(&["EVAL", &script, "0"]).await?;
    stage.master().kill();
    let began = Instant::now();
    stage.master().restart().await?;
    stage.remarks.push(format!("redis took {:.1} s to load", began.elapsed().as_secs_f64()));
    Ok(())
}

/// Throws subscribers out.
pub async fn subscribers_killed(stage: &mut Stage, hold: Duration) -> Result<()> {
    kill_clients(stage, hold, &["pubsub"]).await
}

/// Throws everyone out.
pub async fn clients_killed(stage: &mut Stage, hold: Duration) -> Result<()> {
    kill_clients(stage, hold, &["pubsub", "normal"]).await
}

async fn kill_clients(stage: &Stage, hold: Duration, kinds: &[&str]) -> Result<()> {
    let until = Instant::now() + hold;
    while Instant::now() < until {
        for kind in kinds {
            stage.ask(&["CLIENT", "KILL", "TYPE", kind]).await?;
        }
        sleep(KILL_INTERVAL).await;
    }
    Ok(())
}

/// Lets nodes fall behind while a burst goes out.
pub async fn output_buffer_overrun(stage: &mut Stage, hold: Duration) -> Result<()> {
    let mut random = stage.scene.random(Part::Fault, 0);
    let channel = stage.scene.seas[0].choose_rare(&mut random).to_owned();
    let path = format!("/sse/{channel}");
    let mut followers = Vec::new();
    for addr in stage.scene.public {
        followers.push(SseClient::connect(addr, &path).await?);
    }
    let limit = ["CONFIG", "SET", "client-output-buffer-limit"];
    stage.ask(&[&limit[..], &["pubsub 1mb 1mb 1"]].concat()).await?;
    for proxy in &stage.to_redis {
        proxy.pause_direction(Direction::FromTarget);
    }
    let mut voice = Voice::new(&stage.scene, random);
    for _ in 0..BURST.0 {
        voice.publish(Way::Redis, &[&channel], BURST.1).await;
    }
    sleep(hold).await;
    for proxy in &stage.to_redis {
        proxy.pass();
    }
    stage.ask(&[&limit[..], &["pubsub 32mb 8mb 60"]].concat()).await?;
    let clients = info(&stage.redis[0], "stats").await?;
    let dropped = clients.lines().find(|line| line.starts_with("client_output_buffer_limit_disconnections"));
    stage.remarks.extend(dropped.map(ToOwned::to_owned));
    Ok(())
}

/// Locks the nodes out.
pub async fn password_changed(stage: &mut Stage, hold: Duration) -> Result<()> {
    let (user, password) = LOGIN;
    stage.ask(&["ACL", "SETUSER", user, "resetpass", ">another"]).await?;
    stage.ask(&["CLIENT", "KILL", "USER", user]).await?;
    sleep(hold).await;
    stage.ask(&["ACL", "SETUSER", user, "resetpass", &format!(">{password}")]).await?;
    Ok(())
}

/// Takes the nodes' right to their channels. Redis drops those who follow what they may not.
pub async fn channels_forbidden(stage: &mut Stage, hold: Duration) -> Result<()> {
    stage.ask(&["ACL", "SETUSER", LOGIN.0, "resetchannels", "&fantail-service:*"]).await?;
    sleep(hold).await;
    stage.ask(&["ACL", "SETUSER", LOGIN.0, "allchannels"]).await?;
    Ok(())
}

/// Leaves no memory for writes.
pub async fn out_of_memory(stage: &mut Stage, hold: Duration) -> Result<()> {
    stage.ask(&["CONFIG", "SET", "maxmemory", "1"]).await?;
    sleep(hold).await;
    stage.ask(&["CONFIG", "SET", "maxmemory", "0"]).await?;
    Ok(())
}

/// Leaves no memory for all keys, and takes any.
pub async fn evicting(stage: &mut Stage, hold: Duration) -> Result<()> {
    evict(stage, hold, "allkeys-random").await
}

/// The same, and takes those that were not used for longest.
pub async fn evicting_oldest(stage: &mut Stage, hold: Duration) -> Result<()> {
    evict(stage, hold, "allkeys-lru").await
}

/// The same, and takes events alone.
pub async fn evicting_streams(stage: &mut Stage, hold: Duration) -> Result<()> {
    evict(stage, hold, "volatile-random").await
}

async fn evict(stage: &mut Stage, hold: Duration, policy: &str) -> Result<()> {
    let memory = info(&stage.redis[0], "memory").await?;
    let used = memory.lines().find_map(|line| line.strip_prefix("used_memory:")?.parse::<u64>().ok()).unwrap_or(0);
    stage.ask(&["CONFIG", "SET", "maxmemory-policy", policy]).await?;
    stage.ask(&["CONFIG", "SET", "maxmemory", &(used - used / 50).to_string()]).await?;
    sleep(hold).await;
    stage.ask(&["CONFIG", "SET", "maxmemory", "0"]).await?;
    let stats = info(&stage.redis[0], "stats").await?;
    stage.remarks.extend(stats.lines().find(|line| line.starts_with("evicted_keys")).map(ToOwned::to_owned));
    Ok(())
}

/// How many channels a Redis sends to somebody.
pub async fn channels_followed(connection: &mut RespConnection) -> Result<usize> {
    Ok(connection.command(&["PUBSUB", "CHANNELS"]).await?.array().map_or(0, <[_]>::len))
}
