//! Older events of one channel, read back from its Stream for clients that return.

use fantail_wire::{ChannelName, EventId, Terms};
use redis::RedisResult;
use redis::aio::MultiplexedConnection;

use super::entry::LogEntry;
use super::read_budget::{CHANNEL_BYTES_MAX, ReadBudget};
use super::store::{LogStore, Previous};
use crate::Recalled;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecallRequest {
    pub(crate) channel: ChannelName,
    /// Everything above this place; none for as much as there is.
    pub(crate) above: Option<EventId>,
    /// Up to here.
    pub(crate) up_to: EventId,
    /// The newest so many events.
    pub(crate) events_max: usize,
}

/// Reads backwards from `up_to`, as far as events and bytes allow: what is below is left out. Places are compared by
/// term and number alone: the time in an id is what a client sent. Nothing is answered while Redis numbers in a term that this
/// node has yet to learn of.
pub(crate) async fn read(
    store: &LogStore,
    connection: &mut MultiplexedConnection,
    terms: &Terms,
    asked: &RecallRequest,
) -> RedisResult<Option<Recalled>> {
    let place = |id: &EventId| terms.rank(id.term).map(|rank| (rank, id.number));
    let (lowest, highest) = (asked.above.as_ref().and_then(place), place(&asked.up_to));
    let mut newest_first: Vec<LogEntry> = Vec::new();
    let mut budget = ReadBudget::new(asked.events_max, CHANNEL_BYTES_MAX);
    let mut end = (asked.up_to.ms, asked.up_to.number);
    // The number before the oldest entry above the place: that of the newest that there must be.
    let mut before_later = None;
    let mut reached = false;
    while !reached && budget.page() > 0 {
        let page = budget.page();
        let read = store.entries(connection, &asked.channel, None, Some(end), page).await?;
        let is_last = read.entries.len() + read.malformed.len() < page;
        let Some(oldest) = read.entries.first() else { break };
        end = (oldest.id.ms, oldest.id.number.saturating_sub(1));
        for entry in read.entries.into_iter().rev() {
            let at = place(&entry.id);
            if at > highest {
                before_later = Some(entry.previous);
                continue;
            }
            // An entry of a term that nobody knows any more ends what can be told.
            reached |= at.is_none() || lowest.is_some_and(|lowest| at <= Some(lowest));
            if reached || !budget.take(&entry) {
                break;
            }
            newest_first.push(entry);
        }
        if is_last {
            break;
        }
    }
    newest_first.reverse();
    let newest = if let Some(previous) = before_later {
        Previous::Number(previous)
    } else {
        let EventId { ms, number, .. } = asked.up_to;
        store.previous_above(connection, &asked.channel, (ms, number), terms.current).await?
    };
    let newest = match newest {
        Previous::Number(number) => Some(number),
        Previous::Lost => None,
        Previous::InAnotherTerm => return Ok(None),
    };
    let (entries, from) = whole(unbroken(newest_first, terms), newest, terms, asked);
    let entries = entries.into_iter().map(|entry| (entry.id, entry.event)).collect();
    Ok(Some(Recalled { entries, from: Some(from) }))
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

/// What of `entries` is all there was above a place, and that place. `newest` is the number of the last event that there
/// must be, as the event after it tells, or the newest of all: if it is not known or not among them, nothing is known of
/// what is below.
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

/// Where a number stands that an entry or the tops tell without its term. Numbers rise over all terms that are known,
/// and where one begins the one before has ended: so it is of the oldest that reached it.
fn place_of(terms: &Terms, number: u64, ms: u64) -> EventId {
    let ended = terms.ended.iter().find(|ended| number <= ended.end).map(|ended| (ended.term, ended.start));
    let (term, start) = ended.unwrap_or((terms.current, terms.start));
    EventId::new(term, ms, number.max(start))
}

fn is_at_or_below(terms: &Terms, id: &EventId, above: &EventId) -> bool {
    let place = |id: &EventId| terms.rank(id.term).map(|rank| (rank, id.number));
    match (place(id), place(above)) {
        (Some(id), Some(above)) => id <= above,
        _ => false,
    }
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
