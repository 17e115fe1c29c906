//! The parts of a trial under load: a ledger, a seed, an end that every reader hears of, readers that come and go, and
//! publishers.
//!
//! Owns no process and no task: a storm in one process and a trial of faults with several nodes both build on it.

mod habit;
mod nats_sender;
mod publisher;
mod reader;
mod redis_sender;
mod redis_way;
mod rules;
mod sender;

pub use habit::ReaderHabit;
pub use publisher::{PublisherRules, TrialPublisher};
pub use reader::TrialReader;
pub use rules::{ReaderRules, TlsReaders};
pub use sender::{Broker, PubsubForm, Sender, UNNAMED_LANE, Unexpected, Way, key_of, lane_of};

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::time::Instant;

use crate::{
    ledger::{Ledger, Mark},
    random::Random,
};

/// The shared state of a trial.
#[derive(Debug)]
pub struct Trial {
    /// The judge.
    pub ledger: Ledger,
    /// Streams that were opened with an id to resume after.
    pub resumed: AtomicU64,
    /// Those of them on another node.
    pub moved: AtomicU64,
    /// Streams that were opened over TLS.
    pub encrypted: AtomicU64,
    /// Failed tries to open a stream.
    pub turned_away: AtomicU64,
    /// Events that were refused, or had no answer.
    pub refused: AtomicU64,
    seed: u64,
    publishing_ended: AtomicBool,
    over: AtomicBool,
    closings: Mutex<Vec<(String, Mark)>>,
    offences: Mutex<Vec<String>>,
    diaries: Option<Mutex<BTreeMap<String, Vec<String>>>>,
    began: Instant,
}

impl Trial {
    /// A trial that has not begun.
    pub fn new(seed: u64) -> Self {
        Self {
            ledger: Ledger::new(),
            resumed: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            encrypted: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            seed,
            publishing_ended: AtomicBool::new(false),
            over: AtomicBool::new(false),
            closings: Mutex::default(),
            offences: Mutex::default(),
            diaries: None,
            began: Instant::now(),
        }
    }

    /// Readers and publishers keep a diary, which costs memory.
    #[must_use]
    pub fn with_diaries(self) -> Self {
        Self { diaries: Some(Mutex::default()), ..self }
    }

    /// A generator of its own for each number of each part.
    pub fn random(&self, part: u64, number: u64) -> Random {
        Random::from_seed(self.seed ^ ((part + 1) << 56) ^ (number << 20))
    }

    /// The seed, which repeats the trial as far as the machine's timing allows.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Tells publishers to stop.
    pub fn end_publishing(&self) {
        self.publishing_ended.store(true, Ordering::SeqCst);
    }

    /// Whether publishers are to stop.
    pub fn has_publishing_ended(&self) -> bool {
        self.publishing_ended.load(Ordering::SeqCst)
    }

    /// Tells readers to stay from now on until a closing event.
    pub fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// Whether readers are to stay.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// The event with this text tells readers to go. Everything that was published so far is owed to them.
    pub fn add_closing(&self, text: &str) {
        lock(&self.closings).push((text.to_owned(), self.ledger.mark()));
    }

    /// The mark of a closing event: all that was published up to it is owed.
    pub fn closing(&self, data: &str) -> Option<Mark> {
        if !self.is_over() {
            return None;
        }
        lock(&self.closings).iter().find(|(closing, _)| closing == data).map(|(_, mark)| *mark)
    }

    /// Notes a fault that the ledger does not judge.
    pub fn offence(&self, what: String) {
        lock(&self.offences).push(what);
    }

    /// All of them.
    pub fn offences(&self) -> Vec<String> {
        lock(&self.offences).clone()
    }

    /// Adds a line to the diary of a reader or publisher.
    pub fn write_down(&self, name: &str, what: impl FnOnce() -> String) {
        if let Some(diaries) = &self.diaries {
            let line = format!("{:.4} {}", self.began.elapsed().as_secs_f64(), what());
            lock(diaries).entry(name.to_owned()).or_default().push(line);
        }
    }

    /// The diary of a reader or publisher.
    pub fn diary(&self, name: &str) -> Option<Vec<String>> {
        lock(self.diaries.as_ref()?).get(name).cloned()
    }
}

/// A task that panicked has failed already; its notes are still worth reading.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
