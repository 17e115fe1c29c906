//! The control thread's side of the hub: the only one that appends, evicts, confirms, deletes and forgets.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fantail_telemetry::EvictReason;
use fantail_wire::{ChannelName, EncodeError, Event, EventId, Frame, GapReason, Lane, Publication, encode};
use smallvec::SmallVec;

use crate::budget::fair_level;
use crate::channel::{ChannelState, Follow};
use crate::log::Entry;
use crate::{Channel, EntryKind, Floor, Following, Hub, LogLimits, Position, Release, Watermark, Wish};

mod numbered;
mod recalled;
mod unnumbered;

/// After the budget was passed, logs are cut to this part of it, so that cutting is rare.
const BUDGET_AFTER_CUT: (usize, usize) = (9, 10);

/// When to look again at a channel that nobody wants but the feed is asked about, in milliseconds.
const RECALL_WAIT_MS: u64 = 1000;

/// There is one, on the control thread: it cannot be cloned or shared.
#[derive(Debug)]
pub struct Publisher {
    hub: Arc<Hub>,
    /// Bytes of all logs; every change of a log passes through here.
    log_bytes: usize,
    log_entries: usize,
    /// Channels that the feed has confirmed, if it brings them on demand.
    followed: usize,
    /// Channels with something above their lane's watermark, and where: they get their marks when it has come there.
    ahead: Vec<(Position, Arc<Channel>)>,
    /// Channels that are followed from a place in a term that the feed has not told of yet.
    unplaced: BTreeMap<ChannelName, EventId>,
    /// Shards that have got a mark since they were last rung.
    to_ring: Vec<bool>,
    _one_thread: PhantomData<Cell<()>>,
}

/// What publishing an event came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// The id that the event has, if it has one.
    pub id: Option<EventId>,
    /// Open streams on this node that follow one of its channels, counted once per channel.
    pub subscribers: u64,
}

