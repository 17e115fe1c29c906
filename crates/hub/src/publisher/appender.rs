//! The way of an entry: encoded once, appended to the logs of its channels, and told to shards when the watermark is there.

use std::sync::Arc;

use fantail_telemetry::EvictReason;
use fantail_wire::{ChannelName, EncodeError, Event, EventId, Frame, GapReason, Lane, Publication, encode_among};
use smallvec::SmallVec;

use super::Published;
use super::log_budget::LogBudget;
use super::mark_poster::MarkPoster;
use crate::channel::{ChannelState, Follow};
use crate::log_entry::LogEntry;
use crate::{Channel, EntryKind, Floor, Following, Hub, Watermark};

/// Leads entries into logs and to shards.
#[derive(Debug)]
pub(super) struct Appender {
    hub: Arc<Hub>,
    pub(super) logs: LogBudget,
    pub(super) marks: MarkPoster,
}

impl Appender {
    pub(super) fn new(hub: &Arc<Hub>) -> Self {
        Self { hub: Arc::clone(hub), logs: LogBudget::new(hub), marks: MarkPoster::new(hub) }
    }

    pub(super) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    pub(super) fn encode(&self, event: &Event, id: Option<EventId>) -> Result<Frame, EncodeError> {
        let id = id.map(|id| id.to_string());
        let settings = &self.hub.settings;
        let frame = encode_among(settings.bare_blocks, event, id.as_deref(), settings.event_bytes_max)?;
        self.hub.counters.encodes.add(1);
        Ok(frame)
    }

    /// Appends an event to its channels, moves their lane's watermark there and marks them.
    pub(super) fn hand_out(
        &mut self,
        publication: &Publication,
        (lane, place): (Lane, Watermark),
        kind: EntryKind,
        id: Option<EventId>,
        frame: &Frame,
    ) -> Published {
        self.hub.counters.events_in.add(1);
        let channels = self.channels_of(publication, place);
        for channel in &channels {
            let publisher_id = publication.event.id.clone().filter(|_| kind == EntryKind::Event);
            let (position, frame, at_ms) = (place.position, frame.clone(), place.at_ms);
            self.logs.append(&mut channel.lock(), LogEntry { position, kind, frame, publisher_id, at_ms });
        }
        let subscribers = self.advance_and_mark(lane, place, &channels);
        self.logs.keep();
        Published { id, subscribers }
    }

    /// An event that cannot be sent: its channels get a gap in its place.
    pub(super) fn declare_lost(&mut self, publication: &Publication, (lane, place): (Lane, Watermark)) {
        let channels = self.channels_of(publication, place);
        for channel in &channels {
            self.append_gap(channel, &mut channel.lock(), place, GapReason::Lost);
        }
        self.advance_and_mark(lane, place, &channels);
        self.logs.keep();
    }

    /// Appends a gap with the id of its place.
    pub(super) fn append_gap(&mut self, channel: &Channel, state: &mut ChannelState, at: Watermark, reason: GapReason) {
        let frame = self.hub.gap_frame(channel.name(), reason, self.hub.id(channel.lane(), at.position, at.at_ms));
        self.logs.append(state, LogEntry::gap(at, EntryKind::Gap, frame));
    }

    /// Appends a gap that tells of unnumbered events, and moves the watermark there. Each channel's gap has a place of its
    /// own: only what is one event may stand at one place without an id.
    pub(super) fn append_unnumbered_gap(&mut self, channel: &Channel, state: &mut ChannelState, reason: GapReason) {
        let place = self.hub.next_place(channel.lane());
        // A top above the watermark is a gap of which the feed told in advance: it tells of this as well.
        if place.position <= state.log.top() {
            return;
        }
        let frame = self.hub.gap_frame(channel.name(), reason, None);
        self.logs.append(state, LogEntry::gap(place, EntryKind::UnnumberedGap, frame));
        self.hub.lane(channel.lane()).numbering.advance(place);
    }

    /// Empties a log and raises its floor to `place`.
    pub(super) fn clear(&mut self, state: &mut ChannelState, place: Watermark, reason: GapReason) {
        self.logs.clear(state, Floor { position: place.position, at_ms: place.at_ms, reason });
    }

    /// The watermark moves when everything is appended, and marks are set when it has moved; see `mailbox.rs`.
    fn advance_and_mark(&mut self, lane: Lane, place: Watermark, channels: &[Arc<Channel>]) -> u64 {
        self.hub.lane(lane).numbering.advance(place);
        let subscribers = channels.iter().map(|channel| self.marks.post(channel)).sum();
        self.marks.ring();
        subscribers
    }

    fn channels_of(&self, publication: &Publication, place: Watermark) -> SmallVec<[Arc<Channel>; 1]> {
        publication.channels.iter().filter_map(|name| self.channel(name, place)).collect()
    }

    /// The event's channel, if it goes into a log here; made if the feed brings every channel.
    fn channel(&self, name: &ChannelName, place: Watermark) -> Option<Arc<Channel>> {
        match self.hub.settings.following {
            Following::Always => {
                let channel = self.hub.channel(name, None).ok();
                if channel.is_none() {
                    self.hub.lane(self.hub.settings.lane_of(name)).raise_forgotten_floor(place);
                    self.logs.count_evictions(EvictReason::Channels, 1);
                }
                channel
            }
            Following::OnDemand => self.hub.channels.get(name).filter(|channel| {
                let state = channel.lock();
                // An event that is not above the top is not missing: the channel is followed from a higher place, or a gap
                // that was told in advance covers it. Example: the top is a gap at 14, so 12 is covered.
                let is_news = || place.position > state.log.top();
                if self.hub.settings.is_numbered_by_feed() {
                    state.is_followed() && is_news()
                } else {
                    state.follow == Follow::Confirmed
                }
            }),
        }
    }
}
