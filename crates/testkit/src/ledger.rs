//! The judge: the published events, the events that each reader received, and whether the promise was kept.
//!
//! Publishers enter an event before they send it and confirm it once it was accepted. Readers enter events in the order
//! in which they see them. Nothing is judged before [`Ledger::judge`], and then only from these entries, never from
//! anything that the tested program says about itself.
//!
//! A reader is owed, per channel and publisher, the unbroken run of events from its start to its end. At the start,
//! events in flight while it joined may come or not, but the run must be unbroken. An event that was never confirmed
//! may be missing anywhere. A gap event excuses missing events of its channel at its place, if they were published
//! before the gap was told. An event for several channels may come by another of them before the gap that stands where
//! its own channel goes on. So that gap still excuses missing events before it, unless an event of the channel alone
//! came in between.

mod judgement;
mod verdict;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub use verdict::Verdict;

use crate::{
    payload::{Flaw, Payload, hash},
    random::Random,
    response::End,
    sse::Event,
};

/// The event type by which Fantail declares a gap.
const GAP_EVENT: &str = "fantail.gap";
/// The prefix of Fantail's own event types. Those beside gaps are no payload and owe nothing.
const OWN_EVENTS: &str = "fantail.";
/// The reasons of gaps behind which events may come again, since nobody knows what the reader had.
const REASONS_TO_BEGIN_ANEW: [&str; 2] = ["unknown-id", "beyond-end"];

/// A moment in the ledger's own time: between two published events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

impl Mark {
    /// Before the very first event.
    pub const BEGINNING: Self = Self(0);
}

/// The point from which a reader is owed events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Everything published after this mark, taken once the stream was open. Earlier events may come.
    Live(Mark),
    /// Exactly the events after this mark: a resume, or `Mark::BEGINNING` for a full replay.
    After(Mark),
}

/// Publisher and order.
type Key = (u32, u64);

/// The published events.
#[derive(Debug, Default)]
struct PublishedEvents {
    /// The ledger's time: the number of entered events of all publishers.
    now: u64,
    /// Per publisher, its events by order.
    events: Vec<Vec<LedgerEntry>>,
    /// Per channel and publisher, the orders of its events by sequence number.
    lines: BTreeMap<String, BTreeMap<u32, Vec<u64>>>,
}

/// One published event.
#[derive(Debug)]
struct LedgerEntry {
    entered_at: u64,
    is_confirmed: bool,
    places: Vec<(String, u64)>,
    hash: u64,
}

/// The events and gaps that one reader saw.
#[derive(Debug)]
struct History {
    name: String,
    channels: BTreeSet<String>,
    start: Start,
    steps: Vec<Step>,
    end: ReaderEnd,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Received { key: Key, hash: u64, flaw: Option<Flaw> },
    Unreadable { flaw: Flaw, text: String },
    Gap { channel: String, told_at: u64, begins_anew: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReaderEnd {
    StillOpen,
    Left,
    Stopped(Mark),
    Ended(End, Mark),
}

#[derive(Debug, Default)]
struct Books {
    published: Mutex<PublishedEvents>,
    readers: Mutex<Vec<Arc<Mutex<History>>>>,
}

/// The ledger of one test. Clones share the same entries.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    books: Arc<Books>,
}

impl Ledger {
    /// An empty ledger.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new publisher. Its events must be sent one after another, in the order of composing. Concurrent publishing
    /// takes several publishers, also within one channel.
    pub fn publisher(&self, random: Random) -> LedgerPublisher {
        let mut published = lock(&self.books.published);
        published.events.push(Vec::new());
        let number = u32::try_from(published.events.len() - 1).expect("no test has four billion publishers");
        LedgerPublisher { ledger: self.clone(), number, random }
    }

    /// A new reader, which may span several connections as long as each resumes where the last one ended.
    pub fn reader(&self, name: impl Into<String>, channels: &[&str], start: Start) -> Reader {
        let channels = channels.iter().map(ToString::to_string).collect();
        let history = History { name: name.into(), channels, start, steps: Vec::new(), end: ReaderEnd::StillOpen };
        let history = Arc::new(Mutex::new(history));
        lock(&self.books.readers).push(Arc::clone(&history));
        Reader { ledger: self.clone(), history }
    }

    /// This moment: after everything entered so far, before everything entered later.
    pub fn mark(&self) -> Mark {
        Mark(lock(&self.books.published).now)
    }

    /// Notes that the event was accepted, so that it must arrive.
    pub fn confirm(&self, composed: &Composed) {
        let mut published = lock(&self.books.published);
        if let Some(entry) = published.entry_mut(composed.key) {
            entry.is_confirmed = true;
        }
    }

    /// Compares the received events with the owed ones. May be called more than once.
    pub fn judge(&self) -> Verdict {
        let published = lock(&self.books.published);
        let readers = lock(&self.books.readers);
        let mut verdict = Verdict::default();
        let mut fates = judgement::Fates::default();
        for reader in readers.iter() {
            judgement::judge(&lock(reader), &published, &mut verdict, &mut fates);
        }
        verdict.nowhere = fates.nowhere();
        verdict
    }
}

impl PublishedEvents {
    fn entry(&self, (publisher, order): Key) -> Option<&LedgerEntry> {
        let events = self.events.get(usize::try_from(publisher).ok()?)?;
        events.get(usize::try_from(order).ok()?)
    }

