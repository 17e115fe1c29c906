//! The hub itself: which channels there are, and what shards may ask of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry as MapEntry;
use fantail_telemetry::HubCounters;
use fantail_wire::{ChannelName, ChannelPattern, EventId, Frame, GapReason, Lane, Lanes, gap_frame, silent_gap_frame};
use foldhash::fast::RandomState;

use crate::channel::Follow;
use crate::lane::LaneState;
use crate::maker::Makers;
use crate::{Channel, Interest, Join, LogLimits, Mailbox, Maker, Mark, NumberedBy, Position, Publisher, Watermark};

/// Which channels the feed brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Following {
    /// All of them, always: whatever is published passes through this process.
    Always,
    /// Those that were asked for, from the feed's confirmation on.
    OnDemand,
}

/// The most patterns: a channel keeps the number of its own in one byte.
pub const CLASSES_MAX: usize = u8::MAX as usize;

/// How a hub is set up.
#[derive(Debug, Clone)]
pub struct HubSettings {
    /// Who gives events their numbers.
    pub numbering: NumberedBy,
    /// Among which numberings the channels are divided; one if this node numbers.
    pub lanes: Lanes,
    /// Which channels the feed brings.
    pub following: Following,
    /// Number of shards, at most 256.
    pub shards: u16,
    /// Bounds of one channel's log.
    pub log: LogLimits,
    /// Bounds of channels that fit a pattern; the first that fits holds. At most [`CLASSES_MAX`] of them.
    pub patterns: Vec<(ChannelPattern, LogLimits)>,
    /// For channels without a pattern, and then for those of each: whether unnumbered events are expected there,
    /// though none was seen yet. The default is that they are not.
    pub expects_unnumbered: Vec<bool>,
    /// Events that follow the gap of a stream whose client's id is unknown, over all its channels.
    pub unknown_id_replay_max: usize,
    /// Whether gaps are told with an event, or move the client's id in silence.
    pub control_events: bool,
    /// Bytes of all logs together.
    pub logs_bytes_max: usize,
    /// The largest encoded event, in bytes of text.
    pub event_bytes_max: usize,
    /// Channels that may exist at once.
    pub channels_max: usize,
    /// Those of them that one address may have made.
    pub channels_per_address_max: usize,
    /// Milliseconds since the Unix epoch.
    pub clock: fn() -> u64,
}

/// The hub. Shared by all threads; only the [`Publisher`] changes what streams get.
#[derive(Debug)]
pub struct Hub {
    /// Control plane and subscribe time only: no delivery goes through this map.
    ///
    /// Lock order: the map's, then a channel's. Nobody who holds a channel's lock touches the map.
    pub(crate) channels: DashMap<ChannelName, Arc<Channel>, RandomState>,
    /// Counted apart: the map's own length locks all its parts.
    pub(crate) channel_count: AtomicUsize,
    pub(crate) makers: Makers,
    pub(crate) lanes: Box<[LaneState]>,
    pub(crate) mailboxes: Box<[Mailbox]>,
    pub(crate) interest: Interest,
    pub(crate) settings: HubSettings,
    pub(crate) counters: Arc<HubCounters>,
}

/// There are as many channels as may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChannelsFull {
    /// On this node.
    #[error("this node already holds the most channels it may")]
    OfNode,
    /// Made by this address.
    #[error("this address has already made the most channels that one may")]
    OfAddress,
}

/// One line of the channel listing.
#[derive(Debug, Clone)]
pub struct ChannelSummary {
    /// The channel.
    pub name: ChannelName,
    /// Open streams that follow it.
    pub streams: u64,
    /// Entries in its log.
    pub log_entries: usize,
    /// Bytes of its log.
    pub log_bytes: usize,
    /// Whether the feed brings it.
    pub followed: bool,
}

