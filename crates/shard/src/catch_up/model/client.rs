//! A browser: it reads the bytes before its connection was cut, comes back to any node with the last id, and keeps account of
//! the events that it is owed. `one_node.rs` and `two_nodes.rs` hold the differences between the worlds that it lives in.

use fantail_hub::{Position, Resume, Start};
use fantail_wire::{EventId, GapReason};

use super::account::{Account, Held};
use super::block::{SseBlock, blocks};
use super::connection::{ModelConnection, Surroundings};
use super::feed::Place;
use super::node::channel_of;
use super::unnumbered_events::{UnnumberedEvents, UnnumberedOwed};
use crate::streams::StreamState;

/// The world of a client. It acts as the node that the client works at.
pub(super) trait ClientWorld: Surroundings + Sized {
    const CHANNELS: usize;
    const NODES: usize;
    /// Whether a node may have no room for a client's channels.
    const MAY_REFUSE: bool;

    /// From now on the world acts as this node.
    fn act_as(&mut self, _node: usize) {}
    /// Answers everything that is asked.
    fn settle(&mut self);
    fn may_replay(&self) -> bool {
        true
    }
    /// An id that no node knows.
    fn strange_id(&mut self) -> String;
    /// The place of a position on the node that the world acts as.
    fn place_of(&self, position: Position) -> Place;
    fn place_of_id(&self, id: &EventId) -> Place;
    /// How much of the history is at or below a place.
    fn up_to(&self, place: Place) -> usize;
    fn published(&self) -> usize;
    /// Whether the event at a place of the history is of a channel.
    fn is_of(&self, seq: usize, channel: usize) -> bool;
    /// The place of an event, and the channels by which it may come. Checks the id that it came with.
    fn event(&self, seq: usize, id: &str) -> (Place, &[usize]);
    fn unnumbered(&self) -> &UnnumberedEvents {
        const { &UnnumberedEvents::new() }
    }
    /// The unnumbered events that this node has seen, and the first that is still to come here.
    fn unnumbered_here(&self) -> (usize, usize) {
        (0, 0)
    }
    /// Sets the place and the account of a client whose stream begins with a replay.
    fn begin_replay(&mut self, client: &mut Client, events: usize, start: &Start);
    /// Checks the start of a stream behind an id. Sets place and account if they are not those of the id.
    fn begin_after(&mut self, client: &mut Client, id: &str, start: &Start);
    /// The client has an id at this place, and may go on elsewhere.
    fn pass(&self, _account: &mut Account, _place: Place) {}
}

pub(super) struct Client {
    pub(super) shard: u16,
    pub(super) follows: Vec<usize>,
    node: usize,
    pub(super) connection: Option<ModelConnection>,
    /// The ids that it got with whole blocks, the last at the end.
    ids: Vec<Held>,
    /// It connects in one of so many steps.
    stays_away: usize,
    /// The last place that it was told of: no event at or below it may come any more.
    pub(super) place: Option<Place>,
    pub(super) account: Account,
    unnumbered: UnnumberedOwed,
}

impl Client {
    pub(super) fn new<W: ClientWorld>(shard: u16, world: &mut W) -> Self {
        let follows = world.course().some_channels(W::CHANNELS);
        world.course().note(format!("client {shard} follows {follows:?}"));
        Self {
            shard,
            follows,
            node: 0,
            connection: None,
            ids: Vec::new(),
            stays_away: world.course().rng.usize(1..15),
            place: None,
            account: Account::default(),
            unnumbered: UnnumberedOwed::default(),
        }
    }

    /// One thing that the client, its connection or its shard does.
    pub(super) fn step(&mut self, world: &mut impl ClientWorld) {
        if self.connection.is_none() {
            if world.course().chance(self.stays_away) {
                self.connect(world);
            }
            return;
        }
        let looks = !world.course().chance(4);
        self.turn(
            world,
            looks,
            |world| {
                if world.course().rng.bool() { usize::MAX } else { world.course().rng.usize(..300) }
            },
        );
        if let Some(connection) = &self.connection
            && (connection.state == StreamState::Ending || world.course().chance(20))
        {
            let len = connection.taken.len();
            let cut = match world.course().rng.u8(..4) {
                0 => usize::MAX,
                1 => world.course().rng.usize(..=len),
                _ => len - world.course().rng.usize(..=len.min(120)),
            };
            self.disconnect(world, cut);
        }
    }

    /// The turn of its shard.
    fn turn<W: ClientWorld>(&mut self, world: &mut W, looks: bool, room: impl Fn(&mut W) -> usize) {
        let Some(connection) = &mut self.connection else { return };
        world.act_as(self.node);
        if looks {
            connection.look(world);
        }
        match connection.state {
            StreamState::Waiting => self.start(world),
            StreamState::Blocked => connection.state = StreamState::Behind,
            _ => {}
        }
        if let Some(connection) = &mut self.connection {
            connection.serve(world, room);
        }
    }

