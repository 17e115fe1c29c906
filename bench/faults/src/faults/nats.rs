//! Faults of NATS itself, of its stream, and of what others do to that.

use std::time::Duration;

use anyhow::{Context, Result};
use fantail_testkit::NatsServer;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::mode::STREAM;
use crate::trial_setup::TrialSetup;
use crate::trial_state::Part;

/// The pause between two deletions of single messages, and how far behind the newest they are at most.
const DELETE_INTERVAL: Duration = Duration::from_millis(20);
const DELETED_BEHIND_MAX: u64 = 40;
/// A line in the place of headers at which a node's library ends its connection.
const UNREADABLE_HEADER: &str = "no colon";

/// Kills it and starts it again with its data on disk.
pub async fn killed(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    setup.nats()?.kill();
    sleep(hold).await;
    Ok(setup.nats()?.restart().await?)
}

/// Kills it and starts it again without its data. The stream is made again.
pub async fn killed_empty(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    setup.nats()?.kill();
    sleep(hold).await;
    let nats = setup.nats()?;
    nats.restart_empty().await?;
    Ok(nats.make_stream(STREAM, "").await?)
}

/// Freezes it.
pub async fn stopped(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    setup.nats()?.stop_signal()?;
    sleep(hold).await;
    Ok(setup.nats()?.cont()?)
}

/// Lets nodes fall behind by more than NATS keeps for a client.
pub async fn fell_behind(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    super::redis::fall_behind(setup, hold).await
}

/// Puts a backup back, as an operator must not: under running nodes that have seen more than the backup has.
pub async fn set_back(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    setup.nats()?.kill();
    let backup = setup.nats()?.backup()?;
    setup.nats()?.restart().await?;
    let before = last_number(setup.nats()?).await?;
    sleep(hold).await;
    for node in &setup.nodes {
        node.wait_until_ready().await?;
    }
    sleep(hold).await;
    let lost = last_number(setup.nats()?).await? - before;
    setup.nats()?.restart_from(&backup).await?;
    setup.remarks.push(format!("{lost} messages were set back"));
    Ok(())
}

/// Removes every consumer of the stream, and those that were made instead.
pub async fn consumers_removed(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    let mut removed = 0;
    for _ in 0..2 {
        let nats = setup.nats()?;
        let names = ask(nats, &format!("$JS.API.CONSUMER.NAMES.{STREAM}"), "").await?;
        for name in names["consumers"].as_array().context("the names of the consumers")? {
            let name = name.as_str().context("a name is a text")?;
            // One that read an older event may be gone already.
            removed += usize::from(ask(nats, &format!("$JS.API.CONSUMER.DELETE.{STREAM}.{name}"), "").await.is_ok());
        }
        sleep(hold / 2).await;
    }
    setup.remarks.push(format!("{removed} consumers removed"));
    Ok(())
}

/// Empties the stream, and does so a second time when new messages have come.
pub async fn purged(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    for _ in 0..2 {
        let answer = ask(setup.nats()?, &format!("$JS.API.STREAM.PURGE.{STREAM}"), "").await?;
        setup.remarks.push(format!("{} messages purged", answer["purged"]));
        sleep(hold).await;
    }
    Ok(())
}

/// Empties the stream while neither node hears of it.
pub async fn purged_unseen(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    super::network::cut_and_refuse(setup).await?;
    sleep(hold).await;
    let answer = ask(setup.nats()?, &format!("$JS.API.STREAM.PURGE.{STREAM}"), "").await?;
    setup.remarks.push(format!("{} messages purged", answer["purged"]));
    super::network::accept(setup).await
}

/// Deletes the stream and makes it anew: at once, and then after a while.
pub async fn made_anew(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    for pause in [Duration::ZERO, hold] {
        let nats = setup.nats()?;
        ask(nats, &format!("$JS.API.STREAM.DELETE.{STREAM}"), "").await?;
        sleep(pause).await;
        nats.make_stream(STREAM, "").await?;
        sleep(hold).await;
    }
    Ok(())
}

/// Deletes one of the newest messages after the other.
pub async fn messages_deleted(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    let until = Instant::now() + hold;
    let mut random = setup.state.random(Part::Fault, 0);
    let mut deleted = 0;
    while Instant::now() < until {
        let nats = setup.nats()?;
        let number = last_number(nats).await?.saturating_sub(random.below(DELETED_BEHIND_MAX));
        let request = json!({ "seq": number, "no_erase": true }).to_string();
        // The same one may be drawn twice.
        deleted += usize::from(ask(nats, &format!("$JS.API.STREAM.MSG.DELETE.{STREAM}"), &request).await.is_ok());
        sleep(DELETE_INTERVAL).await;
    }
    setup.remarks.push(format!("{deleted} messages deleted"));
    Ok(())
}

/// Publishes a message with headers that no node's library can read.
pub async fn headers_unreadable(setup: &mut TrialSetup, hold: Duration) -> Result<()> {
    let mut connection = setup.nats()?.connection().await?;
    connection.send_with_headers("fantail.busy/0", &[UNREADABLE_HEADER], b"x").await?;
    connection.settle().await?;
    sleep(hold).await;
    Ok(())
}

async fn last_number(nats: &NatsServer) -> Result<u64> {
    let info = ask(nats, &format!("$JS.API.STREAM.INFO.{STREAM}"), "").await?;
    info["state"]["last_seq"].as_u64().context("the stream's newest number")
}

/// Asks NATS, which must not refuse.
async fn ask(nats: &NatsServer, subject: &str, request: &str) -> Result<Value> {
    let answer = nats.ask(subject, request).await.with_context(|| format!("asking nats {subject}"))?;
    Ok(serde_json::from_str(&answer)?)
}
