//! What a feed that numbers by itself tells: events with their ids, its terms, and what is missing.
//!
//! Numbers rise over all channels, so W says of each of them how far it has come. Two things may be above W for a while:
//! the place from which a channel is followed, and a gap of which the feed tells before it hands down what comes before
//! that place in other channels. Their marks wait in `ahead` until W is there.

use std::sync::Arc;

use fantail_wire::{ChannelName, EncodeError, EventId, GapReason, Lane, Publication, Terms};

use super::{Published, Publisher};
use crate::channel::{ChannelState, Follow};
use crate::log::Entry;
use crate::{Channel, EntryKind, Floor, Position, Watermark};

impl Publisher {
    /// Hands out an event that the feed numbered, in the term that runs, above all numbers before it. Any other number is
    /// a fault of the feed: the event is dropped, since it would break the order for everybody.
    ///
    /// An event that cannot be sent leaves a gap at its place: the feed gave it a number, other nodes may have sent it.
    pub fn publish_numbered(&mut self, publication: &Publication, id: EventId) -> Result<Published, EncodeError> {
        let lane = self.lane_of(publication);
        let Some(place) = self.hub.lane(lane).numbering.next_numbered(&id) else {
            debug_assert!(false, "{id} does not come after {:?}", self.hub.watermark(lane));
            self.hub.counters.events_misplaced.add(1);
            return Ok(Published { id: None, subscribers: 0 });
        };
        let encoded = self.encode(&publication.event, Some(id));
        let result = match &encoded {
            Ok(frame) => Ok(self.hand_out(publication, (lane, place), EntryKind::Event, Some(id), frame)),
            Err(error) => {
                self.declare(publication, (lane, place), id);
                Err(*error)
            }
        };
        self.tell_ahead(lane);
        result
    }

    /// Everything that the lane's followed channels got up to `terms.number` was handed down. Where a new term began, the end
    /// of the one before may be lost: every followed channel of the lane gets a gap there.
    pub fn synced(&mut self, lane: Lane, terms: &Terms) {
        let Some(learned) = self.hub.lane(lane).numbering.learn(terms) else {
            debug_assert!(false, "this node numbers by itself");
            return;
        };
        for (name, from) in std::mem::take(&mut self.unplaced) {
            self.followed_from(&name, Some(from));
        }
        let told = learned.began.map_or_else(Vec::new, |began| self.declare_term_ended(lane, began, terms.ms));
        if learned.to.position > self.hub.watermark(lane).position {
            self.hub.lane(lane).numbering.advance(learned.to);
        }
        let (waiting, is_asked_again) = self.hub.lane(lane).sync_requests.answered();
        for channel in told.iter().chain(waiting.values()) {
            self.mark(channel, false);
        }
        self.ring();
        self.tell_ahead(lane);
        if is_asked_again {
            self.hub.interest.ring();
        }
        self.cut_to_budget();
    }

    /// What `name` got up to `at` may be missing. The gap stands there if nothing of the channel was handed out that far,
    /// and otherwise behind the watermark, unnumbered.
    pub fn gap(&mut self, name: &ChannelName, at: EventId, reason: GapReason) {
        let Some(channel) = self.lookup(name).filter(|_| self.hub.is_numbered_by_feed()) else { return };
        let watermark = self.hub.watermark(channel.lane()).position;
        let (is_followed, top) = {
            let state = channel.lock();
            (state.is_followed(), state.log.top())
        };
        let above = self.hub.lane(channel.lane()).numbering.place(&at).filter(|place| *place > watermark);
        // A top above the watermark is a gap that covers this one, or the place from which the channel is followed.
        match above {
            _ if !is_followed => {}
            Some(position) if position > top => self.gap_ahead(&channel, Watermark { position, at_ms: at.ms }, reason),
            None if watermark >= top => self.gap_behind_watermark(&channel, reason),
            Some(_) | None => {}
        }
    }

    fn gap_ahead(&mut self, channel: &Arc<Channel>, place: Watermark, reason: GapReason) {
        self.append_gap(channel, &mut channel.lock(), place, reason);
        self.ahead.push((place.position, Arc::clone(channel)));
        self.report();
    }

    fn gap_behind_watermark(&mut self, channel: &Arc<Channel>, reason: GapReason) {
        let place = self.next_place(channel.lane());
        self.append_gap(channel, &mut channel.lock(), place, reason);
        self.hub.lane(channel.lane()).numbering.advance_to_gap(place);
        self.mark(channel, false);
        self.ring();
        self.cut_to_budget();
    }