impl Publisher {
    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        let to_ring = vec![false; hub.mailboxes.len()];
        Self {
            hub,
            log_bytes: 0,
            log_entries: 0,
            followed: 0,
            ahead: Vec::new(),
            unplaced: BTreeMap::new(),
            to_ring,
            _one_thread: PhantomData,
        }
    }

    /// Places an event after everything before it, with a number of this node's, and hands it to its channels. Encodes
    /// once.
    pub fn publish(&mut self, publication: &Publication) -> Result<Published, EncodeError> {
        debug_assert!(!self.hub.is_numbered_by_feed(), "the feed numbers: it says where an event stands");
        let lane = self.lane_of(publication);
        let place = self.next_place(lane);
        let id = self.hub.id(lane, place.position, place.at_ms);
        let frame = self.encode(&publication.event, id)?;
        Ok(self.hand_out(publication, (lane, place), EntryKind::Event, id, &frame))
    }

    fn encode(&self, event: &Event, id: Option<EventId>) -> Result<Frame, EncodeError> {
        let id = id.map(|id| id.to_string());
        let frame = encode(event, id.as_deref(), self.hub.settings.event_bytes_max)?;
        self.hub.counters.encodes.add(1);
        Ok(frame)
    }

    /// Appends an event to its channels, moves their lane's watermark there and marks them.
    fn hand_out(
        &mut self,
        publication: &Publication,
        (lane, place): (Lane, Watermark),
        kind: EntryKind,
        id: Option<EventId>,
        frame: &Frame,
    ) -> Published {
        self.hub.counters.events_in.add(1);
        let channels: SmallVec<[Arc<Channel>; 1]> =
            publication.channels.iter().filter_map(|name| self.publish_to(name, place)).collect();
        for channel in &channels {
            let publisher_id = publication.event.id.clone().filter(|_| kind == EntryKind::Event);
            let (position, frame, at_ms) = (place.position, frame.clone(), place.at_ms);
            self.append(&mut channel.lock(), Entry { position, kind, frame, publisher_id, at_ms });
        }
        let subscribers = self.advance_and_mark(lane, place, &channels);
        self.cut_to_budget();
        Published { id, subscribers }
    }

    /// The feed brings `name` from now on. New followers start behind this place, so that an id from before cannot pass
    /// over what was missed; after an outage the same is told by a gap in the log.
    ///
    /// A feed that numbers says `from` which place it brings everything. What was missed in an outage it has handed down
    /// or declared.
    pub fn followed(&mut self, name: &ChannelName, from: Option<EventId>) {
        if self.hub.is_numbered_by_feed() {
            return self.followed_from(name, from);
        }
        let Some(channel) = self.lookup(name) else { return };
        let place = self.next_place(channel.lane());
        let mut state = channel.lock();
        match state.follow {
            Follow::Asked => self.clear(&mut state, place, GapReason::NotFollowed),
            Follow::Lost => {
                let id = self.hub.id(channel.lane(), place.position, place.at_ms);
                let frame = self.hub.gap_frame(name, GapReason::Outage, id);
                let (position, kind, at_ms) = (place.position, EntryKind::Gap, place.at_ms);
                self.append(&mut state, Entry { position, kind, frame, publisher_id: None, at_ms });
            }
            Follow::Idle | Follow::Ahead | Follow::Confirmed => return,
        }
        drop(state);
        self.hub.lane(channel.lane()).numbering.advance(place);
        // Only now: a stream that sees the confirmation reads a watermark that is behind the gap or the floor.
        channel.lock().follow = Follow::Confirmed;
        self.followed += 1;
        self.mark(&channel, false);
        self.ring();
        self.report();
    }

    /// The feed has lost a lane: nothing of it is confirmed until it says so again. Streams stay open and wait.
    pub fn lost(&mut self, lane: Lane) {
        for entry in &self.hub.channels {
            if entry.value().lane() != lane {
                continue;
            }
            let mut state = entry.value().lock();
            state.follow = match state.follow {
                Follow::Confirmed => {
                    self.followed = self.followed.saturating_sub(1);
                    Follow::Lost
                }
                Follow::Ahead => Follow::Asked, // no stream has begun with it
                as_it_is => as_it_is,
            };
        }
        let hub = &self.hub;
        self.unplaced.retain(|name, _| hub.lane_of(name) != lane);
        self.report();
    }

    /// What the shards want next of the feed.
    pub fn next_wish(&mut self) -> Option<Wish> {
        let mut lanes = self.hub.settings.lanes.iter().map(|(lane, _)| lane);
        match lanes.find(|lane| self.hub.lane(*lane).sync_requests.ask()) {
            Some(lane) => Some(Wish::Sync(lane)),
            None => self.hub.interest.next(&self.hub),
        }
    }

    /// Looks again at a channel whose linger time should be over. If nobody came back it is forgotten.
    pub fn release(&mut self, channel: &Arc<Channel>, linger_ms: u64) -> Release {
        let mut state = channel.lock();
        if !state.marks.is_empty() {
            state.lingering = false;
            return Release::Wanted;
        }
        let idle_ms = (self.hub.settings.clock)().saturating_sub(state.idle_since_ms);
        if idle_ms < linger_ms {
            return Release::Later(linger_ms - idle_ms);
        }
        if state.recall.as_ref().is_some_and(|recall| recall.is_under_way()) {
            // A channel of the same name would take the answer for its own.
            return Release::Later(linger_ms.max(RECALL_WAIT_MS));
        }
        state.lingering = false;
        drop(state);
        if self.forget(channel) { Release::Unfollow } else { Release::Wanted }
    }

    /// Empties a channel's log, raises its floor and asks the shards to end its streams. `false` if there is no such
    /// channel.
    pub fn delete(&mut self, name: &ChannelName) -> bool {
        let Some(channel) = self.lookup(name) else { return false };
        let place = self.next_place(channel.lane());
        let mut state = channel.lock();
        // A gap that was told of in advance, or the place from which the channel is followed, may be higher still.
        let floor = Watermark { position: place.position.max(state.log.top()), ..place };
        self.clear(&mut state, floor, GapReason::Deleted);
        if self.hub.is_numbered_by_feed() {
            state.recall.get_or_insert_default().bottom = Some(state.log.floor());
        }
        drop(state);
        self.hub.lane(channel.lane()).numbering.advance_to_gap(place);
        self.mark(&channel, true);
        self.ring();
        self.report();
        true
    }

    /// Evicts what is too old, and forgets channels that hold nothing and that nobody wants. Call it every few seconds.
    pub fn sweep(&mut self) {
        let now_ms = (self.hub.settings.clock)();
        let hub = Arc::clone(&self.hub);
        let age_ms_max = hub.settings.age_ms_max();
        let mut idle = Vec::new();
        let channels: Vec<_> = self.hub.channels.iter().map(|entry| Arc::clone(entry.value())).collect();
        for channel in channels {
            let mut state = channel.lock();
            let limits = hub.settings.log_limits(state.class);
            let evicted = self.changing(&mut state, |state| state.log.evict_older(now_ms, &limits));
            self.count_evictions(EvictReason::Age, evicted);
            // Only after so long that a client that was here last would be behind what is kept anyway, in any channel:
            // forgetting raises the floor of channels to come, and would tell it of a gap that is none.
            let long_idle = now_ms.saturating_sub(state.idle_since_ms) > age_ms_max;
            if state.marks.is_empty() && state.log.len() == 0 && long_idle {
                drop(state);
                idle.push(channel);
            }
        }
        if self.hub.settings.following == Following::Always {
            for channel in idle {
                self.forget(&channel);
            }
        }
        self.report();
    }

    /// The event's channel, if it goes into a log here; made if the feed brings every channel.
    fn publish_to(&self, name: &ChannelName, place: Watermark) -> Option<Arc<Channel>> {
        match self.hub.settings.following {
            Following::Always => {
                let lane = self.hub.lane_of(name);
                let channel =
                    self.hub.channel(name, None).inspect_err(|_| self.raise_forgotten_floor(lane, place)).ok();
                self.count_evictions(EvictReason::Channels, usize::from(channel.is_none()));
                channel
            }
            Following::OnDemand => self.lookup(name).filter(|channel| {
                let state = channel.lock();
                // What is not above the top is not missing: the channel is followed from a higher place, or a gap that
                // was told of in advance covers it.
                let is_news = || place.position > state.log.top();
                if self.hub.is_numbered_by_feed() {
                    state.is_followed() && is_news()
                } else {
                    state.follow == Follow::Confirmed
                }
            }),
        }
    }

    fn lookup(&self, name: &ChannelName) -> Option<Arc<Channel>> {
        self.hub.channels.get(name).map(|entry| Arc::clone(entry.value()))
    }

    /// The lane of an event: that of all its channels.
    fn lane_of(&self, publication: &Publication) -> Lane {
        let lane = self.hub.settings.lanes.of_all(&publication.channels);
        debug_assert!(lane.is_ok(), "{lane:?}");
        lane.unwrap_or_default()
    }

    fn next_place(&self, lane: Lane) -> Watermark {
        self.hub.lane(lane).numbering.next((self.hub.settings.clock)())
    }

    /// Takes a channel that nobody wants out of the map. What it had is remembered in the one floor for all such.
    fn forget(&mut self, channel: &Arc<Channel>) -> bool {
        let hub = Arc::clone(&self.hub);
        let removed = hub.channels.remove_if(channel.name(), |_, _| {
            let mut state = channel.lock();
            if !state.marks.is_empty() || state.forgotten {
                return false;
            }
            state.forgotten = true;
            if std::mem::replace(&mut state.follow, Follow::Idle) == Follow::Confirmed {
                self.followed = self.followed.saturating_sub(1);
            }
            let top = Watermark { position: state.log.top(), at_ms: (hub.settings.clock)() };
            // If the feed numbers it says anew from where a channel is followed.
            if !hub.is_numbered_by_feed() {
                self.raise_forgotten_floor(channel.lane(), top);
            }
            let floor = Floor { position: top.position, at_ms: top.at_ms, reason: GapReason::Trimmed };
            self.changing(&mut state, |state| {
                state.log.clear(floor);
                0
            });
            true
        });
        if removed.is_some() {
            // Another channel of the name would take the old confirmation for its own.
            self.unplaced.remove(channel.name());
            self.hub.uncount(channel.maker());
            self.hub.counters.channels_forgotten.add(1);
        }
        self.report();
        removed.is_some()
    }

    fn raise_forgotten_floor(&self, lane: Lane, to: Watermark) {
        let mut floor = self.hub.lane(lane).forgotten_floor.lock();
        if to.position > floor.position {
            *floor = Floor { position: to.position, at_ms: to.at_ms, reason: GapReason::Trimmed };
        }
    }

    fn append(&mut self, state: &mut ChannelState, entry: Entry) {
        let limits = self.hub.settings.log_limits(state.class);
        let (at_ms, too_many) = (entry.at_ms, (state.log.len() + 1).saturating_sub(limits.entries_max));
        state.has_unnumbered |= entry.kind == EntryKind::Unnumbered;
        // Age apart, so that each bound is counted by itself.
        let at_any_age = LogLimits { age_ms_max: u64::MAX, ..limits };
        let evicted = self.changing(state, |state| state.log.append(entry, &at_any_age));
        let by_count = evicted.min(too_many);
        let by_age = self.changing(state, |state| state.log.evict_older(at_ms, &limits));
        self.count_evictions(EvictReason::Count, by_count);
        self.count_evictions(EvictReason::Bytes, evicted - by_count);
        self.count_evictions(EvictReason::Age, by_age);
    }

    fn count_evictions(&self, reason: EvictReason, entries: usize) {
        self.hub.counters.evictions.add(reason, entries as u64);
    }

    fn clear(&mut self, state: &mut ChannelState, place: Watermark, reason: GapReason) {
        let floor = Floor { position: place.position, at_ms: place.at_ms, reason };
        self.changing(state, |state| {
            state.log.clear(floor);
            0
        });
    }

    /// Changes a log, which says how many entries it evicted, and keeps the sums over all logs.
    fn changing(&mut self, state: &mut ChannelState, change: impl FnOnce(&mut ChannelState) -> usize) -> usize {
        self.log_bytes -= state.log.bytes();
        self.log_entries -= state.log.len();
        let evicted = change(state);
        self.log_bytes += state.log.bytes();
        self.log_entries += state.log.len();
        evicted
    }

    /// The watermark moves when everything is appended, and marks are set when it has moved; see `mailbox.rs`.
    fn advance_and_mark(&mut self, lane: Lane, place: Watermark, channels: &[Arc<Channel>]) -> u64 {
        self.hub.lane(lane).numbering.advance(place);
        let subscribers = channels.iter().map(|channel| self.mark(channel, false)).sum();
        self.ring();
        subscribers
    }

    fn mark(&mut self, channel: &Channel, end: bool) -> u64 {
        let state = channel.lock();
        for (shard, mark) in &state.marks {
            if end {
                mark.end();
            }
            let shard = usize::from(*shard);
            self.to_ring[shard] |= self.hub.mailboxes[shard].post(mark);
        }
        state.streams()
    }

    fn ring(&mut self) {
        for (mailbox, to_ring) in self.hub.mailboxes.iter().zip(&mut self.to_ring) {
            if std::mem::take(to_ring) {
                mailbox.ring();
            }
        }
    }

    fn cut_to_budget(&mut self) {
        let bytes_max = self.hub.settings.logs_bytes_max;
        if self.log_bytes > bytes_max {
            self.cut_to(bytes_max / BUDGET_AFTER_CUT.1 * BUDGET_AFTER_CUT.0);
        }
        self.report();
    }

    /// Cuts the largest logs to a common level, and of equals those that were quiet for longest, until all together have
    /// at most `bytes_max`: where every log is as large as every other, a few pay and not all of them. The name decides
    /// last, and not the order of the map, which differs from process to process.
    fn cut_to(&mut self, bytes_max: usize) {
        let channels: Vec<_> = self.hub.channels.iter().map(|entry| Arc::clone(entry.value())).collect();
        let mut by_size: Vec<_> = channels
            .iter()
            .map(|channel| {
                let state = channel.lock();
                (Reverse(state.log.bytes()), (state.log.newest_ms(), state.log.top()), channel)
            })
            .collect();
        by_size.sort_unstable_by(|(a, a_newest, a_channel), (b, b_newest, b_channel)| {
            (a, a_newest, a_channel.name()).cmp(&(b, b_newest, b_channel.name()))
        });
        let level = fair_level(by_size.iter().map(|(Reverse(size), ..)| *size).collect(), bytes_max);
        for (_, _, channel) in by_size {
            if self.log_bytes <= bytes_max {
                break;
            }
            let evicted = self.changing(&mut channel.lock(), |state| state.log.evict_to(level));
            self.count_evictions(EvictReason::Budget, evicted);
        }
    }

    fn report(&self) {
        self.hub.counters.log_bytes.set(self.log_bytes as u64);
        self.hub.counters.log_entries.set(self.log_entries as u64);
        self.hub.counters.followed_channels.set(self.followed as u64);
        self.hub.counters.channels.set(self.hub.channel_count.load(Ordering::Relaxed) as u64);
    }
}
