//! Messages of the log that do not reach the node although its connection stands: each is brought or declared.

use fantail_wire::{EncodeError, EventId, GapReason, LaneName, Term, Terms};

use super::tests::one_lane;
use super::*;
use crate::redis::log::{LogEntry, MissedEvents};
use crate::{FeedState, Recalled, Receipt};

/// Writes down what it is told.
#[derive(Debug, Default)]
pub(super) struct LogRecorder(Vec<String>);

impl Intake for LogRecorder {
    fn event(&mut self, publication: &Publication, placement: Placement) -> Result<Receipt, EncodeError> {
        let channels: Vec<_> = publication.channels.iter().map(ChannelName::as_str).collect();
        let number = match placement {
            Placement::Numbered(id) => id.number.to_string(),
            Placement::Unnumbered => "beside".to_owned(),
            Placement::Next => unreachable!("the log numbers"),
        };
        self.0.push(format!("{number} {}", channels.join("+")));
        Ok(Receipt::default())
    }

    fn followed(&mut self, channel: &ChannelName, _from: Option<EventId>) {
        self.0.push(format!("followed {channel}"));
    }

    fn lost(&mut self, _lane: Lane) {}

    fn state(&mut self, _state: FeedState) {}

    fn synced(&mut self, _lane: Lane, terms: &Terms) {
        self.0.push(format!("synced {}", terms.number));
    }

    fn gap(&mut self, channel: &ChannelName, at: EventId, _reason: GapReason) {
        self.0.push(format!("gap {} {channel}", at.number));
    }

    fn dropped(&mut self, channel: &ChannelName) {
        self.0.push(format!("dropped {channel}"));
    }

    fn recalled(&mut self, _channel: &ChannelName, _recalled: Recalled) {}
}

pub(super) struct FollowingNode {
    pub(super) arrivals: Arrivals<LogRecorder>,
    pub(super) session: Session,
}

pub(super) fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).expect("valid")
}

pub(super) fn terms(number: u64) -> Terms {
    Terms { current: Term::from_random(1), start: 0, number, ms: number, ended: Vec::new() }
}

fn tops(tops: &[(&str, u64)]) -> Vec<(String, u64)> {
    tops.iter().map(|(name, top)| ((*name).to_owned(), *top)).collect()
}

fn push(kind: PushKind, redis_channel: &str, second: Value) -> PushInfo {
    PushInfo { kind, data: vec![Value::BulkString(redis_channel.into()), second] }
}

impl FollowingNode {
    /// A node that follows `channels` from number 10 on.
    pub(super) fn following(channels: &[&str]) -> Self {
        let arrivals = Arrivals::new(Arc::default(), one_lane(), Arc::default(), true);
        let session = arrivals.open();
        let node = Self { arrivals, session };
        let first = node.arrivals.begin_repair();
        assert_eq!(node.arrivals.repair(&terms(10), first, Vec::new()), Ok(true));
        for name in channels {
            node.arrivals.follow(&channel(name));
        }
        node.carry_out();
        let fresh = node.arrivals.begin_sync();
        assert_eq!(node.arrivals.synced(&terms(10), fresh, None), Ok(()));
        node.everything();
        node
    }

    pub(super) fn carry_out(&self) {
        while let Some(command) = self.arrivals.next_command() {
            for (scope, names) in command.parts() {
                let kind = match (command.verb, scope) {
                    (Verb::Subscribe, SubscribeScope::Everywhere) => PushKind::Subscribe,
                    (Verb::Subscribe, SubscribeScope::Slot) => PushKind::SSubscribe,
                    (Verb::Unsubscribe, SubscribeScope::Everywhere) => PushKind::Unsubscribe,
                    (Verb::Unsubscribe, SubscribeScope::Slot) => PushKind::SUnsubscribe,
                };
                for name in names {
                    self.arrivals.push(self.session, push(kind.clone(), &name, Value::Int(1))).expect("in turn");
                }
            }
        }
    }

