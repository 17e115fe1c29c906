//! How much of the log may be held in memory while it is read: events and bytes, and how many entries in one step.
//!
//! Redis bounds what it answers by entries alone. So the first step is a smaller one, and the next go by the largest
//! entry that was seen.

use super::entry::LogEntry;

/// Entries asked for in one step, and in the first: what most clients come back for is read in one step, and if all of
/// it is as large as events may be by default, it is no more than is read of a channel.
const PAGE_MAX: usize = 256;
const PAGE_FIRST: usize = 64;
/// Bytes that a step brings at most, if no entry is larger than those before.
const PAGE_BYTES: usize = 4 << 20;

/// Channels that are read at a time.
pub(crate) const READS_MAX: usize = 16;
/// Bytes of events that are read of one channel.
pub(crate) const CHANNEL_BYTES_MAX: usize = 16 << 20;

/// Events and bytes that may still be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadBudget {
    events: usize,
    bytes: usize,
    /// The largest entry so far.
    largest: usize,
}

impl ReadBudget {
    pub(crate) const fn new(events: usize, bytes: usize) -> Self {
        Self { events, bytes, largest: 0 }
    }

    /// How many entries to ask for next; zero when nothing fits any more.
    pub(crate) fn page(&self) -> usize {
        if self.bytes == 0 {
            return 0;
        }
        let by_size = PAGE_BYTES.checked_div(self.largest).map_or(PAGE_FIRST, |page| page.clamp(1, PAGE_MAX));
        by_size.min(self.events)
    }

    /// Takes the room that an entry needs. Behind one that does not fit nothing fits: what is older is left out whole.
    pub(crate) fn take(&mut self, entry: &LogEntry) -> bool {
        let cost = entry.cost();
        self.largest = self.largest.max(cost);
        let left = self.events.checked_sub(1).zip(self.bytes.checked_sub(cost));
        (self.events, self.bytes) = left.unwrap_or((0, self.bytes));
        left.is_some()
    }

    /// Gives `share` away, if there is so much. Otherwise whatever there is, unless more `may_come` back.
    pub(crate) fn lend(&mut self, share: Self, may_come: bool) -> Option<Self> {
        let is_short = self.events < share.events || self.bytes < share.bytes;
        if is_short && may_come {
            return None;
        }
        let lent = Self::new(self.events.min(share.events), self.bytes.min(share.bytes));
        self.events -= lent.events;
        self.bytes -= lent.bytes;
        Some(lent)
    }

    /// Takes back a loan, less the cost of the entries that were read.
    pub(crate) fn give_back(&mut self, lent: Self, entries: &[LogEntry]) {
        self.events += lent.events - entries.len();
        self.bytes += lent.bytes - entries.iter().map(LogEntry::cost).sum::<usize>();
    }
}

#[cfg(test)]
mod tests {
    use fantail_wire::{Event, EventId, Term};

    use super::*;

    fn entry(data_bytes: usize) -> LogEntry {
        let id = EventId::new(Term::from_random(1), 1, 1);
        LogEntry { id, previous: 0, event: Event::text("x".repeat(data_bytes)) }
    }

    #[test]
    fn a_step_is_small_until_the_size_of_entries_is_known_and_goes_by_the_largest() {
        let mut budget = ReadBudget::new(10_000, CHANNEL_BYTES_MAX);
        assert_eq!(budget.page(), PAGE_FIRST);
        assert!(budget.take(&entry(100)));
        assert_eq!(budget.page(), PAGE_MAX);
        assert!(budget.take(&entry(1 << 20)) && budget.take(&entry(100)));
        assert_eq!(budget.page(), 3, "of four a little more than a mebibyte each the last would be too much");
        assert!(budget.take(&entry(PAGE_BYTES * 2)));
        assert_eq!(budget.page(), 1);
        assert_eq!(ReadBudget::new(3, CHANNEL_BYTES_MAX).page(), 3);
    }

    #[test]
    fn entries_older_than_one_that_does_not_fit_are_left_out_however_small() {
        let mut budget = ReadBudget::new(10, 10_000);
        assert!(budget.take(&entry(5_000)));
        assert!(!budget.take(&entry(5_000)));
        assert_eq!(budget.page(), 0);
        assert!(!budget.take(&entry(1)));
        let mut budget = ReadBudget::new(2, 10_000);
        assert!(budget.take(&entry(1)) && budget.take(&entry(1)) && !budget.take(&entry(1)));
        assert_eq!(budget.page(), 0);
    }

    #[test]
    fn shares_lent_at_a_time_are_never_more_than_the_budget() {
        let share = ReadBudget::new(4, 4_000);
        let mut budget = ReadBudget::new(9, 12_000);
        assert_eq!([budget.lend(share, false), budget.lend(share, true)], [Some(share); 2]);
        assert_eq!(budget.lend(share, true), None, "others may leave some of theirs");
        budget.give_back(share, &[entry(100), entry(100)]);
        assert_eq!((budget.events, budget.lend(share, true)), (3, None));
        budget.give_back(share, &[]);
        assert_eq!(budget.lend(share, true), Some(share));
        budget.give_back(share, &[entry(100), entry(100), entry(100), entry(100)]);
        assert_eq!(budget.lend(share, true), None);
        assert_eq!(budget.lend(share, false).map(|lent| lent.events), Some(3), "nobody is left to wait for");
        assert_eq!(budget.lend(share, false).map(|lent| lent.page()), Some(0));
    }
}
