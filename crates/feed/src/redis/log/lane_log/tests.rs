//! The log's machine without a connection: each message that does not reach the node is brought or declared.

mod dropped;

use std::collections::BTreeMap;

use fantail_wire::Event;

use super::*;
use crate::redis::log::LogEntry;

/// A lane's log, the channels as Redis sends them, and what the node was told.
pub(super) struct TrialLane {
    pub(super) log: LaneLog,
    channels: BTreeMap<ChannelName, TrialChannel>,
    told: Vec<String>,
}

#[derive(Default)]
struct TrialChannel {
    is_wanted: bool,
    is_subscribed: bool,
}

pub(super) fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).expect("valid")
}

fn id(number: u64) -> EventId {
    EventId::new(Term::from_random(1), number, number)
}

fn terms(number: u64) -> Terms {
    Terms { current: Term::from_random(1), start: 0, number, ms: number, ended: Vec::new() }
}

impl TrialLane {
    /// A node that follows `channels` from number 10 on.
    pub(super) fn following(channels: &[&str]) -> Self {
        let mut node = Self { log: LaneLog::new(), channels: BTreeMap::new(), told: Vec::new() };
        node.log.begin_repair();
        assert_eq!(node.repaired(10, Vec::new()), Ok(true));
        for name in channels {
            node.follow(name);
        }
        node.carry_out();
        node.log.begin_sync();
        assert_eq!(node.synced(10), Ok(()));
        node.everything();
        node
    }

    /// Gives the machine something, and writes down its orders as text.
    fn tell<T>(&mut self, tell: impl FnOnce(&mut LaneLog, &mut Orders) -> T) -> T {
        let mut orders = Orders::new();
        let done = tell(&mut self.log, &mut orders);
        self.told.extend(orders.into_iter().filter_map(|order| match order {
            LogOrder::Event { id, publication, .. } => {
                let names: Vec<_> = publication.channels.iter().map(ChannelName::as_str).collect();
                Some(format!("{} {}", id.number, names.join("+")))
            }
            LogOrder::Unnumbered(message) => Some(format!("unnumbered {}", message.channel)),
            LogOrder::Refuse { channel, .. } => Some(format!("refused {channel}")),
            LogOrder::Gap { channel, at, .. } => Some(format!("gap {} {channel}", at.number)),
            LogOrder::Dropped(channel) => Some(format!("dropped {channel}")),
            LogOrder::Followed { channel, .. } => Some(format!("followed {channel}")),
            LogOrder::Synced(terms) => Some(format!("synced {}", terms.number)),
            LogOrder::Recalled { channel, .. } => Some(format!("recalled {channel}")),
            LogOrder::Repair => None,
        }));
        done
    }

    pub(super) fn follow(&mut self, name: &str) {
        let state = self.channels.entry(channel(name)).or_default();
        state.is_wanted = true;
        if state.is_subscribed {
            self.tell(|log, orders| log.follow(channel(name), orders));
        }
    }

    pub(super) fn unfollow(&mut self, name: &str) {
        self.channels.entry(channel(name)).or_default().is_wanted = false;
        self.tell(|log, orders| log.unfollow(&channel(name), orders));
    }

    /// Redis subscribes to all wanted channels.
    pub(super) fn carry_out(&mut self) {
        for (channel, state) in &mut self.channels {
            if state.is_wanted && !std::mem::replace(&mut state.is_subscribed, true) {
                self.log.subscribed(channel.clone());
            }
        }
    }

    /// The copy of an event that comes by channel `by`.
    pub(super) fn message(&mut self, by: &str, number: u64, previous: u64, channels: &str) -> Result<(), GivenUp> {
        let payload = format!("{} {previous} {channels}\n{{\"data\":\"x\"}}", id(number));
        self.take(ChannelKind::Log, by, payload.into())
    }

    /// A message without a number.
    pub(super) fn plain(&mut self, name: &str, payload: impl Into<Vec<u8>>) -> Result<(), GivenUp> {
        self.take(ChannelKind::Plain, name, payload.into())
    }

