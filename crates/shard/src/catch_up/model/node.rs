//! The control loop with its feed: everything that changes what streams get.

use std::collections::VecDeque;
use std::sync::Arc;

use fantail_hub::{Channel, Following, Hub, HubSettings, LogLimits, NumberedBy, Publisher, Release, Wish};
use fantail_wire::SlowPolicy;
use fantail_wire::{ChannelName, ChannelPattern, EventFields, EventId, Lane, Publication, Term};

use super::connection::Surroundings;
use super::course::{Course, Disturbances, now_ms};
use crate::slow_policies::SlowPolicies;

/// One for each client.
pub(super) const SHARDS: u16 = 4;

pub(super) const CHANNELS: usize = 5;

/// By how much the clocks of two nodes may differ before a client that comes from one to the other gets less than it missed.
pub(super) const SLACK_MS: u64 = 2000;

/// A published event, whether or not the feed brought it here. Its place in the history is its text.
pub(super) struct Past {
    /// Its number on this node, if it came here, or else the one it came after.
    pub(super) place: (u64, bool),
    pub(super) channels: Vec<usize>,
    /// Those of them that the feed brought it to.
    pub(super) brought: Vec<usize>,
    pub(super) publisher_id: Option<String>,
    ms: u64,
}

pub(super) struct ModelNode {
    pub(super) course: Course,
    pub(super) hub: Arc<Hub>,
    pub(super) history: Vec<Past>,
    /// Each channel is of a class of its own.
    pub(super) slow_policies: SlowPolicies,
    pub(super) unknown_id_replay_max: usize,
    publisher: Publisher,
    pub(super) following: Following,
    linger_ms: u64,
    feed_is_up: bool,
    /// Until the run comes to rest.
    is_at_work: bool,
    /// Which channels the feed brings now, if it brings them on demand.
    brought: [bool; CHANNELS],
    /// Channels that the feed was asked for and has not confirmed.
    asked: VecDeque<usize>,
    lingering: Vec<Arc<Channel>>,
}

impl Past {
    pub(super) fn number(&self) -> Option<u64> {
        (!self.place.1).then_some(self.place.0)
    }
}

pub(super) fn name(channel: usize) -> ChannelName {
    ChannelName::parse(&format!("c{channel}")).unwrap()
}

fn pattern(channel: usize) -> ChannelPattern {
    ChannelPattern::parse(name(channel).as_str()).unwrap()
}

pub(super) fn channel_of(name: &str) -> usize {
    name.strip_prefix('c').unwrap().parse().unwrap()
}

impl Surroundings for ModelNode {
    fn hub(&self) -> Arc<Hub> {
        Arc::clone(&self.hub)
    }

    fn course(&mut self) -> &mut Course {
        &mut self.course
    }

    fn slow_policies(&self) -> SlowPolicies {
        self.slow_policies.clone()
    }

    fn sometimes_step(&mut self) {
        if self.is_at_work && self.course.chance(8) {
            self.step();
        }
    }
}

impl ModelNode {
    pub(super) fn new(seed: u64, disturbances: Disturbances) -> Self {
        let mut course = Course::new(seed, disturbances);
        let following = if course.rng.bool() { Following::Always } else { Following::OnDemand };
        let most = usize::MAX / 2;
        let log = LogLimits {
            entries_max: if course.rng.u8(..4) == 0 { 100 } else { course.rng.usize(1..=4) },
            bytes_max: if course.is_tight(3) { course.rng.usize(100..1000) } else { most },
            age_ms_max: if course.is_tight(2) { course.rng.u64(1..60) } else { u64::MAX },
        };
        let of_channel = |rng: &mut fastrand::Rng| match disturbances {
            Disturbances::Harmless => LogLimits { entries_max: most, ..log },
            Disturbances::All if rng.bool() => LogLimits { entries_max: rng.usize(1..=6), ..log },
            Disturbances::All => log,
        };
        let policies = [SlowPolicy::Disconnect, SlowPolicy::Skip, SlowPolicy::Latest];
        // One seed in two has a single policy for all, else the strictest would leave the others little to do.
        let common = course.rng.bool().then(|| policies[course.rng.usize(..3)]);
        let slow_policies: Vec<_> = (0..CHANNELS).map(|_| common.unwrap_or(policies[course.rng.usize(..3)])).collect();
        let settings = HubSettings {
            following,
            shards: SHARDS,
            log: if disturbances == Disturbances::Harmless { LogLimits { entries_max: most, ..log } } else { log },
            patterns: (0..CHANNELS).map(|channel| (pattern(channel), of_channel(&mut course.rng))).collect(),
            unknown_id_replay_max: course.rng.usize(..6),
            logs_bytes_max: if course.is_tight(4) { course.rng.usize(500..3000) } else { most },
            channels_max: if course.is_tight(4) { course.rng.usize(2..=CHANNELS) } else { CHANNELS },
            ..HubSettings::unbounded(NumberedBy::Node(Term::from_random(seed)), now_ms)
        };
        let linger_ms = course.rng.u64(0..20);
        course.note(format!("{settings:?}, {slow_policies:?}"));
        let unknown_id_replay_max = settings.unknown_id_replay_max;
        let (hub, publisher) = Hub::new(settings, Arc::default());
        Self {
            course,
            hub,
            history: Vec::new(),
            slow_policies: SlowPolicies::new(std::iter::once(SlowPolicy::Disconnect).chain(slow_policies)),
            unknown_id_replay_max,
            publisher,
            following,
            linger_ms,
            feed_is_up: true,
            is_at_work: true,
            brought: [following == Following::Always; CHANNELS],
            asked: VecDeque::new(),
            lingering: Vec::new(),
        }
    }

