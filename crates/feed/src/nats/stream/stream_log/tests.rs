//! The stream as it goes wrong: each test carries its schedule.

use super::*;

const CREATED: &str = "2026-11-29T20:00:00Z";
const ANEW: &str = "2026-11-30T08:00:00Z";

/// A node and the server's side of its connection.
struct Node {
    log: StreamLog,
    deliveries: u64,
    told: Vec<String>,
}

fn state(created: &str, first: u64, last: u64) -> StreamState {
    let messages = (last + 1).saturating_sub(first);
    StreamState { name: "EVENTS".into(), created: created.into(), messages, first, last }
}

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).expect("valid")
}

/// The time that the message of a number has, unless a test says otherwise.
fn time_of(number: u64) -> u64 {
    number * 1_000_000_000
}

impl Node {
    /// A node that follows `a` and `b` and has come to `last`.
    fn at(last: u64) -> Self {
        let mut node = Self { log: StreamLog::default(), deliveries: 0, told: Vec::new() };
        for name in ["a", "b"] {
            node.orders(|log, orders| log.follow(&channel(name), orders));
        }
        assert_eq!(node.connect(&state(CREATED, 1, last)), last.max(1));
        if last > 0 {
            node.message(last, "x").expect("the last message proves the numbering");
        }
        node.told.clear();
        node
    }

    fn orders<T>(&mut self, work: impl FnOnce(&mut StreamLog, &mut NatsOrders) -> T) -> T {
        let mut orders = NatsOrders::new();
        let done = work(&mut self.log, &mut orders);
        self.told.extend(orders.iter().filter_map(say));
        done
    }

    /// Connects to a stream that stays as it is. Returns from where on it is read.
    fn connect(&mut self, state: &StreamState) -> u64 {
        let from = self.begin(state);
        self.orders(|log, orders| log.opened(state, orders)).expect("the same stream");
        from
    }

    fn begin(&mut self, state: &StreamState) -> u64 {
        self.deliveries = 0;
        self.orders(|log, orders| log.begin(state, 1, orders))
    }

    fn message(&mut self, number: u64, name: &str) -> Result<bool, BrokenOff> {
        self.message_at(number, time_of(number), name)
    }

    fn message_at(&mut self, number: u64, at_ns: u64, name: &str) -> Result<bool, BrokenOff> {
        self.deliveries += 1;
        let at = Delivered { number, delivery: self.deliveries, at_ns };
        let subject = format!("fantail.{name}");
        let message = Incoming { subject: &subject, headers: None, payload: b"x" };
        self.orders(|log, orders| log.message(at, &message, orders))
    }

    fn heartbeat(&mut self, number: u64) -> Result<(), BrokenOff> {
        let deliveries = self.deliveries;
        self.orders(|log, orders| log.heartbeat(deliveries, number, orders))
    }

    fn lose(&mut self) {
        self.log.lost(true);
        self.told.clear();
    }

    /// Everything told, gaps and confirmations of both channels in the order of their names.
    fn told(&mut self) -> Vec<String> {
        let mut told = std::mem::take(&mut self.told);
        // Channels are told in any order.
        for pair in 1..told.len() {
            let is_pair = told[pair - 1].ends_with(" b") && told[pair].ends_with(" a");
            if is_pair && told[pair - 1].trim_end_matches('b') == told[pair].trim_end_matches('a') {
                told.swap(pair - 1, pair);
            }
        }
        told
    }
}

fn say(order: &NatsOrder) -> Option<String> {
    Some(match order {
        NatsOrder::Event { publication, placement: Placement::Numbered(id), .. } => {
            format!("{} {}", id.number, publication.channels[0])
        }
        NatsOrder::Gap { channel, at, reason } => format!("gap {} {reason} {channel}", at.number),
        NatsOrder::Followed { channel, from } => format!("followed {} {channel}", from.map_or(0, |id| id.number)),
        NatsOrder::Synced(terms) => format!("synced {} {}", terms.start, terms.number),
        NatsOrder::Repair => return None,
        other => unreachable!("{other:?}"),
    })
}