    /// The copy of an event that comes by channel `by`.
    pub(super) fn message(&self, by: &str, number: u64, previous: u64, channels: &str) -> Result<(), Unexpected> {
        let id = EventId::new(Term::from_random(1), number, number);
        let payload = format!("{id} {previous} {channels}\n{{\"data\":\"x\"}}");
        let redis_channel = names::of(ChannelKind::Log, &channel(by));
        self.arrivals.push(self.session, push(PushKind::Message, &redis_channel, Value::BulkString(payload.into())))
    }

    /// An event that is not in the log.
    pub(super) fn plain(&self, name: &str, payload: impl Into<Vec<u8>>) -> Result<(), Unexpected> {
        let redis_channel = names::of(ChannelKind::Plain, &channel(name));
        self.arrivals.push(self.session, push(PushKind::Message, &redis_channel, Value::BulkString(payload.into())))
    }

    /// Loses the connection and is subscribed to all channels over the next.
    pub(super) fn reconnect(&mut self) {
        self.arrivals.lost();
        self.session = self.arrivals.open();
        self.carry_out();
    }

    /// Loses the connection, comes back, and finds nothing in any Stream above the place that it asks for.
    fn come_back(&mut self, number: u64) -> Option<u64> {
        self.reconnect();
        let missing = self.arrivals.begin_repair();
        let from = missing.from.map(|from| from.number);
        assert_eq!(self.arrivals.repair(&terms(number), missing, Vec::new()), Ok(true));
        from
    }

    /// Events and gaps.
    pub(super) fn told(&self) -> Vec<String> {
        let is_progress = |told: &String| told.starts_with("followed") || told.starts_with("synced");
        self.everything().into_iter().filter(|told| !is_progress(told)).collect()
    }

    pub(super) fn everything(&self) -> Vec<String> {
        std::mem::take(&mut self.arrivals.intake.lock().0)
    }
}

#[test]
fn an_event_that_waits_for_a_copy_is_not_passed_by_a_channel_that_nobody_wants() {
    let mut node = FollowingNode::following(&["a", "b", "c"]);
    node.arrivals.unfollow(&channel("c"));
    // Who publishes 11 may not publish to b.
    node.message("a", 11, 0, "a,b").expect("in order");
    // UNSUBSCRIBE is on its way.
    node.message("c", 12, 0, "c").expect("in order");
    let from = node.come_back(12);
    let told = node.told();
    assert!(told.contains(&"11 a".to_owned()) || from == Some(10), "11 is neither handed down nor read: from {from:?}");
}

/// 1. A publisher sends an event to `a` and `b` beside the log, one by one. When the first copy comes `b` is subscribed to,
///    but nobody has read yet from which number it is complete.
/// 2. That is read, a stream of `b` opens, and then the second copy goes out: it must come.
#[test]
fn a_copy_beside_the_log_that_is_sent_after_its_channel_was_followed_arrives() {
    let node = FollowingNode::following(&["a"]);
    node.arrivals.follow(&channel("b"));
    node.carry_out();
    let copy = |by: &str| {
        let payload = r#"{"data":"x","channels":["a","b"],"uid":"1"}"#;
        let redis_channel = names::of(ChannelKind::Event, &channel(by));
        node.arrivals.push(node.session, push(PushKind::Message, &redis_channel, Value::BulkString(payload.into())))
    };
    copy("a").expect("sound");
    let fresh = node.arrivals.begin_sync();
    assert_eq!(node.arrivals.synced(&terms(10), fresh, None), Ok(()));
    copy("b").expect("sound");
    assert_eq!(node.told(), ["beside a", "beside b"]);
}

#[test]
fn every_channel_that_lacks_its_newest_event_is_repaired_or_declared() {
    let mut node = FollowingNode::following(&["a", "b"]);
    // 11 of a and 12 of b do not reach the node.
    assert!(node.arrivals.synced(&terms(12), Vec::new(), Some(&tops(&[("a", 11), ("b", 12)]))).is_err());
    let from = node.come_back(12);
    let told = node.told();
    let is_declared = |name: &str| told.iter().any(|told| told.starts_with("gap") && told.ends_with(name));
    assert!(from == Some(10) || (is_declared("a") && is_declared("b")), "from {from:?}: {told:?}");
}

