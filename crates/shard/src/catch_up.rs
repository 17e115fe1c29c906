//! One stream at a time: bring it from its cursor to the watermark, over all its channels, in order of position.
//!
//! Here are the streams that resume, that were blocked, that follow several channels or count their events. Each round
//! takes what the logs have above the cursor, merges it, and writes it with one `writev`.

use std::io::{self, IoSlice, Write};

use bytes::Bytes;
use fantail_hub::{Channel, Delivery, EntryKind, Floor, Hub, Position, Reading, Room};
use fantail_telemetry::CloseReason;
use fantail_wire::{Framing, GapReason, Lane, gap_frame_without_id};
use smallvec::SmallVec;

use early_gaps::add_early_gaps;

use crate::engine::Engine;
use crate::outgoing::{Flush, PIECES_PER_WRITE, ROOM};
use crate::slice::Slice;
use crate::stream::{Key, Resuming, State, Stream};

mod early_gaps;
#[cfg(test)]
mod model;
mod overrun;

/// Where a stream stands: with its channels, all that decides what it gets next.
struct Standing<'a> {
    cursor: Position,
    watermark: Position,
    resuming: Option<&'a Resuming>,
    /// Its client may go on at another node, with the id that it has come to here.
    ids_are_shared: bool,
}

/// What a round found for a stream.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// Entries to write, in order.
    Entries,
    /// Nothing above the cursor.
    Nothing,
    /// A log no longer reaches down to the cursor.
    Overrun,
}

impl Engine {
    /// Serves a stream until it is live, blocked, ended, or the slice is over; then it stays in the queue.
    pub(crate) fn serve(&mut self, key: Key, slice: &mut Slice) {
        loop {
            if !self.flush(key) {
                return;
            }
            let watermark = self.hub.watermark(self.lane(key)).position;
            let mut entries = std::mem::take(&mut self.scratch);
            entries.clear();
            match self.collect(key, watermark, &mut entries) {
                Found::Entries => self.write(key, &entries),
                Found::Nothing => self.become_live(key, watermark),
                Found::Overrun => self.overrun(key, watermark, &mut entries),
            }
            entries.clear();
            self.scratch = entries;
            match self.streams.get(key).map(|stream| stream.state) {
                Some(State::Behind) if slice.is_over() => return self.queue_behind(key),
                Some(State::Behind) => {}
                _ => return,
            }
        }
    }

    /// The lane of all the stream's channels.
    fn lane(&self, key: Key) -> Lane {
        let first = self.streams[key].subscriptions.as_slice().first();
        first.map_or(Lane::default(), |s| self.channels.get(s.slot).join.channel.lane())
    }

    fn collect(&self, key: Key, watermark: Position, entries: &mut Vec<Delivery>) -> Found {
        let stream = &self.streams[key];
        let resuming = stream.extra.as_ref().and_then(|extra| extra.resuming.as_ref());
        let ids_are_shared = self.hub.ids_are_shared();
        let standing = Standing { cursor: stream.cursor, watermark, resuming, ids_are_shared };
        let subscriptions = stream.subscriptions.as_slice();
        let channels = subscriptions.iter().map(|s| &*self.channels.get(s.slot).join.channel);
        collect(&standing, channels, &self.hub, ROOM, entries)
    }

    /// Writes what must go out first. False if the stream is done for now: blocked, closed, or ending.
    fn flush(&mut self, key: Key) -> bool {
        let now = self.now;
        let stream = &mut self.streams[key];
        let Some(extra) = &mut stream.extra else { return true };
        if !extra.outgoing.is_empty() {
            self.counters.write_calls.add(1);
            match extra.outgoing.flush(&stream.socket) {
                Ok(Flush::Done) => stream.written = now,
                Ok(Flush::Blocked(progress)) => {
                    if progress {
                        stream.written = now;
                    }
                    self.block(key);
                    return false;
                }
                Err(e) => {
                    self.fail(key, &e);
                    return false;
                }
            }
        }
        if self.streams[key].extra.as_ref().is_some_and(|extra| extra.ending.is_some()) {
            self.finish_ending(key);
            return false;
        }
        true
    }

