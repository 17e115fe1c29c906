//! The machine against the cases that are easy to get wrong, and against a small model of Redis.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

const PLAIN: &[Part] = &[Part { scope: SubscribeScope::Everywhere, kinds: &[ChannelKind::Plain, ChannelKind::Event] }];
const SHARDED: &[Part] = &[
    Part { scope: SubscribeScope::Everywhere, kinds: &[ChannelKind::Plain, ChannelKind::Event] },
    Part { scope: SubscribeScope::Slot, kinds: &[ChannelKind::Log] },
];

fn channel(number: usize) -> ChannelName {
    ChannelName::parse(&format!("c{number}")).expect("valid")
}

/// Confirms the whole of `command` and returns what is followed thereby.
fn confirm(subscriptions: &mut Subscriptions, command: &SubscribeCommand) -> Vec<ChannelName> {
    let names = command.parts().flat_map(|(scope, names)| names.into_iter().map(move |name| (scope, name)));
    let confirmed =
        names.map(|(scope, name)| subscriptions.confirmed(command.verb, scope, name.as_bytes()).expect("expected"));
    confirmed.flatten().collect()
}

/// Confirms one name that travels everywhere.
fn told(subscriptions: &mut Subscriptions, verb: Verb, name: &[u8]) -> Result<Option<ChannelName>, Unexpected> {
    subscriptions.confirmed(verb, SubscribeScope::Everywhere, name)
}

fn followed(channels: usize) -> Subscriptions {
    let mut subscriptions = Subscriptions::new(PLAIN);
    for number in 0..channels {
        subscriptions.follow(&channel(number));
    }
    while let Some(command) = subscriptions.next_command() {
        confirm(&mut subscriptions, &command);
    }
    subscriptions
}

#[test]
fn a_channel_is_followed_when_both_of_its_names_are_confirmed() {
    let mut subscriptions = Subscriptions::new(PLAIN);
    assert!(!subscriptions.follow(&channel(0)));
    let command = subscriptions.next_command().expect("a command");
    let names = vec!["fantail:c0".into(), "fantail-event:c0".into()];
    assert_eq!((command.verb, command.parts().collect()), (Verb::Subscribe, vec![(SubscribeScope::Everywhere, names)]));
    assert_eq!(told(&mut subscriptions, Verb::Subscribe, b"fantail:c0"), Ok(None));
    assert_eq!(subscriptions.followed("c0"), None);
    assert_eq!(told(&mut subscriptions, Verb::Subscribe, b"fantail-event:c0"), Ok(Some(channel(0))));
    assert_eq!(subscriptions.followed("c0"), Some(&channel(0)));
}

#[test]
fn following_again_asks_redis_for_nothing_and_is_confirmed_at_once() {
    let mut subscriptions = Subscriptions::new(PLAIN);
    for _ in 0..3 {
        assert!(!subscriptions.follow(&channel(0)));
    }
    let command = subscriptions.next_command().expect("a command");
    assert!(!subscriptions.follow(&channel(0)));
    assert_eq!(confirm(&mut subscriptions, &command), [channel(0)]);
    assert!(subscriptions.follow(&channel(0)));
    assert_eq!(subscriptions.next_command(), None);
}

#[test]
fn a_wish_that_is_withdrawn_before_it_is_sent_leaves_nothing() {
    let mut subscriptions = Subscriptions::new(PLAIN);
    for number in 0..1000 {
        subscriptions.follow(&channel(number));
        subscriptions.unfollow(&channel(number));
    }
    assert_eq!((subscriptions.next_command(), subscriptions.len()), (None, 0));
    assert!(subscriptions.to_subscribe.is_empty() && subscriptions.to_unsubscribe.is_empty());
}

#[test]
fn an_old_answer_does_not_confirm_a_newer_wish() {
    let mut subscriptions = followed(1);
    subscriptions.unfollow(&channel(0));
    let unsubscribe = subscriptions.next_command().expect("a command");
    assert!(!subscriptions.follow(&channel(0)));
    assert_eq!(subscriptions.next_command(), None, "one command at a time");
    assert_eq!(subscriptions.followed("c0"), None, "what comes before the answer is the old subscription's");
    assert_eq!(confirm(&mut subscriptions, &unsubscribe), []);
    assert_eq!(subscriptions.followed("c0"), None);
    let subscribe = subscriptions.next_command().expect("a command");
    assert_eq!(confirm(&mut subscriptions, &subscribe), [channel(0)]);
}

