//! The judge's findings, in numbers and with examples.

use std::fmt;

/// The most faults that are described; the numbers count all of them.
const EXAMPLES_MAX: usize = 20;

/// The outcome of a judgement. Everything is counted once for each affected reader.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Readers that were judged.
    pub readers: u64,
    /// Events that arrived whole, each counted the first time.
    pub delivered: u64,
    /// Gap events.
    pub gaps: u64,
    /// Owed events that are missing and declared by a gap event.
    pub declared: u64,
    /// Missing events whose publishing was never confirmed; this is no fault.
    pub unconfirmed: u64,
    /// Owed events that are missing without a gap.
    pub silent: u64,
    /// Confirmed events that were owed to a reader and reached none at all. Each is counted once here, and once as
    /// declared or silent for each reader that it was owed to.
    pub nowhere: u64,
    /// Events that arrived again behind a gap that allows it: once for each such gap, and in their order. This is no
    /// fault.
    pub repeated: u64,
    /// Events that arrived again, or that lay before the place from which the reader resumed.
    pub duplicated: u64,
    /// Events that arrived behind a later one of the same publisher, in whatever channel.
    pub reordered: u64,
    /// Events that differ from the published ones.
    pub corrupted: u64,
    /// Events that nobody published, and events or gaps of channels that the reader does not follow.
    pub foreign: u64,
    /// Events that end too early, and streams that the server did not end cleanly.
    pub cut: u64,
    /// Readers that never said how they ended, so that the loss of their last events cannot be seen.
    pub unfinished: u64,
    /// The first faults, described.
    pub examples: Vec<String>,
}

impl Verdict {
    /// Whether the promise was kept: no fault of any kind. Declared gaps are within the promise.
    pub const fn is_clean(&self) -> bool {
        let faults = self.silent + self.duplicated + self.reordered + self.corrupted + self.foreign + self.cut;
        faults + self.unfinished == 0
    }

    /// Whether in addition every owed event arrived.
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