    fn take(&mut self, kind: ChannelKind, name: &str, payload: Vec<u8>) -> Result<(), GivenUp> {
        let channel = channel(name);
        let is_followed = self.channels.get(&channel).is_some_and(|state| state.is_wanted && state.is_subscribed);
        self.tell(|log, orders| {
            if is_followed {
                return log.message(Message { kind, channel, payload }, orders);
            }
            log.pass_over(kind, &payload, orders);
            Ok(())
        })
    }

    pub(super) fn synced(&mut self, number: u64) -> Result<(), GivenUp> {
        self.tell(|log, orders| log.synced(&terms(number), orders))
    }

    fn verified(&mut self, number: u64, tops: &[(&str, u64)]) -> Result<(), GivenUp> {
        let tops: Vec<_> = tops.iter().map(|(name, top)| ((*name).to_owned(), *top)).collect();
        self.tell(|log, orders| log.verified(&terms(number), &tops, orders))
    }

    pub(super) fn repaired(&mut self, number: u64, missed: Vec<MissedEvents>) -> Result<bool, GivenUp> {
        self.tell(|log, orders| log.repaired(&terms(number), missed, orders))
    }

    fn lose(&mut self) {
        self.log.lost();
        self.channels.retain(|_, state| state.is_wanted);
        self.channels.values_mut().for_each(|state| state.is_subscribed = false);
    }

    /// Loses the connection and is subscribed to all channels over the next.
    pub(super) fn reconnect(&mut self) {
        self.lose();
        self.carry_out();
    }

    /// Loses the connection, comes back, and finds nothing in any Stream above the place that it asks for.
    fn come_back(&mut self, number: u64) -> Option<u64> {
        self.reconnect();
        let from = self.log.begin_repair().from.map(|from| from.number);
        assert_eq!(self.repaired(number, Vec::new()), Ok(true));
        from
    }

    /// Events and gaps.
    pub(super) fn told(&mut self) -> Vec<String> {
        let is_progress = |told: &String| told.starts_with("followed") || told.starts_with("synced");
        self.everything().into_iter().filter(|told| !is_progress(told)).collect()
    }

    pub(super) fn everything(&mut self) -> Vec<String> {
        take(&mut self.told)
    }
}

/// An answer of Redis is not believed once the connection was given up, and the reason is told when it is lost.
#[test]
fn a_log_that_was_given_up_takes_no_answer_and_asks_from_where_it_was() {
    let mut node = TrialLane::following(&["a"]);
    node.message("a", 11, 10, "a").expect("in order");
    node.log.give_up(ContinuityError::Moved);
    assert_eq!([node.synced(99), node.verified(99, &[])], [Err(GivenUp); 2]);
    assert_eq!(node.repaired(99, Vec::new()), Err(GivenUp));
    assert_eq!(node.log.lost(), Some(ContinuityError::Moved));
    assert_eq!(node.log.begin_repair().from, Some(id(11)));
}

/// 1. `a` and `b` are followed, and the connection is lost at 10.
/// 2. Over the next connection Redis confirms `a`. Events of `b` would still be missed, so the repair has to wait.
#[test]
fn a_repair_waits_until_all_followed_channels_are_subscribed_to_again() {
    let mut node = TrialLane::following(&["a", "b"]);
    node.lose();
    node.log.subscribed(channel("a"));
    assert!(!node.log.can_repair());
    node.log.subscribed(channel("b"));
    assert!(node.log.can_repair());
    node.lose();
    node.log.subscribed(channel("a"));
    node.unfollow("b");
    assert!(node.log.can_repair(), "a channel that is let go of is not waited for");
}

