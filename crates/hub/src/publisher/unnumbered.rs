//! Unnumbered events, for streams that are open when they come, and the gaps that tell of them.
//!
//! After an outage a feed that numbers brings or declares each event that it numbered. It can do neither for unnumbered
//! events. So this node declares them, in a channel that carries such events, when the channel is confirmed again. Example:
//! the node stands at 10 and has seen an unnumbered event of `c`. The connection is lost and comes back: `c` gets a gap at
//! (1, 10, 2). Streams that are not open lose none of these events, so the gaps are never replayed.

use fantail_wire::{ChannelName, EncodeError, Event, GapReason, Publication};

use super::{Published, Publisher};
use crate::channel::{ChannelState, Follow};
use crate::log::Entry;
use crate::{Channel, EntryKind};

impl Publisher {
    /// Hands out an event that has no place in the feed's numbering, to the streams that are open now.
    pub fn publish_unnumbered(&mut self, publication: &Publication) -> Result<Published, EncodeError> {
        let lane = self.lane_of(publication);
        let place = self.next_place(lane);
        let frame = match &publication.event.id {
            None => self.encode(&publication.event, None),
            // A client that came back with it would find nothing.
            Some(_) => self.encode(&Event { id: None, ..publication.event.clone() }, None),
        }?;
        Ok(self.hand_out(publication, (lane, place), EntryKind::Unnumbered, None, &frame))
    }

    /// An event without a number of the feed's came for `name` and cannot be handed out. Its streams are told: where this
    /// node numbers, also those that come back from before.
    pub fn dropped(&mut self, name: &ChannelName) {
        let Some(channel) = self.lookup(name) else { return };
        let place = self.next_place(channel.lane());
        let mut state = channel.lock();
        state.has_unnumbered |= self.hub.is_numbered_by_feed();
        match state.follow {
            Follow::Confirmed => {}
            // The gap that follows an outage stands behind this.
            Follow::Idle | Follow::Asked | Follow::Ahead | Follow::Lost => return,
        }
        if self.hub.is_numbered_by_feed() {
            self.append_unnumbered_gap(&channel, &mut state, GapReason::Lost);
        } else {
            self.append_gap(&channel, &mut state, place, GapReason::Lost);
            self.hub.lane(channel.lane()).numbering.advance(place);
        }
        drop(state);
        self.mark(&channel, false);
        self.ring();
        self.cut_to_budget();
    }

    /// A channel is about to be confirmed after an outage. What the feed numbered has been handed down or declared.
    pub(super) fn declare_missed(&mut self, channel: &Channel, state: &mut ChannelState) {
        if state.has_unnumbered || self.hub.settings.expects_unnumbered(state.class) {
            self.append_unnumbered_gap(channel, state, GapReason::Outage);
        }
    }

    /// Each channel's gap has a place of its own: only what is one event may stand at one place without an id.
    fn append_unnumbered_gap(&mut self, channel: &Channel, state: &mut ChannelState, reason: GapReason) {
        let place = self.next_place(channel.lane());
        // A top above the watermark is a gap of which the feed told in advance: it tells of this as well.
        if place.position <= state.log.top() {
            return;
        }
        let frame = self.hub.gap_frame(channel.name(), reason, None);
        let (position, kind, at_ms) = (place.position, EntryKind::UnnumberedGap, place.at_ms);
        self.append(state, Entry { position, kind, frame, publisher_id: None, at_ms });
        self.hub.lane(channel.lane()).numbering.advance(place);
    }
}

#[cfg(test)]
mod tests;