impl Hub {
    /// A hub and its one publisher.
    ///
    /// # Panics
    ///
    /// If there are several lanes and this node numbers.
    pub fn new(settings: HubSettings, counters: Arc<HubCounters>) -> (Arc<Self>, Publisher) {
        let now_ms = (settings.clock)();
        assert!(settings.lanes.iter().len() == 1 || settings.numbering == NumberedBy::Feed, "a node has one numbering");
        let lanes = settings.lanes.iter().map(|_| LaneState::new(settings.numbering, now_ms)).collect();
        let hub = Arc::new(Self {
            channels: DashMap::with_hasher(RandomState::default()),
            channel_count: AtomicUsize::new(0),
            makers: Makers::new(settings.channels_per_address_max),
            lanes,
            mailboxes: (0..settings.shards).map(|_| Mailbox::default()).collect(),
            interest: Interest::default(),
            settings,
            counters,
        });
        let publisher = Publisher::new(Arc::clone(&hub));
        (hub, publisher)
    }

    /// Everything in the lane's channels up to here is appended. Read it before reading logs, and after clearing a mark.
    pub fn watermark(&self, lane: Lane) -> Watermark {
        self.lane(lane).numbering.watermark()
    }

    /// Whether ids mean the same on every node, so that clients may go on elsewhere.
    pub fn ids_are_shared(&self) -> bool {
        self.is_numbered_by_feed()
    }

    /// The places above `above` and up to `to` at which the lane's numbering began anew. Every node knows them.
    pub fn term_starts(&self, lane: Lane, above: Position, to: Position) -> Vec<Position> {
        self.lane(lane).numbering.starts(above, to)
    }

    /// The id of a place in a lane, for a gap that stands there. `None` if the feed has long forgotten its term.
    pub fn id(&self, lane: Lane, position: Position, at_ms: u64) -> Option<EventId> {
        self.lane(lane).numbering.id(position, at_ms)
    }

    /// A shard's mailbox.
    pub fn mailbox(&self, shard: u16) -> &Mailbox {
        &self.mailboxes[usize::from(shard)]
    }

    /// What the shards want of the feed.
    pub fn interest(&self) -> &Interest {
        &self.interest
    }

    /// Registers `shard`, which keeps the channel in its `slot`, with a channel. From now on the shard is told of what
    /// is appended: whoever reads the watermark after this call misses nothing above it. If there is no such channel yet it is
    /// made, and `maker` charged for it.
    pub fn join(&self, name: &ChannelName, shard: u16, slot: u32, maker: Option<Maker>) -> Result<Join, ChannelsFull> {
        loop {
            let channel = self.channel(name, maker)?;
            let mut state = channel.lock();
            if state.forgotten {
                continue; // it was taken from the map between the look-up and the lock
            }
            debug_assert!(state.marks.iter().all(|(s, _)| *s != shard), "one mark per shard");
            let mark = Mark::new(slot);
            state.marks.push((shard, Arc::clone(&mark)));
            let first = state.marks.len() == 1;
            if state.follow == Follow::Idle || (state.follow == Follow::Asked && first) {
                self.interest.post(&channel, &mut state);
            }
            drop(state);
            return Ok(Join { channel, mark });
        }
    }

    /// Takes a registration back.
    pub fn leave(&self, join: &Join) {
        let mut state = join.channel.lock();
        state.marks.retain(|(_, mark)| !Arc::ptr_eq(mark, &join.mark));
        if state.marks.is_empty() {
            state.idle_since_ms = (self.settings.clock)();
            if self.settings.following == Following::OnDemand {
                self.interest.post(&join.channel, &mut state);
            }
        }
    }

    /// The channels in the order of the map, at most `max`, and those of `prefix` only.
    pub fn summaries(&self, prefix: &str, max: usize) -> Vec<ChannelSummary> {
        let matching = self.channels.iter().filter(|entry| entry.key().as_str().starts_with(prefix));
        matching.take(max).map(|entry| summary(entry.value())).collect()
    }

    /// One channel's line.
    pub fn summary(&self, name: &ChannelName) -> Option<ChannelSummary> {
        self.channels.get(name).map(|entry| summary(entry.value()))
    }

