//! A feed that numbers (`feed.rs`) and nodes that follow it (`follower.rs`): what `node.rs` is for a node that numbers by
//! itself. Here is what happens to them, and when.

use std::sync::Arc;

use fantail_hub::{Hub, HubSettings, LogLimits, NumberedBy, Release, Wish};
use fantail_wire::GapReason;
use fantail_wire::SlowPolicy;

use super::connection::Surroundings;
use super::course::{Course, Disturbances, now_ms};
use super::feed::{CHANNELS, Call, ModelFeed, Recall};
use super::follower::ModelFollower;
use super::node::{SHARDS, channel_of, name};
use super::unnumbered_events::UnnumberedEvents;
use crate::slow_policies::SlowPolicies;

pub(super) const NODES: usize = 2;

pub(super) struct World {
    pub(super) course: Course,
    pub(super) feed: ModelFeed,
    pub(super) nodes: Vec<ModelFollower>,
    /// The node whose shard works.
    pub(super) acts_as: usize,
    /// Unnumbered events so far.
    pub(super) unnumbered: UnnumberedEvents,
    slow_policies: SlowPolicies,
    linger_ms: u64,
    pub(super) unknown_id_replay_max: usize,
    is_at_work: bool,
    /// Nodes tell of no gap early: what the judge must see.
    pub(super) is_mute: bool,
}

impl Surroundings for World {
    fn hub(&self) -> Arc<Hub> {
        Arc::clone(&self.nodes[self.acts_as].hub)
    }

    fn course(&mut self) -> &mut Course {
        &mut self.course
    }

    fn slow_policies(&self) -> SlowPolicies {
        self.slow_policies.clone()
    }

    fn ids_are_shared(&self) -> bool {
        !self.is_mute
    }

    fn sometimes_step(&mut self) {
        if self.is_at_work && self.course.chance(8) {
            self.step();
        }
    }
}

impl World {
    pub(super) fn new(seed: u64, disturbances: Disturbances) -> Self {
        let mut course = Course::new(seed, disturbances);
        let most = usize::MAX / 2;
        let log = LogLimits {
            entries_max: if course.is_tight(2) { course.rng.usize(1..=6) } else { most },
            bytes_max: if course.is_tight(4) { course.rng.usize(200..2000) } else { most },
            age_ms_max: if course.is_tight(3) { course.rng.u64(1..60) } else { u64::MAX },
        };
        let settings = HubSettings {
            shards: SHARDS,
            log,
            expects_unnumbered: vec![true],
            unknown_id_replay_max: course.rng.usize(..6),
            logs_bytes_max: if course.is_tight(4) { course.rng.usize(500..3000) } else { most },
            event_bytes_max: 250,
            channels_max: CHANNELS,
            ..HubSettings::unbounded(NumberedBy::Feed, now_ms)
        };
        let (linger_ms, unknown_id_replay_max) = (course.rng.u64(0..20), settings.unknown_id_replay_max);
        course.note(format!("{settings:?}"));
        let nodes = (0..NODES).map(|_| ModelFollower::new(settings.clone(), course.rng.usize(1..5))).collect();
        let policies = [SlowPolicy::Disconnect, SlowPolicy::Skip, SlowPolicy::Latest];
        Self {
            feed: ModelFeed::new(seed, course.may_lose()),
            course,
            nodes,
            acts_as: 0,
            unnumbered: UnnumberedEvents::new(),
            slow_policies: SlowPolicies::new([policies[seed as usize % policies.len()]]),
            linger_ms,
            unknown_id_replay_max,
            is_at_work: true,
            is_mute: false,
        }
    }

    /// One thing that happens to the feed or to a node.
    pub(super) fn step(&mut self) {
        let may_lose = self.course.may_lose();
        let node = self.course.rng.usize(..NODES);
        match self.course.rng.u8(..30) {
            0..5 => self.publish(),
            5 | 6 => self.publish_unnumbered(),
            7 => self.course.pass_time(),
            8.. if self.nodes[node].missed > 0 => drop(self.call(node)),
            8 => {
                let channels = self.nodes[node].hub.all_channels();
                self.nodes[node].publisher.sweep(&channels);
            }
            9 if self.course.chance(3) => self.lose(node),
            10 if may_lose && self.course.chance(6) => self.end_term(),
            11 if may_lose && self.course.chance(2) => self.trim(),
            12 if may_lose && self.course.chance(4) => self.find_gap(node),
            13 if may_lose && self.course.chance(10) => self.delete(node),
            14 => self.release(node),
            15..18 => drop(self.answer_recall(node)),
            18 => drop(self.connect(node)),
            19 | 20 => drop(self.wish(node)),
            21 => drop(self.nodes[node].subscribe(&self.feed)),
            _ if self.course.chance(self.nodes[node].lag) => drop(self.call(node)),
            _ => {}
        }
    }

    pub(super) fn come_to_rest(&mut self) {
        self.is_at_work = false;
        self.settle();
    }

    /// Everything that is asked is answered, and all is handed down.
    pub(super) fn settle(&mut self) {
        for node in 0..NODES {
            while self.connect(node)
                || self.call(node)
                || self.wish(node)
                || self.nodes[node].subscribe(&self.feed)
                || self.answer_recall(node)
            {}
        }
    }