#[test]
fn a_node_begins_at_the_newest_number_and_takes_what_comes_behind_it() {
    let mut node = Node { log: StreamLog::default(), deliveries: 0, told: Vec::new() };
    node.orders(|log, orders| log.follow(&channel("a"), orders));
    assert_eq!(node.connect(&state(CREATED, 1, 44)), 44);
    assert_eq!(node.told(), Vec::<String>::new(), "nothing is confirmed before the last message was seen");
    assert_eq!(node.message(44, "a"), Ok(false));
    assert_eq!(node.message(45, "a"), Ok(true));
    assert_eq!(node.message(46, "x"), Ok(false));
    node.orders(|log, orders| log.follow(&channel("b"), orders));
    assert_eq!(node.told(), ["synced 0 44", "followed 44 a", "45 a", "synced 0 46", "followed 46 b"]);
}

#[test]
fn an_empty_stream_is_followed_at_once() {
    let mut node = Node::at(0);
    assert!(node.log.is_live());
    assert_eq!(node.message(1, "a"), Ok(true));
    assert_eq!(node.told(), ["1 a"]);
}

#[test]
fn missed_messages_come_before_the_channels_are_confirmed() {
    let mut node = Node::at(44);
    node.lose();
    assert_eq!(node.connect(&state(CREATED, 1, 47)), 44);
    for number in 44..=47 {
        node.message(number, ["x", "a", "b"][number as usize % 3]).expect("unbroken");
    }
    assert_eq!(node.told(), ["46 a", "47 b", "synced 0 47", "followed 47 a", "followed 47 b"]);
}

/// 1. The stream is looked at: number 44.
/// 2. 45 is published, and only then the consumer is made.
#[test]
fn an_event_between_the_look_and_the_consumer_is_not_missed() {
    let mut node = Node::at(44);
    node.lose();
    node.begin(&state(CREATED, 1, 44));
    node.orders(|log, orders| log.opened(&state(CREATED, 1, 45), orders)).expect("the same stream");
    node.message(44, "x").expect("unbroken");
    assert_eq!(node.told(), Vec::<String>::new(), "not confirmed below 45");
    node.message(45, "a").expect("unbroken");
    assert_eq!(node.told(), ["45 a", "synced 0 45", "followed 45 a", "followed 45 b"]);
}

/// 1. The stream is looked at.
/// 2. It is deleted and made anew, with fewer or more messages, and only then the consumer is made.
#[test]
fn a_stream_that_is_made_anew_between_the_look_and_the_consumer_is_noticed() {
    for last in [3, 60] {
        let mut node = Node::at(44);
        node.lose();
        node.begin(&state(CREATED, 1, 44));
        let opened = node.orders(|log, orders| log.opened(&state(ANEW, 1, last), orders));
        assert_eq!(opened, Err(BrokenOff::MadeAnew));
    }
}

#[test]
fn a_stream_that_was_made_anew_begins_a_term_and_is_read_from_its_first_message() {
    for last in [2, 60] {
        let mut node = Node::at(44);
        let before = node.log.numbering.as_ref().expect("known").term;
        node.lose();
        assert_eq!(node.connect(&state(ANEW, 1, last)), 1);
        assert_eq!(node.told(), ["synced 0 0"], "another term: all channels are told of its beginning");
        assert_ne!(node.log.numbering.as_ref().expect("known").term, before);
        for number in 1..=last {
            node.message_at(number, 7, "a").expect("unbroken");
        }
        let told = node.told();
        assert_eq!(told.len() as u64, last + 3);
        assert_eq!(told[..2], ["1 a", "2 a"]);
    }
}

#[test]
fn a_stream_that_is_made_anew_while_the_node_is_connected_is_noticed_at_the_next_look() {
    let mut node = Node::at(44);
    let looked = node.orders(|log, orders| log.looked(&state(ANEW, 1, 50), 44, orders));
    assert_eq!(looked, Err(BrokenOff::MadeAnew));
}

/// 1. 41 to 50 are published while the node is away, and it has come to 44.
/// 2. The stream is purged up to some number.
#[test]
fn messages_purged_above_the_nodes_number_are_declared_and_those_below_it_are_not_missed() {
    // All that is left comes behind a proof, or behind a gap.
    for (first, told) in [
        (40, vec!["45 a", "46 a", "47 a"]),
        (44, vec!["45 a", "46 a", "47 a"]),
        (45, vec!["gap 44 trimmed a", "gap 44 trimmed b", "45 a", "46 a", "47 a"]),
        (
            47,
            vec!["gap 44 trimmed a", "gap 44 trimmed b", "gap 46 trimmed a", "gap 46 trimmed b", "synced 0 46", "47 a"],
        ),
    ] {
        let mut node = Node::at(44);
        node.lose();
        node.connect(&state(CREATED, first, 47));
        for number in first.max(44)..=47 {
            node.message(number, "a").expect("unbroken");
        }
        let end = ["synced 0 47", "followed 47 a", "followed 47 b"];
        assert_eq!(node.told(), [&told[..], &end].concat(), "{first}");
    }
}

