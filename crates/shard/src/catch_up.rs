//! One stream at a time: bring it from its cursor to the watermark, over all its channels, in order of position.
//!
//! Here are the streams that resume, that were blocked, that follow several channels or count their events. Each round
//! takes what the logs have above the cursor, merges it, and writes it with one `writev`.

use fantail_hub::{Channel, Delivery, EntryKind, Floor, Hub, Position, ReadLimit, Reading};
use fantail_wire::{GapReason, Lane, gap_frame_without_id};
use smallvec::SmallVec;

use early_gaps::add_early_gaps;

use crate::outgoing::READ_LIMIT;
use crate::slice::Slice;
use crate::streams::{Key, Resuming, StreamState, Streams, subscribe};

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

/// The result of a round for a stream.
#[derive(Debug, PartialEq, Eq)]
enum Collected {
    /// Entries to write, in order.
    Entries,
    /// Nothing above the cursor.
    Nothing,
    /// A log no longer reaches down to the cursor.
    Overrun,
}

/// The job of serving streams one by one.
#[derive(Default)]
pub(crate) struct CatchUp {
    /// The entries that the round collects; reused.
    entries: Vec<Delivery>,
}

impl CatchUp {
    pub(crate) fn has_work(streams: &Streams) -> bool {
        streams.queued_behind() > 0
    }

    /// Serves those that are in the queue now, until the slice is over.
    pub(crate) fn slice(&mut self, streams: &mut Streams, slice: &mut Slice) {
        for _ in 0..streams.queued_behind() {
            let Some(key) = streams.next_behind() else { break };
            if streams.state(key) == Some(StreamState::Waiting) {
                subscribe::start_or_wait(streams, key);
            }
            self.serve(streams, key, slice);
            if slice.is_over() {
                break;
            }
        }
    }

    /// Serves a stream, if it is behind, until it is live, blocked, ended, or the slice is over; then it stays in the queue.
    pub(crate) fn serve(&mut self, streams: &mut Streams, key: Key, slice: &mut Slice) {
        while streams.state(key) == Some(StreamState::Behind) {
            if !streams.flush(key) {
                return;
            }
            let watermark = streams.hub().watermark(lane(streams, key)).position;
            self.entries.clear();
            match collect_for(streams, key, watermark, &mut self.entries) {
                Collected::Entries => streams.write(key, &self.entries),
                Collected::Nothing => streams.become_live(key, watermark),
                Collected::Overrun => overrun::overrun(streams, key, watermark, &mut self.entries),
            }
            self.entries.clear();
            if slice.is_over() && streams.state(key) == Some(StreamState::Behind) {
                return streams.queue_behind(key);
            }
        }
    }
}

/// The lane of all the stream's channels.
fn lane(streams: &Streams, key: Key) -> Lane {
    streams.channels_of(key).next().map_or(Lane::default(), Channel::lane)
}

fn collect_for(streams: &Streams, key: Key, watermark: Position, entries: &mut Vec<Delivery>) -> Collected {
    let Some(stream) = streams.get(key) else { return Collected::Nothing };
    let ids_are_shared = streams.hub().ids_are_shared();
    let standing = Standing { cursor: stream.cursor(), watermark, resuming: stream.resuming(), ids_are_shared };
    collect(&standing, streams.channels_of(key), streams.hub(), READ_LIMIT, entries)
}

/// Finds what a stream gets next: about one `writev` of entries, all entries of one position together.
fn collect<'a>(
    stream: &Standing<'_>,
    channels: impl ExactSizeIterator<Item = &'a Channel>,
    hub: &Hub,
    limit: ReadLimit,
    entries: &mut Vec<Delivery>,
) -> Collected {
    let several = channels.len() > 1;
    let unknown = stream.resuming.and_then(|resuming| resuming.unknown);
    let tells_early = several && stream.resuming.is_some() && stream.ids_are_shared;
    let mut read: SmallVec<[(&Channel, Floor); 4]> = SmallVec::new();
    let mut gaps: SmallVec<[(&Channel, Floor); 2]> = SmallVec::new();
    // Where the merge has to stop, since a channel may have more than was taken of it.
    let mut complete_to = stream.watermark;
    for (i, channel) in channels.enumerate() {
        let Standing { cursor, watermark, resuming, .. } = *stream;
        let above = unknown.map_or(cursor, |unknown| cursor.max(unknown.position));
        let Reading { floor, complete } = match resuming.and_then(|resuming| resuming.began) {
            None => channel.read(above, watermark, limit, entries),
            Some(began) => channel.read_resuming(above, watermark, began, limit, entries),
        };
        let floor = raised(floor, unknown);
        if let Some(last) = entries.last().filter(|_| !complete) {
            complete_to = complete_to.min(last.position);
        }
        if floor.position > stream.cursor && !was_never_promised(stream.resuming, i, floor) {
            if stream.resuming.is_none() {
                return Collected::Overrun;
            }
            gaps.push((channel, floor));
        }
        if tells_early {
            read.push((channel, floor));
        }
    }
    add_gaps(entries, &gaps, unknown.map(|unknown| unknown.reason), hub);
    if several || !gaps.is_empty() {
        merge(entries, complete_to, limit.entries);
    }
    if tells_early {
        add_early_gaps(entries, &read, stream, hub);
    }
    if entries.is_empty() { Collected::Nothing } else { Collected::Entries }
}

/// The floor of a channel for a stream whose client's id is unknown: what that leaves out is not there.
fn raised(floor: Floor, unknown: Option<Floor>) -> Floor {
    unknown.filter(|unknown| unknown.position > floor.position).unwrap_or(floor)
}

/// For a replay, what lies below the floors of its start is no gap.
fn was_never_promised(resuming: Option<&Resuming>, channel: usize, floor: Floor) -> bool {
    let floors = resuming.and_then(|resuming| resuming.floors.as_ref());
    floors.is_some_and(|floors| floor.position <= floors[channel])
}

/// Puts a gap where a log's floor is, as if it were an entry there.
fn add_gaps(entries: &mut Vec<Delivery>, gaps: &[(&Channel, Floor)], reason: Option<GapReason>, hub: &Hub) {
    for (channel, floor) in gaps {
        let position = floor.position;
        let id = hub.id(channel.lane(), position, floor.at_ms);
        let frame = hub.gap_frame(channel.name(), reason.unwrap_or(floor.reason), id);
        entries.push(Delivery { position, kind: EntryKind::Gap, frame });
    }
}

/// Orders entries of several channels by position, each event once, up to `complete_to`; then about `entries_max` of
/// them, to the end of a position.
///
/// Several things may stand at one position: gaps of several channels, and an event that one channel still has. Only the
/// last of them carries the id. A client that is cut off in between comes back with its old id, and is told of all. An
/// event has one position and is one event, whether or not both logs share its frame: one may have been recalled. Example:
/// gaps of `a` and `b` and an event stand at 46. The two gaps go without an id, and the event carries 46.
fn merge(entries: &mut Vec<Delivery>, complete_to: Position, entries_max: usize) {
    entries.sort_by_key(|entry| (entry.position, entry.kind.is_event()));
    entries.dedup_by(|later, earlier| {
        later.position == earlier.position && later.kind.is_event() && earlier.kind.is_event()
    });
    for i in 1..entries.len() {
        // Unnumbered entries have no id and do not come again.
        if entries[i - 1].position == entries[i].position && !entries[i].kind.is_unnumbered() {
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