#[test]
fn a_channel_unfollowed_while_it_is_subscribed_is_unsubscribed_without_ever_being_followed() {
    let mut subscriptions = Subscriptions::new(PLAIN);
    subscriptions.follow(&channel(0));
    let subscribe = subscriptions.next_command().expect("a command");
    subscriptions.unfollow(&channel(0));
    assert_eq!(confirm(&mut subscriptions, &subscribe), []);
    let unsubscribe = subscriptions.next_command().expect("a command");
    assert_eq!(unsubscribe.verb, Verb::Unsubscribe);
    confirm(&mut subscriptions, &unsubscribe);
    assert_eq!(subscriptions.len(), 0);
}

#[test]
fn an_unfollow_that_is_taken_back_in_time_is_never_sent() {
    let mut subscriptions = followed(1);
    subscriptions.unfollow(&channel(0));
    assert_eq!(subscriptions.followed("c0"), None, "unfollow means now");
    assert!(subscriptions.follow(&channel(0)));
    assert_eq!(subscriptions.next_command(), None);
}

#[test]
fn a_confirmation_out_of_turn_is_an_error() {
    let mut subscriptions = Subscriptions::new(PLAIN);
    assert_eq!(told(&mut subscriptions, Verb::Subscribe, b"fantail:c0"), Err(Unexpected));
    subscriptions.follow(&channel(0));
    subscriptions.next_command().expect("a command");
    for (verb, name) in [
        (Verb::Unsubscribe, b"fantail:c0".as_slice()),
        (Verb::Subscribe, b"fantail-event:c0"),
        (Verb::Subscribe, b"fantail:c1"),
        (Verb::Subscribe, b"c0"),
    ] {
        assert_eq!(told(&mut subscriptions, verb, name), Err(Unexpected));
    }
    assert_eq!(subscriptions.confirmed(Verb::Subscribe, SubscribeScope::Slot, b"fantail:c0"), Err(Unexpected));
}

/// A machine with a log in one slot that wants so many channels, and its first command.
fn sharded(channels: usize) -> (Subscriptions, SubscribeCommand) {
    let mut subscriptions = Subscriptions::new(SHARDED);
    for number in 0..channels {
        subscriptions.follow(&channel(number));
    }
    let command = subscriptions.next_command().expect("a command");
    (subscriptions, command)
}

/// Confirms what everybody may read, then the log of these channels.
fn confirm_sharded(subscriptions: &mut Subscriptions, command: &SubscribeCommand, log: &[usize]) -> Vec<ChannelName> {
    let (_, everywhere) = command.parts().next().expect("two parts");
    for name in everywhere {
        assert_eq!(told(subscriptions, command.verb, name.as_bytes()), Ok(None));
    }
    let confirmed = |number: &usize| {
        let name = names::log(&channel(*number));
        subscriptions.confirmed(command.verb, SubscribeScope::Slot, name.as_bytes()).expect("expected")
    };
    log.iter().filter_map(confirmed).collect()
}

#[test]
fn with_a_log_in_one_slot_a_channel_is_followed_when_both_commands_are_confirmed() {
    let (mut subscriptions, command) = sharded(2);
    let names = |prefixes: &[&str]| {
        let of = |number: usize| prefixes.iter().map(move |prefix| format!("{prefix}:c{number}"));
        (0..2).flat_map(of).collect::<Vec<_>>()
    };
    let everywhere = (SubscribeScope::Everywhere, names(&["fantail", "fantail-event"]));
    assert_eq!(command.parts().collect::<Vec<_>>(), [everywhere, (SubscribeScope::Slot, names(&["fantail-log:{0}"]))]);
    assert_eq!(confirm_sharded(&mut subscriptions, &command, &[]), []);
    assert_eq!((subscriptions.followed("c0"), subscriptions.is_waiting()), (None, true));
    let by_the_other = subscriptions.confirmed(Verb::Subscribe, SubscribeScope::Everywhere, b"fantail-log:{0}:c0");
    assert_eq!(by_the_other, Err(Unexpected));
    let mut confirmed = |name: &[u8]| subscriptions.confirmed(Verb::Subscribe, SubscribeScope::Slot, name);
    assert_eq!(confirmed(b"fantail-log:{0}:c0"), Ok(Some(channel(0))));
    assert_eq!(confirmed(b"fantail-log:{0}:c0"), Err(Unexpected));
    assert_eq!(confirmed(b"fantail-log:{0}:c1"), Ok(Some(channel(1))));
    assert!(!subscriptions.is_waiting());
}