#[test]
fn a_stream_that_was_purged_whole_is_a_gap_up_to_its_number() {
    let mut node = Node::at(44);
    node.lose();
    node.connect(&state(CREATED, 48, 47));
    let told = ["gap 47 trimmed a", "gap 47 trimmed b", "synced 0 47", "synced 0 47", "followed 47 a", "followed 47 b"];
    assert_eq!(node.told(), told);
    assert_eq!(node.message(48, "a"), Ok(true));
}

/// 1. The stream ends at 47, and the node is to read it from 44 on.
/// 2. It is purged behind the look, so nothing comes but a sign of life.
#[test]
fn a_purge_while_missed_messages_are_read_is_a_gap_at_the_next_sign_of_life() {
    let mut node = Node::at(44);
    node.lose();
    node.connect(&state(CREATED, 1, 47));
    node.heartbeat(47).expect("in step");
    let told = node.told();
    assert!(told.contains(&"gap 47 trimmed a".into()) && told.contains(&"gap 47 trimmed b".into()), "{told:?}");
    assert!(node.log.is_live());
}

/// 1. The node has come to 60. The server is killed, and started with a backup that ends at 50.
/// 2. The node connects at 50, or when 70 numbers have been given again.
#[test]
fn a_stream_that_was_set_back_begins_a_term_of_its_own() {
    let mut early = Node::at(60);
    early.lose();
    assert_eq!(early.connect(&state(CREATED, 1, 50)), 50);
    assert_eq!(early.told(), ["synced 50 50"]);
    early.message_at(50, time_of(50), "a").expect("unbroken");
    early.message_at(51, 99, "a").expect("unbroken");
    assert_eq!(early.told(), ["synced 50 50", "followed 50 a", "followed 50 b", "51 a"]);

    let mut late = Node::at(60);
    late.lose();
    late.connect(&state(CREATED, 1, 70));
    assert_eq!(late.message_at(60, 99, "a"), Err(BrokenOff::SetBack), "60 is another message");
    late.lose();
    assert_eq!(late.connect(&state(CREATED, 1, 71)), 71);
    assert_eq!(late.told(), ["synced 71 71"]);
    let term = |node: &Node| node.log.numbering.as_ref().expect("known").term;
    assert_eq!(term(&early), term(&late), "both saw the same message last");
    assert_ne!(term(&early), term(&Node::at(60)));
}

#[test]
fn a_look_at_a_stream_that_ends_below_what_came_is_a_set_back_but_a_late_answer_is_not() {
    let mut node = Node::at(44);
    node.message(45, "a").expect("unbroken");
    assert_eq!(node.orders(|log, orders| log.looked(&state(CREATED, 1, 44), 44, orders)), Ok(()));
    let looked = node.orders(|log, orders| log.looked(&state(CREATED, 1, 44), 45, orders));
    assert_eq!(looked, Err(BrokenOff::SetBack));
}

#[test]
fn a_message_that_was_lost_on_the_way_ends_the_connection_and_is_read_again() {
    let mut node = Node::at(44);
    node.deliveries += 1; // the server sent one that did not come
    assert_eq!(node.message(46, "a"), Err(BrokenOff::Lost));
    node.lose();
    assert_eq!(node.connect(&state(CREATED, 1, 46)), 44);

    let mut node = Node::at(44);
    node.deliveries += 1;
    assert_eq!(node.heartbeat(45), Err(BrokenOff::Lost), "the last message alone did not come");
}

#[test]
fn a_consumer_that_delivers_nothing_of_what_is_there_is_given_up() {
    let mut node = Node::at(44);
    node.orders(|log, orders| log.looked(&state(CREATED, 1, 45), 44, orders)).expect("the same stream");
    assert_eq!(node.log.expect(45), Err(BrokenOff::Stuck));
    node.message(45, "a").expect("unbroken");
    assert_eq!(node.log.expect(45), Ok(()));
}

