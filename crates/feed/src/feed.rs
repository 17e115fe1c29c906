//! The feed that the operator chose.

use std::sync::Arc;

use fantail_wire::{ChannelName, Publication};

use crate::{FeedCounters, FeedState, Intake, MemoryFeed, PublishError, Receipt, RedisFeed};

/// One of the feeds, chosen at start. An enum and no trait object: the set is closed and the calls stay direct.
#[derive(Debug)]
pub enum Feed<I: Intake> {
    /// Events stay on this node.
    Memory(MemoryFeed<I>),
    /// Events go through Redis to every node.
    Redis(RedisFeed<I>),
}

impl<I: Intake> Feed<I> {
    /// Wants a channel's events from now on; [`Intake::followed`] says when they come. A desired state: asking again is
    /// answered again and costs nothing.
    pub fn follow(&self, channel: &ChannelName) {
        match self {
            Self::Memory(feed) => feed.follow(channel),
            Self::Redis(feed) => feed.follow(channel),
        }
    }

    /// Wants a channel's events no longer, from this moment.
    pub fn unfollow(&self, channel: &ChannelName) {
        match self {
            Self::Memory(feed) => feed.unfollow(channel),
            Self::Redis(feed) => feed.unfollow(channel),
        }
    }

    /// Sends an event to every node, this one too. Dropping the future does not take the event back.
    pub async fn publish(&self, publication: &Publication) -> Result<Receipt, PublishError> {
        match self {
            Self::Memory(feed) => feed.publish(publication),
            Self::Redis(feed) => feed.publish(publication).await,
        }
    }

    /// How it is now.
    pub fn state(&self) -> FeedState {
        match self {
            Self::Memory(feed) => feed.state(),
            Self::Redis(feed) => feed.state(),
        }
    }

    /// What it has done so far.
    pub fn counters(&self) -> &Arc<FeedCounters> {
        match self {
            Self::Memory(feed) => feed.counters(),
            Self::Redis(feed) => feed.counters(),
        }
    }
}
