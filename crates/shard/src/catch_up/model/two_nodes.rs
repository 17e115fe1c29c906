//! A client of the nodes of `world.rs`, for which one feed numbers.

use fantail_hub::{Floor, Position, Start};
use fantail_wire::{EventId, GapReason, Lane, Term};

use super::account::Account;
use super::client::{Client, ClientWorld};
use super::connection::Surroundings;
use super::course::now_ms;
use super::feed::{CHANNELS, Past, Place};
use super::node::SLACK_MS;
use super::unnumbered_events::UnnumberedEvents;
use super::world::{NODES, World};

impl ClientWorld for World {
    const CHANNELS: usize = CHANNELS;
    const NODES: usize = NODES;
    const MAY_REFUSE: bool = false;

    fn act_as(&mut self, node: usize) {
        self.acts_as = node;
    }

    fn settle(&mut self) {
        self.settle();
    }

    /// Without a time, with one from which all there is may follow, or with one that is to come.
    fn strange_id(&mut self) -> String {
        let ms = match self.course.rng.u8(..3) {
            0 => return "nobody's".to_owned(),
            1 => now_ms(),
            _ => now_ms() + 2 * SLACK_MS,
        };
        EventId::new(Term::from_random(u64::MAX), ms, self.feed.newest().1).to_string()
    }

    fn place_of(&self, position: Position) -> Place {
        self.feed.place_of(&self.hub().id(Lane::default(), position, 0).expect("its term is known"))
    }

    fn place_of_id(&self, id: &EventId) -> Place {
        self.feed.place_of(id)
    }

    fn up_to(&self, place: Place) -> usize {
        self.feed.up_to(place)
    }

    fn published(&self) -> usize {
        self.feed.history.len()
    }

    fn is_of(&self, seq: usize, channel: usize) -> bool {
        self.feed.history[seq].channels.contains(&channel)
    }

    fn event(&self, seq: usize, id: &str) -> (Place, &[usize]) {
        let Past { place, channels, publisher_id, .. } = &self.feed.history[seq];
        assert_eq!(id, publisher_id.clone().unwrap_or_else(|| self.feed.id_of(seq).to_string()));
        (*place, channels)
    }

    fn unnumbered(&self) -> &UnnumberedEvents {
        &self.unnumbered
    }

    fn unnumbered_here(&self) -> (usize, usize) {
        let node = &self.nodes[self.acts_as];
        (node.unnumbered, node.unnumbered_to_come(self.unnumbered.len()))
    }

    /// Of each channel the events above its floor are owed.
    fn begin_replay(&mut self, client: &mut Client, _: usize, start: &Start) {
        client.begin(self, self.place_of(start.cursor));
        let floors = start.floors.iter().flatten();
        client.account.begin_above(floors.map(|floor| self.feed.up_to(self.place_of(*floor))));
    }

    fn begin_after(&mut self, client: &mut Client, id: &str, start: &Start) {
        if let Some(floor) = start.unknown {
            return self.begin_unknown(client, id, floor);
        }
        let place = if let Ok(id) = EventId::parse(id) {
            self.feed.place_of(&id)
        } else {
            self.course.happened("resumed by a publisher's id");
            let has_id = |past: &&Past| past.publisher_id.as_deref() == Some(id);
            self.feed.history.iter().find(has_id).expect("somebody published it").place
        };
        assert_eq!(self.place_of(start.cursor), place, "client {} with {id}", client.shard);
        assert_eq!(client.place, Some(place), "client {} had come there with {id}", client.shard);
    }

    fn pass(&self, account: &mut Account, place: Place) {
        let end = self.feed.up_to(place);
        if self.feed.has_ended(place) {
            account.pass_in_ended_term(end);
        } else {
            account.pass(end, self);
        }
    }
}

impl World {
    /// Behind the gaps come the events after the end of the id's term, or the newest of all there is.
    fn begin_unknown(&mut self, client: &mut Client, id: &str, floor: Floor) {
        self.course.happened("unknown id");
        assert!(self.course.may_lose(), "client {}: {id} is known", client.shard);
        let place = self.place_of(floor.position);
        let ours = EventId::parse(id).ok();
        let of_term = ours.filter(|_| floor.reason == GapReason::BeyondEnd).map(|id| self.feed.place_of(&id));
        let begins = if of_term.is_some_and(|of_term| of_term.0 < place.0) && self.feed.began(place) {
            "behind the end of a term"
        } else {
            let since = ours.map_or(0, |id| id.ms.saturating_sub(SLACK_MS));
            let connection = client.connection.as_ref().unwrap();
            let owed = connection.newest(&self.hub(), self.unknown_id_replay_max, |_| since <= now_ms());
            let first = owed.last().map(|first| Position::new(first.generation, first.number - 1));
            let to = self.hub().watermark(Lane::default()).position;
            let is_owed = first
                .map_or((floor.position.number, floor.position.generation) == (to.number, to.generation), |first| {
                    first == floor.position
                });
            assert!(is_owed, "client {}: {floor:?} and not below {owed:?}, at {to:?}", client.shard);
            "with the newest of what there is"
        };
        self.course.happened(begins);
        (client.place, client.account) = (Some(place), Account::of_unknown(&client.follows));
    }
}
