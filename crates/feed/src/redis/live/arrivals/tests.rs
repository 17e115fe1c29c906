//! Pushes as Redis sends them, hostile ones included, and what of them reaches the node.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use fantail_wire::{EventId, LaneName, Term, Terms};

use super::*;
use crate::counters::Refusal;
use crate::recorder::IntakeRecorder;

/// Arrivals, the connection that they listen to, and an intake that writes down.
struct ListeningNode {
    arrivals: Arrivals<IntakeRecorder>,
    session: Session,
}

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).expect("valid")
}

fn terms(number: u64) -> Terms {
    Terms { current: Term::from_random(1), start: 0, number, ms: number, ended: Vec::new() }
}

fn push(kind: PushKind, redis_channel: &str, second: Value) -> PushInfo {
    PushInfo { kind, data: vec![Value::BulkString(redis_channel.into()), second] }
}

impl ListeningNode {
    /// A node that follows `channels` over an open connection, and has been told so.
    fn following(channels: &[&str]) -> Self {
        Self::open(false).told_to_follow(channels)
    }

    /// The same, where publishers are trusted.
    fn trusting(channels: &[&str]) -> Self {
        let node = Self::open(false);
        node.arrivals.inner.lock().copies = Copies::new(true);
        node.told_to_follow(channels)
    }

    fn told_to_follow(self, channels: &[&str]) -> Self {
        let node = self;
        for name in channels {
            node.arrivals.follow(&channel(name));
            node.carry_out();
        }
        node.told();
        node
    }

    /// The same with a log, from number 10 on.
    fn following_log(channels: &[&str], is_sharded: bool) -> Self {
        let node = Self::open(true);
        node.arrivals.follow_log(is_sharded);
        node.arrivals.log(LaneLog::begin_repair);
        node.arrivals.tell_log(|log, orders| log.repaired(&terms(10), Vec::new(), orders)).expect("in order");
        for name in channels {
            node.arrivals.follow(&channel(name));
        }
        node.carry_out();
        node.sync();
        node.told();
        node
    }

    fn open(follows_log: bool) -> Self {
        let lane = (Lane::default(), Arc::new(LaneStates::new(1)));
        let arrivals = Arrivals::new(Arc::default(), lane, Arc::default(), follows_log, false);
        let session = arrivals.open();
        Self { arrivals, session }
    }

    /// Reads that Redis is at number 10.
    fn sync(&self) {
        self.arrivals.log(LaneLog::begin_sync);
        self.arrivals.tell_log(|log, orders| log.synced(&terms(10), orders)).expect("in order");
    }

