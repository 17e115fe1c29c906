//! A feed that numbers, and nodes that follow it: what `node.rs` is for a node that numbers by itself.
//!
//! The feed keeps its events until it trims them, may lose its last ones with the end of a term, and tells each node over
//! a connection that may break what it would tell a real one: live events, and after a break what was missed. What it
//! tells waits in a queue, of which a node takes one call at a time.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use fantail_hub::{Channel, Following, Hub, HubSettings, LogLimits, NumberedBy, Publisher, Release, Wish};
use fantail_wire::{EndedTerm, Event, EventFields, EventId, GapReason, Publication, Term, Terms};

use super::account::Published;
use super::connection::Surroundings;
use super::course::{Course, Weather, now_ms};
use super::node::{SHARDS, channel_of, name};
use crate::slow_policies::SlowPolicies;
use fantail_telemetry::SlowPolicy;

pub(super) const NODES: usize = 2;
pub(super) const CHANNELS: usize = 4;
/// Answers to other questions that may be on their way when somebody asks how far the feed is.
const SYNCS_ON_THE_WAY_MAX: usize = 2;

/// A place in the feed's order: which of its terms, and the number there.
pub(super) type Place = (usize, u64);

/// What was published, in order. Its place in the history is its text.
pub(super) struct Past {
    pub(super) place: Place,
    ms: u64,
    pub(super) channels: Vec<usize>,
    pub(super) publisher_id: Option<String>,
    is_lost: bool,
}

struct Line {
    term: Term,
    start: u64,
    end: Option<u64>,
    /// The feed tells of it.
    is_remembered: bool,
}

pub(super) struct World {
    seed: u64,
    pub(super) course: Course,
    pub(super) history: Vec<Past>,
    pub(super) nodes: Vec<Node>,
    lines: Vec<Line>,
    number: u64,
    /// What is below in the history is gone, for each channel.
    trimmed: [usize; CHANNELS],
    /// Events beside the numbering so far.
    besides: u64,
    linger_ms: u64,
    is_at_work: bool,
    /// Nodes tell of no gap early: what the judge must see.
    pub(super) is_mute: bool,
}

pub(super) struct Node {
    pub(super) hub: Arc<Hub>,
    publisher: Publisher,
    /// Those events beside the numbering that the hub was told of are below.
    pub(super) besides: u64,
    is_connected: bool,
    /// It takes a call in one of so many steps.
    lag: usize,
    calls: VecDeque<Call>,
    /// So many of them are what was missed: they go down in one piece, and nothing else happens to the node meanwhile.
    /// Its shards go on.
    missed: usize,
    /// Up to here everything was handed down.
    at: Option<Place>,
    wanted: BTreeSet<usize>,
    to_subscribe: VecDeque<usize>,
    subscribed: BTreeSet<usize>,
    /// Channels that were followed before the connection broke.
    followed: BTreeSet<usize>,
    recalls: Vec<Recall>,
    lingering: Vec<Arc<Channel>>,
}

#[derive(Debug)]
enum Call {
    Event(usize, Vec<usize>),
    Beside(u64, Vec<usize>),
    Followed(usize, EventId),
    Synced(Terms, Place),
    Gap(usize, EventId),
}

#[derive(Debug)]
struct Recall {
    channel: usize,
    above: Option<EventId>,
    up_to: EventId,
    events_max: usize,
}

/// A shard of a node, and the world around it.
pub(super) struct At<'a> {
    pub(super) world: &'a mut World,
    pub(super) node: usize,
}

impl Published for World {
    fn is_of(&self, seq: usize, channel: usize) -> bool {
        self.history[seq].channels.contains(&channel)
    }
}

impl Surroundings for At<'_> {
    fn hub(&self) -> Arc<Hub> {
        Arc::clone(&self.world.nodes[self.node].hub)
    }

    fn course(&mut self) -> &mut Course {
        &mut self.world.course
    }

    fn slow_policies(&self) -> SlowPolicies {
        let policies = [SlowPolicy::Disconnect, SlowPolicy::Skip, SlowPolicy::Latest];
        SlowPolicies::new(policies[self.world.seed as usize % policies.len()], [])
    }

    fn ids_are_shared(&self) -> bool {
        !self.world.is_mute
    }

    fn sometimes_step(&mut self) {
        if self.world.is_at_work && self.world.course.chance(8) {
            self.world.step();
        }
    }
}

