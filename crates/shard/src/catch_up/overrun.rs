//! The slow policies: how a live stream goes on whose log no longer reaches down to its cursor.
//!
//! Nothing is kept for it. Each round asks anew whether the cursor is below a floor, so a stream that blocks before its
//! gap was begun is judged again, by what is left then; and once the gap was begun the cursor is above the floor.

use fantail_hub::{Channel, Delivery, EntryKind, Floor, Hub, Position, ReadLimit, Reading};
use fantail_telemetry::CloseReason;
use fantail_wire::{GapReason, SlowPolicy};

use super::{Collected, Standing, add_gaps, collect, merge};
use crate::outgoing::READ_LIMIT;
use crate::slow_policies::SlowPolicies;
use crate::streams::{Key, Resuming, Streams};

/// How a stream goes on behind a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Not at all.
    End(CloseReason, SlowPolicy),
    /// With a gap and what is left of it.
    GoOn(SlowPolicy),
}

/// The stream has missed something; `entries` is for reuse.
pub(super) fn overrun(streams: &mut Streams, key: Key, watermark: Position, entries: &mut Vec<Delivery>) {
    entries.clear();
    let Some(stream) = streams.get(key) else { return };
    let ids_are_shared = streams.hub().ids_are_shared();
    let standing = Standing { cursor: stream.cursor(), watermark, resuming: None, ids_are_shared };
    let policies = &streams.settings().slow_policies;
    let (reason, policy) = match judge(standing.cursor, streams.channels_of(key), policies) {
        Judgement::GoOn(policy) => (None, policy),
        Judgement::End(reason, policy) => (Some(reason), policy),
    };
    if reason.is_none_or(|reason| reason == CloseReason::Overrun) {
        streams.counters().overruns.add(policy, 1);
    }
    if let Some(reason) = reason {
        return streams.end(key, reason);
    }
    match go_on(policy, &standing, streams.channels_of(key), streams.hub(), READ_LIMIT, entries) {
        Collected::Nothing => streams.become_live(key, watermark),
        Collected::Entries | Collected::Overrun => streams.write(key, entries),
    }
}

