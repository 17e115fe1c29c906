//! The control loop's side of the hub: the only one that appends, evicts, confirms, deletes and forgets.
//!
//! Each part of it is a struct of its own: [`LogBudget`](log_budget::LogBudget) changes logs and keeps their sums,
//! [`MarkPoster`](mark_poster::MarkPoster) tells shards, [`Appender`] leads an entry into logs and to shards, and
//! [`FollowedChannels`] knows which channels the feed brings. The publisher says which of them does what, in which order.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;

use fantail_wire::{ChannelName, EncodeError, Event, EventId, GapReason, Lane, Publication, Terms};

use self::appender::Appender;
use self::followed_channels::FollowedChannels;
use self::recall_answer::RecallAnswer;
use crate::{Channel, EntryKind, Hub, Release, Watermark, Wish};

mod appender;
mod deletion;
mod followed_channels;
mod gaps;
mod idle_channels;
mod log_budget;
mod mark_poster;
mod recall_answer;
#[cfg(test)]
mod tests;

/// There is one, in the control loop: it cannot be cloned or shared.
#[derive(Debug)]
pub struct Publisher {
    hub: Arc<Hub>,
    appender: Appender,
    followed: FollowedChannels,
    _one_thread: PhantomData<Cell<()>>,
}

/// The receipt of a published event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// The id that the event has, if it has one.
    pub id: Option<EventId>,
    /// Open streams on this node that follow one of its channels, counted once per channel.
    pub subscribers: u64,
}

impl Publisher {
    pub(crate) fn new(hub: &Arc<Hub>) -> Self {
        let (appender, followed) = (Appender::new(hub), FollowedChannels::new(hub));
        Self { hub: Arc::clone(hub), appender, followed, _one_thread: PhantomData }
    }

    /// Places an event after everything before it, with a number of this node's, and hands it to its channels. Encodes
    /// once.
    pub fn publish(&mut self, publication: &Publication) -> Result<Published, EncodeError> {
        debug_assert!(!self.hub.settings.is_numbered_by_feed(), "the feed numbers: it says where an event stands");
        let lane = self.hub.settings.lane_of_all(&publication.channels);
        let place = self.hub.next_place(lane);
        let id = self.hub.id(lane, place.position, place.at_ms);
        let frame = self.appender.encode(&publication.event, id)?;
        Ok(self.appender.hand_out(publication, (lane, place), EntryKind::Event, id, &frame))
    }

    /// Hands out an event that the feed numbered, in the term that runs, above all numbers before it. Any other number is
    /// a fault of the feed: the event is dropped, since it would break the order for everybody. Example: 45 after 46.
    ///
    /// An event that cannot be sent leaves a gap at its place: the feed gave it a number, other nodes may have sent it.
    pub fn publish_numbered(&mut self, publication: &Publication, id: EventId) -> Result<Published, EncodeError> {
        let lane = self.hub.settings.lane_of_all(&publication.channels);
        let Some(place) = self.hub.lane(lane).numbering.next_numbered(&id) else {
            debug_assert!(false, "{id} does not come after {:?}", self.hub.watermark(lane));
            self.hub.counters.events_misplaced.add(1);
            return Ok(Published { id: None, subscribers: 0 });
        };
        let result = match self.appender.encode(&publication.event, Some(id)) {
            Ok(frame) => Ok(self.appender.hand_out(publication, (lane, place), EntryKind::Event, Some(id), &frame)),
            Err(error) => {
                debug_assert_eq!(place.position.number, id.number);
                self.appender.declare_lost(publication, (lane, place));
                Err(error)
            }
        };
        self.followed.tell_ahead(&mut self.appender, lane);
        result
    }

    /// Hands out an unnumbered event, to the streams that are open now.
    pub fn publish_unnumbered(&mut self, publication: &Publication) -> Result<Published, EncodeError> {
        let lane = self.hub.settings.lane_of_all(&publication.channels);
        let place = self.hub.next_place(lane);
        let frame = match &publication.event.id {
            None => self.appender.encode(&publication.event, None),
            // A client that came back with it would find nothing.
            Some(_) => self.appender.encode(&Event { id: None, ..publication.event.clone() }, None),
        }?;
        Ok(self.appender.hand_out(publication, (lane, place), EntryKind::Unnumbered, None, &frame))
    }

    /// The feed brings `name` from now on. New followers start behind this place, so that an id from before cannot pass
    /// over what was missed. After an outage a gap in the log tells the same.
    ///
    /// A feed that numbers says `from` which place it brings everything. The events of an outage it has handed down
    /// or declared.
    pub fn followed(&mut self, name: &ChannelName, from: Option<EventId>) {
        let Some(channel) = self.hub.channels.get(name) else { return };
        if self.hub.settings.is_numbered_by_feed() {
            self.followed.follow_from(&mut self.appender, channel, from);
        } else {
            self.followed.follow(&mut self.appender, &channel);
        }
    }