#[test]
fn names_that_are_refused_by_themselves_keep_none_of_the_others_out_and_leave_nothing_behind() {
    let (mut subscriptions, command) = sharded(5);
    assert_eq!(confirm_sharded(&mut subscriptions, &command, &[1, 3]), [channel(1), channel(3)]);
    assert_eq!(subscriptions.refused_apart(3), Ok(vec![channel(0), channel(2), channel(4)]));
    assert_eq!((subscriptions.followed("c0"), subscriptions.followed("c1")), (None, Some(&channel(1))));
    let undo = subscriptions.next_command().expect("what was subscribed to of them is given up");
    assert_eq!((undo.verb, undo.channels.len()), (Verb::Unsubscribe, 3));
    confirm(&mut subscriptions, &undo);
    assert_eq!(subscriptions.next_command(), None, "not asked again by itself");
    assert!(!subscriptions.follow(&channel(2)), "asked again when it is followed again");
    let again = subscriptions.next_command().expect("a command");
    assert_eq!(confirm(&mut subscriptions, &again), [channel(2)]);
    subscriptions.unfollow(&channel(0));
    assert!(subscriptions.ask_refused_again());
    assert_eq!(
        (subscriptions.next_command().map(|command| command.channels), subscriptions.len()),
        (Some(vec![channel(4)]), 4)
    );
}

#[test]
fn a_confirmation_that_did_not_come_must_have_been_refused() {
    for (confirmed, refused) in [(&[0, 2][..], 0), (&[0, 2], 2), (&[0, 1, 2], 1), (&[], 2)] {
        let (mut subscriptions, command) = sharded(3);
        confirm_sharded(&mut subscriptions, &command, confirmed);
        assert_eq!(subscriptions.refused_apart(refused), Err(Unexpected), "{confirmed:?} {refused}");
    }
    let (mut subscriptions, command) = sharded(3);
    confirm_sharded(&mut subscriptions, &command, &[1]);
    let before = subscriptions.confirmed(Verb::Subscribe, SubscribeScope::Slot, b"fantail-log:{0}:c0");
    assert_eq!(before, Err(Unexpected), "names are answered in their order");
}

#[test]
fn the_server_that_a_new_connection_leads_to_decides_how_the_log_is_followed() {
    let mut subscriptions = followed(1);
    subscriptions.lost();
    subscriptions.follow_by(SHARDED);
    let command = subscriptions.next_command().expect("a command");
    assert_eq!(confirm_sharded(&mut subscriptions, &command, &[0]), [channel(0)]);
}

#[test]
fn ten_thousand_channels_come_back_in_a_few_whole_batches_in_which_none_is_missing() {
    let mut subscriptions = followed(10_000);
    subscriptions.unfollow(&channel(77));
    subscriptions.lost();
    assert_eq!(subscriptions.followed("c1"), None);
    let (mut commands, mut channels) = (0, BTreeSet::new());
    while let Some(command) = subscriptions.next_command() {
        commands += 1;
        assert!(command.channels.len() <= BATCH_MAX);
        channels.extend(confirm(&mut subscriptions, &command));
    }
    assert_eq!((commands, channels.len()), (20, 9_999));
}

#[test]
fn neither_subscribing_nor_unsubscribing_starves_the_other() {
    let mut subscriptions = followed(5);
    let mut verbs = Vec::new();
    for number in 0..5 {
        subscriptions.unfollow(&channel(number));
        subscriptions.follow(&channel(10 + number));
        let command = subscriptions.next_command().expect("a command");
        verbs.push(command.verb);
        confirm(&mut subscriptions, &command);
    }
    assert_eq!(verbs, [Verb::Unsubscribe, Verb::Subscribe, Verb::Unsubscribe, Verb::Subscribe, Verb::Unsubscribe]);
}

#[test]
fn one_forbidden_channel_keeps_none_of_the_others_out() {
    let mut subscriptions = Subscriptions::new(PLAIN);
    for number in 0..512 {
        subscriptions.follow(&channel(number));
    }
    let (mut followed, mut refused, mut commands) = (0, Vec::new(), 0);
    while let Some(command) = subscriptions.next_command() {
        commands += 1;
        if command.channels.contains(&channel(300)) {
            refused.extend(subscriptions.refused());
        } else {
            followed += confirm(&mut subscriptions, &command).len();
        }
    }
    assert_eq!((followed, refused), (511, vec![channel(300)]));
    assert!(commands < 40, "{commands} commands");
    assert!(!subscriptions.follow(&channel(300)), "asked again when it is followed again");
    assert!(subscriptions.next_command().is_some());
    subscriptions.refused();
    subscriptions.unfollow(&channel(300));
    assert_eq!((subscriptions.next_command(), subscriptions.len()), (None, 511));
}

