//! The hub itself: which channels there are, and what shards may ask of them.

use std::sync::Arc;

use fantail_telemetry::HubCounters;
use fantail_wire::{ChannelName, EventId, Frame, GapReason, Lane, gap_frame, silent_gap_frame};

use crate::channel::Follow;
use crate::channel_map::ChannelMap;
use crate::lane::LaneState;
use crate::{
    Channel, ChannelsFull, Following, HubSettings, Interest, Join, Mailbox, Maker, Mark, NumberedBy, Position,
    Publisher, Watermark,
};

/// The hub. Shared by all threads; only the [`Publisher`] changes what streams get.
#[derive(Debug)]
pub struct Hub {
    pub(crate) channels: ChannelMap,
    pub(crate) lanes: Box<[LaneState]>,
    pub(crate) mailboxes: Box<[Mailbox]>,
    pub(crate) interest: Interest,
    pub(crate) settings: HubSettings,
    pub(crate) counters: Arc<HubCounters>,
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
            channels: ChannelMap::new(settings.channels_max, settings.channels_per_address_max),
            lanes,
            mailboxes: (0..settings.shards).map(|_| Mailbox::default()).collect(),
            interest: Interest::default(),
            settings,
            counters,
        });
        let publisher = Publisher::new(&hub);
        (hub, publisher)
    }

    /// Everything in the lane's channels up to here is appended. Read it before reading logs, and after clearing a mark.
    pub fn watermark(&self, lane: Lane) -> Watermark {
        self.lane(lane).numbering.watermark()
    }

    /// Whether ids mean the same on every node, so that clients may go on elsewhere.
    pub fn ids_are_shared(&self) -> bool {
        self.settings.is_numbered_by_feed()
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

    /// The shards' wishes to the feed.
    pub fn interest(&self) -> &Interest {
        &self.interest
    }

    /// Registers `shard`, which keeps the channel in its `slot`, with a channel. From now on the shard is told of what
    /// is appended: a shard that reads the watermark after this call misses nothing above it. If there is no such channel yet it is
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

    /// All channels that there are now. It takes a while if there are very many.
    pub fn all_channels(&self) -> Vec<Arc<Channel>> {
        self.channels.all()
    }

    /// The channels in the order of the map, at most `max`, and those of `prefix` only.
    pub fn summaries(&self, prefix: &str, max: usize) -> Vec<ChannelSummary> {
        self.channels.matching(prefix, max, summary)
    }

    /// One channel's line.
    pub fn summary(&self, name: &ChannelName) -> Option<ChannelSummary> {
        self.channels.get(name).map(|channel| summary(&channel))
    }

    /// A frame that tells of a gap in `channel`, or takes its place where nobody is to be told.
    pub fn gap_frame(&self, channel: &ChannelName, reason: GapReason, id: Option<EventId>) -> Frame {
        if self.settings.control_events {
            gap_frame(channel, reason, id, self.settings.bare_blocks)
        } else {
            silent_gap_frame(id, self.settings.bare_blocks)
        }
    }

    pub(crate) fn lane(&self, lane: Lane) -> &LaneState {
        &self.lanes[lane.index()]
    }

    /// The next place in a lane that needs no number of the feed's.
    pub(crate) fn next_place(&self, lane: Lane) -> Watermark {
        self.lane(lane).numbering.next((self.settings.clock)())
    }

    /// The channel of that name, made if need be, for which `maker` is charged.
    pub(crate) fn channel(&self, name: &ChannelName, maker: Option<Maker>) -> Result<Arc<Channel>, ChannelsFull> {
        self.channels.get_or_make(name, maker, || {
            let follow = match self.settings.following {
                Following::Always => Follow::Confirmed,
                Following::OnDemand => Follow::Idle,
            };
            // Read under the map's lock, as forgetting raises it under the same lock.
            let lane = self.settings.lane_of(name);
            let floor = *self.lane(lane).forgotten_floor.lock();
            let (class, now_ms) = (self.settings.class_of(name), (self.settings.clock)());
            Channel::new(name.clone(), maker, lane, class, floor, follow, now_ms)
        })
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
