//! A browser that comes back to any of the nodes: `client.rs` where a feed numbers for all of them.

use fantail_hub::{Floor, Position, Resume, Start};
use fantail_wire::{EventId, GapReason, Lane, Term};

use super::account::{Account, Held};
use super::block::{SseBlock, blocks};
use super::connection::ModelConnection;
use super::course::now_ms;
use super::feed::{CHANNELS, Past, Place};
use super::node::{SLACK_MS, channel_of};
use super::unnumbered_events::UnnumberedOwed;
use super::world::{At, NODES, World};
use crate::streams::StreamState;

pub(super) struct RoamingClient {
    shard: u16,
    follows: Vec<usize>,
    node: usize,
    connection: Option<ModelConnection>,
    /// The ids that it got, the last at the end.
    ids: Vec<Held<Place>>,
    stays_away: usize,
    /// The last place that it was told of: no event at or below it may come any more.
    place: Option<Place>,
    account: Account,
    /// Unnumbered events below this were there before its stream began, or have come.
    unnumbered: usize,
    /// The unnumbered events that it is owed.
    unnumbered_owed: UnnumberedOwed,
}

impl RoamingClient {
    pub(super) fn new(shard: u16, world: &mut World) -> Self {
        let follows = world.course.some_channels(CHANNELS);
        world.course.note(format!("client {shard} follows {follows:?}"));
        let stays_away = world.course.rng.usize(1..10);
        let (connection, place, account) = (None, None, Account::default());
        Self {
            shard,
            follows,
            node: 0,
            connection,
            ids: Vec::new(),
            stays_away,
            place,
            account,
            unnumbered: 0,
            unnumbered_owed: UnnumberedOwed::default(),
        }
    }

    /// One thing that the client, its connection or its shard does.
    pub(super) fn step(&mut self, world: &mut World) {
        if self.connection.is_none() {
            if world.course.chance(self.stays_away) {
                self.connect(world);
            }
            return;
        }
        let looks = !world.course.chance(4);
        self.turn(
            world,
            looks,
            |at| if at.world.course.rng.bool() { usize::MAX } else { at.world.course.rng.usize(..300) },
        );
        if let Some(connection) = &self.connection
            && (connection.state == StreamState::Ending || world.course.chance(25))
        {
            let len = connection.taken.len();
            let cut = match world.course.rng.u8(..4) {
                0 => usize::MAX,
                1 => world.course.rng.usize(..=len),
                _ => len - world.course.rng.usize(..=len.min(120)),
            };
            self.disconnect(world, cut);
        }
    }