const CHANNELS: usize = 4;

/// One step of a run of the model.
#[derive(Debug, Clone, Copy)]
enum ModelStep {
    Follow(usize),
    Unfollow(usize),
    /// The machine's next command is written to the socket.
    Send,
    /// Redis takes the command that waits in the socket.
    Execute,
    Publish(usize, bool),
    /// The node reads the next push.
    Read,
    Lose,
    /// Redis's permissions change.
    Permit(usize, bool),
}

fn step() -> impl Strategy<Value = ModelStep> {
    let channel = 0..CHANNELS;
    prop_oneof![
        4 => channel.clone().prop_map(ModelStep::Follow),
        3 => channel.clone().prop_map(ModelStep::Unfollow),
        4 => Just(ModelStep::Send),
        4 => Just(ModelStep::Execute),
        5 => (channel.clone(), any::<bool>()).prop_map(|(number, plain)| ModelStep::Publish(number, plain)),
        12 => Just(ModelStep::Read),
        1 => Just(ModelStep::Lose),
        1 => (channel, any::<bool>()).prop_map(|(number, permitted)| ModelStep::Permit(number, permitted)),
    ]
}

#[derive(Debug)]
enum Push {
    Confirmed(Verb, SubscribeScope, String),
    Message { redis_channel: String, serial: u64 },
    Refused,
    RefusedApart(usize),
}

/// Redis and the socket from it: it does a command's parts whole, or name by name, and tells everything in the order in
/// which it was done.
#[derive(Debug)]
struct Model {
    subscriptions: Subscriptions,
    to_redis: Option<SubscribeCommand>,
    /// Which part of it Redis does next.
    part: usize,
    subscribed: BTreeSet<String>,
    forbidden: BTreeSet<usize>,
    from_redis: VecDeque<Push>,
    /// Channels that the node was told are followed, and has not let go since.
    told: BTreeSet<usize>,
    /// Messages that must arrive: published while `told` held.
    owed: BTreeSet<(usize, u64)>,
    serial: u64,
}

impl Model {
    fn new(parts: &'static [Part]) -> Self {
        Self {
            subscriptions: Subscriptions::new(parts),
            to_redis: None,
            part: 0,
            subscribed: BTreeSet::new(),
            forbidden: BTreeSet::new(),
            from_redis: VecDeque::new(),
            told: BTreeSet::new(),
            owed: BTreeSet::new(),
            serial: 0,
        }
    }

    fn take(&mut self, step: ModelStep) {
        match step {
            ModelStep::Follow(number) => {
                if self.subscriptions.follow(&channel(number)) {
                    self.told.insert(number);
                }
            }
            ModelStep::Unfollow(number) => {
                self.subscriptions.unfollow(&channel(number));
                self.let_go(number);
            }
            ModelStep::Send => self.send(),
            ModelStep::Execute => self.execute(),
            ModelStep::Publish(number, plain) => self.publish(number, plain),
            ModelStep::Read => self.read(),
            ModelStep::Lose => self.lose(),
            ModelStep::Permit(number, true) => drop(self.forbidden.remove(&number)),
            ModelStep::Permit(number, false) => drop(self.forbidden.insert(number)),
        }
    }

    fn send(&mut self) {
        if self.to_redis.is_some() {
            return; // the parts that are confirmed still have an end
        }
        if let Some(command) = self.subscriptions.next_command() {
            assert!(self.to_redis.replace(command).is_none(), "one command at a time");
        }
    }

