//! The shards' interest, on its way to the feed, and the regular sweep of the logs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fantail_hub::{Channel, Release, Wish};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use crate::intake::NodeIntake;
use crate::running_node::RunningNode;

/// How often logs are swept of entries that are too old.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Channels that are swept before events and other tasks get their turn.
const SWEEP_PORTION: usize = 256;

/// Tells the feed the shards' interest: a follow at once, an unfollow after the linger time.
pub(crate) async fn mind(node: Arc<RunningNode>, linger: Duration) {
    let RunningNode { feed, intake, hub, .. } = &*node;
    let linger_ms = linger.as_millis() as u64;
    // The time to look again; the number tells entries of one instant apart. Each channel stands in it at most once.
    let mut lingering: BTreeMap<(Instant, u64), Arc<Channel>> = BTreeMap::new();
    let mut next = 0;
    let mut linger_until = |lingering: &mut BTreeMap<_, _>, wait: Duration, channel| {
        next += 1;
        lingering.insert((Instant::now() + wait, next), channel);
    };
    loop {
        while let Some(wish) = next_wish(intake) {
            match wish {
                Wish::Follow(name) => feed.follow(&name),
                Wish::Linger(channel) => linger_until(&mut lingering, linger, channel),
                Wish::Recall { channel, above, up_to, events_max } => feed.recall(&channel, above, up_to, events_max),
                Wish::Sync(lane) => feed.sync(lane),
            }
        }
        while let Some(due) = lingering.first_entry().filter(|entry| entry.key().0 <= Instant::now()) {
            let channel = due.remove();
            let release = intake.lock().publisher.release(&channel, linger_ms);
            match release {
                Release::Unfollow => feed.unfollow(channel.name()),
                Release::Wanted => {}
                Release::Later(ms) => linger_until(&mut lingering, Duration::from_millis(ms), channel),
            }
        }
        let due = lingering.first_key_value().map(|(key, _)| key.0);
        tokio::select! {
            () = hub.interest().changed() => {}
            () = async { sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {}
        }
    }
}

fn next_wish(intake: &Mutex<NodeIntake>) -> Option<Wish> {
    intake.lock().publisher.next_wish()
}

/// Sweeps the logs of entries that are too old, for ever. Events and other tasks get their turn between two portions.
pub(crate) async fn sweep(node: Arc<RunningNode>) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        ticks.tick().await;
        let hub = Arc::clone(&node.hub);
        // A million names are not collected on a thread that has events to hand out.
        let Ok(channels) = tokio::task::spawn_blocking(move || hub.all_channels()).await else { return };
        for portion in channels.chunks(SWEEP_PORTION) {
            node.intake.lock().publisher.sweep(portion);
            tokio::task::yield_now().await;
        }
    }
}