impl Node {
    fn new(settings: HubSettings, lag: usize) -> Self {
        let (hub, publisher) = Hub::new(settings, Arc::default());
        Self {
            hub,
            publisher,
            besides: 0,
            is_connected: false,
            lag,
            calls: VecDeque::new(),
            missed: 0,
            at: None,
            wanted: BTreeSet::new(),
            to_subscribe: VecDeque::new(),
            subscribed: BTreeSet::new(),
            followed: BTreeSet::new(),
            recalls: Vec::new(),
            lingering: Vec::new(),
        }
    }

    fn take_of(&self, channels: &[usize]) -> Vec<usize> {
        channels.iter().copied().filter(|channel| self.is_connected && self.subscribed.contains(channel)).collect()
    }

    fn syncs_on_the_way(&self) -> usize {
        self.calls.iter().filter(|call| matches!(call, Call::Synced(..))).count()
    }
}

impl World {
    pub(super) fn new(seed: u64, weather: Weather) -> Self {
        let mut course = Course::new(seed, weather);
        let most = usize::MAX / 2;
        let log = LogLimits {
            entries_max: if course.is_tight(2) { course.rng.usize(1..=6) } else { most },
            bytes_max: if course.is_tight(4) { course.rng.usize(200..2000) } else { most },
            age_ms_max: if course.is_tight(3) { course.rng.u64(1..60) } else { u64::MAX },
        };
        let settings = HubSettings {
            numbering: NumberedBy::Feed,
            following: Following::OnDemand,
            shards: SHARDS,
            log,
            patterns: Vec::new(),
            control_events: true,
            logs_bytes_max: if course.is_tight(4) { course.rng.usize(500..3000) } else { most },
            event_bytes_max: 250,
            channels_max: CHANNELS,
            clock: now_ms,
        };
        let linger_ms = course.rng.u64(0..20);
        course.note(format!("{settings:?}"));
        let nodes = (0..NODES).map(|_| Node::new(settings.clone(), course.rng.usize(1..5))).collect();
        let first = Line { term: term(seed, 0), start: 0, end: None, is_remembered: true };
        Self {
            seed,
            course,
            history: Vec::new(),
            nodes,
            lines: vec![first],
            number: 0,
            trimmed: [0; CHANNELS],
            besides: 0,
            linger_ms,
            is_at_work: true,
            is_mute: false,
        }
    }

    /// How much of the history is at or below a place.
    pub(super) fn up_to(&self, place: Place) -> usize {
        self.history.partition_point(|past| past.place <= place)
    }

    /// Whether a place was lost with the end of its term.
    pub(super) fn is_beyond_end(&self, (line, number): Place) -> bool {
        self.lines[line].end.is_some_and(|end| number > end)
    }

    /// The place that an id of the feed names.
    pub(super) fn place_of(&self, id: &EventId) -> Place {
        let line = self.lines.iter().position(|line| line.term == id.term).expect("a term of this feed");
        (line, id.number)
    }

    /// The id of an event.
    pub(super) fn id_of(&self, seq: usize) -> EventId {
        let Past { place, ms, .. } = self.history[seq];
        EventId::new(self.lines[place.0].term, ms, place.1)
    }

    fn newest(&self) -> Place {
        (self.lines.len() - 1, self.number)
    }

    fn newest_id(&self) -> EventId {
        EventId::new(self.lines[self.lines.len() - 1].term, now_ms(), self.number)
    }

    /// What the feed tells of its terms, as if the last were `line` and had come to `number`.
    fn terms(&self, line: usize, number: u64) -> Terms {
        let ended = |line: &Line| EndedTerm { term: line.term, start: line.start, end: line.end.unwrap() };
        let ended = self.lines[..line].iter().filter(|line| line.is_remembered).map(ended).collect();
        let Line { term, start, .. } = self.lines[line];
        Terms { current: term, start, number, ms: now_ms(), ended }
    }

    /// One thing that happens to the feed or to a node.
    pub(super) fn step(&mut self) {
        let rough = self.course.is_rough();
        let node = self.course.rng.usize(..NODES);
        match self.course.rng.u8(..30) {
            0..5 => self.publish(),
            5 | 6 => self.publish_beside(),
            7 => self.course.pass_time(),
            8.. if self.nodes[node].missed > 0 => drop(self.call(node)),
            8 => self.nodes[node].publisher.sweep(),
            9 if self.course.chance(3) => self.lose(node),
            10 if rough && self.course.chance(6) => self.end_term(),
            11 if rough && self.course.chance(2) => self.trim(),
            12 if rough && self.course.chance(4) => self.find_gap(node),
            13 if rough && self.course.chance(10) => self.delete(node),
            14 => self.release(node),
            15..18 => drop(self.answer_recall(node)),
            18 => drop(self.connect(node)),
            19 | 20 => drop(self.wish(node)),
            21 => drop(self.subscribe(node)),
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
                || self.wish(node)
                || self.call(node)
                || self.subscribe(node)
                || self.answer_recall(node)
            {}
        }
    }

