//! The feed's way down into the hub.

use std::sync::Arc;

use fantail_feed::{FeedState, Intake, Placement, Recalled, Receipt};
use fantail_hub::Publisher;
use fantail_telemetry::HubCounters;
use fantail_wire::{ChannelName, EncodeError, EventId, GapReason, Lane, Publication, Terms};
use tokio::sync::watch;

/// Publishes on this node the events that the feed brings.
pub(crate) struct NodeIntake {
    pub(crate) publisher: Publisher,
    pub(crate) counters: Arc<HubCounters>,
    /// Whether the feed brings the events of all channels; streams are told of a change.
    pub(crate) brings_events: watch::Sender<bool>,
}

impl Intake for NodeIntake {
    fn event(&mut self, publication: &Publication, placement: Placement) -> Result<Receipt, EncodeError> {
        let published = match placement {
            Placement::Next => self.publisher.publish(publication),
            Placement::Numbered(id) => self.publisher.publish_numbered(publication, id),
            Placement::Unnumbered => self.publisher.publish_unnumbered(publication),
        }?;
        Ok(Receipt { id: published.id, subscribers: Some(published.subscribers) })
    }

    fn followed(&mut self, channel: &ChannelName, from: Option<EventId>) {
        self.publisher.followed(channel, from);
    }

    fn lost(&mut self, lane: Lane) {
        self.counters.outages.add(1);
        self.publisher.lost(lane);
    }

    fn state(&mut self, state: FeedState) {
        self.brings_events.send_replace(state.is_whole());
        self.counters.set_feed_state(state);
    }

    fn synced(&mut self, lane: Lane, terms: &Terms) {
        self.publisher.synced(lane, terms);
    }

    fn gap(&mut self, channel: &ChannelName, at: EventId, reason: GapReason) {
        self.publisher.gap(channel, at, reason);
    }

    fn dropped(&mut self, channel: &ChannelName) {
        self.publisher.dropped(channel);
    }

    fn recalled(&mut self, channel: &ChannelName, recalled: Recalled) {
        self.publisher.recalled(channel, recalled.entries, recalled.from);
    }
}