    fn publish(&mut self) {
        let seq = self.feed.history.len();
        let channels = self.course.some_channels(CHANNELS);
        let publisher_id = self.course.chance(5).then(|| format!("own-{seq}"));
        let place = self.feed.publish(channels.clone(), publisher_id.clone());
        self.course.note(format!("publish {seq} to {channels:?} at {place:?}, id {publisher_id:?}"));
        for node in &mut self.nodes {
            node.hear(&channels, |heard| Call::Event(seq, heard));
        }
    }

    fn publish_unnumbered(&mut self) {
        let channels = self.course.some_channels(CHANNELS);
        let unnumbered = self.unnumbered.len();
        self.course.note(format!("publish b{unnumbered} to {channels:?}"));
        for node in &mut self.nodes {
            node.hear(&channels, |heard| Call::Unnumbered(unnumbered, heard));
        }
        self.unnumbered.push(channels);
    }

    fn lose(&mut self, at: usize) {
        while self.nodes[at].missed > 0 {
            self.call(at);
        }
        if self.nodes[at].lose() {
            self.course.note(format!("node {at} is cut off"));
        }
    }

    fn end_term(&mut self) {
        self.course.happened("term ended");
        let forgets = self.course.chance(4);
        let end = if forgets { self.feed.forget() } else { self.feed.end_term(self.course.rng.u64(..3)) };
        self.course.note(format!("a term ends with {end}, forgotten: {forgets}"));
        (0..NODES).for_each(|node| self.lose(node));
    }

    fn trim(&mut self) {
        let channel = self.course.rng.usize(..CHANNELS);
        let to = self.course.rng.usize(..=self.feed.history.len());
        let to = self.feed.trim(channel, to);
        self.course.note(format!("{channel} is trimmed to {to}"));
    }

    /// A node finds late that something may be missing.
    fn find_gap(&mut self, at: usize) {
        let channel = self.course.rng.usize(..CHANNELS);
        if let Some((line, number)) = self.nodes[at].at {
            let id = self.feed.id_at((line, self.course.rng.u64(..=number)));
            self.course.note(format!("node {at} finds a gap of {channel} at {id}"));
            self.nodes[at].publisher.gap(&name(channel), id, GapReason::Lost);
        }
    }

    fn delete(&mut self, at: usize) {
        let channel = self.course.rng.usize(..CHANNELS);
        let there = self.nodes[at].publisher.delete(&name(channel));
        self.course.note(format!("node {at} deletes {channel}: {there}"));
    }

    fn release(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if node.lingering.is_empty() {
            return;
        }
        let which = self.course.rng.usize(..node.lingering.len());
        let channel = node.lingering.swap_remove(which);
        let what = format!("node {at} releases {channel:?}");
        let release = node.release(channel, self.linger_ms);
        self.course.note(format!("{what}: {release:?}"));
        if release == Release::Unfollow {
            self.course.happened("forgotten");
        }
    }

    fn wish(&mut self, at: usize) -> bool {
        let node = &mut self.nodes[at];
        let Some(wish) = node.publisher.next_wish() else { return false };
        self.course.note(format!("node {at} wishes {wish:?}"));
        match wish {
            Wish::Follow(name) => node.follow(channel_of(name.as_str())),
            Wish::Linger(channel) => node.lingering.push(channel),
            Wish::Recall { channel, .. } if !node.is_connected => node.publisher.recalled(&channel, Vec::new(), None),
            Wish::Recall { channel, above, up_to, events_max } => {
                let channel = channel_of(channel.as_str());
                node.recalls.push(Recall { channel, above, up_to, events_max });
                self.course.happened("recall");
            }
            Wish::Sync(_) => {
                if node.is_connected {
                    node.calls.push_back(self.feed.sync());
                }
                self.course.happened("sync");
            }
        }
        true
    }

    fn connect(&mut self, at: usize) -> bool {
        let node = &mut self.nodes[at];
        if node.is_connected {
            return false;
        }
        self.course.note(format!("node {at} connects"));
        node.connect(&self.feed);
        true
    }

    /// A node takes the next of what it is told.
    fn call(&mut self, at: usize) -> bool {
        let node = &mut self.nodes[at];
        let Some(call) = node.calls.pop_front() else { return false };
        self.course.note(format!("node {at} is told {call:?}"));
        node.take(call, &self.feed);
        true
    }

    fn answer_recall(&mut self, at: usize) -> bool {
        let node = &mut self.nodes[at];
        if node.recalls.is_empty() {
            return false;
        }
        let which = self.course.rng.usize(..node.recalls.len());
        let recall = node.recalls.swap_remove(which);
        let (brought, from) = self.feed.recall(&recall);
        let from = (!self.course.may_lose() || !self.course.chance(8)).then_some(from);
        let entries = brought.iter().map(|&seq| (self.feed.id_of(seq), self.feed.event(seq))).collect();
        self.course.note(format!("node {at} recalls {brought:?} of {} from {from:?}", recall.channel));
        node.publisher.recalled(&name(recall.channel), entries, from);
        true
    }
}
