//! A browser: it reads what came before its connection was cut, comes back with the last id, and knows what it is owed.

use fantail_hub::{Resume, Start};
use fantail_wire::{EventId, Lane};

use super::account::{Account, Held};
use super::block::{SseBlock, blocks};
use super::connection::ModelConnection;
use super::node::{CHANNELS, ModelNode, Past, SLACK_MS, channel_of};
use crate::streams::StreamState;

pub(super) struct Client {
    shard: u16,
    follows: Vec<usize>,
    connection: Option<ModelConnection>,
    /// The ids that it got with whole blocks, the last at the end.
    ids: Vec<Held<u64>>,
    /// It connects in one of so many steps.
    stays_away: usize,
    /// The number of the last place that it was told of; nothing at or below it may come any more.
    place: Option<u64>,
    account: Account,
}

impl Client {
    pub(super) fn new(shard: u16, node: &mut ModelNode) -> Self {
        let follows = node.course.some_channels(CHANNELS);
        node.course.note(format!("client {shard} follows {follows:?}"));
        let stays_away = node.course.rng.usize(1..20);
        let (connection, place, account) = (None, None, Account::default());
        Self { shard, follows, connection, ids: Vec::new(), stays_away, place, account }
    }

    /// One thing that the client, its connection or its shard does.
    pub(super) fn step(&mut self, node: &mut ModelNode) {
        let Some(connection) = &mut self.connection else {
            if node.course.chance(self.stays_away) {
                self.connect(node);
            }
            return;
        };
        if !node.course.chance(4) {
            connection.look(node);
        }
        match connection.state {
            StreamState::Waiting => self.start(node),
            StreamState::Blocked if node.course.rng.bool() => connection.state = StreamState::Behind,
            _ => {}
        }
        if let Some(connection) = &mut self.connection {
            connection
                .serve(node, |node| if node.course.rng.bool() { usize::MAX } else { node.course.rng.usize(..300) });
            if connection.state == StreamState::Ending || node.course.chance(15) {
                let cut =
                    if node.course.rng.bool() { usize::MAX } else { node.course.rng.usize(..=connection.taken.len()) };
                self.disconnect(node, cut);
            }
        }
    }

    /// Gets everything there is, over as many connections as it takes.
    pub(super) fn drain(&mut self, node: &mut ModelNode) {
        node.confirm_all();
        for _ in 0..40 {
            if self.connection.is_none() {
                self.connect(node);
                node.confirm_all();
            }
            let Some(connection) = &mut self.connection else { return };
            connection.look(node);
            match connection.state {
                StreamState::Waiting => self.start(node),
                StreamState::Blocked => connection.state = StreamState::Behind,
                StreamState::Ending => self.disconnect(node, usize::MAX),
                _ => {}
            }
            if let Some(connection) = &mut self.connection {
                connection.serve(node, |_| usize::MAX);
            }
        }
    }

    /// Whether nothing is missing now that nothing more comes.
    pub(super) fn judge_at_rest(&mut self, node: &mut ModelNode) {
        let Some(connection) = &mut self.connection else { return };
        connection.look(node);
        assert!(
            matches!(connection.state, StreamState::Live),
            "client {} is {:?} at rest",
            self.shard,
            connection.state
        );
        self.disconnect(node, usize::MAX);
        self.account.check_at_rest(node.history.len(), node);
    }

    fn connect(&mut self, node: &mut ModelNode) {
        let resume = self.choose(node);
        node.course.note(format!("client {} connects with {resume:?}", self.shard));
        self.connection = ModelConnection::open(self.shard, &self.follows, resume, node);
    }

    /// Most come back as a browser does.
    fn choose(&mut self, node: &mut ModelNode) -> Resume {
        if self.ids.is_empty() || node.course.chance(15) {
            self.place = None;
            self.ids.clear();
            return match node.course.rng.u8(..4) {
                0 if node.may_replay() => Resume::Replay(usize::MAX),
                1 if node.may_replay() => Resume::Replay(node.course.rng.usize(1..5)),
                _ => Resume::Live,
            };
        }
        let held = match node.course.rng.u8(..20) {
            0 if node.course.may_lose() => return Resume::After(node.strange_id()),
            1..3 => node.course.rng.choice(&self.ids),
            _ => self.ids.last(),
        };
        let Held { id, place, account } = held.expect("it has some").clone();
        (self.place, self.account) = (place, account);
        Resume::After(id)
    }

    fn start(&mut self, node: &mut ModelNode) {
        let Some(connection) = &mut self.connection else { return };
        let Some(start) = connection.start(node) else { return };
        match &connection.resume().clone() {
            Resume::Live => self.begin(node, start.cursor.number),
            Resume::Replay(events) => self.begin_replay(node, *events),
            Resume::After(id) => self.begin_after(node, id, &start),
        }
    }

    /// Events above `number` are owed.
    fn begin(&mut self, node: &ModelNode, number: u64) {
        self.place = Some(number);
        self.account = Account::at(&self.follows, node.up_to(number));
    }