/// 1. Redis refuses `a` after an outage at 10: its streams are told at once.
/// 2. Later it is allowed again, at 14: they are told of 11 to 14.
#[test]
fn a_refused_channel_is_told_of_a_gap_when_it_is_refused_and_again_when_it_is_followed() {
    let mut node = TrialLane::following(&["a", "b"]);
    node.lose();
    node.tell(|log, orders| log.refused(&channel("a"), orders));
    node.log.subscribed(channel("b"));
    node.log.begin_repair();
    assert_eq!(node.repaired(14, Vec::new()), Ok(true));
    node.log.subscribed(channel("a"));
    node.log.begin_sync();
    assert_eq!(node.synced(14), Ok(()));
    assert_eq!(node.told(), ["gap 10 a", "gap 14 a"]);
}

/// An event of which the envelope cannot be read has a number, so something of its channels is missing there.
#[test]
fn an_event_that_cannot_be_read_is_a_gap_of_its_channels() {
    let mut node = TrialLane::following(&["a"]);
    let payload = format!("{} 10 a\nnot an envelope", id(11));
    node.take(ChannelKind::Log, "a", payload.into()).expect("no fault of the connection");
    node.take(ChannelKind::Log, "a", "nonsense".into()).expect("no fault of the connection");
    assert_eq!(node.told(), ["refused a", "gap 11 a", "refused a"]);
}

#[test]
fn a_recall_is_answered_once_and_by_its_own_answer_alone() {
    let mut node = TrialLane::following(&["a"]);
    let request = |up_to| RecallRequest { channel: channel("a"), above: None, up_to: id(up_to), events_max: 9 };
    node.log.recalls.ask(request(5));
    let (terms, asked) = node.log.next_recall().expect("it is asked for");
    assert_eq!((terms.number, &asked), (10, &request(5)));
    node.tell(|log, orders| log.recalled(&request(4), Recalled::default(), orders));
    node.tell(|log, orders| log.recalled(&asked, Recalled::default(), orders));
    node.tell(|log, orders| log.recalled(&asked, Recalled::default(), orders));
    assert_eq!(node.told(), ["recalled a"]);
}

#[test]
fn an_event_that_waits_for_a_copy_is_not_passed_by_a_channel_that_nobody_wants() {
    let mut node = TrialLane::following(&["a", "b", "c"]);
    node.unfollow("c");
    // The publisher's ACL denies it b, so there is no copy of 11 by b.
    node.message("a", 11, 0, "a,b").expect("in order");
    // UNSUBSCRIBE is on its way.
    node.message("c", 12, 0, "c").expect("in order");
    let from = node.come_back(12);
    let told = node.told();
    assert!(told.contains(&"11 a".to_owned()) || from == Some(10), "11 is neither handed down nor read: from {from:?}");
}

#[test]
fn every_channel_that_lacks_its_newest_event_is_repaired_or_declared() {
    let mut node = TrialLane::following(&["a", "b"]);
    // 11 of a and 12 of b do not reach the node.
    assert!(node.verified(12, &[("a", 11), ("b", 12)]).is_err());
    let from = node.come_back(12);
    let told = node.told();
    let is_declared = |name: &str| told.iter().any(|told| told.starts_with("gap") && told.ends_with(name));
    assert!(from == Some(10) || (is_declared("a") && is_declared("b")), "from {from:?}: {told:?}");
}