    fn carry_out(&self) {
        while let Some(command) = self.arrivals.subscriptions(Subscriptions::next_command) {
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

    fn message(&self, redis_channel: &str, payload: impl Into<Vec<u8>>) {
        let message = push(PushKind::Message, redis_channel, Value::BulkString(payload.into()));
        self.arrivals.push(self.session, message).expect("messages are never an error");
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.arrivals.intake.lock().0)
    }

    fn count(&self, counter: impl Fn(&FeedCounters) -> &AtomicU64) -> u64 {
        counter(&self.arrivals.delivery.counters).load(Relaxed)
    }
}

#[test]
fn both_kinds_of_messages_reach_the_node_in_their_order() {
    let node = ListeningNode::following(&["a"]);
    node.message("fantail:a", "1");
    node.message("fantail-event:a", r#"{"data":"2"}"#);
    node.message("fantail:a", "3");
    assert_eq!(node.told(), ["a=1", "a=2", "a=3"]);
    assert_eq!(node.count(|counters| &counters.events), 3);
}

#[test]
fn an_event_for_several_channels_is_placed_once_in_those_that_are_followed() {
    let node = ListeningNode::following(&["a", "b"]);
    let copy = r#"{"data":"x","channels":["b","a","c","a"],"uid":"1"}"#;
    for uid in ["1", "2"] {
        for name in ["b", "a"] {
            node.message(&format!("fantail-event:{name}"), copy.replace("\"1\"", &format!("{uid:?}")));
        }
    }
    assert_eq!(node.told(), ["a+b=x", "a+b=x"]);
    assert_eq!(node.count(|counters| &counters.repeated), 2);
}

/// 1. A publisher may publish by `a` alone, and its envelope names `b` as well.
/// 2. The event waits for a copy by `b`. The next message by `a` lets it go, or the end of its time, or of the connection.
/// 3. It reaches `a`, before that message, and `b` never.
#[test]
fn an_event_reaches_the_channels_that_its_copies_came_by_and_no_others() {
    let node = ListeningNode::following(&["a", "b"]);
    let forged = |data: &str| format!(r#"{{"data":"{data}","channels":["a","b"],"uid":"1"}}"#);
    node.message("fantail-event:a", forged("1"));
    node.message("fantail:b", "of another");
    assert_eq!(node.told(), ["b=of another"], "nothing waits with it");
    node.message("fantail:a", "next");
    assert_eq!(node.told(), ["a=1", "a=next"]);
    node.message("fantail-event:a", forged("2"));
    let late = node.arrivals.next_release().expect("it waits");
    node.arrivals.release_late(
        late.checked_sub(std::time::Duration::from_nanos(1)).expect("it is later than the machine's start"),
    );
    assert_eq!(node.told(), Vec::<String>::new());
    node.arrivals.release_late(late);
    assert_eq!(node.told(), ["a=2"]);
    assert_eq!(node.arrivals.next_release(), None);
    node.message("fantail-event:a", forged("3"));
    node.arrivals.lost();
    assert_eq!(node.told(), ["a=3", "lost"]);
}

/// The publisher of `a` knows the uid of an event for `a` and `b` beforehand, and sends other words by `a` with it.
#[test]
fn nobody_puts_words_into_the_event_of_another_channel_with_its_uid() {
    let node = ListeningNode::following(&["a", "b"]);
    let copy = |data: &str| format!(r#"{{"data":"{data}","channels":["a","b"],"uid":"1"}}"#);
    node.message("fantail-event:a", copy("forged"));
    node.message("fantail-event:a", copy("true"));
    node.message("fantail-event:b", copy("true"));
    assert_eq!(node.told(), ["a=forged", "a+b=true"]);
}

#[test]
fn so_many_events_wait_for_their_copies_and_the_oldest_makes_room() {
    let names: Vec<_> = (0..70).map(|number| format!("c{number}")).collect();
    let mut followed: Vec<_> = names.iter().map(String::as_str).collect();
    followed.push("b");
    let node = ListeningNode::following(&followed);
    for name in &names {
        let copy = format!(r#"{{"data":"x","channels":["{name}","b"],"uid":"{name}"}}"#);
        node.message(&format!("fantail-event:{name}"), copy);
    }
    assert_eq!(node.told(), ["c0=x", "c1=x", "c2=x", "c3=x", "c4=x", "c5=x"]);
    let large = format!(r#"{{"data":"{}","channels":["c0","b"],"uid":"large"}}"#, "x".repeat(17 << 20));
    node.message("fantail-event:c0", large);
    assert_eq!(node.told().len(), 65, "more bytes than may wait");
}

#[test]
fn a_trusted_publisher_reaches_all_channels_that_it_names_with_one_copy() {
    let node = ListeningNode::trusting(&["a", "b"]);
    let copy = r#"{"data":"x","channels":["b","a","c","a"],"uid":"1"}"#;
    node.message("fantail-event:b", copy);
    node.message("fantail-event:a", copy);
    node.message("fantail-event:a", copy.replace("\"1\"", "\"2\""));
    assert_eq!(node.told(), ["a+b=x", "a+b=x"]);
    assert_eq!(node.count(|counters| &counters.repeated), 1);
}

/// 1. A publisher sends an event to `a`, then to `b`, each by itself. Only `a` is followed when the first copy comes.
/// 2. A stream of `b` and `c` opens, and all is confirmed before the second copy goes out: it must come, and once.
#[test]
fn a_copy_that_is_sent_after_its_channel_was_followed_arrives_though_another_came_before() {
    let node = ListeningNode::following(&["a"]);
    let copy = r#"{"data":"x","channels":["a","b","c"],"uid":"1"}"#;
    node.message("fantail-event:a", copy);
    for name in ["b", "c"] {
        node.arrivals.follow(&channel(name));
        node.carry_out();
    }
    node.message("fantail-event:b", copy);
    node.message("fantail-event:c", copy);
    assert_eq!(node.told(), ["a=x", "followed b", "followed c", "b+c=x"]);
    assert_eq!(node.count(|counters| &counters.repeated), 1);
}

/// 1. The first copy is for the streams of `a` and `b`. The last stream of `b` goes, and its channel is let go of.
/// 2. A stream of `b` opens, and then the second copy goes out: it must come.
#[test]
fn a_copy_that_is_sent_after_its_channel_was_followed_anew_arrives() {
    let node = ListeningNode::following(&["a", "b"]);
    let copy = r#"{"data":"x","channels":["a","b"],"uid":"1"}"#;
    node.message("fantail-event:a", copy);
    node.arrivals.unfollow(&channel("b"));
    node.arrivals.follow(&channel("b"));
    node.message("fantail-event:b", copy);
    assert_eq!(node.told(), ["a=x", "followed b", "b=x"]);
}

#[test]
fn a_copy_on_a_channel_that_is_let_go_does_not_use_up_the_event() {
    let node = ListeningNode::following(&["a", "b"]);
    node.arrivals.unfollow(&channel("a"));
    let copy = r#"{"data":"x","channels":["a","b"],"uid":"1"}"#;
    node.message("fantail-event:a", copy);
    node.message("fantail-event:b", copy);
    assert_eq!(node.told(), ["b=x"]);
    assert_eq!(node.count(|counters| &counters.ignored), 1);
}

#[test]
fn messages_that_are_no_events_are_counted_by_reason_and_stop_nothing() {
    let node = ListeningNode::following(&["a"]);
    node.message("fantail:a", b"\xff".to_vec());
    node.message("fantail:a", "too large");
    node.message("fantail-event:a", "{");
    node.message("fantail-event:a", r#"{"data":"x","channels":["a"]}"#);
    node.message("fantail-event:a", r#"{"data":"x","event":"fantail.gap"}"#);
    node.message("fantail-event:a", r#"{"data":"x","id":"a\nid: b"}"#);
    node.message("fantail-event:a", r#"{"data":"x","retry":86400001}"#);
    node.message("fantail:a", "still here");
    let told = node.told();
    assert_eq!(told[..7], ["dropped a"; 7]);
    assert_eq!(told[7..], ["a=still here"]);
    let refused = |reason| node.arrivals.delivery.counters.refused(reason);
    assert_eq!([Refusal::NotUtf8, Refusal::TooLarge, Refusal::Envelope, Refusal::Field].map(refused), [1, 1, 2, 3],);
}

#[test]
fn an_unusable_event_for_several_channels_is_told_once_in_each() {
    let node = ListeningNode::following(&["a", "b"]);
    for data in ["too large", "x"] {
        let copy = format!(r#"{{"data":"{data}","event":"EVENT","channels":["b","a"],"uid":"{data}"}}"#);
        // The first is found out when it is placed, once; the second from each copy.
        let copy = copy.replace("EVENT", if data == "x" { "fantail.gap" } else { "fine" });
        node.message("fantail-event:b", copy.clone());
        node.message("fantail-event:a", copy);
        let mut told = node.told();
        told.sort_unstable();
        assert_eq!(told, ["dropped a", "dropped b"], "{data}");
    }
}

#[test]
fn pushes_of_any_other_shape_are_passed_over() {
    let node = ListeningNode::following(&["a"]);
    let odd = [
        PushInfo { kind: PushKind::Message, data: vec![] },
        PushInfo { kind: PushKind::Message, data: vec![Value::BulkString("fantail:a".into())] },
        PushInfo { kind: PushKind::Message, data: vec![Value::Nil, Value::Nil] },
        push(PushKind::Message, "fantail:a", Value::Int(1)),
        push(PushKind::PMessage, "fantail:a", Value::BulkString("x".into())),
        push(PushKind::Other("news".into()), "fantail:a", Value::BulkString("x".into())),
        push(PushKind::Message, "foreign:a", Value::BulkString("x".into())),
        push(PushKind::Message, "fantail:b", Value::BulkString("x".into())),
        push(PushKind::Message, "fantail-service:0", Value::BulkString("not a number".into())),
        push(PushKind::Subscribe, "fantail-service:0", Value::Int(1)),
    ];
    for push in odd {
        assert_eq!(node.arrivals.push(node.session, push), Ok(()));
    }
    assert_eq!(node.told(), Vec::<String>::new());
}

#[test]
fn a_connection_that_was_given_up_is_not_listened_to() {
    let node = ListeningNode::following(&["a"]);
    node.arrivals.connected();
    node.arrivals.lost();
    node.message("fantail:a", "late");
    let ListeningNode { arrivals, session: old } = node;
    let session = arrivals.open();
    let node = ListeningNode { arrivals, session };
    node.carry_out();
    let late = push(PushKind::Message, "fantail:a", Value::BulkString("later".into()));
    assert_eq!(node.arrivals.push(old, late), Ok(()));
    let stray = push(PushKind::Subscribe, "fantail:b", Value::Int(1));
    assert_eq!(node.arrivals.push(old, stray), Ok(()));
    assert_eq!(node.told(), ["Connected", "lost", "Connecting", "followed a"]);
}

#[test]
fn a_recall_is_answered_at_once_with_nothing() {
    let node = ListeningNode::following(&["a"]);
    let up_to = EventId::new(Term::from_random(1), 1, 1);
    node.arrivals.recall(RecallRequest { channel: channel("a"), above: None, up_to, events_max: 1 });
    assert_eq!(node.told(), ["recalled a Recalled { entries: [], from: None }"]);
}

#[test]
fn a_confirmation_out_of_turn_ends_the_connection() {
    let node = ListeningNode::following(&["a"]);
    for kind in [PushKind::Subscribe, PushKind::Unsubscribe] {
        assert_eq!(node.arrivals.push(node.session, push(kind, "fantail:a", Value::Int(0))), Err(Unexpected));
    }
}

/// 1. A publisher sends an event without a number to `a` and `b`, one by one. When the first copy comes `b` is
///    subscribed to, but the number from which it is complete is not read yet.
/// 2. That is read, a stream of `b` opens, and then the second copy goes out: it must come.
#[test]
fn with_a_log_a_copy_that_is_sent_after_its_channel_was_followed_arrives() {
    let node = ListeningNode::following_log(&["a"], false);
    node.arrivals.follow(&channel("b"));
    node.carry_out();
    let copy = r#"{"data":"x","channels":["a","b"],"uid":"1"}"#;
    node.message("fantail-event:a", copy);
    node.sync();
    node.message("fantail-event:b", copy);
    assert_eq!(node.told(), ["unnumbered a=x", "synced 10", "followed b", "unnumbered b=x"]);
}

#[test]
fn an_unnumbered_event_that_cannot_be_sent_is_told_in_its_channel() {
    let node = ListeningNode::following_log(&["a", "b"], false);
    node.message("fantail:a", b"\xff".to_vec());
    node.message("fantail:b", "fine");
    assert_eq!(node.told(), ["dropped a", "unnumbered b=fine"]);
}

/// 1. A node follows a log in one slot of a cluster, and the slot goes to another node.
/// 2. Redis ends the subscriptions. The Redis library takes that for an answer, so that every later answer is to
///    another question.
/// 3. No answer moves the node. It comes back and asks from where it was.
#[test]
fn nothing_is_believed_from_the_moment_in_which_redis_ends_a_subscription_by_itself() {
    for ended in [names::of(ChannelKind::Log, &channel("a")), names::log_service(&LaneName::default(), 7)] {
        let node = ListeningNode::following_log(&["a"], true);
        let id = |number| EventId::new(Term::from_random(1), number, number);
        let event = format!("{} 10 a\n{{\"data\":\"x\"}}", id(11));
        node.message(&names::of(ChannelKind::Log, &channel("a")), event.clone());
        assert_eq!(node.told(), ["11 a=x"]);

        let sunsubscribe = push(PushKind::SUnsubscribe, &ended, Value::Int(0));
        assert_eq!(node.arrivals.push(node.session, sunsubscribe), Err(Unexpected));
        node.message("fantail:a", "later");
        assert_eq!(node.arrivals.tell_log(|log, orders| log.synced(&terms(99), orders)), Err(GivenUp));
        assert_eq!(node.told(), Vec::<String>::new());
        assert_eq!(node.arrivals.lost(), Some(ContinuityError::Moved));
        assert_eq!(node.arrivals.log(LaneLog::begin_repair).from, Some(id(11)));
    }
}
