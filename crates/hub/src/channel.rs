//! One channel: its log, the shards that want it, and whether the feed brings it.

use std::fmt;
use std::sync::Arc;

use fantail_wire::{ChannelName, Frame, Lane};
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

use crate::log::ChannelLog;
use crate::recall_state::{RecallState, Ticket};
use crate::{EntryKind, Floor, Maker, Mark, Position};

/// One channel. Shards hold it by reference count; the lock is held for a few loads and stores at a time.
pub struct Channel {
    name: ChannelName,
    maker: Option<Maker>,
    lane: Lane,
    state: Mutex<ChannelState>,
}

/// A shard's registration with a channel.
#[derive(Debug, Clone)]
pub struct Join {
    /// The channel.
    pub channel: Arc<Channel>,
    /// The shard's registration with it, to be given back to [`Hub::leave`](crate::Hub::leave).
    pub mark: Arc<Mark>,
}

/// A log entry on its way to streams.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Its place.
    pub position: Position,
    /// Whether it is an event or a gap, and numbered or not.
    pub kind: EntryKind,
    /// Its bytes.
    pub frame: Frame,
}

/// How much a reader takes at a time.
#[derive(Debug, Clone, Copy)]
pub struct ReadLimit {
    /// Entries.
    pub entries: usize,
    /// Bytes of their frames, or of entries with their frames.
    pub bytes: usize,
}

/// Facts that a reader learns with the entries, under the same lock.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// Nothing is known of what is below.
    pub floor: Floor,
    /// The log had nothing more to give.
    pub complete: bool,
}

#[allow(clippy::struct_excessive_bools, reason = "facts that have nothing to do with each other")]
pub(crate) struct ChannelState {
    pub(crate) log: ChannelLog,
    /// Which pattern of the settings its name fits; 0 for none. Kept under the lock since it takes no room there.
    pub(crate) class: u8,
    /// The registered shards; at most one mark for each.
    pub(crate) marks: SmallVec<[(u16, Arc<Mark>); 1]>,
    pub(crate) follow: Follow,
    /// Something without a place in the feed's numbering was published to it since it was made.
    pub(crate) has_unnumbered: bool,
    /// The channel stands in the queue of wishes.
    pub(crate) wish_posted: bool,
    /// Set once somebody has asked for what the channel got before.
    pub(crate) recall: Option<Box<RecallState>>,
    /// The control loop watches the channel for the end of its linger time.
    pub(crate) lingering: bool,
    /// When the last shard left, or the channel was made, in milliseconds since the Unix epoch.
    pub(crate) idle_since_ms: u64,
    /// The channel is no longer in the hub; who still holds it must look it up anew.
    pub(crate) forgotten: bool,
}

/// Whether the feed brings the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follow {
    /// Nobody asked for it.
    Idle,
    /// The feed was asked and has not confirmed.
    Asked,
    /// The log gets everything above its floor, which the watermark has not reached. Streams wait until it has: one that
    /// began at the watermark would begin below the floor.
    Ahead,
    /// The log gets everything from the feed.
    Confirmed,
    /// The feed was lost after it had confirmed; it will confirm again, and tell by then what is missing.
    Lost,
}

impl Channel {
    pub(crate) fn new(
        name: ChannelName,
        maker: Option<Maker>,
        lane: Lane,
        class: u8,
        floor: Floor,
        follow: Follow,
        now_ms: u64,
    ) -> Self {
        let state = ChannelState {
            log: ChannelLog::new(floor),
            class,
            marks: SmallVec::new(),
            follow,
            has_unnumbered: false,
            wish_posted: false,
            recall: None,
            lingering: false,
            idle_since_ms: now_ms,
            forgotten: false,
        };
        Self { name, maker, lane, state: Mutex::new(state) }
    }

    /// Its name.
    pub fn name(&self) -> &ChannelName {
        &self.name
    }

    /// The maker that is charged for it, if one is.
    pub(crate) fn maker(&self) -> Option<Maker> {
        self.maker
    }

    /// The lane in whose numbering its events stand.
    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// Whether what is published from now on arrives. A stream sends its head only then.
    pub fn is_confirmed(&self) -> bool {
        self.state.lock().follow == Follow::Confirmed
    }

    /// Which pattern its name fits, counted from 1 in the order of the settings; 0 for none.
    pub fn class(&self) -> u8 {
        self.state.lock().class
    }

    /// For a live stream: the place above which it misses nothing.
    pub fn live_floor(&self) -> Floor {
        self.state.lock().log.live_floor()
    }

