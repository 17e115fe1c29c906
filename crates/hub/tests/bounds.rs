//! Logs have bounds: per channel, per pattern, and over all; each is counted by its own name.

use std::cell::Cell;
use std::sync::Arc;

use fantail_hub::{ChannelsFull, Hub, HubSettings, LogLimits, Maker, NumberedBy, Position, Publisher, ReadLimit};
use fantail_telemetry::{EvictReason, HubCounters};
use fantail_wire::{ChannelName, ChannelPattern, Event, Lane, Publication, Term};

thread_local! {
    static NOW_MS: Cell<u64> = const { Cell::new(1000) };
}

const LOG: LogLimits = LogLimits { entries_max: 5, bytes_max: 1 << 20, age_ms_max: 1000 };

struct BoundedHub {
    hub: Arc<Hub>,
    publisher: Publisher,
    counters: Arc<HubCounters>,
}

impl BoundedHub {
    fn new(patterns: &[(&str, LogLimits)], logs_bytes_max: usize, channels_max: usize) -> Self {
        let pattern = |text: &str| ChannelPattern::parse(text).expect("a pattern");
        let settings = HubSettings {
            log: LOG,
            patterns: patterns.iter().map(|(text, limits)| (pattern(text), *limits)).collect(),
            unknown_id_replay_max: 3,
            logs_bytes_max,
            channels_max,
            channels_per_address_max: 2,
            ..HubSettings::unbounded(NumberedBy::Node(Term::from_random(1)), || NOW_MS.get())
        };
        let counters = Arc::new(HubCounters::default());
        let (hub, publisher) = Hub::new(settings, Arc::clone(&counters));
        Self { hub, publisher, counters }
    }

    fn publish(&mut self, channel: &str, times: usize) {
        for _ in 0..times {
            let event = Event::text("x".repeat(1000));
            self.publisher.publish(&Publication::new([name(channel)], event)).expect("small enough");
        }
    }

    fn kept(&self, channel: &str) -> usize {
        self.hub.summary(&name(channel)).map_or(0, |summary| summary.log_entries)
    }

    /// All evictions, in the order of the reasons: count, bytes, age, budget, channels.
    fn evictions(&self) -> [u64; 5] {
        EvictReason::ALL.map(|reason| self.counters.evictions.of(reason).get())
    }
}

fn name(channel: &str) -> ChannelName {
    ChannelName::parse(channel).expect("a name")
}

fn pass(ms: u64) {
    NOW_MS.set(NOW_MS.get() + ms);
}

#[test]
fn the_first_pattern_that_fits_bounds_a_channels_log_by_count_bytes_and_age() {
    let few = LogLimits { entries_max: 2, ..LOG };
    let small = LogLimits { bytes_max: 3700, ..LOG };
    let brief = LogLimits { age_ms_max: 100, ..LOG };
    let mut node = BoundedHub::new(&[("few.*", few), ("small.*", small), ("*.brief", brief)], 1 << 30, 100);
    for (channel, kept) in [("few.a", 2), ("few.brief", 2), ("small.a", 3), ("a.brief", 5), ("few", 5), ("other", 5)] {
        node.publish(channel, 7);
        assert_eq!(node.kept(channel), kept, "{channel}");
    }
    assert_eq!(node.evictions(), [5 + 5 + 2 + 2 + 2, 4, 0, 0, 0]);
    pass(101);
    node.publish("a.brief", 1);
    assert_eq!((node.kept("a.brief"), node.kept("few.brief"), node.kept("other")), (1, 2, 5), "the first one holds");
    // Of its five old ones the oldest had to go for the new one, before anyone asked for its age.
    assert_eq!(node.evictions(), [17, 4, 4, 0, 0]);
    pass(950);
    node.publisher.sweep(&node.hub.all_channels());
    assert_eq!(["few.a", "small.a", "a.brief", "other"].map(|channel| node.kept(channel)), [0; 4]);
    assert_eq!(node.evictions(), [17, 4, 4 + 2 + 2 + 3 + 1 + 5 + 5, 0, 0]);
}

#[test]
fn all_logs_together_have_a_budget_and_the_largest_pay() {
    let mut node = BoundedHub::new(&[], 8_000, 100);
    node.publish("small", 1);
    node.publish("large", 5);
    node.publish("larger", 5);
    assert_eq!(node.kept("small"), 1);
    assert!(node.counters.log_bytes.get() <= 8_000);
    let evicted = node.evictions();
    assert_eq!((evicted[0], evicted[1], evicted[2]), (0, 0, 0), "{evicted:?}");
    assert_eq!(evicted[3], 11 - node.counters.log_entries.get());
}

#[test]
fn of_logs_of_one_size_those_that_were_quiet_for_longest_pay() {
    let mut node = BoundedHub::new(&[], 8_000, 100);
    let channels = ["h", "g", "f", "e", "d", "c", "b", "a"];
    for channel in channels {
        node.publish(channel, 1);
    }
    let evicted = usize::try_from(node.evictions()[3]).expect("a few");
    assert!((1..channels.len()).contains(&evicted), "{evicted}");
    assert_eq!(channels[..evicted].iter().map(|channel| node.kept(channel)).sum::<usize>(), 0, "{evicted}");
}

