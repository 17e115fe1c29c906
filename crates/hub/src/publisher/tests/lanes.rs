//! Two lanes with numbers of their own: what happens in one is nothing to the other.

use std::sync::Arc;

use fantail_wire::{ChannelName, EventId, GapReason, Lane, LaneName, Lanes, Term, Terms};

use crate::testing::{LIMITS, READ_LIMIT, publication};
use crate::{Asked, Begin, Hub, HubSettings, Join, NumberedBy, Position, Publisher, Resume, Wish};

const NAMES: [&str; 2] = ["a", "@b/x"];

/// A node that follows a channel of each lane, the first from number 10 and the second from number 500.
struct Two {
    hub: Arc<Hub>,
    publisher: Publisher,
    lanes: [Lane; 2],
    joins: [Join; 2],
}

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).expect("valid")
}

fn term(lane: Lane) -> Term {
    Term::from_random(lane.index() as u64)
}

fn id(lane: Lane, number: u64) -> EventId {
    EventId::new(term(lane), 1000 + number, number)
}

fn terms(lane: Lane, number: u64) -> Terms {
    Terms { current: term(lane), start: 0, number, ms: 1000 + number, ended: Vec::new() }
}

impl Two {
    fn new() -> Self {
        let settings = HubSettings {
            lanes: Lanes::named([LaneName::parse("b").expect("valid")]).expect("few"),
            log: LIMITS,
            event_bytes_max: 1000,
            ..HubSettings::unbounded(NumberedBy::Feed, || 2000)
        };
        let lanes = NAMES.map(|name| settings.lanes.of(&channel(name)).expect("served"));
        let (hub, publisher) = Hub::new(settings, Arc::default());
        let joins = [0, 1].map(|at| hub.join(&channel(NAMES[at]), 0, at as u32, None).expect("there is room"));
        let mut two = Self { hub, publisher, lanes, joins };
        while two.publisher.next_wish().is_some() {}
        for (at, number) in [(0, 10), (1, 500)] {
            two.publisher.synced(two.lanes[at], &terms(two.lanes[at], number));
            two.follow(at, number);
        }
        two
    }

    fn follow(&mut self, at: usize, number: u64) {
        self.publisher.followed(&channel(NAMES[at]), Some(id(self.lanes[at], number)));
    }

    fn publish(&mut self, at: usize, number: u64) {
        self.publisher.publish_numbered(&publication(NAMES[at]), id(self.lanes[at], number)).expect("small");
    }

    fn watermark(&self, at: usize) -> Position {
        self.hub.watermark(self.lanes[at]).position
    }

    /// How many entries a live stream gets that was at that number.
    fn entries_above(&self, at: usize, number: u64) -> usize {
        let mut out = Vec::new();
        self.joins[at].channel.read(Position::new(1, number), self.watermark(at), READ_LIMIT, &mut out);
        out.len()
    }

    fn is_confirmed(&self) -> [bool; 2] {
        [0, 1].map(|at| self.joins[at].channel.is_confirmed())
    }
}

#[test]
fn each_lane_has_a_watermark_of_its_own() {
    let mut two = Two::new();
    assert_eq!([0, 1].map(|at| two.joins[at].channel.lane()), two.lanes);
    two.publish(1, 501);
    two.publish(0, 11);
    two.publish(0, 12);
    assert_eq!([two.watermark(0), two.watermark(1)], [Position::new(1, 12), Position::new(1, 501)]);
    assert_eq!([two.entries_above(0, 10), two.entries_above(1, 500)], [2, 1]);
}

#[test]
fn a_lane_that_is_lost_leaves_the_other_as_it_is() {
    let mut two = Two::new();
    two.publisher.lost(two.lanes[1]);
    assert_eq!(two.is_confirmed(), [true, false]);
    assert_eq!(two.hub.counters.followed_channels.get(), 1);
    two.follow(1, 500);
    assert_eq!(two.is_confirmed(), [true, true]);
    assert_eq!(two.hub.counters.followed_channels.get(), 2);
}

#[test]
fn an_outage_of_one_lane_is_a_gap_where_it_had_unnumbered_events_and_none_in_the_other() {
    let mut two = Two::new();
    for name in NAMES {
        two.publisher.publish_unnumbered(&publication(name)).expect("small");
    }
    two.publisher.lost(two.lanes[1]);
    two.follow(1, 500);
    assert_eq!([two.entries_above(0, 10), two.entries_above(1, 500)], [1, 2]);
    let unnumbered = |number, unnumbered| Position { unnumbered, ..Position::new(1, number) };
    assert_eq!([two.watermark(0), two.watermark(1)], [unnumbered(10, 1), unnumbered(500, 2)]);
}

#[test]
fn a_term_that_ends_in_one_lane_is_no_gap_in_the_other() {
    let mut two = Two::new();
    let ended = fantail_wire::EndedTerm { term: term(two.lanes[0]), start: 0, end: 10 };
    let terms = Terms { current: Term::from_random(9), start: 10, number: 10, ms: 1010, ended: vec![ended] };
    two.publisher.synced(two.lanes[0], &terms);
    assert_eq!(two.watermark(0), Position::new(2, 10));
    assert_eq!([two.entries_above(0, 10), two.entries_above(1, 500)], [1, 0]);
    two.publish(1, 501);
    assert_eq!([two.entries_above(0, 10), two.entries_above(1, 500)], [1, 1]);
}

/// The place from which a channel is followed may be ahead; it waits for its own lane, however far another is.
#[test]
fn a_place_ahead_waits_for_its_own_lane() {
    let mut two = Two::new();
    two.publisher.lost(two.lanes[0]);
    let name = channel("late");
    let join = two.hub.join(&name, 0, 2, None).expect("there is room");
    while two.publisher.next_wish().is_some() {}
    two.publisher.followed(&name, Some(id(two.lanes[0], 30)));
    two.publisher.gap(&channel(NAMES[0]), id(two.lanes[0], 40), GapReason::Lost);
    two.publish(1, 501);
    assert!(!join.channel.is_confirmed(), "number 501 is of another lane");
    two.publisher.synced(two.lanes[0], &terms(two.lanes[0], 30));
    assert!(join.channel.is_confirmed());
}

#[test]
fn an_id_of_one_lane_is_not_known_in_the_other_though_its_number_would_fit() {
    let mut two = Two::new();
    two.publish(1, 501);
    let foreign = Resume::After(id(two.lanes[0], 10).to_string());
    let channels = [Arc::clone(&two.joins[1].channel)];
    let mut asked = Asked::default();
    let start = loop {
        match two.hub.begin(&foreign, &channels, &mut asked) {
            Begin::At(start) => break start,
            Begin::Wait(_) => match two.publisher.next_wish().expect("it waits for an answer") {
                Wish::Sync(lane) => {
                    assert_eq!(lane, two.lanes[1]);
                    two.publisher.synced(lane, &terms(lane, 501));
                }
                // Behind a gap come the newest events that there are.
                Wish::Recall { channel, .. } => two.publisher.recalled(&channel, Vec::new(), None),
                wish => panic!("{wish:?}"),
            },
        }
    };
    assert_eq!(start.unknown.map(|floor| floor.reason), Some(GapReason::UnknownId));
}
