//! Gaps that are told before their place: those of streams of several channels, whose clients may go on at another node.
//!
//! A client that is cut off before a gap, behind an id of another channel, may go to another node, which has nothing to
//! tell: there the channel is whole, and what is missing here lies below that id. So it is told of a gap before it gets
//! anything with an id that lies before the gap's, and again at the gap's place.

use fantail_hub::{Channel, Delivery, EntryKind, Floor, Hub, Position};
use fantail_wire::{Frame, gap_frame_without_id};
use smallvec::SmallVec;

use super::{Standing, was_never_promised};

/// Puts the gaps of the channels that stand behind the first of `entries` before everything else, without their ids, as
/// one unit with what comes first. The channels were `read` with these floors.
pub(super) fn add_early_gaps(
    entries: &mut Vec<Delivery>,
    read: &[(&Channel, Floor)],
    stream: &Standing<'_>,
    hub: &Hub,
) {
    let (Some(first), Some((channel, _))) = (entries.first(), read.first()) else { return };
    let first = first.position;
    // That a term ended is told by every node.
    let term_starts = hub.term_starts(channel.lane(), first, stream.watermark);
    let early: SmallVec<[Frame; 2]> = read
        .iter()
        .enumerate()
        .filter_map(|(i, (channel, floor))| {
            floor_ahead(channel, i, *floor, first, stream, hub)
                .or_else(|| channel.first_gap(first, stream.watermark, &term_starts))
        })
        .map(|frame| gap_frame_without_id(&frame))
        .collect();
    let gaps = early.into_iter().map(|frame| Delivery { position: first, kind: EntryKind::Gap, frame });
    entries.splice(..0, gaps);
}

/// A gap at the floor of the stream's `i`th channel, if that is above `first`.
fn floor_ahead(
    channel: &Channel,
    i: usize,
    floor: Floor,
    first: Position,
    stream: &Standing<'_>,
    hub: &Hub,
) -> Option<Frame> {
    let resuming = stream.resuming?;
    // A gap that was read as an entry may have left the log since.
    let now = if resuming.began.is_some() { channel.floor() } else { channel.live_floor() };
    let is_ahead = |floor: &Floor| floor.position > first && !was_never_promised(stream.resuming, i, *floor);
    let floor = [floor, now].into_iter().find(is_ahead)?;
    Some(hub.gap_frame(channel.name(), resuming.unknown.unwrap_or(floor).reason, None))
}

#[cfg(test)]
mod tests;