#[test]
fn a_hole_in_one_channel_does_not_hide_that_of_another() {
    let mut node = TrialLane::following(&["a", "b", "c"]);
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
fn an_event_that_is_lost_during_a_verification_is_noticed() {
    let mut node = TrialLane::following(&["a"]);
    // As `Follower::verify` reads: the number, then 11 of a is published and does not come, then the tops.
    assert!(node.verified(10, &[("a", 11)]).is_err());
}

#[test]
fn a_copy_that_comes_after_another_channel_was_let_go_is_not_left_behind() {
    let mut node = TrialLane::following(&["a", "b", "z"]);
    // The copies of 11 come in two reads of the socket. In between somebody lets go of z.
    node.message("a", 11, 0, "a,b").expect("in order");
    node.unfollow("z");
    node.message("b", 11, 0, "a,b").expect("in order");
    // The intake takes each number once: what comes again with the same number is dropped.
    assert_eq!(node.told(), ["11 a+b"]);
}

#[test]
fn a_copy_that_comes_after_its_channel_was_asked_for_again_is_not_left_behind() {
    let mut node = TrialLane::following(&["a", "b"]);
    // The copies of 11 come in two reads of the socket. In between somebody asks for b once more.
    node.message("a", 11, 0, "a,b").expect("in order");
    node.follow("b");
    node.message("b", 11, 0, "a,b").expect("in order");
    assert_eq!(node.everything(), ["followed b", "11 a+b"]);
}

#[test]
fn a_copy_that_comes_after_an_older_number_was_told_is_not_left_behind() {
    let mut node = TrialLane::following(&["a", "b"]);
    // The answer 10 stands before the copies of 11 on the socket; its task runs between them.
    node.message("a", 11, 0, "a,b").expect("in order");
    node.verified(10, &[]).expect("in order");
    node.message("b", 11, 0, "a,b").expect("in order");
    assert_eq!(node.told(), ["11 a+b"]);
}

/// 1. A connection is lost. 13 of c is trimmed before it is back, 14 of d is there, and 15 of d comes while they are
///    read.
/// 2. A stream that is let in before 14 goes down gets 14 and never hears of 13.
#[test]
fn after_an_outage_channels_are_confirmed_behind_all_that_was_missed_and_before_what_is_live() {
    let mut node = TrialLane::following(&["c", "d"]);
    node.lose();
    node.carry_out();
    node.log.begin_repair();
    node.message("d", 15, 14, "d").expect("held");
    let id = EventId::new(Term::from_random(1), 14, 14);
    let entry = LogEntry { id, previous: 0, event: Event::text("x") };
    let missed = [("c", 13, vec![]), ("d", 14, vec![entry])];
    let missed = missed.map(|(name, top, entries)| MissedEvents { channel: channel(name), top, entries });
    assert_eq!(node.repaired(14, missed.into()), Ok(true));
    let mut told = node.everything();
    told[4..6].sort();
    assert_eq!(told, ["gap 10 c", "gap 13 c", "14 d", "synced 14", "followed c", "followed d", "15 d"]);
}

/// 1. x is wanted anew while the connection is away. The events that other channels missed are being read.
/// 2. Nobody wants x any more, 11 of x comes and is passed over, and x is wanted again.
/// 3. The repair ends with number 10: x is not complete from there.
#[test]
fn a_channel_that_was_let_go_of_and_wanted_again_during_a_repair_is_complete_from_the_next_number() {
    let mut node = TrialLane::following(&["z"]);
    node.lose();
    node.follow("x");
    node.carry_out();
    node.log.begin_repair();
    node.unfollow("x");
    node.message("x", 11, 10, "x").expect("in order");
    node.follow("x");
    node.told();
    assert_eq!(node.repaired(10, Vec::new()), Ok(true));
    node.log.begin_sync();
    assert_eq!(node.log.newcomers.asked, [channel("x")]);
    assert_eq!(node.synced(11), Ok(()));
    node.message("x", 12, 11, "x").expect("in order");
    assert_eq!(node.everything(), ["synced 10", "followed z", "synced 11", "followed x", "12 x"]);
}

/// 1. x is wanted, and the number from which it is complete is being read: it will be 10.
/// 2. x is let go of and wanted again: it is complete above 10, the newest that was seen.
/// 3. 11 is for y and x, and the copy for y comes before the answer.
#[test]
fn a_channel_that_was_wanted_again_while_a_number_was_read_gets_its_copy() {
    let mut node = TrialLane::following(&["y"]);
    node.follow("x");
    node.carry_out();
    node.log.begin_sync();
    node.unfollow("x");
    node.follow("x");
    node.message("y", 11, 10, "y,x").expect("in order");
    assert_eq!(node.synced(10), Ok(()));
    node.message("x", 11, 10, "y,x").expect("in order");
    node.message("x", 12, 11, "x").expect("in order");
    let told = node.told();
    assert_eq!(told[told.len() - 2..], ["11 y+x", "12 x"], "{told:?}");
}
