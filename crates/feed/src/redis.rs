//! The Redis feed over plain pub/sub: live events for every node, none kept. With a log, see `redis/log.rs`, events are
//! numbered and kept as well.
//!
//! Two connections, and with several lanes two for each. One subscribes: its pushes go straight to the intake, see
//! `live/arrivals.rs`. The other publishes and sends the probes. Both reconnect for ever. An event that is published
//! while the subscription is lost is lost for this node, and [`Intake::lost`] says so.

mod envelope;
mod live;
mod log;
mod names;
mod reach;
mod retention;

use std::sync::Arc;

use fantail_wire::{ChannelName, EventId, Lane, LaneName, Lanes, Publication};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

pub use live::RedisPublisher;
pub use reach::{RedisReach, RedisSettings, SettingsError};
pub use retention::LogRetention;

use self::live::{Arrivals, LaneStates, PublishConnection, ReadPermits, Subscriber};
use crate::recall_queue::RecallRequest;
use crate::trouble::Trouble;
use crate::{FeedCounters, FeedState, Intake, PublishError, Receipt};

/// A feed through Redis. Its connections close when it is dropped.
#[derive(Debug)]
pub struct RedisFeed<I> {
    lanes: Lanes,
    /// By the lane's number.
    lane_feeds: Vec<LaneFeed<I>>,
    states: Arc<LaneStates>,
    counters: Arc<FeedCounters>,
}

/// The part of the feed for the channels of one lane, which knows nothing of the others.
#[derive(Debug)]
struct LaneFeed<I> {
    arrivals: Arc<Arrivals<I>>,
    publish_connection: Arc<PublishConnection>,
    trouble: Arc<Trouble>,
    tasks: [JoinHandle<()>; 2],
}

impl<I: Intake> RedisFeed<I> {
    /// Starts to connect, on the current runtime, and returns at once.
    pub fn start(settings: &RedisSettings, intake: &Arc<Mutex<I>>) -> Self {
        let lanes = settings.lanes();
        let counters = Arc::<FeedCounters>::default();
        let states = Arc::new(LaneStates::new(lanes.iter().len()));
        let permits = Arc::<ReadPermits>::default();
        let start = |(lane, name): (Lane, &LaneName)| {
            let settings = settings.for_lane(name);
            let lane = (lane, Arc::clone(&states));
            let (follows_log, trusted) = (settings.log.is_some(), settings.publishers_trusted);
            let arrivals = Arrivals::new(Arc::clone(intake), lane, Arc::clone(&counters), follows_log, trusted);
            LaneFeed::start(settings, Arc::new(arrivals), Arc::clone(&counters), Arc::clone(&permits))
        };
        let lane_feeds = lanes.iter().map(start).collect();
        Self { lanes, lane_feeds, states, counters }
    }

    /// Wants a channel's events. Returns at once; the intake is told when they come. Of a lane that is not served none
    /// come.
    pub fn follow(&self, channel: &ChannelName) {
        if let Some(lane) = self.of(channel) {
            lane.arrivals.follow(channel);
        }
    }

    /// Wants a channel's events no longer, from this moment.
    pub fn unfollow(&self, channel: &ChannelName) {
        if let Some(lane) = self.of(channel) {
            lane.arrivals.unfollow(channel);
        }
    }

    /// Wants older events of a channel, see [`Feed::recall`](crate::Feed::recall). Without a log there are none.
    pub fn recall(&self, channel: &ChannelName, above: Option<EventId>, up_to: EventId, events_max: usize) {
        if let Some(lane) = self.of(channel) {
            lane.arrivals.recall(RecallRequest { channel: channel.clone(), above, up_to, events_max });
        }
    }

    /// Wants to know how far a lane's log is.
    pub fn sync(&self, lane: Lane) {
        self.lane_feeds[lane.index()].arrivals.sync();
    }

    /// Publishes as an envelope. The event comes back to this node as to every other.
    pub async fn publish(&self, publication: &Publication) -> Result<Receipt, PublishError> {
        let lane = self.lanes.of_all(&publication.channels)?;
        self.lane_feeds[lane.index()].publish_connection.publish(publication).await
    }

    /// How the subscriptions are.
    pub fn state(&self) -> FeedState {
        self.states.state()
    }

    /// Why it is not connected, if it is not and has tried: of the first lane that is not.
    pub fn trouble(&self) -> Option<String> {
        self.lane_feeds.iter().find(|lane| !lane.arrivals.is_connected()).and_then(|lane| lane.trouble.told())
    }

    /// Its counts so far.
    pub fn counters(&self) -> &Arc<FeedCounters> {
        &self.counters
    }

    fn of(&self, channel: &ChannelName) -> Option<&LaneFeed<I>> {
        let lane = self.lanes.of(channel).ok()?;
        Some(&self.lane_feeds[lane.index()])
    }
}

impl<I: Intake> LaneFeed<I> {
    fn start(
        settings: RedisSettings,
        arrivals: Arc<Arrivals<I>>,
        counters: Arc<FeedCounters>,
        permits: Arc<ReadPermits>,
    ) -> Self {
        let publish_connection = Arc::new(PublishConnection::new(&settings));
        let publishing = tokio::spawn({
            let (publish_connection, settings) = (Arc::clone(&publish_connection), settings.clone());
            async move { publish_connection.maintain(settings).await }
        });
        let trouble = Arc::<Trouble>::default();
        let told = Arc::clone(&trouble);
        let subscriber =
            Subscriber::new(settings, Arc::clone(&arrivals), Arc::clone(&publish_connection), counters, permits, told);
        let subscribing = tokio::spawn(subscriber.run());
        Self { arrivals, publish_connection, trouble, tasks: [publishing, subscribing] }
    }
}

impl<I> Drop for LaneFeed<I> {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
