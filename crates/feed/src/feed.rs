//! The feed that the operator chose.

use std::sync::Arc;

use fantail_wire::{ChannelName, EventId, Lane, Publication};

use crate::{FeedCounters, FeedState, Intake, MemoryFeed, NatsFeed, PublishError, Receipt, RedisFeed};

/// One of the feeds, chosen at start. An enum and no trait object: the set is closed and the calls stay direct.
#[derive(Debug)]
pub enum Feed<I: Intake> {
    /// Events stay on this node.
    Memory(MemoryFeed<I>),
    /// Events go through Redis to every node.
    Redis(RedisFeed<I>),
    /// Events go through NATS to every node.
    Nats(NatsFeed<I>),
}

impl<I: Intake> Feed<I> {
    /// Wants a channel's events from now on; [`Intake::followed`] says when they come. A desired state: asking again is
    /// answered again and costs nothing.
    pub fn follow(&self, channel: &ChannelName) {
        match self {
            Self::Memory(feed) => feed.follow(channel),
            Self::Redis(feed) => feed.follow(channel),
            Self::Nats(feed) => feed.follow(channel),
        }
    }

    /// Wants a channel's events no longer, from this moment.
    pub fn unfollow(&self, channel: &ChannelName) {
        match self {
            Self::Memory(feed) => feed.unfollow(channel),
            Self::Redis(feed) => feed.unfollow(channel),
            Self::Nats(feed) => feed.unfollow(channel),
        }
    }

    /// Wants at most `events_max` older events of `channel`: the newest above `above`, or of all if there is none, and
    /// up to `up_to`. Exactly one [`Intake::recalled`] answers, even if nothing can be read.
    ///
    /// Only the number of `above` is to be trusted: it comes from a client, and its time is left out. The time of
    /// `up_to` is its own or a later one.
    pub fn recall(&self, channel: &ChannelName, above: Option<EventId>, up_to: EventId, events_max: usize) {
        match self {
            Self::Memory(feed) => feed.recall(channel),
            Self::Redis(feed) => feed.recall(channel, above, up_to, events_max),
            Self::Nats(feed) => feed.recall(channel, above, up_to, events_max),
        }
    }

    /// Wants to know how far the feed's own numbering of a lane is. An [`Intake::synced`] answers, of a state that was
    /// read after this call; if the feed is away, when it is back.
    pub fn sync(&self, lane: Lane) {
        match self {
            Self::Memory(_) => {} // the node numbers what it brings
            Self::Redis(feed) => feed.sync(lane),
            Self::Nats(feed) => feed.sync(),
        }
    }

    /// Sends an event to every node, this one too. Dropping the future does not take the event back.
    pub async fn publish(&self, publication: &Publication) -> Result<Receipt, PublishError> {
        match self {
            Self::Memory(feed) => feed.publish(publication),
            // On the heap: else the future of an event for the memory would have room for what these keep while they wait.
            Self::Redis(feed) => Box::pin(feed.publish(publication)).await,
            Self::Nats(feed) => Box::pin(feed.publish(publication)).await,
        }
    }

    /// How it is now.
    pub fn state(&self) -> FeedState {
        match self {
            Self::Memory(feed) => feed.state(),
            Self::Redis(feed) => feed.state(),
            Self::Nats(feed) => feed.state(),
        }
    }

    /// Why it is not connected, if it is not and has tried.
    pub fn trouble(&self) -> Option<String> {
        match self {
            Self::Memory(_) => None,
            Self::Redis(feed) => feed.trouble(),
            Self::Nats(feed) => feed.trouble(),
        }
    }

    /// Its counts so far.
    pub fn counters(&self) -> &Arc<FeedCounters> {
        match self {
            Self::Memory(feed) => feed.counters(),
            Self::Redis(feed) => feed.counters(),
            Self::Nats(feed) => feed.counters(),
        }
    }
}