    /// The turn of its shard.
    fn turn(&mut self, world: &mut World, looks: bool, room: impl Fn(&mut At<'_>) -> usize) {
        let Some(connection) = &mut self.connection else { return };
        let at = &mut At { world, node: self.node };
        if looks {
            connection.look(at);
        }
        match connection.state {
            StreamState::Waiting => self.start(world),
            StreamState::Blocked => connection.state = StreamState::Behind,
            _ => {}
        }
        let at = &mut At { world, node: self.node };
        if let Some(connection) = &mut self.connection {
            connection.serve(at, room);
        }
    }

    /// Gets everything there is, over as many connections as it takes.
    pub(super) fn drain(&mut self, world: &mut World) {
        for _ in 0..40 {
            if self.connection.is_none() {
                self.connect(world);
            }
            world.settle();
            self.turn(world, true, |_| usize::MAX);
            if self.connection.as_ref().is_some_and(|connection| connection.state == StreamState::Ending) {
                self.disconnect(world, usize::MAX);
            }
        }
    }

    /// Whether nothing is missing now that nothing more comes.
    pub(super) fn judge_at_rest(&mut self, world: &mut World) {
        let Some(connection) = &self.connection else { panic!("client {} cannot connect at rest", self.shard) };
        assert_eq!(connection.state, StreamState::Live, "client {} at rest", self.shard);
        self.disconnect(world, usize::MAX);
        self.account.check_at_rest(world.feed.history.len(), &world.feed);
        self.unnumbered_owed.check_at_rest(&world.unnumbered);
    }

    fn connect(&mut self, world: &mut World) {
        let resume = self.choose(world);
        let node = world.course.rng.usize(..NODES);
        if node != self.node && resume != Resume::Live {
            world.course.happened("moved");
        }
        self.node = node;
        world.course.note(format!("client {} connects to {node} with {resume:?}", self.shard));
        self.connection = ModelConnection::open(self.shard, &self.follows, resume, &mut At { world, node });
    }

    fn choose(&mut self, world: &mut World) -> Resume {
        if self.ids.is_empty() || world.course.chance(15) {
            self.place = None;
            self.ids.clear();
            return match world.course.rng.u8(..4) {
                0 => Resume::Replay(usize::MAX),
                1 => Resume::Replay(world.course.rng.usize(1..5)),
                _ => Resume::Live,
            };
        }
        let held = match world.course.rng.u8(..12) {
            0 if world.course.may_lose() => return Resume::After(strange_id(world)),
            1 => world.course.rng.choice(&self.ids),
            _ => self.ids.last(),
        };
        let Held { id, place, account } = held.expect("it has some").clone();
        (self.place, self.account) = (place, account);
        Resume::After(id)
    }

    fn start(&mut self, world: &mut World) {
        let Some(connection) = &mut self.connection else { return };
        let Some(start) = connection.start(&mut At { world, node: self.node }) else { return };
        self.unnumbered = world.nodes[self.node].unnumbered;
        let to_come = world.nodes[self.node].unnumbered_to_come(world.unnumbered.len());
        self.unnumbered_owed = UnnumberedOwed::at(&self.follows, to_come);
        match connection.resume().clone() {
            Resume::Live => self.begin(world, self.place_of(world, &start)),
            Resume::Replay(_) => self.begin_replay(world, &start),
            Resume::After(id) => self.begin_after(world, &id, &start),
        }
    }

    /// Where a stream starts, in the feed's order.
    fn place_of(&self, world: &World, start: &Start) -> Place {
        let id = world.nodes[self.node].hub.id(Lane::default(), start.cursor, 0).expect("its term is known");
        world.feed.place_of(&id)
    }

    /// Events above a place are owed.
    fn begin(&mut self, world: &World, place: Place) {
        self.place = Some(place);
        self.account = Account::at(&self.follows, world.feed.up_to(place));
    }

    /// Of each channel what is above its floor.
    fn begin_replay(&mut self, world: &mut World, start: &Start) {
        world.course.happened("replay");
        self.begin(world, self.place_of(world, start));
        let hub = &world.nodes[self.node].hub;
        let floors = start.floors.iter().flatten();
        let floors =
            floors.map(|floor| world.feed.place_of(&hub.id(Lane::default(), *floor, 0).expect("its term is known")));
        self.account.begin_above(floors.map(|floor| world.feed.up_to(floor)));
    }

    fn begin_after(&mut self, world: &mut World, id: &str, start: &Start) {
        if let Some(floor) = start.unknown {
            return self.begin_unknown(world, id, floor);
        }
        let place = if let Ok(id) = EventId::parse(id) {
            world.feed.place_of(&id)
        } else {
            world.course.happened("resumed by a publisher's id");
            let has_id = |past: &&Past| past.publisher_id.as_deref() == Some(id);
            world.feed.history.iter().find(has_id).expect("somebody published it").place
        };
        assert_eq!(self.place_of(world, start), place, "client {} with {id}", self.shard);
        assert_eq!(self.place, Some(place), "client {} had come there with {id}", self.shard);
    }

    /// Behind the gaps comes what followed the end of the id's term, or the newest of what there is.
    fn begin_unknown(&mut self, world: &mut World, id: &str, floor: Floor) {
        world.course.happened("unknown id");
        assert!(world.course.may_lose(), "client {}: {id} is known", self.shard);
        let hub = &world.nodes[self.node].hub;
        let place = world.feed.place_of(&hub.id(Lane::default(), floor.position, 0).expect("its term is known"));
        let ours = EventId::parse(id).ok();
        let of_term = ours.filter(|_| floor.reason == GapReason::BeyondEnd).map(|id| world.feed.place_of(&id));
        let begins = if of_term.is_some_and(|of_term| of_term.0 < place.0) && world.feed.began(place) {
            "behind the end of a term"
        } else {
            let since = ours.map_or(0, |id| id.ms.saturating_sub(SLACK_MS));
            let connection = self.connection.as_ref().unwrap();
            let owed = connection.newest(hub, world.unknown_id_replay_max, |_| since <= now_ms());
            let first = owed.last().map(|first| Position::new(first.generation, first.number - 1));
            let to = hub.watermark(Lane::default()).position;
            let is_owed = first
                .map_or((floor.position.number, floor.position.generation) == (to.number, to.generation), |first| {
                    first == floor.position
                });
            assert!(is_owed, "client {}: {floor:?} and not below {owed:?}, at {to:?}", self.shard);
            "with the newest of what there is"
        };
        world.course.happened(begins);
        self.place = Some(place);
        self.account = Account::of_unknown(&self.follows);
    }

    /// The connection is cut: so many bytes have come through.
    fn disconnect(&mut self, world: &mut World, cut: usize) {
        let Some(mut connection) = self.connection.take() else { return };
        connection.leave(&world.nodes[self.node].hub);
        let of = connection.taken.len();
        world.course.note(format!("client {} is cut after {} of {of} bytes", self.shard, cut.min(of)));
        self.read(world, &connection.text(cut));
    }

    fn read(&mut self, world: &mut World, text: &str) {
        // Gaps of the unit under way, which end with an id.
        let mut gaps = Vec::new();
        for block in blocks(text) {
            world.course.note(format!("  client {} reads {block:?}", self.shard));
            if let Some(data) = &block.data {
                self.read_data(world, &block, data, &mut gaps);
            }
            if let Some(id) = block.id {
                self.ids.push(Held { id, place: self.place, account: self.account.clone() });
            }
        }
        if !gaps.is_empty() {
            world.course.happened("unit cut");
        }
    }

    fn read_data(&mut self, world: &mut World, block: &SseBlock, data: &str, gaps: &mut Vec<usize>) {
        if block.event.as_deref() == Some("fantail.gap") {
            let words: Vec<_> = data.split('"').collect();
            let channel = channel_of(words[3]);
            self.unnumbered_owed.tell(channel);
            if words[7] == GapReason::Outage.as_str() {
                // Numbered events are brought or declared after an outage.
                assert_eq!(block.id, None);
                return world.course.happened("unnumbered gap");
            }
            world.course.happened("gap");
            assert!(world.course.may_lose(), "client {}: nothing is missing", self.shard);
            gaps.push(channel);
            if let Some(id) = &block.id {
                let place = world.feed.place_of(&EventId::parse(id).unwrap());
                assert!(Some(place) >= self.place, "client {}: a gap at {place:?} is late", self.shard);
                self.come_to(world, place, gaps, None);
            }
        } else if let Some(unnumbered) = data.strip_prefix('b') {
            let unnumbered: usize = unnumbered.parse().unwrap();
            assert!(unnumbered >= self.unnumbered, "client {}: b{unnumbered} was replayed", self.shard);
            // A gap of another channel may stand at its place; it counts from the next id on.
            assert!(block.id.is_none());
            self.unnumbered = unnumbered + 1;
            self.unnumbered_owed.take(unnumbered, &world.unnumbered);
            world.course.happened("unnumbered");
        } else {
            let seq: usize = data.split(':').next().unwrap().parse().unwrap();
            let place = world.feed.history[seq].place;
            let id = world.feed.history[seq].publisher_id.clone().unwrap_or_else(|| world.feed.id_of(seq).to_string());
            assert_eq!(block.id, Some(id));
            assert!(Some(place) > self.place, "client {}: {place:?} comes after {:?}", self.shard, self.place);
            world.course.happened("event");
            self.come_to(world, place, gaps, Some(seq));
        }
    }

    /// It has got an id, with the gaps of its unit.
    fn come_to(&mut self, world: &World, place: Place, gaps: &mut Vec<usize>, event: Option<usize>) {
        self.place = Some(place);
        let end = world.feed.up_to(place);
        self.account.declare(&std::mem::take(gaps), end);
        if let Some(seq) = event {
            self.account.take(seq, &world.feed.history[seq].channels, &world.feed);
        }
        if world.feed.has_ended(place) {
            self.account.pass_in_ended_term(end);
        } else {
            self.account.pass(end, &world.feed);
        }
    }
}

/// An id that no node knows: with no time, with one from which all there is may follow, and with one that is to come.
fn strange_id(world: &mut World) -> String {
    let ms = match world.course.rng.u8(..3) {
        0 => return "nobody's".to_owned(),
        1 => now_ms(),
        _ => now_ms() + 2 * SLACK_MS,
    };
    EventId::new(Term::from_random(u64::MAX), ms, world.feed.newest().1).to_string()
}
