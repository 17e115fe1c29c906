//! One lane's log as this node follows it, over one connection after the other: a machine without IO.
//!
//! It takes messages, answers and wishes, and gives [`LogOrder`]s. A connection begins with a repair: messages wait
//! until the missed events have been read and handed down. From then on messages go down as they come.

use std::collections::HashSet;
use std::mem::take;

use fantail_wire::{ChannelName, EventId, GapReason, Publication, Term, Terms};
use foldhash::fast::RandomState;

use super::gap_detector::{ContinuityError, GapDetector, ReadyEvent};
use super::log_order::{LogOrder, Orders};
use super::message::LogMessage;
use super::repair_buffer::{Message, RepairBuffer};
use super::repair_plan::{MissedEvents, plan};
use crate::Recalled;
use crate::recall_queue::{RecallQueue, RecallRequest};
use crate::redis::envelope::Envelope;
use crate::redis::names::ChannelKind;

/// The log of one lane.
#[derive(Debug, Default)]
pub(crate) struct LaneLog {
    detector: GapDetector,
    /// Open questions for older events.
    pub(crate) recalls: RecallQueue,
    /// Messages that wait for the repair; none once the connection is live.
    buffer: Option<RepairBuffer>,
    /// The newest place that was passed over while messages waited.
    passed: Option<EventId>,
    /// Followed channels that are not subscribed to over this connection yet. The repair waits for them.
    unsubscribed: HashSet<ChannelName, RandomState>,
    newcomers: Newcomers,
    /// Channels that were followed until Redis refused them: they may have missed events since.
    forsaken: HashSet<ChannelName, RandomState>,
    /// Channels that miss events below a number that other channels have had: too late to hand them down.
    holes: Vec<ChannelName>,
    /// Why the connection was given up.
    given_up_for: Option<ContinuityError>,
}

/// Subscribed channels that wait to know from which number on they are complete.
#[derive(Debug, Default)]
struct Newcomers {
    /// They wait for the next number that is read.
    waiting: Vec<ChannelName>,
    /// They wait for the number that is being read.
    asked: Vec<ChannelName>,
    /// The newest number is wanted for another reason.
    is_sync_wanted: bool,
}

/// The events that have to be read before the node can go on.
#[derive(Debug)]
pub(crate) struct MissedRange {
    /// Everything up to here has gone down; none for a node that never followed anything.
    pub(crate) from: Option<EventId>,
    /// The followed channels.
    pub(crate) channels: Vec<ChannelName>,
}

/// The connection cannot be trusted any more. [`LaneLog::lost`] says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its log contradicts what this node has seen")]
pub(crate) struct GivenUp;

impl LaneLog {
    pub(crate) fn new() -> Self {
        Self { buffer: Some(RepairBuffer::default()), ..Self::default() }
    }

    /// Takes a message of a followed channel.
    pub(crate) fn message(&mut self, message: Message, orders: &mut Orders) -> Result<(), GivenUp> {
        match &mut self.buffer {
            Some(buffer) => buffer.push(message),
            None => self.hand_down(message, orders)?,
        }
        Ok(())
    }

    /// Passes over a message of a channel that is not wanted. If the channel is followed later, it is complete from
    /// behind this message.
    pub(crate) fn pass_over(&mut self, kind: ChannelKind, payload: &[u8], orders: &mut Orders) {
        let Some(id) = LogMessage::read(payload).ok().map(|message| message.id).filter(|_| kind == ChannelKind::Log)
        else {
            return;
        };
        if self.is_holding() {
            self.passed = Some(id);
            return;
        }
        // Copies of an event before this one have not come, and will not.
        let waited = self.detector.flush_before(id);
        self.detector.pass(id);
        deliver(waited, orders);
    }