#[test]
fn a_hole_in_one_channel_does_not_hide_that_of_another() {
    let mut node = FollowingNode::following(&["a", "b", "c"]);
    // 11 of a and 12 of b do not reach the node; c goes on, and a shows its hole.
    node.message("c", 13, 0, "c").expect("in order");
    assert!(node.message("a", 14, 11, "a").is_err());
    node.come_back(14);
    let went_on = node.message("b", 15, 12, "b");
    let told = node.told();
    let is_declared = told.iter().any(|told| told.starts_with("gap") && told.ends_with('b'));
    assert!(is_declared || went_on.is_err(), "12 of b is missing, and nobody says so: {told:?}");
}

#[test]
fn what_is_lost_while_the_log_is_looked_at_is_found_afterwards() {
    let node = FollowingNode::following(&["a"]);
    // As `Follower::verify` reads: the number, then 11 of a is published and does not come, then the tops.
    assert!(node.arrivals.synced(&terms(10), Vec::new(), Some(&tops(&[("a", 11)]))).is_err());
}

#[test]
fn a_copy_that_comes_after_another_channel_was_let_go_is_not_left_behind() {
    let node = FollowingNode::following(&["a", "b", "z"]);
    // The copies of 11 come in two reads of the socket. In between somebody lets go of z.
    node.message("a", 11, 0, "a,b").expect("in order");
    node.arrivals.unfollow(&channel("z"));
    node.message("b", 11, 0, "a,b").expect("in order");
    // The intake takes each number once: what comes again with the same number is dropped.
    assert_eq!(node.told(), ["11 a+b"]);
}

#[test]
fn a_copy_that_comes_after_its_channel_was_asked_for_again_is_not_left_behind() {
    let node = FollowingNode::following(&["a", "b"]);
    // The copies of 11 come in two reads of the socket. In between somebody asks for b once more.
    node.message("a", 11, 0, "a,b").expect("in order");
    node.arrivals.follow(&channel("b"));
    node.message("b", 11, 0, "a,b").expect("in order");
    assert_eq!(node.everything(), ["followed b", "11 a+b"]);
}

#[test]
fn a_copy_that_comes_after_an_older_number_was_told_is_not_left_behind() {
    let node = FollowingNode::following(&["a", "b"]);
    // The answer 10 stands before the copies of 11 on the socket; its task runs between them.
    node.message("a", 11, 0, "a,b").expect("in order");
    node.arrivals.synced(&terms(10), Vec::new(), Some(&[])).expect("in order");
    node.message("b", 11, 0, "a,b").expect("in order");
    assert_eq!(node.told(), ["11 a+b"]);
}

/// 1. A connection is lost. 13 of c is trimmed before it is back, 14 of d is there, and 15 of d comes while they are read.
/// 2. Who may begin before 14 went down would come to it without having been told of 13.
#[test]
fn after_an_outage_channels_are_confirmed_behind_all_that_was_missed_and_before_what_is_live() {
    let mut node = FollowingNode::following(&["c", "d"]);
    node.arrivals.lost();
    node.session = node.arrivals.open();
    node.carry_out();
    let missing = node.arrivals.begin_repair();
    node.message("d", 15, 14, "d").expect("held");
    let id = EventId::new(Term::from_random(1), 14, 14);
    let entry = LogEntry { id, previous: 0, event: Event::text("x") };
    let missed = [("c", 13, vec![]), ("d", 14, vec![entry])];
    let missed = missed.map(|(name, top, entries)| MissedEvents { channel: channel(name), top, entries });
    assert_eq!(node.arrivals.repair(&terms(14), missing, missed.into()), Ok(true));
    let mut told = node.everything();
    told[4..6].sort();
    assert_eq!(told, ["gap 10 c", "gap 13 c", "14 d", "synced 14", "followed c", "followed d", "15 d"]);
}

