//! Older events of one channel, read back from its Stream for clients that return.

use fantail_wire::{ChannelName, EventId, Terms};
use redis::RedisResult;
use redis::aio::MultiplexedConnection;

use super::entry::LogEntry;
use super::store::LogStore;
use crate::Recalled;

/// Entries read at a time.
const PAGE: usize = 256;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recall {
    pub(crate) channel: ChannelName,
    /// Everything above this place; none for as much as there is.
    pub(crate) above: Option<EventId>,
    /// Up to here.
    pub(crate) up_to: EventId,
    /// The newest so many events.
    pub(crate) events_max: usize,
}

/// Reads backwards from `up_to`. Places are compared by term and number alone: the time in an id is what a client sent.
pub(crate) async fn read(
    store: &LogStore,
    connection: &mut MultiplexedConnection,
    terms: &Terms,
    asked: &Recall,
) -> RedisResult<Recalled> {
    let place = |id: &EventId| terms.rank(id.term).map(|rank| (rank, id.number));
    let (lowest, highest) = (asked.above.as_ref().and_then(place), place(&asked.up_to));
    let mut newest_first: Vec<LogEntry> = Vec::new();
    let mut end = (asked.up_to.ms, asked.up_to.number);
    let mut reached = false;
    while !reached && newest_first.len() < asked.events_max {
        let page = store.entries(connection, &asked.channel, None, Some(end), PAGE).await?;
        let is_last = page.entries.len() + page.malformed.len() < PAGE;
        let Some(oldest) = page.entries.first() else { break };
        end = (oldest.id.ms, oldest.id.number.saturating_sub(1));
        for entry in page.entries.into_iter().rev() {
            let at = place(&entry.id);
            if at > highest {
                continue;
            }
            // An entry of a term that nobody knows any more ends what can be told.
            reached |= at.is_none() || lowest.is_some_and(|lowest| at <= Some(lowest));
            if reached || newest_first.len() == asked.events_max {
                break;
            }
            newest_first.push(entry);
        }
        if is_last {
            break;
        }
    }
    newest_first.reverse();
    let newest_first = unbroken(newest_first, terms);
    let from = complete_above(store, connection, terms, asked, &newest_first).await?;
    let entries = newest_first.into_iter().map(|entry| (entry.id, entry.event)).collect();
    Ok(Recalled { entries, from: Some(from) })
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

/// From where on `entries` are all there is, as the number of the event before the oldest proves.
async fn complete_above(
    store: &LogStore,
    connection: &mut MultiplexedConnection,
    terms: &Terms,
    asked: &Recall,
    entries: &[LogEntry],
) -> RedisResult<EventId> {
    let Some(oldest) = entries.first() else {
        return nothing_between(store, connection, terms, asked).await;
    };
    let start = terms.start_of(oldest.id.term).unwrap_or(0);
    let below = EventId { number: oldest.previous.max(start), ..oldest.id };
    Ok(match asked.above {
        // A later time than its own does no harm where it is used, an earlier one would.
        Some(above) if is_at_or_below(terms, &below, &above) => EventId { ms: below.ms, ..above },
        _ => below,
    })
}

/// Nothing was found: is that all there was? Then the event after it, or the newest of all, says so. Otherwise nothing is
/// known of what is below.
async fn nothing_between(
    store: &LogStore,
    connection: &mut MultiplexedConnection,
    terms: &Terms,
    asked: &Recall,
) -> RedisResult<EventId> {
    let up_to = (asked.up_to.ms, asked.up_to.number);
    let Some(previous) = store.previous_above(connection, &asked.channel, up_to).await? else { return Ok(asked.up_to) };
    let before = EventId { number: previous, ..asked.up_to };
    let above = asked.above.filter(|above| is_at_or_below(terms, &before, above));
    Ok(EventId { ms: asked.up_to.ms, ..above.unwrap_or(asked.up_to) })
}

fn is_at_or_below(terms: &Terms, id: &EventId, above: &EventId) -> bool {
    let place = |id: &EventId| terms.rank(id.term).map(|rank| (rank, id.number));
    match (place(id), place(above)) {
        (Some(id), Some(above)) => id <= above,
        _ => false,
    }
}
