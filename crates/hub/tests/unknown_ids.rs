//! From where a client goes on whose id this node does not know, as after a move between nodes without the log.

use std::cell::Cell;
use std::sync::Arc;

use fantail_hub::{Asked, Begin, Channel, Hub, HubSettings, LogLimits, NumberedBy, Publisher, Resume};
use fantail_wire::{ChannelName, Event, EventFields, EventId, GapReason, Publication, Term};

thread_local! {
    static NOW_MS: Cell<u64> = const { Cell::new(0) };
}

/// A node that numbers by itself, with the channels a and b. Behind a gap come at most 3 events.
struct TwoChannels {
    hub: Arc<Hub>,
    publisher: Publisher,
    channels: [Arc<Channel>; 2],
}

impl TwoChannels {
    fn new() -> Self {
        NOW_MS.set(10_000);
        let settings = HubSettings {
            log: LogLimits { entries_max: 100, bytes_max: 1 << 20, age_ms_max: u64::MAX },
            unknown_id_replay_max: 3,
            channels_per_address_max: 2,
            ..HubSettings::unbounded(NumberedBy::Node(Term::from_random(1)), || NOW_MS.get())
        };
        let (hub, publisher) = Hub::new(settings, Arc::default());
        let channels = ["a", "b"].map(|channel| hub.join(&name(channel), 0, 0, None).expect("there is room").channel);
        Self { hub, publisher, channels }
    }

    /// Publishes to these channels at these seconds past 10.
    fn publish(&mut self, events: &[(&[&str], u64)]) {
        for (channels, second) in events {
            NOW_MS.set(10_000 + second * 1000);
            let channels = channels.iter().map(|channel| name(channel));
            self.publisher.publish(&Publication::new(channels, Event::text("x"))).expect("small");
        }
    }

    /// The number of the place behind which a client with this id goes on, and why it is told of a gap there.
    fn floor(&self, id: &str) -> (u64, GapReason) {
        let resume = Resume::After(id.to_owned());
        let Begin::At(start) = self.hub.begin(&resume, &self.channels, &mut Asked::default()) else {
            panic!("nothing to wait for")
        };
        let floor = start.unknown.expect("nobody knows the id");
        (floor.position.number, floor.reason)
    }
}

fn name(channel: &str) -> ChannelName {
    ChannelName::parse(channel).expect("a name")
}

/// Of another node, given so many milliseconds past 10 s by its clock.
fn elsewhere(ms: u64) -> String {
    EventId::new(Term::from_random(2), 10_000 + ms, 777).to_string()
}

#[test]
fn events_behind_an_unknown_id_are_at_most_two_seconds_older_than_it() {
    let mut node = TwoChannels::new();
    node.publish(&[(&["a"], 1), (&["b"], 3), (&["a"], 7)]);
    for (ms, floor) in [(0, 0), (3_000, 0), (3_001, 1), (5_000, 1), (5_001, 2), (9_000, 2), (9_001, 3), (1 << 60, 3)] {
        assert_eq!(node.floor(&elsewhere(ms)), (floor, GapReason::UnknownId), "{ms}");
    }
}

#[test]
fn events_behind_an_unknown_id_are_the_newest_of_all_channels_together() {
    let mut node = TwoChannels::new();
    node.publish(&[(&["a"], 1), (&["a"], 1), (&["a", "b"], 1), (&["b"], 1), (&["a"], 1)]);
    // An event for both channels is one.
    for id in [elsewhere(0), elsewhere(1_000), "nobody's".to_owned()] {
        assert_eq!(node.floor(&id).0, 2, "{id}");
    }
}

#[test]
fn an_id_of_this_node_that_was_not_given_yet_goes_by_its_time_too() {
    let mut node = TwoChannels::new();
    node.publish(&[(&["a"], 1), (&["b"], 9)]);
    let ahead = |ms| EventId::new(Term::from_random(1), ms, 777).to_string();
    assert_eq!(node.floor(&ahead(15_000)), (1, GapReason::BeyondEnd));
    assert_eq!(node.floor(&ahead(30_000)), (2, GapReason::BeyondEnd));
}

#[test]
fn a_publishers_id_that_was_given_twice_has_no_time_and_brings_the_newest() {
    let mut node = TwoChannels::new();
    for _ in 0..2 {
        let fields = EventFields { data: "x".to_owned(), id: Some("own".to_owned()), ..EventFields::default() };
        let event = fields.validate().expect("valid");
        node.publisher.publish(&Publication::new([name("a")], event)).expect("small");
    }
    node.publish(&[(&["a"], 5), (&["a"], 5)]);
    assert_eq!(node.floor("own"), (1, GapReason::UnknownId));
}

#[test]
fn where_nothing_is_kept_the_gap_stands_where_the_node_is() {
    let node = TwoChannels::new();
    assert_eq!(node.floor(&elsewhere(0)), (0, GapReason::UnknownId));
}