    /// A frame that tells of a gap in `channel`, or takes its place where nobody is to be told.
    pub fn gap_frame(&self, channel: &ChannelName, reason: GapReason, id: Option<EventId>) -> Frame {
        if self.settings.control_events { gap_frame(channel, reason, id) } else { silent_gap_frame(id) }
    }

    pub(crate) fn lane(&self, lane: Lane) -> &LaneState {
        &self.lanes[lane.index()]
    }

    /// The lane of a channel. Where channels are named, those of lanes that are not served have been refused.
    pub(crate) fn lane_of(&self, name: &ChannelName) -> Lane {
        let lane = self.settings.lanes.of(name);
        debug_assert!(lane.is_ok(), "{lane:?}");
        lane.unwrap_or_default()
    }

    pub(crate) fn is_numbered_by_feed(&self) -> bool {
        self.settings.numbering == NumberedBy::Feed
    }

    /// The channel of that name, made if need be.
    pub(crate) fn channel(&self, name: &ChannelName, maker: Option<Maker>) -> Result<Arc<Channel>, ChannelsFull> {
        if let Some(channel) = self.channels.get(name) {
            return Ok(Arc::clone(channel.value()));
        }
        // Charged before the map is locked: nobody holds two of these locks.
        maker.map_or(Ok(()), |maker| self.makers.charge(maker))?;
        let one_more = |count| (count < self.settings.channels_max).then_some(count + 1);
        if self.channel_count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_err() {
            if let Some(maker) = maker {
                self.makers.discharge(maker);
            }
            return Err(ChannelsFull::OfNode);
        }
        match self.channels.entry(name.clone()) {
            MapEntry::Occupied(entry) => {
                // Another shard was faster.
                let channel = Arc::clone(entry.get());
                drop(entry);
                self.uncount(maker);
                Ok(channel)
            }
            MapEntry::Vacant(entry) => {
                let follow = match self.settings.following {
                    Following::Always => Follow::Confirmed,
                    Following::OnDemand => Follow::Idle,
                };
                // Read under the map's lock, as forgetting raises it under the same lock.
                let lane = self.lane_of(name);
                let floor = *self.lane(lane).forgotten_floor.lock();
                let (class, now_ms) = (self.settings.class_of(name), (self.settings.clock)());
                let channel = Channel::new(name.clone(), maker, lane, class, floor, follow, now_ms);
                Ok(Arc::clone(&entry.insert(Arc::new(channel))))
            }
        }
    }

    /// A channel that was counted is gone, or was not made.
    pub(crate) fn uncount(&self, maker: Option<Maker>) {
        self.channel_count.fetch_sub(1, Ordering::Relaxed);
        if let Some(maker) = maker {
            self.makers.discharge(maker);
        }
    }
}

impl HubSettings {
    /// Which pattern a new channel's name fits, counted from 1; 0 for none.
    fn class_of(&self, name: &ChannelName) -> u8 {
        let fits = self.patterns.iter().take(CLASSES_MAX).position(|(pattern, _)| pattern.matches(name));
        fits.map_or(0, |at| at as u8 + 1)
    }

    /// The bounds of channels of this class.
    pub(crate) fn log_limits(&self, class: u8) -> LogLimits {
        usize::from(class).checked_sub(1).map_or(self.log, |at| self.patterns[at].1)
    }

    /// Whether unnumbered events are expected in channels of this class.
    pub(crate) fn expects_unnumbered(&self, class: u8) -> bool {
        self.expects_unnumbered.get(usize::from(class)).is_some_and(|expects| *expects)
    }

    /// The longest that anything is kept in any log.
    pub(crate) fn age_ms_max(&self) -> u64 {
        self.patterns.iter().map(|(_, limits)| limits.age_ms_max).fold(self.log.age_ms_max, u64::max)
    }
}

fn summary(channel: &Channel) -> ChannelSummary {
    let state = channel.lock();
    ChannelSummary {
        name: channel.name().clone(),
        streams: state.streams(),
        log_entries: state.log.len(),
        log_bytes: state.log.bytes(),
        followed: state.follow == Follow::Confirmed,
    }
}
