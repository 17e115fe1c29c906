//! The feed's way down into the hub.

use std::sync::Arc;

use fantail_feed::{FeedState, Intake, Receipt};
use fantail_hub::Publisher;
use fantail_telemetry::HubCounters;
use fantail_wire::{ChannelName, EncodeError, Publication};
use tokio::sync::watch;

/// Takes what the feed brings and publishes it on this node.
pub(crate) struct NodeIntake {
    pub(crate) publisher: Publisher,
    pub(crate) counters: Arc<HubCounters>,
    /// Whether the feed brings events, for whoever tells the streams.
    pub(crate) brings_events: watch::Sender<bool>,
    /// What the operator calls "connected" is another word for a feed without a broker.
    pub(crate) connected: fantail_telemetry::FeedState,
}

impl Intake for NodeIntake {
    fn event(&mut self, publication: &Publication) -> Result<Receipt, EncodeError> {
        let published = self.publisher.publish(publication)?;
        Ok(Receipt { id: Some(published.id), subscribers: Some(published.subscribers) })
    }

    fn followed(&mut self, channel: &ChannelName) {
        self.publisher.followed(channel);
    }

    fn lost(&mut self) {
        self.counters.outages.add(1);
        self.publisher.lost();
    }

    fn state(&mut self, state: FeedState) {
        self.brings_events.send_replace(state == FeedState::Connected);
        self.counters.set_feed_state(match state {
            FeedState::Connected => self.connected,
            FeedState::Connecting => fantail_telemetry::FeedState::Connecting,
        });
    }
}
