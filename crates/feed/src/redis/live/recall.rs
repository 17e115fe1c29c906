//! Reads what a recall asks for from the channel's Stream.

use fantail_wire::{EventId, Terms};
use redis::RedisResult;
use redis::aio::MultiplexedConnection;

use super::log_store::{LogStore, Previous};
use crate::Recalled;
use crate::recall_queue::RecallRequest;
use crate::redis::log::RecallReading;

/// Answers nothing while Redis numbers in a term that this node has yet to learn of.
pub(crate) async fn read(
    store: &LogStore,
    connection: &mut MultiplexedConnection,
    terms: &Terms,
    asked: &RecallRequest,
) -> RedisResult<Option<Recalled>> {
    let mut reading = RecallReading::new(terms, asked);
    while let Some((end, page)) = reading.next_page() {
        let read = store.entries(connection, &asked.channel, None, Some(end), page).await?;
        let is_last = read.entries.len() + read.malformed.len() < page;
        reading.take(read.entries, is_last);
    }
    let newest = if let Some(newest) = reading.newest() {
        Some(newest)
    } else {
        let EventId { ms, number, .. } = asked.up_to;
        match store.previous_above(connection, &asked.channel, (ms, number), terms.current).await? {
            Previous::Number(number) => Some(number),
            Previous::Lost => None,
            Previous::InAnotherTerm => return Ok(None),
        }
    };
    Ok(Some(reading.finish(newest)))
}