    fn publish(&mut self) {
        let seq = self.history.len();
        let channels = self.course.some_channels(CHANNELS);
        self.number += 1;
        let publisher_id = self.course.chance(5).then(|| format!("own-{seq}"));
        let (place, ms) = (self.newest(), now_ms());
        self.course.note(format!("publish {seq} to {channels:?} at {place:?}, id {publisher_id:?}"));
        for node in &mut self.nodes {
            let taken = node.take_of(&channels);
            if !taken.is_empty() {
                node.calls.push_back(Call::Event(seq, taken));
            }
        }
        self.history.push(Past { place, ms, channels, publisher_id, is_lost: false });
    }

    fn publish_beside(&mut self) {
        let channels = self.course.some_channels(CHANNELS);
        let beside = self.besides;
        self.besides += 1;
        self.course.note(format!("publish b{beside} to {channels:?}"));
        for node in &mut self.nodes {
            let taken = node.take_of(&channels);
            if !taken.is_empty() {
                node.calls.push_back(Call::Beside(beside, taken));
            }
        }
    }

    /// A connection breaks, and what was on its way with it.
    fn lose(&mut self, at: usize) {
        while self.nodes[at].missed > 0 {
            self.call(at);
        }
        let node = &mut self.nodes[at];
        if !node.is_connected {
            return;
        }
        self.course.note(format!("node {at} is cut off"));
        node.is_connected = false;
        node.calls.clear();
        node.subscribed.clear();
        node.to_subscribe.clear();
        node.publisher.lost();
        for recall in std::mem::take(&mut node.recalls) {
            node.publisher.recalled(&name(recall.channel), Vec::new(), None);
        }
    }

    /// The feed is replaced by one that lacks the last events, or all and the memory of its terms.
    fn end_term(&mut self) {
        self.course.happened("term ended");
        let last = self.lines.len() - 1;
        let forgets = self.course.chance(4);
        let end = if forgets { self.number } else { self.number.saturating_sub(self.course.rng.u64(..3)) };
        let end = end.max(self.lines[last].start);
        for past in self.history.iter_mut().rev().take_while(|past| past.place > (last, end)) {
            past.is_lost = true;
        }
        self.lines[last].end = Some(end);
        let start = if forgets { 0 } else { end };
        let next = term(self.seed, self.lines.len() as u64);
        self.lines.push(Line { term: next, start, end: None, is_remembered: true });
        self.number = start;
        self.course.note(format!("a term ends with {end}, the next begins with {start}"));
        if forgets {
            self.trimmed = [self.history.len(); CHANNELS];
            self.lines[..=last].iter_mut().for_each(|line| line.is_remembered = false);
        }
        (0..NODES).for_each(|node| self.lose(node));
    }

    fn trim(&mut self) {
        let channel = self.course.rng.usize(..CHANNELS);
        let to = self.course.rng.usize(..=self.history.len());
        self.trimmed[channel] = self.trimmed[channel].max(to);
        self.course.note(format!("{channel} is trimmed to {}", self.trimmed[channel]));
    }

