//! The machine against the cases that are easy to get wrong, and against a small model of Redis.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

const KINDS: &[Kind] = &[Kind::Plain, Kind::Event];

fn channel(number: usize) -> ChannelName {
    ChannelName::parse(&format!("c{number}")).expect("valid")
}

/// Confirms the whole of `command` and returns what is followed thereby.
fn confirm(subscriptions: &mut Subscriptions, command: &Command) -> Vec<ChannelName> {
    let names = command.redis_channels();
    let confirmed = names.iter().map(|name| subscriptions.confirmed(command.verb, name.as_bytes()).expect("expected"));
    confirmed.flatten().collect()
}

fn followed(channels: usize) -> Subscriptions {
    let mut subscriptions = Subscriptions::new(KINDS);
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
    let mut subscriptions = Subscriptions::new(KINDS);
    assert!(!subscriptions.follow(&channel(0)));
    let command = subscriptions.next_command().expect("a command");
    assert_eq!(
        (command.verb, command.redis_channels()),
        (Verb::Subscribe, vec!["fantail:c0".into(), "fantail-event:c0".into()])
    );
    assert_eq!(subscriptions.confirmed(Verb::Subscribe, b"fantail:c0"), Ok(None));
    assert_eq!(subscriptions.followed("c0"), None);
    assert_eq!(subscriptions.confirmed(Verb::Subscribe, b"fantail-event:c0"), Ok(Some(channel(0))));
    assert_eq!(subscriptions.followed("c0"), Some(&channel(0)));
}

#[test]
fn following_again_asks_redis_for_nothing_and_is_confirmed_at_once() {
    let mut subscriptions = Subscriptions::new(KINDS);
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
    let mut subscriptions = Subscriptions::new(KINDS);
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
    let mut subscriptions = Subscriptions::new(KINDS);
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
    let mut subscriptions = Subscriptions::new(KINDS);
    assert_eq!(subscriptions.confirmed(Verb::Subscribe, b"fantail:c0"), Err(Unexpected));
    subscriptions.follow(&channel(0));
    subscriptions.next_command().expect("a command");
    for (verb, name) in [
        (Verb::Unsubscribe, b"fantail:c0".as_slice()),
        (Verb::Subscribe, b"fantail-event:c0"),
        (Verb::Subscribe, b"fantail:c1"),
        (Verb::Subscribe, b"c0"),
    ] {
        assert_eq!(subscriptions.confirmed(verb, name), Err(Unexpected));
    }
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
    let mut subscriptions = Subscriptions::new(KINDS);
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

/// What happens next in a run of the model.
#[derive(Debug, Clone, Copy)]
enum Step {
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

fn step() -> impl Strategy<Value = Step> {
    let channel = 0..CHANNELS;
    prop_oneof![
        4 => channel.clone().prop_map(Step::Follow),
        3 => channel.clone().prop_map(Step::Unfollow),
        4 => Just(Step::Send),
        4 => Just(Step::Execute),
        5 => (channel.clone(), any::<bool>()).prop_map(|(number, plain)| Step::Publish(number, plain)),
        12 => Just(Step::Read),
        1 => Just(Step::Lose),
        1 => (channel, any::<bool>()).prop_map(|(number, permitted)| Step::Permit(number, permitted)),
    ]
}

#[derive(Debug)]
enum Push {
    Confirmed(Verb, String),
    Message { redis_channel: String, serial: u64 },
    Refused,
}

/// Redis and the socket from it: it does commands whole, and tells everything in the order in which it was done.
#[derive(Debug)]
struct Model {
    subscriptions: Subscriptions,
    to_redis: Option<Command>,
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
    fn new(kinds: &'static [Kind]) -> Self {
        Self {
            subscriptions: Subscriptions::new(kinds),
            to_redis: None,
            subscribed: BTreeSet::new(),
            forbidden: BTreeSet::new(),
            from_redis: VecDeque::new(),
            told: BTreeSet::new(),
            owed: BTreeSet::new(),
            serial: 0,
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Follow(number) => {
                if self.subscriptions.follow(&channel(number)) {
                    self.told.insert(number);
                }
            }
            Step::Unfollow(number) => {
                self.subscriptions.unfollow(&channel(number));
                self.let_go(number);
            }
            Step::Send => self.send(),
            Step::Execute => self.execute(),
            Step::Publish(number, plain) => self.publish(number, plain),
            Step::Read => self.read(),
            Step::Lose => self.lose(),
            Step::Permit(number, true) => drop(self.forbidden.remove(&number)),
            Step::Permit(number, false) => drop(self.forbidden.insert(number)),
        }
    }

    fn send(&mut self) {
        if let Some(command) = self.subscriptions.next_command() {
            assert!(self.to_redis.replace(command).is_none(), "one command at a time");
        }
    }

    fn execute(&mut self) {
        let Some(command) = self.to_redis.take() else { return };
        let forbidden = self.forbidden.iter().any(|number| command.channels.contains(&channel(*number)));
        if command.verb == Verb::Subscribe && forbidden {
            return self.from_redis.push_back(Push::Refused);
        }
        for name in command.redis_channels() {
            let changed = match command.verb {
                Verb::Subscribe => self.subscribed.insert(name.clone()),
                Verb::Unsubscribe => self.subscribed.remove(&name),
            };
            assert!(changed, "{:?} {name} changes nothing", command.verb);
            self.from_redis.push_back(Push::Confirmed(command.verb, name));
        }
    }

    fn publish(&mut self, number: usize, plain: bool) {
        let redis_channel = if plain { names::plain(&channel(number)) } else { names::event(&channel(number)) };
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
            Some(Push::Confirmed(verb, name)) => {
                if let Some(followed) = self.subscriptions.confirmed(verb, name.as_bytes()).expect("in turn") {
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
            self.execute();
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
    ) {
        let mut model = Model::new(KINDS);
        let mut wanted = BTreeSet::new();
        for step in steps {
            match step {
                Step::Follow(number) => drop(wanted.insert(number)),
                Step::Unfollow(number) => drop(wanted.remove(&number)),
                _ => {}
            }
            model.take(step);
        }
        model.settle();
        // What was refused while it was forbidden is asked for again by following it again.
        model.forbidden.clear();
        for number in &wanted {
            model.take(Step::Follow(*number));
        }
        model.settle();
        prop_assert!(model.owed.is_empty(), "missed: {:?}", model.owed);
        prop_assert_eq!(&model.told, &wanted);
        let names: BTreeSet<_> =
            wanted.iter().flat_map(|number| [names::plain(&channel(*number)), names::event(&channel(*number))]).collect();
        prop_assert_eq!(&model.subscribed, &names);
        prop_assert_eq!(model.subscriptions.len(), wanted.len());
        prop_assert!(model.subscriptions.to_subscribe.is_empty() && model.subscriptions.to_unsubscribe.is_empty());
    }
}
