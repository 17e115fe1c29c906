//! The log as one node follows it, over one connection after the other.
//!
//! A connection begins *holding*: messages wait until what was missed has been read and handed down. From then on they
//! go down as they come.

use std::collections::HashSet;

use fantail_wire::{ChannelName, EventId};
use foldhash::fast::RandomState;

use super::held::{Held, Message};
use super::order::{Arrived, Broken, Order};
use super::recalls::Recalls;

/// What is known of the log, and what waits for it.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) order: Order,
    pub(crate) recalls: Recalls,
    /// Set while messages wait.
    held: Option<Held>,
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
    broken: Option<Broken>,
}

impl Line {
    pub(crate) fn new() -> Self {
        Self {
            order: Order::default(),
            recalls: Recalls::default(),
            held: Some(Held::default()),
            passed: None,
            fresh: Vec::new(),
            forsaken: HashSet::default(),
            holes: Vec::new(),
            sync_wanted: false,
            broken: None,
        }
    }

    /// Whether messages wait for a repair.
    pub(crate) fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// Keeps a message until the repair is done. Gives it back if there is none under way.
    pub(crate) fn hold(&mut self, message: Message) -> Result<(), Message> {
        match &mut self.held {
            Some(held) => {
                held.push(message);
                Ok(())
            }
            None => Err(message),
        }
    }

    /// Passes over a message of a channel that is not wanted.
    ///
    /// Returns an event that waited for copies: they have not come before this message.
    pub(crate) fn pass(&mut self, id: EventId) -> Option<Arrived> {
        if self.is_holding() {
            self.passed = Some(id);
            return None;
        }
        let waited = self.order.flush_before(id);
        self.order.pass(id);
        waited
    }

    /// A channel was subscribed to.
    pub(crate) fn subscribed(&mut self, channel: ChannelName) {
        // One that was followed before the connection was lost is repaired with all others.
        if !self.order.is_followed(channel.as_str()) {
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
        if self.order.is_followed(channel.as_str()) {
            // It was not subscribed to over this connection, so no event waits for its copy.
            let _ = self.order.unfollow(channel);
            self.forsaken.insert(channel.clone());
            return self.order.seen();
        }
        None
    }

    /// Nobody wants a channel any more. Returns an event that waited for its copy alone.
    pub(crate) fn unfollow(&mut self, channel: &ChannelName) -> Option<Arrived> {
        self.recalls.forget(channel);
        if let Some(held) = &mut self.held {
            held.forget(channel);
        }
        self.forsaken.remove(channel.as_str());
        self.order.unfollow(channel)
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
        if let Some(held) = &mut self.held {
            held.begin();
        }
        std::mem::take(&mut self.fresh)
    }

    /// The channels of messages that waited, were dropped, and cannot be read again; asked once.
    pub(crate) fn take_dropped(&mut self) -> impl Iterator<Item = ChannelName> {
        self.held.as_mut().map(Held::take_dropped).into_iter().flatten()
    }

    /// What was missed has gone down. Returns the messages that waited, unless there were too many of them; then they are
    /// read as well, in another round.
    pub(crate) fn release(&mut self) -> Option<Vec<Message>> {
        let messages = self.held.as_mut()?.take()?;
        self.held = None;
        Some(messages)
    }

    /// Messages that waited have gone down.
    pub(crate) fn released(&mut self) {
        if let Some(id) = self.passed.take() {
            self.order.pass(id);
        }
        self.order.go_live();
    }

    /// The connection cannot be trusted any more.
    pub(crate) fn give_up(&mut self, broken: Broken) {
        // What one channel lacks shows that others may, below what has been handed down since.
        if matches!(broken, Broken::Hole { .. }) {
            self.holes = self.order.followed().cloned().collect();
        }
        self.broken = Some(broken);
    }

    /// The channels with a hole that cannot be filled in order; asked once.
    pub(crate) fn take_holes(&mut self) -> Vec<ChannelName> {
        std::mem::take(&mut self.holes)
    }

    /// The connection is lost. Says why, if it was given up.
    pub(crate) fn lost(&mut self) -> Option<Broken> {
        self.order.lost();
        self.held.get_or_insert_default().lose();
        self.passed = None;
        self.fresh.clear();
        self.broken.take()
    }
}