    /// The feed brings a channel, all above `from`. What it gets up to the watermark was not put into its log while it
    /// was not followed, so its floor is not below that either.
    pub(super) fn followed_from(&mut self, name: &ChannelName, from: Option<EventId>) {
        let Some(channel) = self.lookup(name) else { return };
        let mut state = channel.lock();
        match state.follow {
            Follow::Asked => {}
            Follow::Lost => {
                self.declare_missed(&channel, &mut state);
                return self.confirm(&channel, state);
            }
            Follow::Idle | Follow::Ahead | Follow::Confirmed => return,
        }
        let watermark = self.hub.watermark(channel.lane());
        let Position { generation, number, .. } = watermark.position;
        // A deletion before may have raised it to an unnumbered place behind the watermark.
        let here = Position::new(generation, number).max(state.log.floor().position);
        let mut floor = Watermark { position: here, ..watermark };
        if let Some(from) = from {
            let Some(position) = self.hub.lane(channel.lane()).numbering.place(&from) else {
                self.unplaced.insert(name.clone(), from);
                return;
            };
            if position > floor.position {
                floor = Watermark { position, at_ms: from.ms };
            }
        }
        self.clear(&mut state, floor, GapReason::NotFollowed);
        if floor.position <= watermark.position {
            return self.confirm(&channel, state);
        }
        state.follow = Follow::Ahead;
        drop(state);
        self.ahead.push((floor.position, channel));
        self.report();
    }

    /// The watermark is behind the floor: streams may begin.
    fn confirm(&mut self, channel: &Channel, mut state: parking_lot::MutexGuard<'_, ChannelState>) {
        state.follow = Follow::Confirmed;
        drop(state);
        self.followed += 1;
        self.mark(channel, false);
        self.ring();
        self.report();
    }

    /// Puts a gap where a term began into the log of every followed channel of the lane.
    fn declare_term_ended(&mut self, lane: Lane, began: Position, at_ms: u64) -> Vec<Arc<Channel>> {
        let place = Watermark { position: began, at_ms };
        let channels: Vec<_> = self.hub.channels.iter().map(|entry| Arc::clone(entry.value())).collect();
        let is_told = |channel: &Arc<Channel>| {
            let mut state = channel.lock();
            let is_told = channel.lane() == lane && state.is_followed() && state.log.top() < began;
            if is_told {
                self.append_gap(channel, &mut state, place, GapReason::TermEnded);
            }
            is_told
        };
        channels.into_iter().filter(is_told).collect()
    }

    /// An event that cannot be sent: its channels get a gap in its place.
    fn declare(&mut self, publication: &Publication, (lane, place): (Lane, Watermark), id: EventId) {
        debug_assert_eq!(place.position.number, id.number);
        let channels: Vec<_> = publication.channels.iter().filter_map(|name| self.publish_to(name, place)).collect();
        for channel in &channels {
            self.append_gap(channel, &mut channel.lock(), place, GapReason::Lost);
        }
        self.advance_and_mark(lane, place, &channels);
        self.cut_to_budget();
    }

    pub(super) fn append_gap(
        &mut self,
        channel: &Channel,
        state: &mut ChannelState,
        place: Watermark,
        reason: GapReason,
    ) {
        let Watermark { position, at_ms } = place;
        let frame = self.hub.gap_frame(channel.name(), reason, self.hub.id(channel.lane(), position, at_ms));
        self.append(state, Entry { position, kind: EntryKind::Gap, frame, publisher_id: None, at_ms });
    }

    /// The lane's watermark has moved: channels that had something above it get their marks, and are confirmed if it was the
    /// place from which they are followed.
    fn tell_ahead(&mut self, lane: Lane) {
        if self.ahead.is_empty() {
            return;
        }
        let watermark = self.hub.watermark(lane).position;
        let is_due = |(place, channel): &(Position, Arc<Channel>)| channel.lane() == lane && *place <= watermark;
        let (due, ahead) = std::mem::take(&mut self.ahead).into_iter().partition(is_due);
        self.ahead = ahead;
        for (_, channel) in due {
            let state = channel.lock();
            let Floor { position, .. } = state.log.floor();
            if state.follow == Follow::Ahead && position <= watermark {
                self.confirm(&channel, state);
            } else {
                drop(state);
                self.mark(&channel, false);
                self.ring();
            }
        }
    }
}

#[cfg(test)]
mod lanes;
#[cfg(test)]
mod tests;