    /// A channel is wanted that Redis sends already.
    pub(crate) fn follow(&mut self, channel: ChannelName, orders: &mut Orders) {
        match self.detector.newest().filter(|_| !self.is_holding()) {
            // It may wait for its copy of an event, so it stays as it is.
            Some(_) if self.detector.is_followed(channel.as_str()) => {
                orders.push(LogOrder::Followed { channel, from: self.detector.seen() });
            }
            Some(newest) => self.follow_from(channel, newest, orders),
            None => self.subscribed(channel),
        }
    }

    /// Redis sends the channel from now on.
    pub(crate) fn subscribed(&mut self, channel: ChannelName) {
        // A channel that was followed before the connection was lost is repaired with all others.
        if self.detector.is_followed(channel.as_str()) {
            self.unsubscribed.remove(channel.as_str());
        } else {
            self.newcomers.waiting.push(channel);
        }
    }

    /// Redis refuses a channel. Its streams are told now, and again of what it missed once it is followed.
    pub(crate) fn refused(&mut self, channel: &ChannelName, orders: &mut Orders) {
        if !self.detector.is_followed(channel.as_str()) {
            return;
        }
        // It was not subscribed to over this connection, so no event waits for its copy.
        let _ = self.detector.unfollow(channel);
        self.unsubscribed.remove(channel.as_str());
        self.forsaken.insert(channel.clone());
        if let Some(at) = self.detector.seen() {
            orders.push(LogOrder::Gap { channel: channel.clone(), at, reason: GapReason::NotFollowed });
        }
    }

    /// A channel is wanted no longer.
    pub(crate) fn unfollow(&mut self, channel: &ChannelName, orders: &mut Orders) {
        self.recalls.forget(channel);
        if let Some(buffer) = &mut self.buffer {
            buffer.forget(channel);
        }
        self.forsaken.remove(channel.as_str());
        self.unsubscribed.remove(channel.as_str());
        self.newcomers.forget(channel);
        deliver(self.detector.unfollow(channel), orders);
    }

    /// Whether a repair is due: messages wait, and all followed channels are subscribed to again.
    pub(crate) fn can_repair(&self) -> bool {
        self.is_holding() && self.unsubscribed.is_empty()
    }

    /// The newest number is wanted.
    pub(crate) fn want_sync(&mut self) {
        self.newcomers.is_sync_wanted = true;
    }

    /// Whether the newest number is wanted, or channels wait for it.
    pub(crate) fn needs_sync(&self) -> bool {
        !self.is_holding() && (self.newcomers.is_sync_wanted || !self.newcomers.waiting.is_empty())
    }

    /// The newest number is about to be read. All channels that are subscribed to by now are complete from it on.
    pub(crate) fn begin_sync(&mut self) {
        self.newcomers.is_sync_wanted = false;
        self.newcomers.asked = take(&mut self.newcomers.waiting);
    }

    /// The same, for a node that has to read what it missed.
    pub(crate) fn begin_repair(&mut self) -> MissedRange {
        self.begin_sync();
        if let Some(buffer) = &mut self.buffer {
            buffer.begin();
        }
        MissedRange { from: self.detector.seen(), channels: self.followed() }
    }

    /// The number was read that [`begin_sync`](Self::begin_sync) announced.
    pub(crate) fn synced(&mut self, terms: &Terms, orders: &mut Orders) -> Result<(), GivenUp> {
        self.expect_trust()?;
        self.expect_term(terms)?;
        let to = self.move_to(terms, orders);
        self.let_newcomers_in(self.detector.newest().unwrap_or(to), orders);
        Ok(())
    }

    /// The number was read, and then `tops`, the newest number of each channel: if no channel lacks it, nothing is
    /// missing up to the number.
    pub(crate) fn verified(
        &mut self,
        terms: &Terms,
        tops: &[(String, u64)],
        orders: &mut Orders,
    ) -> Result<(), GivenUp> {
        self.expect_trust()?;
        self.expect_term(terms)?;
        let lacking = self.detector.lacking(tops).next().cloned();
        if let Some(channel) = lacking {
            return Err(self.give_up(ContinuityError::Hole { channel, number: terms.number }));
        }
        self.move_to(terms, orders);
        self.detector.verify(terms.number);
        Ok(())
    }