/// 1. A node follows a log in one slot of a cluster, and the slot goes to another node.
/// 2. Redis ends the subscriptions, which the Redis library takes for an answer: what it says from then on was never
///    asked for.
/// 3. Nothing of it moves the node, which comes back and asks from where it was.
#[test]
fn nothing_is_believed_from_the_moment_in_which_redis_ends_a_subscription_by_itself() {
    for ended in [names::of(ChannelKind::Log, &channel("a")), names::log_service(&LaneName::default(), 7)] {
        let mut node = FollowingNode::following(&[]);
        node.arrivals.lost();
        node.session = node.arrivals.open();
        node.arrivals.follow_log(true);
        let first = node.arrivals.begin_repair();
        assert_eq!(node.arrivals.repair(&terms(10), first, Vec::new()), Ok(true));
        node.arrivals.follow(&channel("a"));
        node.carry_out();
        let fresh = node.arrivals.begin_sync();
        assert_eq!(node.arrivals.synced(&terms(10), fresh, None), Ok(()));
        assert_eq!(node.message("a", 11, 10, "a"), Ok(()));

        let sunsubscribe = push(PushKind::SUnsubscribe, &ended, Value::Int(0));
        assert_eq!(node.arrivals.push(node.session, sunsubscribe), Err(Unexpected));
        assert_eq!(node.arrivals.synced(&terms(99), Vec::new(), Some(&[])), Err(Unexpected));
        let missing = node.arrivals.begin_repair();
        assert_eq!(node.arrivals.repair(&terms(99), missing, Vec::new()), Err(Unexpected));
        assert_eq!(node.arrivals.lost(), Some(ContinuityError::Moved));
        node.session = node.arrivals.open();
        node.carry_out();
        assert_eq!(node.arrivals.begin_repair().from.map(|from| from.number), Some(11));
    }
}

/// 1. x is wanted anew while the connection is away. What others missed is being read.
/// 2. Nobody wants x any more, 11 of x comes and is passed over, and x is wanted again.
/// 3. The repair ends with number 10: x is not complete from there.
#[test]
fn a_channel_that_was_let_go_of_and_wanted_again_during_a_repair_is_complete_from_the_next_number() {
    let mut node = FollowingNode::following(&["z"]);
    node.arrivals.lost();
    node.arrivals.follow(&channel("x"));
    node.session = node.arrivals.open();
    node.carry_out();
    let missing = node.arrivals.begin_repair();
    node.arrivals.unfollow(&channel("x"));
    node.message("x", 11, 10, "x").expect("in order");
    node.arrivals.follow(&channel("x"));
    node.told();
    assert_eq!(node.arrivals.repair(&terms(10), missing, Vec::new()), Ok(true));
    let fresh = node.arrivals.begin_sync();
    assert_eq!(fresh, [channel("x")]);
    assert_eq!(node.arrivals.synced(&terms(11), fresh, None), Ok(()));
    node.message("x", 12, 11, "x").expect("in order");
    assert_eq!(node.everything(), ["synced 10", "followed z", "synced 11", "followed x", "12 x"]);
}

/// 1. x is wanted, and the number from which it is complete is being read: it will be 10.
/// 2. x is let go of and wanted again: it is complete above 10, the newest that was seen.
/// 3. 11 is for y and x, and the copy for y comes before the answer.
#[test]
fn a_channel_that_was_wanted_again_while_a_number_was_read_gets_its_copy() {
    let node = FollowingNode::following(&["y"]);
    node.arrivals.follow(&channel("x"));
    node.carry_out();
    let fresh = node.arrivals.begin_sync();
    node.arrivals.unfollow(&channel("x"));
    node.arrivals.follow(&channel("x"));
    node.message("y", 11, 10, "y,x").expect("in order");
    assert_eq!(node.arrivals.synced(&terms(10), fresh, None), Ok(()));
    node.message("x", 11, 10, "y,x").expect("in order");
    node.message("x", 12, 11, "x").expect("in order");
    let told = node.told();
    assert_eq!(told[told.len() - 2..], ["11 y+x", "12 x"], "{told:?}");
}