    /// For a stream that resumes: all events above this place are here.
    pub fn floor(&self) -> Floor {
        self.state.lock().log.floor()
    }

    /// The first gap above `cursor` and up to `to` that does not stand at one of `places`.
    pub fn first_gap(&self, cursor: Position, to: Position, places: &[Position]) -> Option<Frame> {
        self.state.lock().log.first_gap(cursor, to, places).map(|gap| gap.frame.clone())
    }

    /// Copies entries above `cursor` and up to `to`, oldest first, to the end of `out`: as many as `limit` allows, but
    /// one at least. `to` must be a watermark that was read before this call. For a live stream, whose cursor is where
    /// it came to.
    pub fn read(&self, cursor: Position, to: Position, limit: ReadLimit, out: &mut Vec<Delivery>) -> Reading {
        let state = self.state.lock();
        let floor = state.log.live_floor();
        // Recalled events are for streams that resume: a live stream below the floor has missed unnumbered ones among them.
        let complete = state.read(cursor.max(floor.position), to, Position::ORIGIN, limit, out);
        Reading { floor, complete }
    }

    /// As [`read`](Self::read), but a stream that has missed something, since its cursor is below the floor, gets only the
    /// newest event that is left, and the gaps behind it.
    pub fn read_newest(&self, cursor: Position, to: Position, limit: ReadLimit, out: &mut Vec<Delivery>) -> Reading {
        let state = self.state.lock();
        let floor = state.log.live_floor();
        let above = cursor.max(floor.position);
        let newest = state.log.range(above, to).rev().find(|entry| entry.kind == EntryKind::Event);
        let is_behind = floor.position > cursor;
        let from = newest.filter(|_| is_behind).map_or(above, |entry| entry.position.before());
        let complete = state.read(from, to, Position::ORIGIN, limit, out);
        Reading { floor, complete }
    }

    /// As [`read`](Self::read) for a stream that resumes and began when the watermark was at `began`: unnumbered
    /// entries are for streams that are open when they come, so it gets none from before, and misses none.
    pub fn read_resuming(
        &self,
        cursor: Position,
        to: Position,
        began: Position,
        limit: ReadLimit,
        out: &mut Vec<Delivery>,
    ) -> Reading {
        let state = self.state.lock();
        let complete = state.read(cursor, to, began, limit, out);
        Reading { floor: state.log.resuming_floor(cursor, began), complete }
    }

    pub(crate) fn is_recalled(&self, ticket: Ticket) -> bool {
        self.state.lock().recall.as_ref().is_none_or(|recall| recall.is_answered(ticket))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, ChannelState> {
        self.state.lock()
    }
}

impl ChannelState {
    /// Copies entries as `limit` allows. True if there are no more.
    fn read(&self, cursor: Position, to: Position, began: Position, limit: ReadLimit, out: &mut Vec<Delivery>) -> bool {
        let (mut entries, mut bytes) = (0, 0);
        for entry in self.log.range(cursor, to) {
            if entry.kind.is_unnumbered() && entry.position <= began {
                continue;
            }
            if entries == limit.entries || (entries > 0 && bytes + entry.frame.len() > limit.bytes) {
                return false;
            }
            entries += 1;
            bytes += entry.frame.len();
            out.push(Delivery { position: entry.position, kind: entry.kind, frame: entry.frame.clone() });
        }
        true
    }

    /// Whether the feed brings it: what is published goes into its log.
    pub(crate) fn is_followed(&self) -> bool {
        matches!(self.follow, Follow::Ahead | Follow::Confirmed | Follow::Lost)
    }

    /// Open streams of all shards.
    pub(crate) fn streams(&self) -> u64 {
        self.marks.iter().map(|(_, mark)| mark.streams()).sum()
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Channel({})", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The memory that a channel adds to the hub, as a sum: itself, one shard's mark, both with their counts, its name, its place in
    /// the map, and one for its maker, if each has another; maps are half empty at worst. Its log's entries are counted in
    /// `log_bytes`.
    #[test]
    fn a_channel_costs_the_hub_at_most_400_bytes_without_its_log() {
        let counts = 2 * size_of::<usize>();
        let channel = size_of::<Channel>() + counts;
        let mark = size_of::<Mark>() + counts;
        let name = 32 + counts;
        let in_map = 2 * (size_of::<(ChannelName, Arc<Channel>)>() + 1);
        let maker = 2 * (size_of::<(Maker, usize)>() + 1);
        let sum = channel + mark + name + in_map + maker;
        assert!(sum <= 400, "{channel} + {mark} + {name} + {in_map} + {maker}");
    }
}
