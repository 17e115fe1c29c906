//! A client of the node of `node.rs`, which numbers by itself.

use fantail_hub::{Following, Position, Start};
use fantail_wire::{EventId, Lane, Term};

use super::account::Account;
use super::client::{Client, ClientWorld};
use super::course::now_ms;
use super::feed::Place;
use super::node::{CHANNELS, ModelNode, Past, SLACK_MS};

impl ClientWorld for ModelNode {
    const CHANNELS: usize = CHANNELS;
    const NODES: usize = 1;
    const MAY_REFUSE: bool = true;

    fn settle(&mut self) {
        self.confirm_all();
    }

    /// A replay may begin below a place from which one of the channels is followed. Its first ids are below that place
    /// then, and a client that is cut off there and comes back is told of a gap of that channel: nobody remembers that
    /// it was promised nothing of it.
    fn may_replay(&self) -> bool {
        self.course.may_lose() || self.following == Following::Always
    }

    /// An id of this node that nobody was given yet, or of another, or none at all. Its time lets some of the past follow,
    /// or all of it, or nothing.
    fn strange_id(&mut self) -> String {
        let number = self.numbers();
        let ms = SLACK_MS + self.course.rng.u64(900..now_ms() + 50);
        match self.course.rng.u8(..4) {
            0 | 1 => EventId::new(Term::from_random(u64::MAX), ms, number).to_string(),
            2 => self.hub.id(Lane::default(), Position::new(1, number + 1000), ms).unwrap().to_string(),
            _ => "nobody's".to_owned(),
        }
    }

    fn place_of(&self, position: Position) -> Place {
        (0, position.number)
    }

    fn place_of_id(&self, id: &EventId) -> Place {
        (0, id.number)
    }

    fn up_to(&self, (_, number): Place) -> usize {
        self.history.partition_point(|past| past.place <= (number, false))
    }

    fn published(&self) -> usize {
        self.history.len()
    }

    fn is_of(&self, seq: usize, channel: usize) -> bool {
        self.history[seq].channels.contains(&channel)
    }

    fn event(&self, seq: usize, id: &str) -> (Place, &[usize]) {
        let Past { publisher_id, brought, .. } = &self.history[seq];
        let number = self.history[seq].number().unwrap();
        match publisher_id {
            Some(own) => assert_eq!(own, id),
            None => assert_eq!(EventId::parse(id).unwrap().number, number),
        }
        ((0, number), brought)
    }

    /// Owed are the newest events that are held, and all above them; of each channel those above its floor.
    fn begin_replay(&mut self, client: &mut Client, events: usize, _: &Start) {
        let (newest, floors) = client.connection.as_ref().unwrap().held(&self.hub, events);
        let Some(first) = newest.last() else {
            return client.begin(self, (0, self.numbers()));
        };
        client.begin(self, (0, first - 1));
        client.account.begin_above(floors.into_iter().map(|floor| self.up_to((0, floor))));
    }

    fn begin_after(&mut self, client: &mut Client, id: &str, start: &Start) {
        let (number, shard) = (start.cursor.number, client.shard);
        let is_known = if let Ok(ours) = EventId::parse(id) {
            let is_known = self.gave(ours);
            assert!(!is_known || ours.number == number, "client {shard}: {id} is at {number}");
            is_known
        } else {
            let found = self.events_with(id, &client.follows);
            // Of a repeated id the hub finds the one that is still held; that it was repeated, it cannot know then.
            let (held, _) = client.connection.as_ref().unwrap().held(&self.hub, usize::MAX);
            let held: Vec<_> = found.iter().filter(|number| held.contains(number)).collect();
            assert!(held.len() != 1 || *held[0] == number, "client {shard}: {id} is at {number}");
            held.len() == 1
        };
        assert_eq!(start.unknown.is_none(), is_known, "client {shard}: {id}");
        if !is_known {
            self.begin_unknown(client, id, start.unknown.unwrap().position.number);
        } else if client.place != Some((0, number)) {
            assert!(EventId::parse(id).is_err(), "client {shard}: had not come to {number} with {id}");
            self.course.happened("repeated id");
            client.begin(self, (0, number));
        }
    }
}

impl ModelNode {
    /// Behind the gaps come the newest events that may have been published since the id was given, and no others.
    fn begin_unknown(&mut self, client: &mut Client, id: &str, floor: u64) {
        self.course.happened("unknown id");
        let since = EventId::parse(id).map_or(0, |id| id.ms.saturating_sub(SLACK_MS));
        let connection = client.connection.as_ref().unwrap();
        let events = |max| connection.newest(&self.hub, max, |place| self.ms_of(place.number) >= since);
        let owed = events(self.unknown_id_replay_max);
        assert_eq!(floor, owed.last().map_or(self.numbers(), |first| first.number - 1), "client {}", client.shard);
        let (all, owed) = (events(usize::MAX).len(), owed.len());
        self.course.happened(if owed < all { "repeats were bounded" } else { "all of some time followed" });
        // The gap stands at the floor, and nothing comes before it.
        (client.place, client.account) =
            (floor.checked_sub(1).map(|number| (0, number)), Account::of_unknown(&client.follows));
    }

    /// The numbers of the events of these channels that have this id of the publisher's.
    fn events_with(&self, id: &str, channels: &[usize]) -> Vec<u64> {
        let has_id = |past: &&Past| past.publisher_id.as_deref() == Some(id);
        let is_mine = |past: &&Past| past.brought.iter().any(|c| channels.contains(c));
        self.history.iter().filter(has_id).filter(is_mine).filter_map(Past::number).collect()
    }
}