#[test]
fn more_than_can_be_read_after_an_outage_is_declared_missing() {
    let mut node = Node::at(44);
    node.lose();
    let last = 44 + 2 * MISSED_MAX;
    let from = node.connect(&state(CREATED, 1, last));
    assert_eq!(from, last - MISSED_MAX);
    node.message(from, "a").expect("unbroken");
    let told = node.told();
    assert!(told.contains(&format!("gap {} trimmed b", from - 1)), "{told:?}");
}

#[test]
fn a_sign_of_life_tells_how_far_messages_of_others_have_moved_the_node() {
    let mut node = Node::at(44);
    node.message(45, "x").expect("unbroken");
    assert_eq!(node.told(), Vec::<String>::new());
    node.heartbeat(45).expect("in step");
    assert_eq!(node.told(), ["synced 0 45"]);
}

/// 1. A stream asks for a number that this node does not know.
/// 2. The stream is looked at, and is further than the node.
#[test]
fn a_sync_is_answered_when_the_node_has_come_to_the_number_that_was_read() {
    let mut node = Node::at(44);
    node.orders(|log, orders| log.looked(&state(CREATED, 1, 46), 44, orders)).expect("the same stream");
    node.message(45, "x").expect("unbroken");
    assert_eq!(node.told(), Vec::<String>::new());
    node.message(46, "a").expect("unbroken");
    assert_eq!(node.told(), ["46 a", "synced 0 46"]);
}

#[test]
fn a_channel_that_was_let_go_and_wanted_again_while_nats_was_away_is_complete_from_its_return() {
    let mut node = Node::at(44);
    node.lose();
    node.log.unfollow(&channel("b"));
    node.orders(|log, orders| log.follow(&channel("b"), orders));
    node.connect(&state(CREATED, 1, 46));
    for number in 44..=46 {
        node.message(number, "b").expect("unbroken");
    }
    assert_eq!(node.told(), ["synced 0 46", "followed 46 a", "followed 46 b"]);
}

/// 1. The node has come to 44. 45 is a message that ends each connection that brings it.
/// 2. 46 is published, and the node connects again and again.
#[test]
fn a_message_that_ends_every_connection_is_passed_over_with_a_gap() {
    let mut node = Node::at(44);
    for _ in 0..CUTS_MAX {
        node.lose();
        assert_eq!(node.connect(&state(CREATED, 1, 46)), 44);
        node.message(44, "x").expect("unbroken");
    }
    node.lose();
    assert_eq!(node.connect(&state(CREATED, 1, 46)), 47);
    assert_eq!(node.message(47, "a"), Ok(true));
    let told = ["gap 46 trimmed a", "gap 46 trimmed b", "47 a", "synced 0 47", "followed 47 a", "followed 47 b"];
    assert_eq!(node.told(), told);

    // A node that brings something in between is not at one place.
    let mut node = Node::at(44);
    for number in 45..45 + 2 * u64::from(CUTS_MAX) {
        node.lose();
        assert_eq!(node.connect(&state(CREATED, 1, 90)), number - 1);
        node.message(number - 1, "x").expect("unbroken");
        node.message(number, "a").expect("unbroken");
    }
}

/// 1. 45 to 444 are published while the node is away.
/// 2. Every other one of them is deleted.
#[test]
fn many_holes_in_what_was_missed_are_told_as_one_from_some_on() {
    let mut node = Node::at(44);
    node.lose();
    node.connect(&state(CREATED, 1, 444));
    for number in (44..=444).step_by(2) {
        node.message(number, "a").expect("unbroken");
    }
    let told = node.told();
    let gaps: Vec<_> = told.iter().filter(|line| line.starts_with("gap") && line.ends_with(" a")).collect();
    assert_eq!(gaps.len(), HOLES_MAX as usize + 1);
    assert_eq!(gaps[gaps.len() - 2..], ["gap 171 trimmed a", "gap 444 trimmed a"]);
    assert!(node.log.is_live());
    assert_eq!(node.message(446, "a"), Ok(true));
    assert_eq!(node.told(), ["gap 445 trimmed a", "gap 445 trimmed b", "synced 0 445", "446 a"]);
}
