//! The log as one node follows it, over one connection after the other.
//!
//! A connection begins *holding*: messages wait until what was missed has been read and handed down. From then on they
//! go down as they come.

use std::collections::HashSet;

use fantail_wire::{ChannelName, EventId};
use foldhash::fast::RandomState;

use super::gap_detector::{ContinuityError, GapDetector, ReadyEvent};
use super::recall_queue::RecallQueue;
use super::repair_buffer::{Message, RepairBuffer};

/// What is known of the log, and what waits for it.
#[derive(Debug)]
pub(crate) struct LaneLog {
    pub(crate) detector: GapDetector,
    pub(crate) recalls: RecallQueue,
    /// Set while messages wait.
    buffer: Option<RepairBuffer>,
    /// The newest place passed over while others waited.
    passed: Option<EventId>,
    /// Subscribed channels that wait to know from which place on they are complete.
    fresh: Vec<ChannelName>,
    /// Channels that were followed until Redis refused them: nobody knows what they missed since.
    forsaken: HashSet<ChannelName, RandomState>,
    /// Channels in which something is missing that stands below what other channels have got: too late to hand it down.
    holes: Vec<ChannelName>,
    sync_wanted: bool,
    /// Why the connection was given up.
    given_up_for: Option<ContinuityError>,
}

impl LaneLog {
    pub(crate) fn new() -> Self {
        Self {
            detector: GapDetector::default(),
            recalls: RecallQueue::default(),
            buffer: Some(RepairBuffer::default()),
            passed: None,
            fresh: Vec::new(),
            forsaken: HashSet::default(),
            holes: Vec::new(),
            sync_wanted: false,
            given_up_for: None,
        }
    }

    /// Whether messages wait for a repair.
    pub(crate) fn is_holding(&self) -> bool {
        self.buffer.is_some()
    }

    /// Keeps a message until the repair is done. Gives it back if there is none under way.
    pub(crate) fn hold(&mut self, message: Message) -> Result<(), Message> {
        match &mut self.buffer {
            Some(buffer) => {
                buffer.push(message);
                Ok(())
            }
            None => Err(message),
        }
    }

    /// Passes over a message of a channel that is not wanted.
    ///
    /// Returns an event that waited for copies: they have not come before this message.
    pub(crate) fn pass(&mut self, id: EventId) -> Option<ReadyEvent> {
        if self.is_holding() {
            self.passed = Some(id);
            return None;
        }
        let waited = self.detector.flush_before(id);
        self.detector.pass(id);
        waited
    }

    /// A channel was subscribed to.
    pub(crate) fn subscribed(&mut self, channel: ChannelName) {
        // One that was followed before the connection was lost is repaired with all others.
        if !self.detector.is_followed(channel.as_str()) {
            self.fresh.push(channel);
        }
    }

    /// Whether a channel waits for the next number that is read.
    pub(crate) fn is_fresh(&self, channel: &ChannelName) -> bool {
        self.fresh.contains(channel)
    }

    /// Redis refuses a channel.
    ///
    /// If it was followed before, the place is returned from which on it has missed something.
    pub(crate) fn refused(&mut self, channel: &ChannelName) -> Option<EventId> {
        if self.detector.is_followed(channel.as_str()) {
            // It was not subscribed to over this connection, so no event waits for its copy.
            let _ = self.detector.unfollow(channel);
            self.forsaken.insert(channel.clone());
            return self.detector.seen();
        }
        None
    }

    /// Nobody wants a channel any more. Returns an event that waited for its copy alone.
    pub(crate) fn unfollow(&mut self, channel: &ChannelName) -> Option<ReadyEvent> {
        self.recalls.forget(channel);
        if let Some(buffer) = &mut self.buffer {
            buffer.forget(channel);
        }
        self.forsaken.remove(channel.as_str());
        self.detector.unfollow(channel)
    }

    /// Whether the channel was followed until Redis refused it; asked once.
    pub(crate) fn was_forsaken(&mut self, channel: &ChannelName) -> bool {
        self.forsaken.remove(channel.as_str())
    }

    /// Asks for the newest number.
    pub(crate) fn want_sync(&mut self) {
        self.sync_wanted = true;
    }

    /// Whether the newest number is asked for: by somebody above, or for channels that wait for it.
    pub(crate) fn needs_sync(&self) -> bool {
        !self.is_holding() && (self.sync_wanted || !self.fresh.is_empty())
    }

    /// The newest number is about to be read: takes the channels that are complete from it on. They were subscribed to
    /// before.
    pub(crate) fn begin_sync(&mut self) -> Vec<ChannelName> {
        self.sync_wanted = false;
        if let Some(buffer) = &mut self.buffer {
            buffer.begin();
        }
        std::mem::take(&mut self.fresh)
    }

    /// The channels of messages that waited, were dropped, and cannot be read again; asked once.
    pub(crate) fn take_dropped(&mut self) -> impl Iterator<Item = ChannelName> {
        self.buffer.as_mut().map(RepairBuffer::take_dropped).into_iter().flatten()
    }

    /// What was missed has gone down. Returns the messages that waited, unless there were too many of them; then they are
    /// read as well, in another round.
    pub(crate) fn release(&mut self) -> Option<Vec<Message>> {
        let messages = self.buffer.as_mut()?.take()?;
        self.buffer = None;
        Some(messages)
    }

    /// Messages that waited have gone down.
    pub(crate) fn released(&mut self) {
        if let Some(id) = self.passed.take() {
            self.detector.pass(id);
        }
        self.detector.go_live();
    }

    /// The connection cannot be trusted any more.
    pub(crate) fn give_up(&mut self, error: ContinuityError) {
        // What one channel lacks shows that others may, below what has been handed down since.
        if matches!(error, ContinuityError::Hole { .. }) {
            self.holes = self.detector.followed().cloned().collect();
        }
        self.given_up_for = Some(error);
    }

    /// The channels with a hole that cannot be filled in order; asked once.
    pub(crate) fn take_holes(&mut self) -> Vec<ChannelName> {
        std::mem::take(&mut self.holes)
    }

    /// The connection is lost. Says why, if it was given up.
    pub(crate) fn lost(&mut self) -> Option<ContinuityError> {
        self.detector.lost();
        self.buffer.get_or_insert_default().lose();
        self.passed = None;
        self.fresh.clear();
        self.given_up_for.take()
    }
}