    /// The missed events were read. They go down in order, then the messages that came meanwhile. False if those were
    /// too many to be kept: then they have to be read as well.
    pub(crate) fn repaired(
        &mut self,
        terms: &Terms,
        missed: Vec<MissedEvents>,
        orders: &mut Orders,
    ) -> Result<bool, GivenUp> {
        self.expect_trust()?;
        if let Some(from) = self.detector.seen() {
            let gap = |channel| LogOrder::Gap { channel, at: from, reason: GapReason::Lost };
            orders.extend(take(&mut self.holes).into_iter().map(gap));
            orders.push(LogOrder::Repair);
            orders.extend(plan(from, terms, missed));
        }
        let to = self.detector.synced(terms);
        self.detector.verify(terms.number);
        orders.push(LogOrder::Synced(terms.clone()));
        // Before the channels are confirmed: where something was missed anyway, one gap tells of both.
        orders.extend(self.buffer.iter_mut().flat_map(RepairBuffer::take_dropped).map(LogOrder::Dropped));
        let followed = |channel| LogOrder::Followed { channel, from: Some(to) };
        orders.extend(self.followed().into_iter().map(followed));
        self.let_newcomers_in(to, orders);
        self.release(orders)
    }

    /// The next recall to be read, with the numbering as it is known now.
    pub(crate) fn next_recall(&mut self) -> Option<(Terms, RecallRequest)> {
        let terms = self.detector.terms()?;
        self.recalls.next().map(|next| (terms.clone(), next))
    }

    /// Older events were read. An answer that is not believed, or to an older question, is asked for again.
    pub(crate) fn recalled(&mut self, asked: &RecallRequest, recalled: Recalled, orders: &mut Orders) {
        if self.given_up_for.is_none() && self.recalls.answered(asked) {
            orders.push(LogOrder::Recalled { channel: asked.channel.clone(), recalled });
        }
    }

    /// Whether the channel's events are handed down.
    pub(crate) fn is_followed(&self, channel: &ChannelName) -> bool {
        self.detector.is_followed(channel.as_str())
    }

    /// The followed channels.
    pub(crate) fn followed(&self) -> Vec<ChannelName> {
        self.detector.followed().cloned().collect()
    }

    /// Redis has come to this number of the term for certain.
    pub(crate) fn witnessed(&self) -> Option<(Term, u64)> {
        self.detector.witnessed()
    }

    /// The number up to which it was last proved that nothing is missing; none before the first repair.
    pub(crate) fn verified_up_to(&self) -> Option<u64> {
        (!self.is_holding()).then(|| self.detector.verified_up_to())
    }