    fn entry_mut(&mut self, (publisher, order): Key) -> Option<&mut LedgerEntry> {
        let events = self.events.get_mut(usize::try_from(publisher).ok()?)?;
        events.get_mut(usize::try_from(order).ok()?)
    }
}

/// Makes the events of one publisher.
#[derive(Debug)]
pub struct LedgerPublisher {
    ledger: Ledger,
    number: u32,
    random: Random,
}

/// An event that is entered in the ledger and ready to be sent.
#[derive(Debug, Clone)]
pub struct Composed {
    /// The data to publish.
    pub text: String,
    key: Key,
}

impl Composed {
    /// Its place among its publisher's events.
    pub const fn order(&self) -> u64 {
        self.key.1
    }
}

impl LedgerPublisher {
    /// The name of the publisher in its payloads.
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// The next event, for one channel.
    pub fn compose(&mut self, channel: &str, size: usize) -> Composed {
        self.compose_for(&[channel], size)
    }

    /// The next event, for several channels at once. A stream that follows many of them gets it once.
    pub fn compose_for(&mut self, channels: &[&str], size: usize) -> Composed {
        let mut published = lock(&self.ledger.books.published);
        published.now += 1;
        let order = published.events[self.number as usize].len() as u64;
        let mut places = Vec::new();
        for channel in BTreeSet::from_iter(channels) {
            let line = published.lines.entry((*channel).to_owned()).or_default().entry(self.number).or_default();
            places.push(((*channel).to_owned(), line.len() as u64));
            line.push(order);
        }
        let text = Payload::new(self.number, order, places.clone(), size, &mut self.random).encode();
        let hash = hash([text.as_bytes()]);
        let entry = LedgerEntry { entered_at: published.now, is_confirmed: false, places, hash };
        published.events[self.number as usize].push(entry);
        Composed { text, key: (self.number, order) }
    }

    /// Notes that the event was accepted, so that it must arrive. An event whose publishing failed stays unconfirmed:
    /// it may have gone out or not.
    pub fn confirm(&self, composed: &Composed) {
        self.ledger.confirm(composed);
    }
}

/// Enters the events of one reader.
#[derive(Debug)]
pub struct Reader {
    ledger: Ledger,
    history: Arc<Mutex<History>>,
}

impl Reader {
    /// Enters an event as it came: a gap event as a gap, Fantail's other own events not at all, everything else as a
    /// payload.
    pub fn record(&self, event: &Event) {
        if event.event != GAP_EVENT {
            if event.event.starts_with(OWN_EVENTS) {
                return;
            }
            return self.receive(&event.data);
        }
        let told: serde_json::Value = serde_json::from_str(&event.data).unwrap_or_default();
        match told["channel"].as_str() {
            Some(channel) => {
                let reason = told["reason"].as_str().unwrap_or_default();
                self.enter_gap(channel, REASONS_TO_BEGIN_ANEW.contains(&reason));
            }
            None => self.enter(Step::Unreadable { flaw: Flaw::Corrupted, text: event.data.clone() }),
        }
    }

    /// Enters received data.
    pub fn receive(&self, data: &str) {
        let hash = hash([data.as_bytes()]);
        self.enter(match Payload::parse(data) {
            Ok(payload) => Step::Received { key: (payload.publisher, payload.order), hash, flaw: None },
            Err(flawed) => match flawed.key {
                Some(key) => Step::Received { key, hash, flaw: Some(flawed.flaw) },
                None => Step::Unreadable { flaw: flawed.flaw, text: data.into() },
            },
        });
    }

    /// Enters a declared gap.
    pub fn gap(&self, channel: &str) {
        self.enter_gap(channel, false);
    }

    /// Whether this very event was entered as received; for reading until the last one.
    pub fn has(&self, composed: &Composed) -> bool {
        let is_it = |step: &Step| matches!(step, Step::Received { key, .. } if *key == composed.key);
        lock(&self.history).steps.iter().rev().any(is_it)
    }

    /// The reader stops while its stream is open: it is owed what was confirmed and entered before `until`.
    pub fn stopped(self, until: Mark) {
        lock(&self.history).end = ReaderEnd::Stopped(until);
    }

    /// The server ended the stream: as `stopped`, and anything but a clean end is a fault.
    pub fn ended(self, end: End, until: Mark) {
        lock(&self.history).end = ReaderEnd::Ended(end, until);
    }

    /// The reader left on its own: nothing behind its last event is owed.
    pub fn left(self) {
        lock(&self.history).end = ReaderEnd::Left;
    }

    fn enter_gap(&self, channel: &str, begins_anew: bool) {
        let told_at = self.ledger.mark().0;
        self.enter(Step::Gap { channel: channel.into(), told_at, begins_anew });
    }

    fn enter(&self, step: Step) {
        lock(&self.history).steps.push(step);
    }
}

/// A test that panicked with a lock held has failed already; the entries are still worth reading.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