    /// When the event with this number was published.
    pub(super) fn ms_of(&self, number: u64) -> u64 {
        self.history.iter().find(|past| past.number() == Some(number)).expect("an event").ms
    }

    /// The newest number there is.
    pub(super) fn numbers(&self) -> u64 {
        self.hub.watermark(Lane::default()).position.number
    }

    /// Whether this node may have given that id.
    pub(super) fn gave(&self, id: EventId) -> bool {
        let newest = self.hub.id(Lane::default(), self.hub.watermark(Lane::default()).position, 0).unwrap();
        id.term == newest.term && id.number <= newest.number
    }

    /// One thing that the control loop does.
    pub(super) fn step(&mut self) {
        let may_lose = self.course.may_lose();
        match self.course.rng.u8(..20) {
            0..8 => self.publish(),
            8..11 => self.course.pass_time(),
            11..13 => self.publisher.sweep(&self.hub.all_channels()),
            13 if may_lose && self.course.chance(2) => self.delete(),
            14 if may_lose => self.release(),
            15 if may_lose && self.following == Following::OnDemand => self.lose_or_find_the_feed(),
            _ => self.wish_or_confirm(),
        }
    }

    /// Nothing new comes, but the feed is there again and confirms whatever is wanted.
    pub(super) fn come_to_rest(&mut self) {
        (self.feed_is_up, self.is_at_work) = (true, false);
        self.confirm_all();
    }

    pub(super) fn confirm_all(&mut self) {
        while self.wish() || self.confirm() {}
    }

    fn publish(&mut self) {
        let seq = self.history.len();
        let channels = self.course.some_channels(CHANNELS);
        let publisher_id = self.publisher_id(seq);
        let padding = if self.course.chance(4) { self.course.rng.usize(..300) } else { 0 };
        let text = format!("{seq}:{}", "x".repeat(padding));
        let fields = EventFields { data: text, id: publisher_id.clone(), ..EventFields::default() };
        let came: Vec<_> = channels.iter().copied().filter(|&c| self.brought[c]).collect();
        let place = if came.is_empty() {
            (self.numbers(), true)
        } else {
            let publication = Publication::new(came.iter().copied().map(name), fields.validate().unwrap());
            (self.publisher.publish(&publication).unwrap().id.unwrap().number, false)
        };
        self.course
            .note(format!("publish {seq} to {channels:?}, brought to {came:?} at {place:?}, id {publisher_id:?}"));
        self.history.push(Past { place, channels, brought: came, publisher_id, ms: now_ms() });
    }

    /// Now and then one of the publisher's own, and rarely one that it used before.
    fn publisher_id(&mut self, seq: usize) -> Option<String> {
        if !self.course.chance(5) {
            return None;
        }
        let again = self.course.is_tight(8);
        let of = if again { self.course.rng.usize(..=seq) } else { seq };
        Some(format!("own-{of}"))
    }

    fn delete(&mut self) {
        let channel = self.course.rng.usize(..CHANNELS);
        let there = self.publisher.delete(&name(channel));
        self.course.note(format!("delete {channel}: {there}"));
    }

    fn wish_or_confirm(&mut self) {
        if self.course.rng.bool() {
            self.wish();
        } else {
            self.confirm();
        }
    }

    fn wish(&mut self) -> bool {
        let wish = self.publisher.next_wish();
        self.course.note(format!("wish {wish:?}"));
        match wish {
            Some(Wish::Follow(name)) => self.asked.push_back(channel_of(name.as_str())),
            Some(Wish::Linger(channel)) => self.lingering.push(channel),
            Some(wish @ (Wish::Recall { .. } | Wish::Sync(_))) => panic!("{wish:?}"),
            None => return false,
        }
        true
    }

    fn confirm(&mut self) -> bool {
        if !self.feed_is_up {
            return false;
        }
        let Some(channel) = self.asked.pop_front() else { return false };
        self.brought[channel] = true;
        self.publisher.followed(&name(channel), None);
        self.course.note(format!("followed {channel}"));
        true
    }

    fn release(&mut self) {
        if self.lingering.is_empty() {
            return;
        }
        let at = self.course.rng.usize(..self.lingering.len());
        let channel = self.lingering.swap_remove(at);
        let release = self.publisher.release(&channel, self.linger_ms);
        self.course.note(format!("release {channel:?}: {release:?}"));
        match release {
            Release::Unfollow => {
                let channel = channel_of(channel.name().as_str());
                self.brought[channel] = false;
                self.asked.retain(|&asked| asked != channel);
            }
            Release::Wanted => {}
            Release::Later(_) => self.lingering.push(channel),
        }
    }

    fn lose_or_find_the_feed(&mut self) {
        self.feed_is_up = !self.feed_is_up;
        self.course.note(format!("feed is up: {}", self.feed_is_up));
        if !self.feed_is_up {
            self.publisher.lost(Lane::default());
            let brought = std::mem::replace(&mut self.brought, [false; CHANNELS]);
            self.asked.extend((0..CHANNELS).filter(|&channel| brought[channel]));
        }
    }
}
