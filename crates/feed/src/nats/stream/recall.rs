//! Older events of one channel for clients that return: read from the stream by a consumer of their own.
//!
//! An event of a channel stands on the channel's subject, or on that of events for several. The stream tells of no
//! subject which of its messages are gone. So an answer is whole only above the newest number that is gone from the
//! whole stream. Example: 41 and 45 of `orders` are asked for, and 43 of any channel was deleted: the answer is 45, and
//! that it is whole above 43.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::Message;
use fantail_wire::{Event, EventId, Publication};
use futures_util::StreamExt;
use tokio::time::timeout;

use super::api::{ApiError, Consumer, Reading, StreamApi};
use super::news::{News, news_of};
use super::stream_log::{Delivered, Numbering};
use crate::Recalled;
use crate::nats::form::NatsEventForm;
use crate::nats::incoming::{Incoming, Read};
use crate::recall_queue::RecallRequest;

/// Messages of one subject that are read for an answer. If there are more, older ones are left out.
const MESSAGES_MAX: u64 = 1 << 16;
/// Bytes of events that an answer holds. Older ones are left out.
const BYTES_MAX: usize = 8 << 20;
/// Numbers that are gone, beyond which a stream is not asked to list them. Its answers are empty then.
const DELETED_MAX: u64 = 10_000;
const HEARTBEAT: Duration = Duration::from_secs(1);
/// The longest silence of a consumer with something to deliver.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// The newest events above a place.
struct Kept {
    entries: VecDeque<(EventId, Event)>,
    bytes: usize,
    events_max: usize,
    /// Everything above this number is here.
    whole_above: u64,
}

/// Reads an answer. None if the stream is not the one that was numbered, changed meanwhile, or fell silent. Example: the
/// node has come to 44, and the stream was made anew a second ago and holds 1 to 60. The node has not noticed yet. 41 to
/// 44 of that stream are other events than the ones that are asked for.
pub(super) async fn read(
    api: &StreamApi,
    numbering: &Numbering,
    asked: &RecallRequest,
) -> Result<Option<Recalled>, ApiError> {
    let term = numbering.term;
    if asked.up_to.term != term {
        // The stream of that term is gone.
        return Ok(Some(Recalled { entries: Vec::new(), from: Some(asked.up_to) }));
    }
    let above = asked.above.filter(|above| above.term == term).map_or(numbering.start, |above| above.number);
    let before = api.state().await?;
    if !numbering.holds_in(&before) {
        return Ok(None);
    }
    let mut kept = Kept { entries: VecDeque::new(), bytes: 0, events_max: asked.events_max, whole_above: above };
    for subject in api.form.subjects(&asked.channel) {
        let Some((consumer, from)) = consume(api, subject.as_deref(), above, asked.up_to.number).await? else {
            continue;
        };
        kept.whole_above = kept.whole_above.max(from - 1);
        let is_read = kept.read(api, asked, consumer).await;
        if !is_read {
            return Ok(None);
        }
    }
    let (after, deleted) = api.state_with_deleted(DELETED_MAX).await?;
    if !numbering.holds_in(&after) || after.last < before.last {
        return Ok(None);
    }
    let deleted = match deleted {
        Some(deleted) => deleted.into_iter().filter(|number| *number <= asked.up_to.number).max().unwrap_or(0),
        None => asked.up_to.number,
    };
    let whole_above = kept.whole_above.max(deleted).max(after.first.saturating_sub(1).min(asked.up_to.number));
    Ok(Some(kept.answer(whole_above, asked)))
}

/// Makes a consumer that has not too much to deliver up to a number. Returns the number from which on it reads; none if
/// nothing is asked for.
async fn consume(
    api: &StreamApi,
    subject: Option<&str>,
    above: u64,
    up_to: u64,
) -> Result<Option<(Consumer, u64)>, ApiError> {
    let mut from = above + 1;
    while from <= up_to {
        let consumer = api.consume(Reading { from, subject, heartbeat: HEARTBEAT }).await?;
        // Those above the wanted number are not read, however many there are.
        if consumer.pending.min(up_to - from + 1) <= MESSAGES_MAX {
            return Ok(Some((consumer, from)));
        }
        api.end(consumer).await;
        from += (up_to - from) / 2 + 1;
    }
    Ok(None)
}

impl Kept {
    /// Reads what a consumer has to deliver up to the wanted number. False if it fell silent.
    async fn read(&mut self, api: &StreamApi, asked: &RecallRequest, mut consumer: Consumer) -> bool {
        let mut left = consumer.pending;
        let mut deliveries = 0;
        while left > 0 {
            let Ok(Some(message)) = timeout(SILENCE_MAX, consumer.messages.next()).await else { return false };
            match news_of(&message) {
                News::Message(at) => {
                    deliveries += 1;
                    if at.delivery != deliveries {
                        return false;
                    }
                    left -= 1;
                    if at.number > asked.up_to.number {
                        break;
                    }
                    self.take(api.form, at, &message, asked);
                }
                News::FlowControl => api.go_on(&message).await,
                // Messages that were pending are gone by now, and the stream tells so.
                News::Heartbeat { deliveries: all, .. } if all == deliveries => break,
                News::Heartbeat { .. } => return false,
                News::Other => {}
            }
        }
        api.end(consumer).await;
        true
    }

    fn take(&mut self, form: NatsEventForm, at: Delivered, message: &Message, asked: &RecallRequest) {
        let id = EventId::new(asked.up_to.term, at.at_ns / 1_000_000, at.number);
        let wanted = |name: &str| (name == asked.channel.as_str()).then(|| asked.channel.clone());
        match form.read(&Incoming::from(message), wanted) {
            Read::Event(Publication { event, .. }) => {
                self.bytes += event.data.len();
                self.entries.push_back((id, event));
            }
            // It was a gap when it came.
            Read::Unusable(channels, _) if !channels.is_empty() => self.whole_above = self.whole_above.max(at.number),
            Read::Unusable(..) | Read::Foreign => {}
        }
        while self.entries.len() > self.events_max || self.bytes > BYTES_MAX {
            let Some((id, event)) = self.entries.pop_front() else { break };
            self.bytes -= event.data.len();
            self.whole_above = self.whole_above.max(id.number);
        }
    }

    fn answer(self, whole_above: u64, asked: &RecallRequest) -> Recalled {
        let mut entries: Vec<_> = self.entries.into_iter().filter(|(id, _)| id.number > whole_above).collect();
        entries.sort_by_key(|(id, _)| id.number);
        // Two subjects were read one after the other, each up to the bound.
        let surplus = entries.len().saturating_sub(self.events_max);
        let left_out = entries.drain(..surplus).next_back().map_or(0, |(id, _)| id.number);
        // A later time than its own does no harm where it is used, an earlier one would.
        let ms = entries.first().map_or(asked.up_to.ms, |(id, _)| id.ms);
        let from = EventId::new(asked.up_to.term, ms, whole_above.max(left_out));
        Recalled { entries, from: Some(from) }
    }
}
