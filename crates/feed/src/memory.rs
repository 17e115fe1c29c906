//! The memory feed: an event that is published on this node is there at once, and on no other node.

use std::sync::Arc;

use fantail_wire::{ChannelName, Publication};
use parking_lot::Mutex;

use crate::counters::{FeedCounters, Refusal, add_one};
use crate::publish::check_channels;
use crate::{FeedState, Intake, Placement, PublishError, Recalled, Receipt};

/// The feed without a broker.
#[derive(Debug)]
pub struct MemoryFeed<I> {
    intake: Arc<Mutex<I>>,
    counters: Arc<FeedCounters>,
}

impl<I: Intake> MemoryFeed<I> {
    /// Makes a feed, which is connected from the start.
    pub fn new(intake: Arc<Mutex<I>>) -> Self {
        intake.lock().state(FeedState::Memory);
        Self { intake, counters: Arc::default() }
    }

    /// Confirms at once: there is nobody to ask.
    pub fn follow(&self, channel: &ChannelName) {
        self.intake.lock().followed(channel, None);
    }

    /// Does nothing: the node does not look at events of channels that it does not follow.
    #[allow(clippy::unused_self)] // the same call on every feed
    pub fn unfollow(&self, _channel: &ChannelName) {}

    /// Nothing is kept.
    pub fn recall(&self, channel: &ChannelName) {
        self.intake.lock().recalled(channel, Recalled::default());
    }

    /// Hands the event down before it returns.
    pub fn publish(&self, publication: &Publication) -> Result<Receipt, PublishError> {
        check_channels(publication)?;
        let result = self.intake.lock().event(publication, Placement::Next);
        match &result {
            Ok(_) => add_one(&self.counters.events),
            Err(_) => self.counters.refuse(Refusal::TooLarge),
        }
        Ok(result?)
    }

    /// Always there.
    #[allow(clippy::unused_self)] // the same call on every feed
    pub fn state(&self) -> FeedState {
        FeedState::Memory
    }

    /// Its counts so far.
    pub fn counters(&self) -> &Arc<FeedCounters> {
        &self.counters
    }
}

#[cfg(test)]
mod tests {
    use fantail_wire::{EncodeError, Event};

    use super::*;
    use crate::CHANNELS_PER_EVENT_MAX;
    use crate::recorder::IntakeRecorder;

    fn publication(data: &str, channels: usize) -> Publication {
        let channel = ChannelName::parse("a").expect("valid");
        Publication { channels: std::iter::repeat_n(channel, channels).collect(), event: Event::text(data) }
    }

    #[test]
    fn a_published_event_has_arrived_when_publish_returns() {
        let intake = Arc::new(Mutex::new(IntakeRecorder::default()));
        let feed = MemoryFeed::new(Arc::clone(&intake));
        feed.follow(&ChannelName::parse("a").expect("valid"));
        assert_eq!(feed.publish(&publication("x", 1)), Ok(Receipt { id: None, subscribers: Some(7) }));
        assert_eq!(intake.lock().0, ["Memory", "followed a", "a=x"]);
        assert_eq!(feed.counters().events.load(std::sync::atomic::Ordering::Relaxed), 1);
    }

    #[test]
    fn a_recall_is_answered_at_once_with_nothing() {
        let intake = Arc::new(Mutex::new(IntakeRecorder::default()));
        let feed = MemoryFeed::new(Arc::clone(&intake));
        feed.recall(&ChannelName::parse("a").expect("valid"));
        assert_eq!(intake.lock().0, ["Memory", "recalled a Recalled { entries: [], from: None }"]);
    }

    #[test]
    fn an_event_that_cannot_be_sent_is_refused_to_its_publisher() {
        let feed = MemoryFeed::new(Arc::new(Mutex::new(IntakeRecorder::default())));
        let too_large = EncodeError::TooLarge { max: 1, found: 2 };
        assert_eq!(feed.publish(&publication("too large", 1)), Err(PublishError::Encode(too_large)));
        assert_eq!(feed.counters().refused(Refusal::TooLarge), 1);
        let found = CHANNELS_PER_EVENT_MAX + 1;
        assert_eq!(feed.publish(&publication("x", found)), Err(PublishError::TooManyChannels { found }));
    }
}