    /// Writes `entries`, which are all above the stream's cursor, with one call.
    fn write(&mut self, key: Key, entries: &[Delivery]) {
        let stream = &mut self.streams[key];
        let events_left = stream.extra.as_ref().and_then(|extra| extra.events_left);
        let entries = within_limit(events_left, entries);
        let pieces: SmallVec<[IoSlice<'_>; PIECES_PER_WRITE]> =
            entries.iter().map(|entry| IoSlice::new(entry.frame.bytes(stream.framing))).collect();
        self.counters.write_calls.add(1);
        match (&stream.socket).write_vectored(&pieces) {
            Ok(taken) => self.settle(key, entries, taken),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.block(key),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => self.fail(key, &e),
        }
    }

    /// The socket took `taken` bytes of `entries`. Sets the cursor behind the last entry that was begun and keeps the
    /// rest of it: a frame that was begun is finished before anything else.
    pub(crate) fn settle(&mut self, key: Key, entries: &[Delivery], taken: usize) {
        let now = self.now;
        let stream = &mut self.streams[key];
        let Stream { cursor, framing, extra, .. } = stream;
        let keep = |rest| extra.get_or_insert_default().outgoing.push(rest);
        let begun = keep_rest(cursor, *framing, entries, taken, keep);
        let events = begun.iter().filter(|entry| entry.kind.is_event()).count() as u64;
        self.counters.deliveries.add(events);
        self.counters.gaps_sent.add(begun.len() as u64 - events);
        self.counters.delivered_bytes.add(taken as u64);
        if taken > 0 {
            stream.written = now;
        }
        let mut limit_reached = false;
        if let Some(left) = stream.extra.as_mut().and_then(|extra| extra.events_left.as_mut()) {
            *left -= events;
            limit_reached = *left == 0;
        }
        let all: usize = entries.iter().map(|entry| entry.frame.bytes(stream.framing).len()).sum();
        if limit_reached {
            self.end(key, CloseReason::LimitReached);
        } else if taken < all {
            self.block(key);
        }
    }

    fn become_live(&mut self, key: Key, watermark: Position) {
        let stream = &mut self.streams[key];
        stream.cursor = stream.cursor.max(watermark);
        stream.state = State::Live;
        if let Some(extra) = &mut stream.extra {
            extra.resuming = None;
        }
        stream.slim();
    }

    /// The socket takes nothing more. The poll reports when it does: the kernel noted that a write found no room.
    pub(crate) fn block(&mut self, key: Key) {
        let stream = &mut self.streams[key];
        self.counters.write_blocked.add(1);
        if stream.state != State::Blocked {
            stream.state = State::Blocked;
            stream.written = self.now; // the deadline on progress runs from here
        }
    }
}

/// Finds what a stream gets next: about one `writev` of entries, all entries of one position together.
fn collect<'a>(
    stream: &Standing<'_>,
    channels: impl ExactSizeIterator<Item = &'a Channel>,
    hub: &Hub,
    room: Room,
    entries: &mut Vec<Delivery>,
) -> Found {
    let several = channels.len() > 1;
    let tells_early = several && stream.resuming.is_some() && stream.ids_are_shared;
    let mut read: SmallVec<[(&Channel, Floor); 4]> = SmallVec::new();
    let mut gaps: SmallVec<[(&Channel, Floor); 2]> = SmallVec::new();
    // Where the merge has to stop, since a channel may have more than was taken of it.
    let mut complete_to = stream.watermark;
    for (i, channel) in channels.enumerate() {
        let Standing { cursor, watermark, resuming, .. } = *stream;
        let Reading { floor, complete } = match resuming.and_then(|resuming| resuming.began) {
            None => channel.read(cursor, watermark, room, entries),
            Some(began) => channel.read_resuming(cursor, watermark, began, room, entries),
        };
        if let Some(last) = entries.last().filter(|_| !complete) {
            complete_to = complete_to.min(last.position);
        }
        if floor.position > stream.cursor && !was_never_promised(stream.resuming, i, floor) {
            if stream.resuming.is_none() {
                return Found::Overrun;
            }
            gaps.push((channel, floor));
        }
        if tells_early {
            read.push((channel, floor));
        }
    }
    let unknown = stream.resuming.and_then(|resuming| resuming.unknown);
    add_gaps(entries, &gaps, unknown, hub);
    if several || !gaps.is_empty() {
        merge(entries, complete_to, room.entries);
    }
    if tells_early {
        add_early_gaps(entries, &read, stream, hub);
    }
    if entries.is_empty() { Found::Nothing } else { Found::Entries }
}

