//! The shared state of a trial: addresses, the published events, and whether it is over.
//!
//! Owns no process and no task.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use fantail_testkit::{
    Broker, ChannelSet, Error, Event, PublisherRules, Random, ReaderHabit, ReaderRules, TlsReaders, Trial,
};

use crate::conditions::{Conditions, Readers};
use crate::lane::{self, lane_of};
use crate::mode::Mode;
use crate::recovery::Recovery;

/// How long a reader waits for a response head before it tries the other node. Longer than a node waits for its broker.
const HEAD_PATIENCE: Duration = Duration::from_secs(8);

/// The shared state of one trial.
#[derive(Debug)]
pub struct TrialState {
    /// The kind of feed.
    pub mode: Mode,
    /// The conditions before anything breaks.
    pub conditions: Conditions,
    /// The state that all kinds of trials have.
    pub trial: Trial,
    /// All channels, lane by lane: an event for several channels is for those of one lane.
    pub channel_sets: Vec<ChannelSet>,
    /// The address of each node's streams.
    pub public: [SocketAddr; 2],
    /// The encrypted way to them, if there is one.
    pub tls: Option<TlsReaders>,
    /// The internal address of each node.
    pub internal: [SocketAddr; 2],
    /// The broker, as publishers reach it.
    pub broker: Broker,
    /// Watches for the time when channels deliver again.
    pub recovery: Recovery,
    spared: OnceLock<&'static [&'static str]>,
    /// The gaps by lane and reason.
    gaps: Mutex<BTreeMap<(String, String), u64>>,
}

/// The parts of a trial that draw random numbers, each from a generator of its own.
#[derive(Debug, Clone, Copy)]
pub enum Part {
    /// A reader.
    Reader,
    /// A publisher.
    Publisher,
    /// The fault itself.
    Fault,
    /// The end.
    Closing,
}

impl TrialState {
    /// A trial that has not begun.
    pub fn new(
        (mode, conditions): (Mode, Conditions),
        public: [SocketAddr; 2],
        internal: [SocketAddr; 2],
        broker: Broker,
        seed: u64,
    ) -> Self {
        Self {
            mode,
            conditions,
            trial: Trial::new(seed).with_diaries(),
            channel_sets: mode.lanes().iter().map(|lane| lane::within(lane, conditions.channel_set())).collect(),
            public,
            tls: None,
            internal,
            broker,
            recovery: Recovery::default(),
            spared: OnceLock::new(),
            gaps: Mutex::default(),
        }
    }

    /// A generator of its own for each part.
    pub fn random(&self, part: Part, number: u64) -> Random {
        self.trial.random(part as u64, number)
    }

    /// All channels of a lane.
    pub fn choose_set(&self, random: &mut Random) -> &ChannelSet {
        match &self.channel_sets[..] {
            [channel_set] => channel_set,
            channel_sets => &channel_sets[random.below(channel_sets.len() as u64) as usize],
        }
    }

    /// The channels of all lanes that are followed on both nodes all the time.
    pub fn watched(&self) -> Vec<&str> {
        self.channel_sets.iter().flat_map(|channel_set| self.conditions.watched(channel_set)).collect()
    }

    /// From here on nothing may be missing in these lanes, declared or not.
    pub fn spare(&self, lanes: &'static [&'static str]) {
        self.spared.get_or_init(|| lanes);
    }

    /// A reader got a gap.
    pub fn count_gap(&self, data: &str) {
        let told: serde_json::Value = serde_json::from_str(data).unwrap_or_default();
        let reason = told["reason"].as_str().unwrap_or("without a reason");
        let lane = lane_of(told["channel"].as_str().unwrap_or_default());
        if self.spared.get().is_some_and(|spared| spared.contains(&lane)) {
            self.trial.offence(format!("a gap was told in the lane {lane}, which nothing happened to: {data}"));
        }
        *lock(&self.gaps).entry((lane.to_owned(), reason.to_owned())).or_default() += 1;
    }

    /// The number of gaps by their reasons, and by their lanes if there are several.
    pub fn gaps(&self) -> BTreeMap<String, u64> {
        let name = |lane: &str, reason: &str| match self.mode.lanes() {
            [_] => reason.to_owned(),
            _ => format!("{lane}: {reason}"),
        };
        lock(&self.gaps).iter().map(|((lane, reason), count)| (name(lane, reason), *count)).collect()
    }
}

impl ReaderRules for TrialState {
    fn trial(&self) -> &Trial {
        &self.trial
    }

    fn choose_habit(&self, random: &mut Random) -> ReaderHabit {
        match (self.conditions.readers, random.below(100)) {
            (Readers::Moving { staying }, drawn) if drawn < staying => ReaderHabit::Steady,
            (Readers::Moving { .. }, _) => ReaderHabit::Moving,
            (Readers::Various, 0..30) => ReaderHabit::Steady,
            (Readers::Various, 30..94) => ReaderHabit::Restless,
            (Readers::Various, _) => ReaderHabit::Sleepy,
        }
    }

    fn choose_channels(&self, habit: ReaderHabit, random: &mut Random) -> Vec<&str> {
        match habit {
            ReaderHabit::Watcher { lane, .. } => self.conditions.watched(&self.channel_sets[lane]),
            ReaderHabit::Sleepy => self.choose_set(random).choose_busy(random),
            _ => self.choose_set(random).choose(random),
        }
    }

    fn http_1_0_in(&self) -> u64 {
        8
    }

    fn addresses(&self, _http_1_0: bool) -> &[SocketAddr] {
        &self.public
    }

    fn tls(&self) -> Option<&TlsReaders> {
        self.tls.as_ref()
    }

    fn away_after(&self) -> Option<Duration> {
        Some(HEAD_PATIENCE)
    }

    /// Nodes die, and their streams with them. The bytes before that must be HTTP all the same.
    fn may_end(&self, error: &Error, _in_mid_block: bool) -> bool {
        !matches!(error, Error::Protocol(_))
    }

    fn took(&self, habit: ReaderHabit, event: &Event) {
        if event.event == "fantail.gap" {
            self.count_gap(&event.data);
        }
        if let ReaderHabit::Watcher { node, .. } = habit {
            self.recovery.saw(node, &event.data);
        }
    }
}

impl PublisherRules for TrialState {
    fn trial(&self) -> &Trial {
        &self.trial
    }

    fn nodes(&self) -> &[SocketAddr] {
        &self.internal
    }

    fn broker(&self) -> &Broker {
        &self.broker
    }

    fn choose_for_event(&self, random: &mut Random) -> Vec<&str> {
        self.choose_set(random).choose_for_event(random)
    }

    fn pause_ms_max(&self) -> u64 {
        80
    }
}

/// A task that panicked has failed already; its notes are still worth reading.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_in_a_lane_to_which_nothing_happened_is_an_offence() {
        let addr = SocketAddr::from(([127, 0, 0, 1], 1));
        let state = TrialState::new((Mode::Lanes, Conditions::USUAL), [addr; 2], [addr; 2], Broker::None, 1);
        let gap = |channel| format!(r#"{{"channel":"{channel}","reason":"term-ended"}}"#);
        state.count_gap(&gap("busy/0"));
        state.spare(&["0"]);
        state.count_gap(&gap("@orders/busy/0"));
        assert_eq!(state.trial.offences(), [""; 0]);
        state.count_gap(&gap("busy/1"));
        assert_eq!(state.trial.offences().len(), 1);
        let told = [("0: term-ended", 2), ("orders: term-ended", 1)];
        assert_eq!(state.gaps(), told.map(|(name, count)| (name.to_owned(), count)).into());
    }
}
