//! What the judge found, in numbers and with examples.

use std::fmt;

/// How many faults are told in words; the numbers count all of them.
const EXAMPLES_MAX: usize = 20;

/// The outcome of a judgement. Everything is counted once per reader it happened to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Readers that were judged.
    pub readers: u64,
    /// Events that arrived whole, the first time each.
    pub delivered: u64,
    /// Gap events.
    pub gaps: u64,
    /// Owed events that are missing where a gap event said so.
    pub declared: u64,
    /// Missing events whose publishing was never confirmed; nobody's fault.
    pub unconfirmed: u64,
    /// Owed events that are missing without a word.
    pub silent: u64,
    /// Confirmed events that were owed to somebody and reached nobody at all; each is counted once here, and once for
    /// each reader it was owed to as declared or silent.
    pub nowhere: u64,
    /// Events that arrived again behind a gap that says so: once for each such gap, and in their order. Nobody's fault.
    pub repeated: u64,
    /// Events that arrived again, or that lay before the place the reader resumed from.
    pub duplicated: u64,
    /// Events that arrived behind a later one of the same publisher, in whatever channel.
    pub reordered: u64,
    /// Events that are not what was published.
    pub corrupted: u64,
    /// Events that nobody published, and events or gaps of channels the reader does not follow.
    pub foreign: u64,
    /// Events that end too early, and streams that the server did not end cleanly.
    pub cut: u64,
    /// Readers that never said how they ended, so that the loss of their last events cannot be seen.
    pub unfinished: u64,
    /// The first faults in words.
    pub examples: Vec<String>,
}

impl Verdict {
    /// Whether the promise was kept: no fault of any kind. Declared gaps are within the promise.
    pub const fn is_clean(&self) -> bool {
        let faults = self.silent + self.duplicated + self.reordered + self.corrupted + self.foreign + self.cut;
        faults + self.unfinished == 0
    }

    /// Whether moreover every owed event arrived.
    pub const fn is_whole(&self) -> bool {
        self.is_clean() && self.declared == 0
    }

    /// Panics with the whole verdict unless the promise was kept and at least one event arrived.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "the promise was broken: {self}");
        assert!(self.delivered > 0, "nothing arrived, so nothing was proved: {self}");
    }

    /// Panics with the whole verdict unless every owed event arrived and no fault was found.
    #[track_caller]
    pub fn assert_whole(&self) {
        self.assert_clean();
        assert!(self.is_whole(), "events were lost, though the loss was declared: {self}");
    }

    pub(super) fn tell(&mut self, example: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example());
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            ("readers", self.readers),
            ("delivered", self.delivered),
            ("gaps", self.gaps),
            ("declared", self.declared),
            ("unconfirmed", self.unconfirmed),
            ("silent", self.silent),
            ("nowhere", self.nowhere),
            ("repeated", self.repeated),
            ("duplicated", self.duplicated),
            ("reordered", self.reordered),
            ("corrupted", self.corrupted),
            ("foreign", self.foreign),
            ("cut", self.cut),
            ("unfinished", self.unfinished),
        ];
        let counts: Vec<_> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        write!(formatter, "{}", counts.join(", "))?;
        self.examples.iter().try_for_each(|example| write!(formatter, "\n  {example}"))
    }
}