    /// The next part of the command. Channels with odd numbers are forbidden by what travels everywhere, and the others
    /// by the log, if that is apart.
    fn execute(&mut self) {
        let Some(command) = self.to_redis.take() else { return };
        let Some((scope, names)) = command.parts().nth(self.part) else {
            self.part = 0;
            return;
        };
        self.part += 1;
        let is_apart = self.subscriptions.parts == SHARDED;
        let is_forbidden = |number: usize| {
            let is_here = !is_apart || (scope == SubscribeScope::Everywhere) == (number % 2 == 1);
            is_here && command.verb == Verb::Subscribe && self.forbidden.contains(&number)
        };
        let of = |name: &str| (0..CHANNELS).find(|number| name.ends_with(channel(*number).as_str())).expect("known");
        if scope == SubscribeScope::Everywhere && names.iter().any(|name| is_forbidden(of(name))) {
            self.part = 0;
            return self.from_redis.push_back(Push::Refused);
        }
        let (refused, done): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| is_forbidden(of(name)));
        for name in done {
            let changed = match command.verb {
                Verb::Subscribe => self.subscribed.insert(name.clone()),
                Verb::Unsubscribe => self.subscribed.remove(&name),
            };
            assert!(changed || is_apart, "{:?} {name} changes nothing", command.verb);
            self.from_redis.push_back(Push::Confirmed(command.verb, scope, name));
        }
        if !refused.is_empty() {
            self.from_redis.push_back(Push::RefusedApart(refused.len()));
        }
        self.to_redis = Some(command);
    }

    fn publish(&mut self, number: usize, plain: bool) {
        let other = self.subscriptions.parts.last().map_or(ChannelKind::Event, |part| part.kinds[part.kinds.len() - 1]);
        let redis_channel = names::of(if plain { ChannelKind::Plain } else { other }, &channel(number));
        self.serial += 1;
        if self.told.contains(&number) {
            self.owed.insert((number, self.serial));
        }
        if self.subscribed.contains(&redis_channel) {
            self.from_redis.push_back(Push::Message { redis_channel, serial: self.serial });
        }
    }

    fn read(&mut self) {
        match self.from_redis.pop_front() {
            None => {}
            Some(Push::Refused) => drop(self.subscriptions.refused()),
            Some(Push::RefusedApart(refused)) => {
                self.subscriptions.refused_apart(refused).expect("what was passed over");
            }
            Some(Push::Confirmed(verb, scope, name)) => {
                if let Some(followed) = self.subscriptions.confirmed(verb, scope, name.as_bytes()).expect("in turn") {
                    self.told.extend((0..CHANNELS).filter(|number| channel(*number) == followed));
                }
            }
            Some(Push::Message { redis_channel, serial }) => {
                let (_, name) = names::split(redis_channel.as_bytes()).expect("ours");
                let number = (0..CHANNELS).find(|number| channel(*number).as_str() == name).expect("known");
                let accepted = self.subscriptions.followed(name).is_some();
                assert_eq!(accepted, self.told.contains(&number), "accepted exactly while told to be followed");
                self.owed.remove(&(number, serial));
            }
        }
    }

    fn lose(&mut self) {
        self.subscriptions.lost();
        self.to_redis = None;
        self.part = 0;
        self.subscribed.clear();
        self.from_redis.clear();
        (0..CHANNELS).for_each(|number| self.let_go(number));
    }

    fn let_go(&mut self, number: usize) {
        self.told.remove(&number);
        self.owed.retain(|(owed, _)| *owed != number);
    }

    /// Lets everything that is under way come to its end.
    fn settle(&mut self) {
        for _ in 0..100 {
            self.send();
            while self.to_redis.is_some() {
                self.execute();
            }
            while !self.from_redis.is_empty() {
                self.read();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn nothing_published_while_followed_is_missed_and_redis_ends_with_what_is_wanted(
        steps in prop::collection::vec(step(), 0..120),
        parts in prop_oneof![Just(PLAIN), Just(SHARDED)],
    ) {
        let mut model = Model::new(parts);
        let mut wanted = BTreeSet::new();
        for step in steps {
            match step {
                ModelStep::Follow(number) => drop(wanted.insert(number)),
                ModelStep::Unfollow(number) => drop(wanted.remove(&number)),
                _ => {}
            }
            model.take(step);
        }
        model.settle();
        // A channel that was refused while it was forbidden is asked for again by following it again.
        model.forbidden.clear();
        for number in &wanted {
            model.take(ModelStep::Follow(*number));
        }
        model.settle();
        prop_assert!(model.owed.is_empty(), "missed: {:?}", model.owed);
        prop_assert_eq!(&model.told, &wanted);
        let of = |number: &usize| {
            let channel = channel(*number);
            parts.iter().flat_map(|part| part.kinds).map(move |kind| names::of(*kind, &channel))
        };
        let names: BTreeSet<_> = wanted.iter().flat_map(of).collect();
        prop_assert_eq!(&model.subscribed, &names);
        prop_assert_eq!(model.subscriptions.len(), wanted.len());
        prop_assert!(model.subscriptions.to_subscribe.is_empty() && model.subscriptions.to_unsubscribe.is_empty());
    }
}