    /// Owed are the newest events that are held, and what is above them; of each channel what is above its floor.
    fn begin_replay(&mut self, node: &mut ModelNode, events: usize) {
        node.course.happened("replay");
        let (newest, floors) = self.connection.as_ref().unwrap().held(&node.hub, events);
        let Some(first) = newest.last() else {
            return self.begin(node, node.hub.watermark(Lane::default()).position.number);
        };
        self.begin(node, first - 1);
        self.account.begin_above(floors.into_iter().map(|floor| node.up_to(floor)));
    }

    fn begin_after(&mut self, node: &mut ModelNode, id: &str, start: &Start) {
        let number = start.cursor.number;
        let is_known = if let Ok(ours) = EventId::parse(id) {
            let is_known = node.gave(ours);
            assert!(!is_known || ours.number == number, "client {}: {id} is at {number}", self.shard);
            is_known
        } else {
            let found = self.events_with(id, node);
            // Of a repeated id the hub finds the one that is still held; that it was repeated, it cannot know then.
            let (held, _) = self.connection.as_ref().unwrap().held(&node.hub, usize::MAX);
            let held: Vec<_> = found.iter().filter(|number| held.contains(number)).collect();
            assert!(held.len() != 1 || *held[0] == number, "client {}: {id} is at {number}", self.shard);
            held.len() == 1
        };
        assert_eq!(start.unknown.is_none(), is_known, "client {}: {id}", self.shard);
        if !is_known {
            self.begin_unknown(node, id, start.unknown.unwrap().position.number);
        } else if self.place != Some(number) {
            assert!(EventId::parse(id).is_err(), "client {}: had not come to {number} with {id}", self.shard);
            node.course.happened("repeated id");
            self.begin(node, number);
        }
    }

    /// Behind the gaps come the newest events that may have been published since the id was given, and no others.
    fn begin_unknown(&mut self, node: &mut ModelNode, id: &str, floor: u64) {
        node.course.happened("unknown id");
        let since = EventId::parse(id).map_or(0, |id| id.ms.saturating_sub(SLACK_MS));
        let connection = self.connection.as_ref().unwrap();
        let events = |max| connection.newest(&node.hub, max, |place| node.ms_of(place.number) >= since);
        let owed = events(node.unknown_id_replay_max);
        assert_eq!(floor, owed.last().map_or(node.numbers(), |first| first.number - 1), "client {}", self.shard);
        let (all, owed) = (events(usize::MAX).len(), owed.len());
        node.course.happened(if owed < all { "repeats were bounded" } else { "all of some time followed" });
        // The gap stands at the floor, and nothing comes before it.
        self.place = floor.checked_sub(1);
        self.account = Account::of_unknown(&self.follows);
    }

    /// The numbers of the events of its channels that have this id of the publisher's.
    fn events_with(&self, id: &str, node: &ModelNode) -> Vec<u64> {
        let has_id = |past: &&Past| past.publisher_id.as_deref() == Some(id);
        let is_mine = |past: &&Past| past.brought.iter().any(|c| self.follows.contains(c));
        node.history.iter().filter(has_id).filter(is_mine).filter_map(Past::number).collect()
    }

    /// The connection is cut: so many bytes have come through.
    fn disconnect(&mut self, node: &mut ModelNode, cut: usize) {
        let Some(mut connection) = self.connection.take() else { return };
        connection.leave(&node.hub);
        let of = connection.taken.len();
        node.course.note(format!("client {} is cut after {} of {of} bytes", self.shard, cut.min(of)));
        self.read(node, &connection.text(cut));
    }

    fn read(&mut self, node: &mut ModelNode, text: &str) {
        let mut gaps = Vec::new();
        for block in blocks(text) {
            node.course.note(format!("  client {} reads {block:?}", self.shard));
            if let Some(data) = &block.data {
                self.read_data(node, &block, data, &mut gaps);
            }
            if let Some(id) = block.id {
                self.ids.push(Held { id, place: self.place, account: self.account.clone() });
            }
        }
        if !gaps.is_empty() {
            node.course.happened("unit cut");
        }
    }

    fn read_data(&mut self, node: &mut ModelNode, block: &SseBlock, data: &str, gaps: &mut Vec<usize>) {
        if block.event.as_deref() == Some("fantail.gap") {
            node.course.happened("gap");
            gaps.push(channel_of(data.split('"').nth(3).unwrap()));
            if let Some(id) = &block.id {
                let number = EventId::parse(id).unwrap().number;
                self.arrive_at(number);
                self.account.declare(&std::mem::take(gaps), node.up_to(number));
            }
        } else {
            let seq: usize = data.split(':').next().unwrap().parse().unwrap();
            let number = node.history[seq].number().unwrap();
            self.check_id(node, seq, block.id.as_deref().unwrap());
            self.arrive_at(number);
            self.account.declare(&std::mem::take(gaps), node.up_to(number));
            node.course.happened("event");
            self.account.take(seq, &node.history[seq].brought, node);
        }
    }

    fn check_id(&self, node: &ModelNode, seq: usize, id: &str) {
        let past = &node.history[seq];
        match &past.publisher_id {
            Some(own) => assert_eq!(own, id),
            None => assert_eq!(EventId::parse(id).unwrap().number, past.number().unwrap(), "client {}", self.shard),
        }
    }

    fn arrive_at(&mut self, number: u64) {
        assert!(Some(number) > self.place, "client {}: {number} comes after {:?}", self.shard, self.place);
        self.place = Some(number);
    }
}
