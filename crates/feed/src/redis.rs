//! The Redis feed over plain pub/sub: live events for every node, none kept. With a log, see `log.rs`, what is published
//! here is numbered and kept as well.
//!
//! Two connections. One subscribes: its pushes go straight to the intake, see `arrivals.rs`. The other publishes and
//! sends the probes. Both come back by themselves, for ever. What is published while the subscription is lost is lost
//! for this node, and [`Intake::lost`] says so.

mod address;
mod arrivals;
mod backoff;
mod cluster;
mod commands;
mod envelope;
mod files;
mod hello;
mod link;
mod link_error;
mod log;
mod login;
mod names;
mod publisher;
mod random;
mod reach;
mod recent;
mod sentinels;
mod settings;
mod slot;
mod subscriber;
mod subscriptions;
mod tls;
mod witnesses;

use std::sync::Arc;

use fantail_wire::{ChannelName, EventId, Publication};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

pub use files::FileError;
pub use log::LogRetention;
pub use publisher::RedisPublisher;
pub use reach::RedisReach;
pub use settings::{RedisSettings, SettingsError};

use self::arrivals::Arrivals;
use self::commands::Commands;
use self::log::Recall;
use self::subscriber::Subscriber;
use crate::{FeedCounters, FeedState, Intake, PublishError, Receipt};

/// A feed through Redis. Its connections close when it is dropped.
#[derive(Debug)]
pub struct RedisFeed<I> {
    arrivals: Arc<Arrivals<I>>,
    commands: Arc<Commands>,
    counters: Arc<FeedCounters>,
    tasks: [JoinHandle<()>; 2],
}

impl<I: Intake> RedisFeed<I> {
    /// Starts to connect, on the current runtime, and returns at once.
    pub fn start(settings: RedisSettings, intake: Arc<Mutex<I>>) -> Self {
        let counters = Arc::<FeedCounters>::default();
        let arrivals = Arc::new(Arrivals::new(intake, Arc::clone(&counters), settings.log.is_some()));
        let commands = Arc::new(Commands::new(&settings));
        let publishing = tokio::spawn({
            let (commands, settings) = (Arc::clone(&commands), settings.clone());
            async move { commands.maintain(settings).await }
        });
        let subscriber = Subscriber::new(settings, Arc::clone(&arrivals), Arc::clone(&commands), Arc::clone(&counters));
        let subscribing = tokio::spawn(subscriber.run());
        Self { arrivals, commands, counters, tasks: [publishing, subscribing] }
    }

    /// Wants a channel's events. Returns at once; the intake is told when they come.
    pub fn follow(&self, channel: &ChannelName) {
        self.arrivals.follow(channel);
    }

    /// Wants a channel's events no longer, from this moment.
    pub fn unfollow(&self, channel: &ChannelName) {
        self.arrivals.unfollow(channel);
    }

    /// Wants older events of a channel, see [`Feed::recall`](crate::Feed::recall). Without a log there are none.
    pub fn recall(&self, channel: &ChannelName, above: Option<EventId>, up_to: EventId, events_max: usize) {
        self.arrivals.recall(Recall { channel: channel.clone(), above, up_to, events_max });
    }

    /// Wants to know how far the log is.
    pub fn sync(&self) {
        self.arrivals.sync();
    }

    /// Publishes as an envelope. The event comes back to this node as to every other.
    pub async fn publish(&self, publication: &Publication) -> Result<Receipt, PublishError> {
        self.commands.publish(publication).await
    }

    /// How the subscription is.
    pub fn state(&self) -> FeedState {
        self.arrivals.state()
    }

    /// What it has done so far.
    pub fn counters(&self) -> &Arc<FeedCounters> {
        &self.counters
    }
}

impl<I> Drop for RedisFeed<I> {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