    /// The feed has lost a lane: nothing of it is confirmed until it says so again. Streams stay open and wait.
    pub fn lost(&mut self, lane: Lane) {
        self.followed.lose(lane);
    }

    /// Everything that the lane's followed channels got up to `terms.number` was handed down. Where a new term began, the end
    /// of the one before may be lost: every followed channel of the lane gets a gap there.
    pub fn synced(&mut self, lane: Lane, terms: &Terms) {
        let Some(learned) = self.hub.lane(lane).numbering.learn(terms) else {
            debug_assert!(false, "this node numbers by itself");
            return;
        };
        self.followed.place_again(&mut self.appender);
        let began = learned.began.map(|position| Watermark { position, at_ms: terms.ms });
        let told = began.map_or_else(Vec::new, |began| gaps::declare_term_ended(&mut self.appender, lane, began));
        if learned.to.position > self.hub.watermark(lane).position {
            self.hub.lane(lane).numbering.advance(learned.to);
        }
        let (waiting, is_asked_again) = self.hub.lane(lane).sync_requests.answered();
        for channel in told.iter().chain(waiting.values()) {
            self.appender.marks.post(channel);
        }
        self.appender.marks.ring();
        self.followed.tell_ahead(&mut self.appender, lane);
        if is_asked_again {
            self.hub.interest.ring();
        }
        self.appender.logs.keep();
    }

    /// The events of `name` up to `at` may be missing. The gap stands there if nothing of the channel was handed out that far,
    /// and otherwise behind the watermark, unnumbered. Example: the watermark is 10. A gap up to 14 stands at 14 and waits
    /// for the watermark; one up to 8 stands at (1, 10, 1).
    pub fn gap(&mut self, name: &ChannelName, at: EventId, reason: GapReason) {
        let Some(channel) = self.hub.channels.get(name).filter(|_| self.hub.settings.is_numbered_by_feed()) else {
            return;
        };
        if let Some(place) = gaps::declare(&mut self.appender, &channel, at, reason) {
            self.followed.wait_for(place, channel);
        }
    }

    /// An event without a number of the feed's came for `name` and cannot be handed out. Its streams are told: where this
    /// node numbers, also those that come back from before.
    pub fn dropped(&mut self, name: &ChannelName) {
        if let Some(channel) = self.hub.channels.get(name) {
            gaps::declare_dropped(&mut self.appender, &channel);
        }
    }

    /// The answer to a [`Wish::Recall`]: older events, oldest first, and above which place they are all there are; `None`
    /// if they could not be read. They take room that is free and evict nothing.
    #[allow(clippy::needless_pass_by_value, reason = "they are the answer, and of no more use to anybody")]
    pub fn recalled(&mut self, name: &ChannelName, entries: Vec<(EventId, Event)>, from: Option<EventId>) {
        let Some(channel) = self.hub.channels.get(name) else { return };
        RecallAnswer::new(&self.hub, &channel, from).take(&mut self.appender, &entries);
    }

    /// The shards' next wish to the feed.
    pub fn next_wish(&mut self) -> Option<Wish> {
        let mut lanes = self.hub.settings.lanes.iter().map(|(lane, _)| lane);
        match lanes.find(|lane| self.hub.lane(*lane).sync_requests.ask()) {
            Some(lane) => Some(Wish::Sync(lane)),
            None => self.hub.interest.next(&self.hub),
        }
    }

    /// Looks again at a channel whose linger time should be over. If nobody came back it is forgotten.
    pub fn release(&mut self, channel: &Arc<Channel>, linger_ms: u64) -> Release {
        idle_channels::release(&self.hub, &mut self.appender, &mut self.followed, channel, linger_ms)
    }

    /// Keeps at most so many bytes in all logs together from now on, in place of the settings' number.
    pub fn limit_logs(&mut self, bytes_max: usize) {
        self.appender.logs.limit(bytes_max);
    }

    /// Evicts what is too old in these channels, and forgets those that hold nothing and that nobody wants. Call it every few
    /// seconds for all of [`Hub::all_channels`], in portions, since each takes some microseconds.
    pub fn sweep(&mut self, channels: &[Arc<Channel>]) {
        idle_channels::sweep(&self.hub, &mut self.appender, &mut self.followed, channels);
    }

    /// Empties a channel's log, raises its floor and asks the shards to end its streams. `false` if there is no such
    /// channel.
    pub fn delete(&mut self, name: &ChannelName) -> bool {
        let channel = self.hub.channels.get(name);
        channel.inspect(|channel| deletion::delete(&self.hub, &mut self.appender, channel)).is_some()
    }
}
