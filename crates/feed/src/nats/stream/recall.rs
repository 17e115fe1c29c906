//! Older events for clients that return: read from the stream by a consumer of their own.
//!
//! An event of a channel stands on the channel's subject, or on that of events for several. The stream tells of no
//! subject which of its messages are gone. So an answer is whole only above the newest number that is gone from the
//! whole stream. Example: 41 and 45 of `orders` are asked for, and 43 of any channel was deleted: the answer is 45, and
//! that it is whole above 43.
//!
//! Where all channels stand on one subject, a stream has to be read from a place on whoever asks. Then one reading answers all the questions
//! that wait. Example: a node was restarted, and 10,000 users come back with their ids, which are at most 30 s old. The messages of these 30 s
//! are read some ten times, and not 10,000 times.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use async_nats::Message;
use fantail_wire::{ChannelName, Event, EventId, Publication};
use foldhash::fast::RandomState;
use futures_util::StreamExt;
use tokio::time::timeout;

use super::api::{ApiError, Consumer, Reading, StreamApi};
use super::news::{News, news_of};
use super::stream_log::{Delivered, Numbering};
use crate::Recalled;
use crate::nats::form::NatsEventForm;
use crate::nats::incoming::{Incoming, Read};
use crate::recall_queue::RecallRequest;

/// Questions that one reading answers, where it can answer several.
pub(super) const TOGETHER_MAX: usize = 1024;
/// Messages of one subject that are read for an answer. If there are more, older ones are left out.
const MESSAGES_MAX: u64 = 1 << 16;
/// Bytes of events that an answer holds. Older ones are left out.
const BYTES_MAX: usize = 8 << 20;
/// Bytes of events that the answers of one reading hold together, each an equal part. One with more is read alone.
const BYTES_TOGETHER_MAX: usize = 32 << 20;
/// The bytes of an event beside its data.
const ENTRY_BYTES: usize = 128;
/// Numbers that are gone, beyond which a stream is not asked to list them. Its answers are empty then.
const DELETED_MAX: u64 = 10_000;
const HEARTBEAT: Duration = Duration::from_secs(1);
/// The longest silence of a consumer with something to deliver.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// The outcome of a reading for one question.
pub(super) enum Found {
    Answer(Recalled),
    /// Too much to be read with the others: it has to be read alone.
    TooMuch,
}

/// The questions of one reading.
struct Answers {
    kept: Vec<Kept>,
    by_channel: HashMap<ChannelName, usize, RandomState>,
}

/// The newest events above a place.
struct Kept {
    asked: RecallRequest,
    /// Above this number it is asked.
    above: u64,
    entries: VecDeque<(EventId, Event)>,
    bytes: usize,
    bytes_max: usize,
    /// Everything above this number is here.
    whole_above: u64,
    /// One of several, and over its part of the bytes, or older than what is read for the others.
    is_too_much: bool,
}

