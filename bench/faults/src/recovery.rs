//! The time until events arrive again once a fault is healed.
//!
//! Judged from outside: one stream per node follows all watched channels. After the healing each channel gets an event
//! of its own again and again until it came by both nodes.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fantail_testkit::Payload;
use tokio::time::{Instant, sleep};

use crate::trial_state::{TrialState, lock};
use fantail_testkit::TrialPublisher;
use fantail_testkit::trial::Way;

/// How often each watched channel gets an event: the precision of the figures.
const ROUND_INTERVAL: Duration = Duration::from_millis(50);
/// The longest time to wait.
const PATIENCE: Duration = Duration::from_mins(1);
const PROBE_BYTES: usize = 64;

/// Watches for channels that deliver again.
#[derive(Debug, Default)]
pub struct Recovery {
    is_watching: AtomicBool,
    watch: Mutex<Option<Watch>>,
}

/// The time that it took, from the healing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Until the first event arrived.
    pub first: Option<Duration>,
    /// Until every channel had delivered on both nodes.
    pub all: Option<Duration>,
}

#[derive(Debug)]
struct Watch {
    healed: Instant,
    publishers: BTreeSet<u32>,
    awaited: BTreeSet<(usize, String)>,
    recovered: Recovered,
}

impl Recovery {
    /// A stream that stays on one node got this data.
    pub fn saw(&self, node: usize, data: &str) {
        if !self.is_watching.load(Ordering::Relaxed) {
            return;
        }
        let Ok(payload) = Payload::parse(data) else { return };
        let mut watch = lock(&self.watch);
        let Some(watch) = watch.as_mut().filter(|watch| watch.publishers.contains(&payload.publisher)) else { return };
        let since = watch.healed.elapsed();
        watch.recovered.first.get_or_insert(since);
        for (channel, _) in payload.places {
            watch.awaited.remove(&(node, channel));
        }
        if watch.awaited.is_empty() {
            watch.recovered.all.get_or_insert(since);
        }
    }

    fn begin(&self, channels: &[&str], healed: Instant) {
        let pairs = (0..2).flat_map(|node| channels.iter().map(move |channel| (node, (*channel).to_owned())));
        *lock(&self.watch) = Some(Watch {
            healed,
            publishers: BTreeSet::new(),
            awaited: pairs.collect(),
            recovered: Recovered::default(),
        });
        self.is_watching.store(true, Ordering::Relaxed);
    }

    fn add_publisher(&self, number: u32) {
        if let Some(watch) = lock(&self.watch).as_mut() {
            watch.publishers.insert(number);
        }
    }

    fn recovered(&self) -> Recovered {
        lock(&self.watch).as_ref().map(|watch| watch.recovered).unwrap_or_default()
    }

    fn awaited(&self) -> Vec<String> {
        let watch = lock(&self.watch);
        let awaited = watch.iter().flat_map(|watch| &watch.awaited);
        awaited.map(|(node, channel)| format!("{channel} by node {node}")).collect()
    }
}

/// Publishes to every watched channel until all of them deliver.
pub async fn measure(state: &TrialState, publisher: &mut TrialPublisher<TrialState>, healed: Instant) -> Recovered {
    let channels = state.watched();
    state.recovery.begin(&channels, healed);
    let started = Instant::now();
    while state.recovery.recovered().all.is_none() {
        for channel in &channels {
            state.recovery.add_publisher(publisher.number());
            publisher.publish(Way::Broker, &[channel], PROBE_BYTES).await;
        }
        if started.elapsed() > PATIENCE {
            let awaited = state.recovery.awaited().join(", ");
            state.trial.offence(format!("{PATIENCE:?} after the healing nothing came of {awaited}"));
            break;
        }
        sleep(ROUND_INTERVAL).await;
    }
    state.recovery.is_watching.store(false, Ordering::Relaxed);
    state.recovery.recovered()
}
