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
    for unit in entries.chunk_by(|one, next| one.position == next.position) {
        let position = unit[0].position;
        // Below the floor nothing need be told: whoever comes back with an id from there is told of the floor.
        if position < jump.floor || position > jump.newest {
            continue;
        }
        // An event that comes here is not left out, whatever channel it comes by. A gap of another channel is no such.
        let comes = unit.iter().any(|entry| entry.kind == EntryKind::Event);
        let to = if comes { position.before() } else { position };
        if jump.channel.has_within(declared, to) {
            let frame = hub.gap_frame(jump.channel.name(), GapReason::Skipped, None);
            gaps.push(Delivery { position, kind: EntryKind::Gap, frame });
        }
        declared = position;
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::{Harness, read_to};

    /// The blocks that a stream gets behind its opening: channel of a gap, or data; and the number in its id, if it has one.
    fn blocks(text: &str) -> Vec<(String, Option<u64>)> {
        let blocks = text.split_terminator("\n\n").skip(1);
        let line = |block: &str, name: &str| {
            block.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(": ")?.to_owned()))
        };
        let what = |data: String| match data.strip_prefix("{\"channel\":\"") {
            Some(gap) => {
                assert!(gap.ends_with("\"reason\":\"skipped\"}"), "{gap}");
                format!("gap {}", gap.split('"').next().expect("a name"))
            }
            None => data,
        };
        let number = |id: String| id.rsplit('.').next().and_then(|number| number.parse().ok()).expect("a number");
        blocks.map(|block| (what(line(block, "data").expect("data")), line(block, "id").map(number))).collect()
    }

    /// Opens a stream of a, b and none, publishes while it stands still, and reads what it gets then. The logs of a and b
    /// keep two events, that of none keeps none.
    async fn after_standing_still(policy: SlowPolicy, published: &[&[&str]]) -> Vec<(String, Option<u64>)> {
        let mut harness = Harness::new(policy, 2);
        let (key, mut client) = harness.open(&["a", "b", "none"]).await;
        harness.settle();
        harness.engine.block(key);
        for (number, channels) in (1..).zip(published) {
            harness.publish(channels, &format!("{}{number}", channels.concat()));
        }
        harness.settle();
        harness.engine.streams[key].state = crate::stream::State::Behind;
        harness.engine.queue_behind(key);
        harness.settle();
        harness.publish(&["a"], "end");
        harness.settle();
        let mut blocks = blocks(&read_to(&mut client, "data: end\n\n"));
        assert_eq!(blocks.pop().map(|(data, _)| data).as_deref(), Some("end"));
        blocks
    }

    fn expected(blocks: &[(&str, Option<u64>)]) -> Vec<(String, Option<u64>)> {
        blocks.iter().map(|(what, id)| ((*what).to_owned(), *id)).collect()
    }

    #[tokio::test]
    async fn skip_tells_of_the_floor_and_goes_on_with_what_is_left_in_order() {
        let got = after_standing_still(SlowPolicy::Skip, &[&["a"], &["b"], &["a"], &["a"], &["b"]]).await;
        // Of a's three events the first is gone.
        assert_eq!(
            got,
            expected(&[("gap a", Some(1)), ("b2", Some(2)), ("a3", Some(3)), ("a4", Some(4)), ("b5", Some(5))])
        );
    }

    #[tokio::test]
    async fn latest_gives_the_newest_alone_and_declares_the_rest_before_any_id_that_stands_behind_it() {
        let got = after_standing_still(SlowPolicy::Latest, &[&["a"], &["a"], &["a"], &["a"]]).await;
        assert_eq!(got, expected(&[("gap a", None), ("a4", Some(4))]), "both are one unit");
        // b2 is before everything that is left of a, b5 is between what is left out of a and its newest.
        let got = after_standing_still(SlowPolicy::Latest, &[&["a"], &["b"], &["a"], &["a"], &["b"], &["a"]]).await;
        let between = [("b2", Some(2)), ("gap a", None), ("b5", Some(5)), ("a6", Some(6))];
        assert_eq!(got, expected(&between), "a6 is the first of a behind b5, so nothing more is missing before it");
        // One event for both comes with what b has; a's gap stands before it.
        let got = after_standing_still(SlowPolicy::Latest, &[&["a"], &["a"], &["a", "b"], &["a"]]).await;
        assert_eq!(got, expected(&[("gap a", None), ("ab3", Some(3)), ("a4", Some(4))]));
    }

    /// 1. Events 1, 2, 4 and 5 are of a, of which 4 and 5 are left; b has 3, behind the floor of a.
    /// 2. Event 4 is of none too, which has lost it: a gap with an id stands where a's event is left out.
    /// 3. A client that is cut off behind that id comes back behind event 4, so a's gap must stand before it.
    #[tokio::test]
    async fn latest_declares_what_it_leaves_out_before_the_gap_of_another_channel() {
        let got = after_standing_still(SlowPolicy::Latest, &[&["a"], &["a"], &["b"], &["a", "none"], &["a"]]).await;
        let gaps = [("gap a", None), ("gap none", Some(4)), ("a5", Some(5))];
        assert_eq!(got, expected(&[&[("gap a", None), ("b3", Some(3))], &gaps[..]].concat()));
    }

    #[tokio::test]
    async fn several_channels_that_lost_something_each_have_their_gap() {
        let flood: Vec<&[&str]> = vec![&["a"], &["b"], &["a"], &["b"], &["a"], &["b"]];
        let got = after_standing_still(SlowPolicy::Latest, &flood).await;
        assert_eq!(got, expected(&[("gap a", None), ("gap b", None), ("a5", Some(5)), ("b6", Some(6))]));
        let got = after_standing_still(SlowPolicy::Skip, &flood).await;
        let held = [("a3", Some(3)), ("b4", Some(4)), ("a5", Some(5)), ("b6", Some(6))];
        assert_eq!(got, expected(&[&[("gap a", Some(1)), ("gap b", Some(2))], &held[..]].concat()));
    }

    #[tokio::test]
    async fn disconnect_ends_the_stream_and_says_so() {
        let mut harness = Harness::new(SlowPolicy::Disconnect, 2);
        let (key, mut client) = harness.open(&["a"]).await;
        harness.engine.block(key);
        for _ in 0..3 {
            harness.publish(&["a"], "x");
        }
        harness.engine.streams[key].state = crate::stream::State::Behind;
        harness.engine.queue_behind(key);
        harness.settle();
        assert!(read_to(&mut client, "\n\n").contains("event: fantail.close\ndata: {\"reason\":\"overrun\"}\nretry: "));
        drop(client);
        assert_eq!(harness.engine.counters.overruns.of(SlowPolicy::Disconnect).get(), 1);
    }
}