#[test]
fn a_channel_is_forgotten_when_nothing_can_be_kept_of_any_channel_for_as_long_and_is_counted() {
    let long = LogLimits { age_ms_max: 5000, ..LOG };
    let mut node = BoundedHub::new(&[("long", long)], 1 << 30, 100);
    let join = node.hub.join(&name("followed"), 0, 0, None).expect("there is room");
    node.publish("short", 1);
    pass(4000);
    node.publisher.sweep(&node.hub.all_channels());
    // Its floor, which stands for all forgotten ones, would tell a client of the other of a gap that is none.
    assert_eq!((node.kept("short"), node.counters.channels.get(), node.counters.channels_forgotten.get()), (0, 2, 0));
    pass(1001);
    node.publisher.sweep(&node.hub.all_channels());
    assert_eq!((node.counters.channels.get(), node.counters.channels_forgotten.get()), (1, 1));
    node.hub.leave(&join);
}

/// 1. One address makes two channels, the most it may, and is refused a third.
/// 2. Another makes the third, which the first may then follow.
/// 3. Nobody follows them any more. They are there still, until they are forgotten.
#[test]
fn an_address_is_charged_for_the_channels_that_it_made_until_they_are_forgotten() {
    let node = BoundedHub::new(&[], 1 << 30, 100);
    let [one, another] =
        ["203.0.113.9", "203.0.113.8"].map(|address| Some(Maker::at(address.parse().expect("an address"))));
    let join = |node: &BoundedHub, channel, maker| node.hub.join(&name(channel), 0, 0, maker);
    let joins = ["a", "b"].map(|channel| join(&node, channel, one).expect("it may"));
    assert_eq!(join(&node, "c", one).map(|_| ()), Err(ChannelsFull::OfAddress));
    let third = join(&node, "c", another).expect("it has made none");
    node.hub.leave(&third);
    let third = join(&node, "c", one).expect("it is there");
    for join in joins.iter().chain([&third]) {
        node.hub.leave(join);
    }
    assert_eq!(join(&node, "d", one).map(|_| ()), Err(ChannelsFull::OfAddress));
    pass(2000);
    let mut node = node;
    node.publisher.sweep(&node.hub.all_channels());
    assert_eq!(node.counters.channels.get(), 0);
    assert!(join(&node, "d", one).is_ok());
}

#[test]
fn there_are_so_many_channels_and_who_is_refused_one_is_not_charged() {
    let mut node = BoundedHub::new(&[], 1 << 30, 2);
    let maker = Some(Maker::at("203.0.113.9".parse().expect("an address")));
    let join = |node: &BoundedHub, channel, maker| node.hub.join(&name(channel), 0, 0, maker).map(|_| ());
    node.publish("a", 1);
    assert_eq!(join(&node, "b", maker), Ok(()));
    for _ in 0..3 {
        assert_eq!(join(&node, "c", maker), Err(ChannelsFull::OfNode));
    }
    pass(2000);
    node.publisher.sweep(&node.hub.all_channels());
    assert_eq!(join(&node, "c", maker), Ok(()), "a was forgotten, and it is charged for b alone");
}

#[test]
fn an_event_for_a_channel_too_many_is_counted_and_leaves_a_floor() {
    let mut node = BoundedHub::new(&[], 1 << 30, 1);
    node.publish("a", 1);
    node.publish("b", 2);
    assert_eq!((node.kept("b"), node.evictions()), (0, [0, 0, 0, 0, 2]));
    pass(2000);
    node.publisher.sweep(&node.hub.all_channels());
    let join = node.hub.join(&name("b"), 0, 0, None).expect("there is room now");
    let room = ReadLimit { entries: 9, bytes: 9999 };
    let reading =
        join.channel.read(Position::ORIGIN, node.hub.watermark(Lane::default()).position, room, &mut Vec::new());
    assert_eq!(reading.floor.position, node.hub.watermark(Lane::default()).position, "what was not kept is below it");
}

#[test]
fn all_logs_keep_less_while_they_are_told_to_and_then_as_much_as_before() {
    let mut node = BoundedHub::new(&[], 20_000, 100);
    for channel in ["a", "b", "c"] {
        node.publish(channel, 5);
    }
    let bytes = |node: &BoundedHub| node.counters.log_bytes.get();
    assert!((15_000..20_000).contains(&bytes(&node)));
    node.publisher.limit_logs(10_000);
    assert!((5_000..=10_000).contains(&bytes(&node)), "{}", bytes(&node));
    node.publish("d", 5);
    assert!(bytes(&node) <= 10_000, "{}", bytes(&node));
    let evicted = node.evictions()[3];
    assert!(evicted >= 9, "{evicted}");
    node.publisher.limit_logs(20_000);
    node.publish("d", 5);
    assert_eq!(node.kept("d"), 5);
}