    /// Gets everything there is, over as many connections as it takes.
    pub(super) fn drain(&mut self, world: &mut impl ClientWorld) {
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
    pub(super) fn judge_at_rest<W: ClientWorld>(&mut self, world: &mut W) {
        world.act_as(self.node);
        let Some(connection) = &mut self.connection else {
            return assert!(W::MAY_REFUSE, "client {} cannot connect at rest", self.shard);
        };
        connection.look(world);
        assert_eq!(connection.state, StreamState::Live, "client {} at rest", self.shard);
        self.disconnect(world, usize::MAX);
        self.account.check_at_rest(world);
        self.unnumbered.check_at_rest(world.unnumbered());
    }

    fn connect<W: ClientWorld>(&mut self, world: &mut W) {
        let resume = self.choose(world);
        let node = world.course().rng.usize(..W::NODES);
        if node != self.node && resume != Resume::Live {
            world.course().happened("moved");
        }
        self.node = node;
        world.act_as(node);
        world.course().note(format!("client {} connects to {node} with {resume:?}", self.shard));
        self.connection = ModelConnection::open(self.shard, &self.follows, resume, world);
    }

    /// Most come back as a browser does.
    fn choose(&mut self, world: &mut impl ClientWorld) -> Resume {
        if self.ids.is_empty() || world.course().chance(15) {
            self.place = None;
            self.ids.clear();
            return match world.course().rng.u8(..4) {
                0 if world.may_replay() => Resume::Replay(usize::MAX),
                1 if world.may_replay() => Resume::Replay(world.course().rng.usize(1..5)),
                _ => Resume::Live,
            };
        }
        let held = match world.course().rng.u8(..12) {
            0 if world.course().may_lose() => return Resume::After(world.strange_id()),
            1 => world.course().rng.choice(&self.ids),
            _ => self.ids.last(),
        };
        let Held { id, place, account } = held.expect("it has some").clone();
        (self.place, self.account) = (place, account);
        Resume::After(id)
    }

    fn start(&mut self, world: &mut impl ClientWorld) {
        let Some(connection) = &mut self.connection else { return };
        let Some(start) = connection.start(world) else { return };
        let resume = connection.resume().clone();
        let (seen, to_come) = world.unnumbered_here();
        self.unnumbered = UnnumberedOwed::at(&self.follows, seen, to_come);
        match resume {
            Resume::Live => self.begin(world, world.place_of(start.cursor)),
            Resume::Replay(events) => {
                world.course().happened("replay");
                world.begin_replay(self, events, &start);
            }
            Resume::After(id) => world.begin_after(self, &id, &start),
        }
    }

    /// Events above a place are owed.
    pub(super) fn begin(&mut self, world: &impl ClientWorld, place: Place) {
        self.place = Some(place);
        self.account = Account::at(&self.follows, world.up_to(place));
    }

    /// The connection is cut: so many bytes have come through.
    fn disconnect(&mut self, world: &mut impl ClientWorld, cut: usize) {
        let Some(mut connection) = self.connection.take() else { return };
        world.act_as(self.node);
        connection.leave(&world.hub());
        let of = connection.taken.len();
        world.course().note(format!("client {} is cut after {} of {of} bytes", self.shard, cut.min(of)));
        self.read(world, &connection.text(cut));
    }

    fn read(&mut self, world: &mut impl ClientWorld, text: &str) {
        // Gaps of the unit under way, which end with an id.
        let mut gaps = Vec::new();
        for block in blocks(text) {
            world.course().note(format!("  client {} reads {block:?}", self.shard));
            if let Some(data) = &block.data {
                self.read_data(world, &block, data, &mut gaps);
            }
            if let Some(id) = block.id {
                self.ids.push(Held { id, place: self.place, account: self.account.clone() });
            }
        }
        if !gaps.is_empty() {
            world.course().happened("unit cut");
        }
    }

    fn read_data(&mut self, world: &mut impl ClientWorld, block: &SseBlock, data: &str, gaps: &mut Vec<usize>) {
        if block.event.as_deref() == Some("fantail.gap") {
            let words: Vec<_> = data.split('"').collect();
            self.read_gap(world, block, channel_of(words[3]), words[7], gaps);
        } else if let Some(unnumbered) = data.strip_prefix('b') {
            // A gap of another channel may stand at its place; it counts from the next id on.
            assert!(block.id.is_none());
            self.unnumbered.take(unnumbered.parse().unwrap(), world.unnumbered());
            world.course().happened("unnumbered");
        } else {
            let seq: usize = data.split(':').next().unwrap().parse().unwrap();
            world.course().happened("event");
            let (place, channels) = world.event(seq, block.id.as_deref().unwrap());
            assert!(Some(place) > self.place, "client {}: {place:?} comes after {:?}", self.shard, self.place);
            self.declare(world, place, gaps);
            self.account.take(seq, channels, world);
            world.pass(&mut self.account, place);
        }
    }

    fn read_gap(
        &mut self,
        world: &mut impl ClientWorld,
        block: &SseBlock,
        channel: usize,
        reason: &str,
        gaps: &mut Vec<usize>,
    ) {
        let ids_are_shared = world.hub().ids_are_shared();
        self.unnumbered.tell(channel);
        if ids_are_shared && reason == GapReason::Outage.as_str() {
            // Numbered events are brought or declared after an outage.
            assert_eq!(block.id, None);
            return world.course().happened("unnumbered gap");
        }
        world.course().happened("gap");
        assert!(world.course().may_lose(), "client {}: nothing is missing", self.shard);
        gaps.push(channel);
        if let Some(id) = &block.id {
            let place = world.place_of_id(&EventId::parse(id).unwrap());
            let is_late = if ids_are_shared { Some(place) < self.place } else { Some(place) <= self.place };
            assert!(!is_late, "client {}: a gap at {place:?} is late", self.shard);
            self.declare(world, place, gaps);
            world.pass(&mut self.account, place);
        }
    }

    /// It has got an id, with the gaps of its unit.
    fn declare(&mut self, world: &impl ClientWorld, place: Place, gaps: &mut Vec<usize>) {
        self.place = Some(place);
        self.account.declare(&std::mem::take(gaps), world.up_to(place));
    }
}