    /// Whether nothing that comes over this connection is believed any more.
    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up_for.is_some()
    }

    /// Takes nothing more over this connection: it would move the node past what is missing.
    pub(crate) fn give_up(&mut self, error: ContinuityError) -> GivenUp {
        // Where one channel lacks an event others may, below the numbers that have gone down since.
        if matches!(error, ContinuityError::Hole { .. }) {
            self.holes = self.followed();
        }
        self.given_up_for = Some(error);
        GivenUp
    }

    /// The connection is lost. Says why, if it was given up.
    pub(crate) fn lost(&mut self) -> Option<ContinuityError> {
        self.detector.lost();
        self.buffer.get_or_insert_default().lose();
        self.passed = None;
        self.unsubscribed = self.detector.followed().cloned().collect();
        self.newcomers.waiting.clear();
        self.newcomers.asked.clear();
        self.given_up_for.take()
    }

    fn is_holding(&self) -> bool {
        self.buffer.is_some()
    }

    /// Answers are not believed after the connection was given up. Example: Redis ends a subscription by itself, and
    /// the Redis library takes that for the answer to the oldest question, so every later answer belongs to another
    /// question.
    fn expect_trust(&self) -> Result<(), GivenUp> {
        if self.is_given_up() { Err(GivenUp) } else { Ok(()) }
    }

    fn expect_term(&mut self, terms: &Terms) -> Result<(), GivenUp> {
        match self.detector.terms() {
            Some(before) if before.current == terms.current => Ok(()),
            _ => Err(self.give_up(ContinuityError::Term)),
        }
    }

    fn move_to(&mut self, terms: &Terms, orders: &mut Orders) -> EventId {
        deliver(self.detector.flush_up_to(terms.number), orders);
        let to = self.detector.synced(terms);
        orders.push(LogOrder::Synced(Terms { number: to.number, ms: to.ms, ..terms.clone() }));
        to
    }

    /// A channel that was let go of and wanted again meanwhile is followed from another number already.
    fn let_newcomers_in(&mut self, from: EventId, orders: &mut Orders) {
        let mut channels = take(&mut self.newcomers.asked);
        channels.retain(|channel| !self.is_followed(channel));
        for channel in channels {
            self.follow_from(channel, from, orders);
        }
    }

    fn follow_from(&mut self, channel: ChannelName, from: EventId, orders: &mut Orders) {
        if self.forsaken.remove(channel.as_str()) {
            orders.push(LogOrder::Gap { channel: channel.clone(), at: from, reason: GapReason::NotFollowed });
        }
        self.detector.follow(&channel, from);
        orders.push(LogOrder::Followed { channel, from: Some(from) });
    }

    fn release(&mut self, orders: &mut Orders) -> Result<bool, GivenUp> {
        let Some(messages) = self.buffer.as_mut().and_then(RepairBuffer::take) else { return Ok(false) };
        self.buffer = None;
        let mut messages = messages.into_iter();
        while let Some(message) = messages.next() {
            if let Err(given_up) = self.hand_down(message, orders) {
                // The events of the log among the others will be read again.
                let unnumbered = messages.filter(|left| left.kind != ChannelKind::Log);
                orders.extend(unnumbered.map(|left| LogOrder::Dropped(left.channel)));
                return Err(given_up);
            }
        }
        if let Some(id) = self.passed.take() {
            self.detector.pass(id);
        }
        self.detector.go_live();
        Ok(true)
    }

    fn hand_down(&mut self, message: Message, orders: &mut Orders) -> Result<(), GivenUp> {
        if message.kind != ChannelKind::Log {
            if self.is_followed(&message.channel) {
                // An event that waits for copies stands before this message.
                deliver(self.detector.flush(), orders);
                orders.push(LogOrder::Unnumbered(message));
            }
            return Ok(());
        }
        match LogMessage::read(&message.payload) {
            Ok(read) => match self.detector.take(&message.channel, &read) {
                Ok(ready) => deliver(ready, orders),
                Err(error) => return Err(self.give_up(error)),
            },
            // If it was an event, the next message shows the hole.
            Err(error) => orders.push(LogOrder::Refuse { channel: message.channel, error: error.into() }),
        }
        Ok(())
    }
}

impl Newcomers {
    fn forget(&mut self, channel: &ChannelName) {
        self.waiting.retain(|other| other != channel);
        self.asked.retain(|other| other != channel);
    }
}

/// An event that cannot be read has a number all the same: it is a gap of its channels.
fn deliver(ready: impl IntoIterator<Item = ReadyEvent>, orders: &mut Orders) {
    for ReadyEvent { id, channels, envelope } in ready {
        match Envelope::read_alone(&envelope) {
            Ok(event) => {
                let publication = Publication { channels, event };
                orders.push(LogOrder::Event { id, publication, is_repaired: false });
            }
            Err(error) => {
                orders.push(LogOrder::Refuse { channel: channels[0].clone(), error: error.into() });
                let gap = |channel| LogOrder::Gap { channel, at: id, reason: GapReason::Lost };
                orders.extend(channels.into_iter().map(gap));
            }
        }
    }
}

#[cfg(test)]
mod tests;
