//! A feed's word on its own numbering.

use crate::Term;

/// A feed's lines of numbering: the one that runs, and those that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The line that runs.
    pub current: Term,
    /// The number at which it began: its first event has a larger one.
    pub start: u64,
    /// The newest number given.
    pub number: u64,
    /// The time of that number, in milliseconds since the Unix epoch.
    pub ms: u64,
    /// The lines that ended, as far as they are remembered, oldest first.
    pub ended: Vec<EndedTerm>,
}

/// A line of numbering that is over: the feed's memory was lost or may have gone back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedTerm {
    /// Its name.
    pub term: Term,
    /// The number at which it began: its first event has a larger one.
    pub start: u64,
    /// The last number that is known of it. Larger ones may have been given and were lost.
    pub end: u64,
}

impl Terms {
    /// Where a line stands among those that are known, in the order of their age. `None` if it is not known.
    pub fn rank(&self, term: Term) -> Option<usize> {
        if term == self.current {
            return Some(self.ended.len());
        }
        self.ended.iter().position(|ended| ended.term == term)
    }

    /// The number at which a known line began.
    pub fn start_of(&self, term: Term) -> Option<u64> {
        let rank = self.rank(term)?;
        Some(self.ended.get(rank).map_or(self.start, |ended| ended.start))
    }
}
