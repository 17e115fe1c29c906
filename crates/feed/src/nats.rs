//! The NATS feed: live events for every node, none kept. With a stream of JetStream, see `nats/stream.rs`, events are
//! numbered and kept as well.
//!
//! Two connections. One subscribes: its messages go straight to the intake, see `nats/arrivals.rs`. The other publishes
//! and sends the probes. Both reconnect for ever. Without a stream an event that is published while the
//! subscription is lost is lost for this node, and [`Intake::lost`] says so.

mod any_certificate;
mod arrivals;
mod delivery;
mod fantail_form;
mod form;
mod incoming;
mod link;
mod owncloud_form;
mod plain_follows;
mod publish_connection;
mod publish_link;
mod publisher;
mod settings;
mod stream;
mod subjects;
mod subscriber;

use std::sync::Arc;

use fantail_wire::{ChannelName, EventId, Publication};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

pub use form::NatsEventForm;
pub use publisher::NatsPublisher;
pub use settings::{NatsReach, NatsSettings, NatsSettingsError};

use self::arrivals::Arrivals;
use self::publish_connection::PublishConnection;
use self::subscriber::Subscriber;
use crate::recall_queue::RecallRequest;
use crate::trouble::Trouble;
use crate::{FeedCounters, FeedState, Intake, PublishError, Receipt};

/// A feed through NATS. Its connections close when it is dropped.
#[derive(Debug)]
pub struct NatsFeed<I> {
    arrivals: Arc<Arrivals<I>>,
    publish_connection: Arc<PublishConnection>,
    counters: Arc<FeedCounters>,
    trouble: Arc<Trouble>,
    tasks: [JoinHandle<()>; 2],
}

impl<I: Intake> NatsFeed<I> {
    /// Starts to connect, on the current runtime, and returns at once.
    pub fn start(settings: &NatsSettings, intake: &Arc<Mutex<I>>) -> Self {
        let (counters, trouble) = (Arc::<FeedCounters>::default(), Arc::<Trouble>::default());
        let arrivals = Arc::new(Arrivals::new(Arc::clone(intake), Arc::clone(&counters), settings));
        let publish_connection = Arc::new(PublishConnection::new(settings.clone()));
        let publishing = tokio::spawn({
            let publish_connection = Arc::clone(&publish_connection);
            async move { publish_connection.maintain().await }
        });
        let subscriber = Subscriber {
            settings: settings.clone(),
            arrivals: Arc::clone(&arrivals),
            publish_connection: Arc::clone(&publish_connection),
            counters: Arc::clone(&counters),
            trouble: Arc::clone(&trouble),
        };
        let subscribing = tokio::spawn(subscriber.run());
        Self { arrivals, publish_connection, counters, trouble, tasks: [publishing, subscribing] }
    }

    /// Wants a channel's events. Returns at once; the intake is told when they come.
    pub fn follow(&self, channel: &ChannelName) {
        self.arrivals.follow(channel);
    }

    /// Wants a channel's events no longer, from this moment.
    pub fn unfollow(&self, channel: &ChannelName) {
        self.arrivals.unfollow(channel);
    }

    /// Wants older events of a channel, see [`Feed::recall`](crate::Feed::recall). Without a stream there are none.
    pub fn recall(&self, channel: &ChannelName, above: Option<EventId>, up_to: EventId, events_max: usize) {
        self.arrivals.recall(RecallRequest { channel: channel.clone(), above, up_to, events_max });
    }

    /// Wants to know how far the stream is.
    pub fn sync(&self) {
        self.arrivals.sync();
    }

    /// Publishes, and waits until NATS has taken the event. It comes back to this node as to every other.
    pub async fn publish(&self, publication: &Publication) -> Result<Receipt, PublishError> {
        self.publish_connection.publish(publication).await
    }

    /// How the subscription is.
    pub fn state(&self) -> FeedState {
        if self.arrivals.is_connected() { FeedState::Connected } else { FeedState::Connecting }
    }

    /// Why it is not connected, if it is not and has tried.
    pub fn trouble(&self) -> Option<String> {
        if self.arrivals.is_connected() { None } else { self.trouble.told() }
    }

    /// Its counts so far.
    pub fn counters(&self) -> &Arc<FeedCounters> {
        &self.counters
    }
}

impl<I> Drop for NatsFeed<I> {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
