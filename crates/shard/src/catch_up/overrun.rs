//! What becomes of a live stream whose log no longer reaches down to its cursor: the policies for slow streams.
//!
//! Nothing is kept for it. Each round asks anew whether the cursor is below a floor, so a stream that blocks before its
//! gap was begun is judged again, by what is left then; and once the gap was begun the cursor is above the floor.

use fantail_hub::{Channel, Delivery, EntryKind, Floor, Hub, Position, Reading, Room};
use fantail_telemetry::{CloseReason, SlowPolicy};
use fantail_wire::GapReason;
use smallvec::SmallVec;

use super::{Found, Standing, add_gaps, collect, merge};
use crate::engine::Engine;
use crate::outgoing::ROOM;
use crate::slow_policies::{SlowPolicies, strictest};
use crate::stream::{Key, Resuming};

/// How a stream goes on behind a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Not at all.
    End(CloseReason, SlowPolicy),
    /// With a gap and what is left of it.
    GoOn(SlowPolicy),
}

/// A channel of which a stream gets the newest event alone.
struct Jump<'a> {
    channel: &'a Channel,
    floor: Position,
    newest: Position,
}

impl Engine {
    /// The stream has missed something; `entries` is for reuse.
    pub(super) fn overrun(&mut self, key: Key, watermark: Position, entries: &mut Vec<Delivery>) {
        entries.clear();
        let stream = &self.streams[key];
        let standing = Standing { cursor: stream.cursor, watermark, resuming: None };
        let subscriptions = stream.subscriptions.as_slice();
        let channels = subscriptions.iter().map(|s| &*self.channels.get(s.slot).join.channel);
        let policy = match judge(standing.cursor, channels.clone(), &self.settings.slow_policies) {
            Judgement::GoOn(policy) => policy,
            Judgement::End(reason, policy) => {
                if reason == CloseReason::Overrun {
                    self.counters.overruns.add(policy, 1);
                }
                return self.end(key, reason);
            }
        };
        self.counters.overruns.add(policy, 1);
        match go_on(policy, &standing, channels, &self.hub, ROOM, entries) {
            Found::Nothing => self.become_live(key, watermark),
            Found::Entries | Found::Overrun(_) => self.write(key, entries),
        }
    }
}

/// Of the channels whose floor has passed the cursor the strictest policy decides. A deletion empties the log before its
/// mark reaches the stream; it ends the stream whatever the policy.
pub(super) fn judge<'a>(
    cursor: Position,
    channels: impl Iterator<Item = &'a Channel>,
    policies: &SlowPolicies,
) -> Judgement {
    let mut policy = SlowPolicy::Latest;
    for channel in channels {
        let floor = channel.floor();
        if floor.position > cursor {
            policy = strictest(policy, policies.of(channel.class()));
            if floor.reason == GapReason::Deleted {
                return Judgement::End(CloseReason::ChannelDeleted, policy);
            }
        }
    }
    match policy {
        SlowPolicy::Disconnect => Judgement::End(CloseReason::Overrun, policy),
        SlowPolicy::Skip | SlowPolicy::Latest => Judgement::GoOn(policy),
    }
}

/// Finds what the stream gets next, gaps included.
pub(super) fn go_on<'a>(
    policy: SlowPolicy,
    stream: &Standing<'_>,
    channels: impl ExactSizeIterator<Item = &'a Channel>,
    hub: &Hub,
    room: Room,
    entries: &mut Vec<Delivery>,
) -> Found {
    if policy == SlowPolicy::Latest {
        return collect_newest(stream, channels, hub, room, entries);
    }
    // What a stream that resumes is told of its floors, with another reason.
    let skipping = Resuming { unknown: Some(GapReason::Skipped), floors: None };
    collect(&Standing { resuming: Some(&skipping), ..*stream }, channels, hub, room, entries)
}

/// Of each channel that has lost something, the newest event alone; of the others all. In order of position.
fn collect_newest<'a>(
    stream: &Standing<'_>,
    channels: impl Iterator<Item = &'a Channel>,
    hub: &Hub,
    room: Room,
    entries: &mut Vec<Delivery>,
) -> Found {
    let mut complete_to = stream.watermark;
    let mut jumps: SmallVec<[Jump<'_>; 1]> = SmallVec::new();
    let mut empty: SmallVec<[(&Channel, Floor); 2]> = SmallVec::new();
    for channel in channels {
        let before = entries.len();
        let Reading { floor, complete } = channel.read_newest(stream.cursor, stream.watermark, room, entries);
        if let Some(last) = entries.last().filter(|_| !complete) {
            complete_to = complete_to.min(last.position);
        }
        if floor.position > stream.cursor {
            match entries[before..].first().filter(|entry| entry.kind == EntryKind::Event) {
                Some(newest) => jumps.push(Jump { channel, floor: floor.position, newest: newest.position }),
                None => empty.push((channel, floor)),
            }
        }
    }
    add_gaps(entries, &empty, Some(GapReason::Skipped), hub);
    merge(entries, complete_to, room.entries);
    let gaps: SmallVec<[Delivery; 4]> =
        jumps.iter().flat_map(|jump| gaps_of(jump, stream.cursor, entries, hub)).collect();
    entries.splice(..0, gaps);
    merge(entries, complete_to, room.entries);
    if entries.is_empty() { Found::Nothing } else { Found::Entries }
}

/// The gaps of a channel that goes on with its newest event. One stands right before that event. But what the stream's
/// other channels have before it carries ids, and a client that is cut off behind such an id comes back with it: so what
/// was left out before it must be declared before it. None of them has an id of its own, since something with one
/// follows at the same place: who is cut off in between comes back with the id before.
fn gaps_of(jump: &Jump<'_>, cursor: Position, entries: &[Delivery], hub: &Hub) -> Vec<Delivery> {
    let mut declared = cursor;
    let mut gaps = Vec::new();
    for position in entries.iter().map(|entry| entry.position) {
        // Below the floor nothing need be told: whoever comes back with an id from there is told of the floor.
        if position < jump.floor || position > jump.newest || position == declared {
            continue;
        }
        if jump.channel.has_between(declared, position) {
            let frame = hub.gap_frame(jump.channel.name(), GapReason::Skipped, None);
            gaps.push(Delivery { position, kind: EntryKind::Gap, frame });
        }
        declared = position;
    }
    gaps
}