/// Reads an answer for each question; there are several only for a form whose channels have one subject. None if the stream is not the one
/// that was numbered, changed meanwhile, or fell silent. Example: the node has come to 44, and the stream was made anew a second ago and holds 1
/// to 60. The node has not noticed yet. 41 to 44 of that stream are other events than the ones that are asked for.
pub(super) async fn read(
    api: &StreamApi,
    numbering: &Numbering,
    asked: Vec<RecallRequest>,
) -> Result<Option<Vec<(RecallRequest, Found)>>, ApiError> {
    debug_assert!(asked.len() == 1 || api.form.has_one_subject());
    let (asked, of_a_stream_that_is_gone): (Vec<_>, Vec<_>) =
        asked.into_iter().partition(|asked| asked.up_to.term == numbering.term);
    let nothing = |asked: RecallRequest| {
        let answer = Recalled::nothing_up_to(asked.up_to);
        (asked, Found::Answer(answer))
    };
    let mut found: Vec<_> = of_a_stream_that_is_gone.into_iter().map(nothing).collect();
    let mut answers = Answers::new(asked, numbering);
    let Some((above, up_to)) = answers.range() else { return Ok(Some(found)) };
    let before = api.state().await?;
    if !numbering.holds_in(&before) {
        return Ok(None);
    }
    for subject in api.form.subjects(&answers.kept[0].asked.channel) {
        let Some((consumer, from)) = consume(api, subject.as_deref(), above, up_to).await? else {
            continue;
        };
        answers.begin_at(from);
        if !answers.read(api, up_to, consumer).await {
            return Ok(None);
        }
    }
    let (after, deleted) = api.state_with_deleted(DELETED_MAX).await?;
    if !numbering.holds_in(&after) || after.last < before.last {
        return Ok(None);
    }
    let deleted = deleted.map(|mut numbers| {
        numbers.sort_unstable();
        numbers
    });
    found.extend(answers.kept.into_iter().map(|kept| kept.found(after.first, deleted.as_deref())));
    Ok(Some(found))
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

impl Answers {
    fn new(asked: Vec<RecallRequest>, numbering: &Numbering) -> Self {
        let bytes_max = BYTES_MAX.min(BYTES_TOGETHER_MAX / asked.len().max(1));
        let by_channel = asked.iter().enumerate().map(|(at, asked)| (asked.channel.clone(), at)).collect();
        let kept = asked.into_iter().map(|asked| Kept::new(asked, numbering, bytes_max)).collect();
        Self { kept, by_channel }
    }

    /// Above which number to read, and up to which; none without a question.
    fn range(&self) -> Option<(u64, u64)> {
        let above = self.kept.iter().map(|kept| kept.above).min()?;
        let up_to = self.kept.iter().map(|kept| kept.asked.up_to.number).max()?;
        Some((above, up_to))
    }

    /// Nothing below this number is read. A question of which nothing is read because of the others is for a reading of its own.
    fn begin_at(&mut self, from: u64) {
        let are_several = self.kept.len() > 1;
        for kept in self.kept.iter_mut().filter(|kept| kept.above < from - 1) {
            kept.is_too_much |= are_several && kept.asked.up_to.number < from;
            kept.whole_above = kept.whole_above.max(from - 1).min(kept.asked.up_to.number);
        }
    }

    /// Reads what a consumer has to deliver up to a number. False if it fell silent.
    async fn read(&mut self, api: &StreamApi, up_to: u64, mut consumer: Consumer) -> bool {
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
                    if at.number > up_to {
                        break;
                    }
                    self.take(api.form, at, &message);
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

    fn take(&mut self, form: NatsEventForm, at: Delivered, message: &Message) {
        let wanted = |name: &str| self.by_channel.get_key_value(name).map(|(channel, _)| channel.clone());
        let read = form.read(&Incoming::from(message), wanted);
        let (channels, event) = match read {
            Read::Event(Publication { channels, event }) => (channels, Some(event)),
            // It was a gap when it came.
            Read::Unusable(channels, _) => (channels, None),
            Read::Foreign => return,
        };
        for place in channels.iter().filter_map(|channel| self.by_channel.get(channel)) {
            self.kept[*place].take(at, event.as_ref());
        }
    }
}

impl Kept {
    fn new(asked: RecallRequest, numbering: &Numbering, bytes_max: usize) -> Self {
        let above = asked.above.filter(|above| above.term == numbering.term);
        let above = above.map_or(numbering.start, |above| above.number);
        let entries = VecDeque::new();
        Self { asked, above, entries, bytes: 0, bytes_max, whole_above: above, is_too_much: false }
    }

    /// Takes an event, or nothing that could be one.
    fn take(&mut self, at: Delivered, event: Option<&Event>) {
        if at.number <= self.above || at.number > self.asked.up_to.number || self.is_too_much {
            return;
        }
        let Some(event) = event else {
            self.whole_above = self.whole_above.max(at.number);
            return;
        };
        let id = EventId::new(self.asked.up_to.term, at.at_ns / 1_000_000, at.number);
        self.bytes += bytes_of(event);
        self.entries.push_back((id, event.clone()));
        while self.entries.len() > self.asked.events_max || self.bytes > self.bytes_max {
            if self.bytes > self.bytes_max && self.bytes_max < BYTES_MAX {
                self.is_too_much = true;
                self.entries = VecDeque::new();
                return;
            }
            let Some((id, event)) = self.entries.pop_front() else { break };
            self.bytes -= bytes_of(&event);
            self.whole_above = self.whole_above.max(id.number);
        }
    }

    /// The answer, where the stream begins at `first` and these numbers are gone from it, in their order; `None` for too many to list.
    fn found(self, first: u64, deleted: Option<&[u64]>) -> (RecallRequest, Found) {
        if self.is_too_much {
            return (self.asked, Found::TooMuch);
        }
        let up_to = self.asked.up_to;
        let deleted = match deleted {
            Some(deleted) => {
                let below = deleted.partition_point(|number| *number <= up_to.number);
                deleted[..below].last().copied().unwrap_or(0)
            }
            None => up_to.number,
        };
        let whole_above = self.whole_above.max(deleted).max(first.saturating_sub(1).min(up_to.number));
        let mut entries: Vec<_> = self.entries.into_iter().filter(|(id, _)| id.number > whole_above).collect();
        entries.sort_by_key(|(id, _)| id.number);
        // Two subjects were read one after the other, each up to the bound.
        let surplus = entries.len().saturating_sub(self.asked.events_max);
        let left_out = entries.drain(..surplus).next_back().map_or(0, |(id, _)| id.number);
        // A later time than its own does no harm where it is used, an earlier one would.
        let ms = entries.first().map_or(up_to.ms, |(id, _)| id.ms);
        let from = EventId::new(up_to.term, ms, whole_above.max(left_out));
        (self.asked, Found::Answer(Recalled { entries, from: Some(from) }))
    }
}

fn bytes_of(event: &Event) -> usize {
    event.data.len() + ENTRY_BYTES
}