/// For a replay, what lies below the floors of its start is no gap.
fn was_never_promised(resuming: Option<&Resuming>, channel: usize, floor: Floor) -> bool {
    let floors = resuming.and_then(|resuming| resuming.floors.as_ref());
    floors.is_some_and(|floors| floor.position <= floors[channel])
}

/// Puts a gap where a log's floor is, as if it were an entry there.
fn add_gaps(entries: &mut Vec<Delivery>, gaps: &[(&Channel, Floor)], unknown: Option<GapReason>, hub: &Hub) {
    for (channel, floor) in gaps {
        let position = floor.position;
        let id = hub.id(channel.lane(), position, floor.at_ms);
        let frame = hub.gap_frame(channel.name(), unknown.unwrap_or(floor.reason), id);
        entries.push(Delivery { position, kind: EntryKind::Gap, frame });
    }
}

/// Orders entries of several channels by position, each event once, up to `complete_to`; then about `entries_max` of
/// them, to the end of a position.
///
/// Several things may stand at one position: gaps of several channels, and an event that one channel still has. Only the
/// last of them carries the id. A client that is cut off in between comes back with its old id, and is told of all. What
/// is an event has one position and is one event, whether or not both logs share its frame: one may have been recalled.
fn merge(entries: &mut Vec<Delivery>, complete_to: Position, entries_max: usize) {
    entries.sort_by_key(|entry| (entry.position, entry.kind.is_event()));
    entries.dedup_by(|later, earlier| {
        later.position == earlier.position && later.kind.is_event() && earlier.kind.is_event()
    });
    for i in 1..entries.len() {
        // What stands beside the numbering has no id and does not come again.
        if entries[i - 1].position == entries[i].position && entries[i].kind != EntryKind::Beside {
            entries[i - 1].frame = gap_frame_without_id(&entries[i - 1].frame);
        }
    }
    let complete = entries.partition_point(|entry| entry.position <= complete_to);
    entries.truncate(complete);
    if let Some(last) = entries.get(entries_max - 1).map(|entry| entry.position) {
        let whole = entries.partition_point(|entry| entry.position <= last);
        entries.truncate(whole);
    }
}

/// The first entries, up to the last event that a stream's limit allows.
fn within_limit(events_left: Option<u64>, entries: &[Delivery]) -> &[Delivery] {
    let Some(left) = events_left else { return entries };
    let mut events = 0;
    let end = entries.iter().position(|entry| {
        events += u64::from(entry.kind.is_event());
        events == left
    });
    end.map_or(entries, |end| &entries[..=end])
}

/// Moves the cursor behind what was begun, keeps what is left of it, and returns it. A place that was begun is finished.
fn keep_rest<'a>(
    cursor: &mut Position,
    framing: Framing,
    entries: &'a [Delivery],
    taken: usize,
    mut keep: impl FnMut(Bytes),
) -> &'a [Delivery] {
    let mut left = taken;
    let mut begun = 0;
    for entry in entries {
        let len = entry.frame.bytes(framing).len();
        if left == 0 && entry.position > *cursor {
            break;
        }
        *cursor = entry.position;
        begun += 1;
        if left < len {
            keep(entry.frame.share(framing).slice(left..));
        }
        left = left.saturating_sub(len);
    }
    &entries[..begun]
}

/// The bytes that end a body cleanly.
pub(crate) fn end_of_body(framing: Framing) -> &'static [u8] {
    match framing {
        Framing::Chunked => fantail_wire::CHUNKED_END,
        Framing::CloseDelimited => b"",
    }
}