    /// A node finds late that something may be missing.
    fn find_gap(&mut self, at: usize) {
        let channel = self.course.rng.usize(..CHANNELS);
        let id = self.newest_id();
        let place = self.nodes[at].at;
        if let Some((line, number)) = place {
            let id = EventId::new(self.lines[line].term, id.ms, self.course.rng.u64(..=number));
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
        let release = node.publisher.release(&channel, self.linger_ms);
        self.course.note(format!("node {at} releases {channel:?}: {release:?}"));
        match release {
            Release::Unfollow => {
                let channel = channel_of(channel.name().as_str());
                for set in [&mut node.wanted, &mut node.subscribed, &mut node.followed] {
                    set.remove(&channel);
                }
                node.to_subscribe.retain(|&asked| asked != channel);
                node.calls.retain(|call| !matches!(call, Call::Followed(c, _) | Call::Gap(c, _) if *c == channel));
                self.course.happened("forgotten");
            }
            Release::Wanted => {}
            Release::Later(_) => node.lingering.push(channel),
        }
    }

    fn wish(&mut self, at: usize) -> bool {
        let Some(wish) = self.nodes[at].publisher.next_wish() else { return false };
        self.course.note(format!("node {at} wishes {wish:?}"));
        let newest = self.newest();
        let sync = Call::Synced(self.terms(newest.0, newest.1), newest);
        let node = &mut self.nodes[at];
        match wish {
            Wish::Follow(name) => {
                let channel = channel_of(name.as_str());
                if node.wanted.insert(channel) && node.is_connected {
                    node.to_subscribe.push_back(channel);
                }
            }
            Wish::Linger(channel) => node.lingering.push(channel),
            Wish::Recall { channel, .. } if !node.is_connected => node.publisher.recalled(&channel, Vec::new(), None),
            Wish::Recall { channel, above, up_to, events_max } => {
                let channel = channel_of(channel.as_str());
                node.recalls.push(Recall { channel, above, up_to, events_max });
                self.course.happened("recall");
            }
            Wish::Sync => {
                if node.is_connected {
                    node.calls.push_back(sync);
                }
                self.course.happened("sync");
            }
        }
        true
    }

    fn subscribe(&mut self, at: usize) -> bool {
        if self.nodes[at].syncs_on_the_way() >= SYNCS_ON_THE_WAY_MAX {
            return false;
        }
        let (newest, id) = (self.newest(), self.newest_id());
        let sync = Call::Synced(self.terms(newest.0, newest.1), newest);
        let node = &mut self.nodes[at];
        let Some(channel) = node.to_subscribe.pop_front() else { return false };
        node.subscribed.insert(channel);
        node.calls.extend([Call::Followed(channel, id), sync]);
        true
    }

    /// The connection is made anew: all wanted channels are subscribed to, and what was missed is handed down term by
    /// term.
    fn connect(&mut self, at: usize) -> bool {
        if self.nodes[at].is_connected {
            return false;
        }
        self.course.note(format!("node {at} connects"));
        let mut calls = Vec::new();
        let wanted = self.nodes[at].wanted.clone();
        let followed = wanted.iter().map(|&channel| Call::Followed(channel, self.newest_id())).collect::<Vec<_>>();
        if let Some(from) = self.nodes[at].at {
            let missed: BTreeSet<_> = wanted.intersection(&self.nodes[at].followed).copied().collect();
            for line in from.0..self.lines.len() {
                self.tell_line(line, from, &missed, &mut calls);
            }
        }
        let newest = self.newest();
        calls.push(Call::Synced(self.terms(newest.0, newest.1), newest));
        let node = &mut self.nodes[at];
        node.is_connected = true;
        node.subscribed = wanted;
        // Confirmed last: a stream that began in between would not be told of a hole that begins behind it.
        node.calls.extend(calls.into_iter().chain(followed));
        node.missed = node.calls.len();
        true
    }

    /// What a node that had come to `from` missed of one term.
    fn tell_line(&self, line: usize, from: Place, missed: &BTreeSet<usize>, calls: &mut Vec<Call>) {
        let is_told = self.lines[line].is_remembered || line + 1 == self.lines.len();
        if line > from.0 && is_told {
            let start = self.lines[line].start;
            calls.push(Call::Synced(self.terms(line, start), (line, start)));
        }
        let begin = if line == from.0 { from.1 } else { self.lines[line].start };
        let mut told = Vec::new();
        for &channel in missed {
            // A hole is told at both ends: before other channels pass it, and to those who come back in between.
            if let Some(last) = self.last_trimmed(line, from, channel) {
                let id = EventId::new(self.lines[line].term, now_ms(), begin);
                told.push((begin, true, Call::Gap(channel, id)));
                told.push((self.history[last].place.1, true, Call::Gap(channel, self.id_of(last))));
            }
        }
        for (seq, past) in self.history.iter().enumerate().skip(self.up_to(from)) {
            let is_there = |channel: &usize| missed.contains(channel) && self.trimmed[*channel] <= seq;
            let channels: Vec<_> = past.channels.iter().copied().filter(is_there).collect();
            if past.place.0 == line && !past.is_lost && !channels.is_empty() {
                told.push((past.place.1, false, Call::Event(seq, channels)));
            }
        }
        told.sort_by_key(|(number, is_gap, _)| (*number, *is_gap));
        calls.extend(told.into_iter().map(|(.., call)| call));
    }

    /// The last event of a channel above a place, in one term, that the feed no longer has.
    fn last_trimmed(&self, line: usize, from: Place, channel: usize) -> Option<usize> {
        let is_gone = |seq: &usize| {
            let past = &self.history[*seq];
            past.place.0 == line && past.place > from && !past.is_lost && past.channels.contains(&channel)
        };
        (0..self.trimmed[channel]).rev().find(is_gone)
    }

    /// A node takes the next of what it is told.
    fn call(&mut self, at: usize) -> bool {
        let node = &mut self.nodes[at];
        let Some(call) = node.calls.pop_front() else { return false };
        node.missed = node.missed.saturating_sub(1);
        self.course.note(format!("node {at} is told {call:?}"));
        match call {
            Call::Event(seq, channels) => {
                let publication = self.publication(seq, &channels);
                let (place, id) = (self.history[seq].place, self.id_of(seq));
                let node = &mut self.nodes[at];
                node.at = Some(place);
                // One that is too large is a gap.
                let _ = node.publisher.publish_numbered(&publication, id);
            }
            Call::Beside(beside, channels) => {
                let event = Event::text(format!("b{beside}"));
                let publication = Publication::new(channels.into_iter().map(name), event);
                let node = &mut self.nodes[at];
                node.besides = beside + 1;
                node.publisher.publish_beside(&publication).unwrap();
            }
            Call::Followed(channel, from) => {
                let node = &mut self.nodes[at];
                node.followed.insert(channel);
                node.publisher.followed(&name(channel), Some(from));
            }
            Call::Synced(terms, place) => {
                let node = &mut self.nodes[at];
                node.at = node.at.max(Some(place));
                node.publisher.synced(&terms);
            }
            Call::Gap(channel, id) => self.nodes[at].publisher.gap(&name(channel), id, GapReason::Trimmed),
        }
        true
    }

    fn publication(&self, seq: usize, channels: &[usize]) -> Publication {
        Publication::new(channels.iter().copied().map(name), self.event(seq))
    }

    fn event(&self, seq: usize) -> Event {
        let padding = "x".repeat(seq * 7 % 60 + if seq % 23 == 22 && self.course.is_rough() { 300 } else { 0 });
        let id = self.history[seq].publisher_id.clone();
        EventFields { data: format!("{seq}:{padding}"), id, ..EventFields::default() }.validate().unwrap()
    }

    fn answer_recall(&mut self, at: usize) -> bool {
        if self.nodes[at].recalls.is_empty() {
            return false;
        }
        let which = self.course.rng.usize(..self.nodes[at].recalls.len());
        let recall = self.nodes[at].recalls.swap_remove(which);
        let Recall { channel, above, up_to, events_max } = recall;
        let above = above.map(|id| self.place_of(&id));
        let up_to = self.place_of(&up_to);
        let trimmed = self.trimmed[channel];
        let is_there = |(seq, past): &(usize, &Past)| {
            let is_within = above.is_none_or(|above| past.place > above) && past.place <= up_to;
            *seq >= trimmed && is_within && !past.is_lost && past.channels.contains(&channel)
        };
        let there: Vec<_> = self.history.iter().enumerate().filter(is_there).map(|(seq, _)| seq).collect();
        let left_out = there.len().saturating_sub(events_max);
        let bottom = EventId::new(self.lines[0].term, 0, 0);
        let mut from = above.map_or(bottom, |(line, number)| EventId::new(self.lines[line].term, 0, number));
        // What a term lost has no place that the feed would name.
        let is_kept = |seq: &usize| !self.history[*seq].is_lost;
        if let Some(last) =
            (0..trimmed).rev().find(is_kept).filter(|last| self.history[*last].place > self.place_of(&from))
        {
            from = self.id_of(last);
        }
        if left_out > 0 {
            from = self.id_of(there[left_out - 1]);
        }
        let from = (!self.course.is_rough() || !self.course.chance(8)).then_some(from);
        let entries: Vec<_> = there[left_out..].iter().map(|&seq| (self.id_of(seq), self.event(seq))).collect();
        self.course.note(format!("node {at} recalls {:?} of {channel} from {from:?}", &there[left_out..]));
        self.nodes[at].publisher.recalled(&name(channel), entries, from);
        true
    }
}

fn term(seed: u64, line: u64) -> Term {
    Term::from_random(seed << 20 | line)
}