/// Of the channels whose floor has passed the cursor the strictest policy decides. A stream of several channels leaves
/// nothing out of the middle of its one order: with `latest` it skips. A deletion empties the log before its
/// mark reaches the stream; it ends the stream whatever the policy.
pub(super) fn judge<'a>(
    cursor: Position,
    channels: impl ExactSizeIterator<Item = &'a Channel>,
    policies: &SlowPolicies,
) -> Judgement {
    let mut policy = if channels.len() > 1 { SlowPolicy::Skip } else { SlowPolicy::Latest };
    for channel in channels {
        let floor = channel.live_floor();
        if floor.position > cursor {
            policy = policy.strictest(policies.of(channel.class()));
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
    mut channels: impl ExactSizeIterator<Item = &'a Channel>,
    hub: &Hub,
    limit: ReadLimit,
    entries: &mut Vec<Delivery>,
) -> Collected {
    if policy == SlowPolicy::Latest
        && let Some(channel) = channels.next()
    {
        return newest(stream, channel, hub, limit, entries);
    }
    // As a resuming stream is told of its floors, with another reason.
    let skipped = Floor { position: Position::ORIGIN, at_ms: 0, reason: GapReason::Skipped };
    let skipping = Resuming { unknown: Some(skipped), floors: None, began: None };
    collect(&Standing { resuming: Some(&skipping), ..*stream }, channels, hub, limit, entries)
}

/// Of the one channel, the newest event alone, behind a gap. The gap has no id of its own: a client that is cut off in between comes
/// back with the id before, and is told of the floor.
fn newest(
    stream: &Standing<'_>,
    channel: &Channel,
    hub: &Hub,
    limit: ReadLimit,
    entries: &mut Vec<Delivery>,
) -> Collected {
    let Reading { floor, .. } = channel.read_newest(stream.cursor, stream.watermark, limit, entries);
    let newest = entries.first().filter(|entry| entry.kind == EntryKind::Event).map(|entry| entry.position);
    if let Some(position) = newest {
        let frame = hub.gap_frame(channel.name(), GapReason::Skipped, None);
        entries.insert(0, Delivery { position, kind: EntryKind::Gap, frame });
    } else {
        add_gaps(entries, &[(channel, floor)], Some(GapReason::Skipped), hub);
        merge(entries, stream.watermark, limit.entries);
    }
    Collected::Entries
}

#[cfg(test)]
mod tests {
    use fantail_wire::ChannelName;

    use super::*;
    use crate::engine::Engine;
    use crate::harness::{Harness, read_to, shortest};

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

    fn after_standing_still(policy: SlowPolicy, published: &[&[&str]]) -> Vec<(String, Option<u64>)> {
        after_standing_still_on(&["a", "b", "none"], policy, published)
    }

    /// Opens a stream, publishes while it stands still, and reads what it gets then. The logs of a and b keep two events,
    /// that of none keeps none.
    fn after_standing_still_on(
        followed: &[&str],
        policy: SlowPolicy,
        published: &[&[&str]],
    ) -> Vec<(String, Option<u64>)> {
        let mut harness = Harness::new(policy, 2);
        let (key, mut client) = harness.open(followed);
        harness.settle();
        harness.engine.streams.block(key);
        for (number, channels) in (1..).zip(published) {
            harness.publish(channels, &format!("{}{number}", channels.concat()));
        }
        harness.settle();
        harness.engine.streams.fall_behind(key);
        harness.settle();
        if followed == ["none"] {
            return blocks(&read_to(&mut client, "\"skipped\"}\n\n"));
        }
        harness.publish(&["a"], "end");
        harness.settle();
        let mut blocks = blocks(&read_to(&mut client, "data: end\n\n"));
        assert_eq!(blocks.pop().map(|(data, _)| data).as_deref(), Some("end"));
        blocks
    }

    fn expected(blocks: &[(&str, Option<u64>)]) -> Vec<(String, Option<u64>)> {
        blocks.iter().map(|(what, id)| ((*what).to_owned(), *id)).collect()
    }

    #[test]
    fn skip_tells_of_the_floor_and_goes_on_with_what_is_left_in_order() {
        let got = after_standing_still(SlowPolicy::Skip, &[&["a"], &["b"], &["a"], &["a"], &["b"]]);
        // Of a's three events the first is gone.
        assert_eq!(
            got,
            expected(&[("gap a", Some(1)), ("b2", Some(2)), ("a3", Some(3)), ("a4", Some(4)), ("b5", Some(5))])
        );
    }

    #[test]
    fn latest_gives_the_newest_alone_behind_a_gap() {
        let got = after_standing_still_on(&["a"], SlowPolicy::Latest, &[&["a"], &["a"], &["a"], &["a"]]);
        assert_eq!(got, expected(&[("gap a", None), ("a4", Some(4))]), "both are one unit");
    }

    #[test]
    fn latest_tells_of_the_floor_where_nothing_is_left() {
        let got = after_standing_still_on(&["none"], SlowPolicy::Latest, &[&["none"], &["none"]]);
        assert_eq!(got, expected(&[("gap none", Some(2))]));
    }

    #[test]
    fn a_stream_of_several_channels_skips_where_the_policy_is_latest() {
        let flood: Vec<&[&str]> = vec![&["a"], &["b"], &["a"], &["b"], &["a"], &["b"]];
        let held = [("a3", Some(3)), ("b4", Some(4)), ("a5", Some(5)), ("b6", Some(6))];
        let all = [&[("gap a", Some(1)), ("gap b", Some(2))], &held[..]].concat();
        for policy in [SlowPolicy::Skip, SlowPolicy::Latest] {
            assert_eq!(after_standing_still(policy, &flood), expected(&all));
        }
    }

    #[test]
    fn disconnect_ends_the_stream_and_says_so() {
        let mut harness = Harness::new(SlowPolicy::Disconnect, 2);
        let (key, mut client) = harness.open(&["a"]);
        harness.engine.streams.block(key);
        for _ in 0..3 {
            harness.publish(&["a"], "x");
        }
        harness.engine.streams.fall_behind(key);
        harness.settle();
        assert!(read_to(&mut client, "\n\n").contains("event: fantail.close\ndata: {\"reason\":\"overrun\"}\nretry: "));
        drop(client);
        assert_eq!(harness.engine.streams.counters().overruns.of(SlowPolicy::Disconnect).get(), 1);
    }

    /// 1. A live stream has not been served yet when its channel is deleted, and the mark waits in the mailbox.
    /// 2. It is served: its log is empty, and it must not go on behind a gap.
    #[test]
    fn a_deleted_channel_ends_the_stream_whatever_the_policy() {
        let mut harness = Harness::new(SlowPolicy::Skip, 2);
        let (key, mut client) = harness.open(&["a"]);
        harness.settle();
        assert!(harness.publisher.delete(&ChannelName::parse("a").expect("a name")));
        let Engine { streams, catch_up, .. } = &mut harness.engine;
        streams.leave_passes(key);
        catch_up.serve(streams, key, &mut shortest());
        let text = read_to(&mut client, "\n\n");
        assert!(text.contains("event: fantail.close\ndata: {\"reason\":\"channel-deleted\"}\nretry: "), "{text}");
    }
}
