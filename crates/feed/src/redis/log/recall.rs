//! Older events of one channel for clients that return: what to read, and the answer. A machine without IO.

use fantail_wire::{EventId, Terms};

use super::entry::LogEntry;
use super::read_budget::{CHANNEL_BYTES_MAX, ReadBudget};
use crate::Recalled;
use crate::recall_queue::RecallRequest;

/// One request on its way to an answer. It reads backwards from `up_to`, as far as events and bytes allow. Older events
/// are left out. Places are compared by term and number alone: the time in an id comes from a client.
#[derive(Debug)]
pub(crate) struct RecallReading<'a> {
    terms: &'a Terms,
    asked: &'a RecallRequest,
    newest_first: Vec<LogEntry>,
    budget: ReadBudget,
    /// The newest place that the next page may hold: milliseconds and number.
    end: (u64, u64),
    /// The number before the oldest entry above `up_to`: that of the newest event that there must be.
    before_later: Option<u64>,
    is_done: bool,
}

impl<'a> RecallReading<'a> {
    pub(crate) fn new(terms: &'a Terms, asked: &'a RecallRequest) -> Self {
        let budget = ReadBudget::new(asked.events_max, CHANNEL_BYTES_MAX);
        let end = (asked.up_to.ms, asked.up_to.number);
        Self { terms, asked, newest_first: Vec::new(), budget, end, before_later: None, is_done: false }
    }

    /// The page to read next, if there is one: its newest place, and at most how many entries.
    pub(crate) fn next_page(&self) -> Option<((u64, u64), usize)> {
        let entries_max = self.budget.page();
        (!self.is_done && entries_max > 0).then_some((self.end, entries_max))
    }

    /// Takes a page, oldest first. `is_last` says that there is nothing below it.
    pub(crate) fn take(&mut self, page: Vec<LogEntry>, is_last: bool) {
        let (lowest, highest) = (self.asked.above.and_then(|id| self.rank(&id)), self.rank(&self.asked.up_to));
        self.is_done |= is_last || page.is_empty();
        if let Some(oldest) = page.first() {
            self.end = (oldest.id.ms, oldest.id.number.saturating_sub(1));
        }
        for entry in page.into_iter().rev() {
            let at = self.rank(&entry.id);
            if at > highest {
                self.before_later = Some(entry.previous);
                continue;
            }
            // An entry of a forgotten term ends the answer.
            let is_below = at.is_none() || lowest.is_some_and(|lowest| at <= Some(lowest));
            if is_below || !self.budget.take(&entry) {
                self.is_done |= is_below;
                break;
            }
            self.newest_first.push(entry);
        }
    }

    /// The number of the newest event at or below `up_to`, if an entry behind it has told it.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.before_later
    }

    /// The answer. `newest` is the number of the newest event that there must be; none if Redis has lost it.
    pub(crate) fn finish(mut self, newest: Option<u64>) -> Recalled {
        self.newest_first.reverse();
        let (entries, from) = whole(unbroken(self.newest_first, self.terms), newest, self.terms, self.asked);
        Recalled { entries: entries.into_iter().map(|entry| (entry.id, entry.event)).collect(), from: Some(from) }
    }

    fn rank(&self, id: &EventId) -> Option<(usize, u64)> {
        rank(self.terms, id)
    }
}

/// The newest entries between which nothing is missing.
fn unbroken(mut entries: Vec<LogEntry>, terms: &Terms) -> Vec<LogEntry> {
    let is_broken = |pair: &[LogEntry]| {
        let [before, entry] = pair else { return false };
        let start = terms.start_of(entry.id.term).unwrap_or(0);
        entry.previous > if before.id.term == entry.id.term { before.id.number } else { start }
    };
    let first = entries.windows(2).rposition(is_broken).map_or(0, |at| at + 1);
    entries.split_off(first)
}

/// The part of `entries` above a place from which on it is complete, and that place. `newest` is the number of the last
/// event that there must be. If it is not known, or not among `entries`, nothing is complete. Example: the entries end
/// at 44, and the event behind them tells that 45 came before it: 45 is lost, and the answer is empty.
fn whole(
    entries: Vec<LogEntry>,
    newest: Option<u64>,
    terms: &Terms,
    asked: &RecallRequest,
) -> (Vec<LogEntry>, EventId) {
    let newest = newest.map(|number| place_of(terms, number, asked.up_to.ms));
    let last = entries.last().map_or(asked.up_to, |entry| entry.id);
    let Some(newest) = newest.filter(|newest| is_at_or_below(terms, newest, &last)) else {
        return (Vec::new(), asked.up_to);
    };
    let below = entries.first().map_or(newest, |oldest| place_of(terms, oldest.previous, oldest.id.ms));
    let from = match asked.above {
        // A later time than its own does no harm where it is used, an earlier one would.
        Some(above) if is_at_or_below(terms, &below, &above) => EventId { ms: below.ms, ..above },
        _ => below,
    };
    (entries, from)
}

/// The place of a number that an entry or the tops tell without its term. Numbers rise over all known terms, so it
/// belongs to the oldest term that reached it. Example: the old term ended at 30, so 30 is of the old term and 31 of
/// the next.
fn place_of(terms: &Terms, number: u64, ms: u64) -> EventId {
    let ended = terms.ended.iter().find(|ended| number <= ended.end).map(|ended| (ended.term, ended.start));
    let (term, start) = ended.unwrap_or((terms.current, terms.start));
    EventId::new(term, ms, number.max(start))
}

fn is_at_or_below(terms: &Terms, id: &EventId, above: &EventId) -> bool {
    match (rank(terms, id), rank(terms, above)) {
        (Some(id), Some(above)) => id <= above,
        _ => false,
    }
}

/// Places in an order that holds over all terms that are known.
fn rank(terms: &Terms, id: &EventId) -> Option<(usize, u64)> {
    terms.rank(id.term).map(|rank| (rank, id.number))
}

#[cfg(test)]
mod tests {
    use fantail_wire::{EndedTerm, Term};

    use super::*;

    #[test]
    fn a_number_that_is_told_without_its_term_is_of_the_oldest_that_reached_it() {
        let [old, middle, new] = [1, 2, 3].map(Term::from_random);
        let ended = vec![EndedTerm { term: old, start: 5, end: 30 }, EndedTerm { term: middle, start: 30, end: 40 }];
        let terms = Terms { current: new, start: 44, number: 60, ms: 0, ended };
        for (number, term, at) in [
            (12, old, 12),
            (30, old, 30),
            (31, middle, 31),
            (40, middle, 40),
            (50, new, 50),
            // Of a term that is forgotten, or of none.
            (3, old, 5),
            (42, new, 44),
        ] {
            assert_eq!(place_of(&terms, number, 7), EventId::new(term, 7, at), "{number}");
        }
    }
}
