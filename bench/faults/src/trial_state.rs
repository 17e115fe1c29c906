//! What everyone in a trial shares: where to connect, what was published, and whether it is over.
//!
//! Owns no process and no task.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use fantail_testkit::{ChannelSet, Ledger, Mark, Random};
use tokio::time::Instant;

use crate::conditions::Conditions;
use crate::lane::{self, lane_of};
use crate::mode::Mode;
use crate::recovery::Recovery;

/// The shared state of one trial.
#[derive(Debug)]
pub struct TrialState {
    /// How events travel.
    pub mode: Mode,
    /// What is special before anything breaks.
    pub conditions: Conditions,
    /// Who judges.
    pub ledger: Ledger,
    /// All channels, lane by lane: what is for several channels is for those of one lane.
    pub channel_sets: Vec<ChannelSet>,
    /// Where each node's streams are opened.
    pub public: [SocketAddr; 2],
    /// Where each node takes events.
    pub internal: [SocketAddr; 2],
    /// Where Redis takes events: one server, or the nodes of a Cluster.
    pub redis: Vec<SocketAddr>,
    /// When channels deliver again.
    pub recovery: Recovery,
    /// What was counted.
    pub tallies: Tallies,
    seed: u64,
    publishing_ended: AtomicBool,
    over: AtomicBool,
    closings: Mutex<Vec<(String, Mark)>>,
    offences: Mutex<Vec<String>>,
    spared: OnceLock<&'static [&'static str]>,
    /// By lane and reason.
    gaps: Mutex<BTreeMap<(String, String), u64>>,
    diaries: Mutex<BTreeMap<String, Vec<String>>>,
    began: Instant,
}

/// Counts that show whether a fault was felt.
#[derive(Debug, Default)]
pub struct Tallies {
    /// Streams opened with an id to go on from.
    pub resumed: AtomicU64,
    /// Those that were opened on the other node.
    pub moved: AtomicU64,
    /// Tries to open a stream that failed.
    pub turned_away: AtomicU64,
    /// Events whose publishing failed.
    pub refused: AtomicU64,
}

/// The parts of a trial that draw random numbers, each from its own line.
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
    /// At its beginning.
    pub fn new(
        (mode, conditions): (Mode, Conditions),
        public: [SocketAddr; 2],
        internal: [SocketAddr; 2],
        redis: Vec<SocketAddr>,
        seed: u64,
    ) -> Self {
        Self {
            mode,
            conditions,
            ledger: Ledger::new(),
            channel_sets: mode.lanes().iter().map(|lane| lane::within(lane, conditions.channel_set())).collect(),
            public,
            internal,
            redis,
            recovery: Recovery::default(),
            tallies: Tallies::default(),
            seed,
            publishing_ended: AtomicBool::new(false),
            over: AtomicBool::new(false),
            closings: Mutex::default(),
            offences: Mutex::default(),
            spared: OnceLock::new(),
            gaps: Mutex::default(),
            diaries: Mutex::default(),
            began: Instant::now(),
        }
    }

    /// A generator of its own for each part.
    pub fn random(&self, part: Part, number: u64) -> Random {
        Random::from_seed(self.seed ^ ((part as u64 + 1) << 56) ^ (number << 20))
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

    /// Publishers are to stop.
    pub fn end_publishing(&self) {
        self.publishing_ended.store(true, Ordering::SeqCst);
    }

    /// Whether publishers are to stop.
    pub fn has_publishing_ended(&self) -> bool {
        self.publishing_ended.load(Ordering::SeqCst)
    }

    /// Readers stay from now on until they are told in their streams.
    pub fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// Whether readers are to stay.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// This event tells readers to go. Everything up to the mark is owed to them.
    pub fn add_closing(&self, text: String, mark: Mark) {
        lock(&self.closings).push((text, mark));
    }

    /// Whether this is a closing event, and then what was published up to it.
    pub fn closing(&self, data: &str) -> Option<Mark> {
        if !self.is_over() {
            return None;
        }
        lock(&self.closings).iter().find(|(closing, _)| closing == data).map(|(_, mark)| *mark)
    }

    /// Seconds since the beginning, for diaries.
    pub fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Keeps what a reader wrote down, in case that it got what it should not, or not what it should.
    pub fn keep_diary(&self, reader: String, lines: Vec<String>) {
        lock(&self.diaries).insert(reader, lines);
    }

    /// Adds to what a publisher writes down: all that it sent, by which way, and what it was told.
    pub fn write_down_publishing(&self, publisher: u32, what: &str) {
        let line = format!("{:.4} {what}", self.seconds());
        lock(&self.diaries).entry(publisher_name(publisher)).or_default().push(line);
    }

    /// What a reader or a publisher wrote down.
    pub fn diary(&self, name: &str) -> Option<Vec<String>> {
        lock(&self.diaries).get(name).cloned()
    }

    /// A reader was told of a gap.
    pub fn count_gap(&self, data: &str) {
        let told: serde_json::Value = serde_json::from_str(data).unwrap_or_default();
        let reason = told["reason"].as_str().unwrap_or("without a reason");
        let lane = lane_of(told["channel"].as_str().unwrap_or_default());
        if self.spared.get().is_some_and(|spared| spared.contains(&lane)) {
            self.offence(format!("a gap was told in the lane {lane}, which nothing happened to: {data}"));
        }
        *lock(&self.gaps).entry((lane.to_owned(), reason.to_owned())).or_default() += 1;
    }

    /// How many gaps were told, by their reasons, and by their lanes if there are several.
    pub fn gaps(&self) -> BTreeMap<String, u64> {
        let name = |lane: &str, reason: &str| match self.mode.lanes() {
            [_] => reason.to_owned(),
            _ => format!("{lane}: {reason}"),
        };
        lock(&self.gaps).iter().map(|((lane, reason), count)| (name(lane, reason), *count)).collect()
    }

    /// Something was seen that must not be and that the ledger does not judge.
    pub fn offence(&self, what: String) {
        lock(&self.offences).push(what);
    }

    /// All of them.
    pub fn offences(&self) -> Vec<String> {
        lock(&self.offences).clone()
    }
}

/// As the verdict names a publisher.
fn publisher_name(number: u32) -> String {
    format!("publisher {number}")
}

/// A task that panicked has failed already; what it left is still worth telling.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_in_a_lane_to_which_nothing_happened_is_an_offence() {
        let addr = SocketAddr::from(([127, 0, 0, 1], 1));
        let state = TrialState::new((Mode::Lanes, Conditions::USUAL), [addr; 2], [addr; 2], vec![addr], 1);
        let gap = |channel| format!(r#"{{"channel":"{channel}","reason":"term-ended"}}"#);
        state.count_gap(&gap("busy/0"));
        state.spare(&["0"]);
        state.count_gap(&gap("@orders/busy/0"));
        assert_eq!(state.offences(), [""; 0]);
        state.count_gap(&gap("busy/1"));
        assert_eq!(state.offences().len(), 1);
        let told = [("0: term-ended", 2), ("orders: term-ended", 1)];
        assert_eq!(state.gaps(), told.map(|(name, count)| (name.to_owned(), count)).into());
    }
}
