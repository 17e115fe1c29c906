//! Gaps of streams whose clients may go on at another node.

use std::sync::Arc;

use fantail_hub::EntryKind::{Beside, Event as Numbered, Gap};
use fantail_hub::{Following, HubSettings, Join, LogLimits, NumberedBy, Publisher};
use fantail_wire::{ChannelName, Event, EventId, Framing, GapReason, Publication, Term, Terms};

use super::super::{Found, collect};
use super::*;
use crate::outgoing::ROOM;
use crate::stream::Resuming;

const SETTINGS: HubSettings = HubSettings {
    numbering: NumberedBy::Feed,
    following: Following::OnDemand,
    shards: 1,
    log: LogLimits { entries_max: 1, bytes_max: 1 << 20, age_ms_max: u64::MAX },
    patterns: Vec::new(),
    control_events: true,
    logs_bytes_max: 1 << 20,
    event_bytes_max: 1 << 20,
    channels_max: 2,
    clock: || 1000,
};

const CURSOR: Position = Position::new(1, 90);

/// A node that follows c and d from 90 on and keeps one entry of each.
struct Node {
    hub: Arc<Hub>,
    publisher: Publisher,
    joins: [Join; 2],
}

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).expect("valid")
}

fn id(number: u64) -> EventId {
    EventId::new(Term::from_random(1), 1000, number)
}

impl Node {
    fn new() -> Self {
        let (hub, mut publisher) = Hub::new(SETTINGS, Arc::default());
        publisher.synced(&Terms { current: Term::from_random(1), start: 0, number: 90, ms: 1000, ended: Vec::new() });
        let joins = [("c", 0), ("d", 1)].map(|(name, slot)| hub.join(&channel(name), 0, slot).expect("there is room"));
        while publisher.next_wish().is_some() {}
        for join in &joins {
            publisher.followed(join.channel.name(), Some(id(90)));
        }
        Self { hub, publisher, joins }
    }

    fn publish(&mut self, events: &[(u64, &str)]) {
        for (number, name) in events {
            let publication = Publication::new([channel(name)], Event::text(*name));
            self.publisher.publish_numbered(&publication, id(*number)).expect("small");
        }
    }

    fn publish_beside(&mut self, name: &str) {
        self.publisher.publish_beside(&Publication::new([channel(name)], Event::text(name))).expect("small");
    }

    /// What a stream at `cursor` gets: the kind, the number of its place, the channel if it is a gap, and whether an id
    /// is told.
    fn told(&self, cursor: Position, resuming: &Resuming) -> Vec<(EntryKind, u64, String, bool)> {
        let watermark = self.hub.watermark().position;
        let standing = Standing { cursor, watermark, resuming: Some(resuming), ids_are_shared: true };
        let mut entries = Vec::new();
        let channels = self.joins.iter().map(|join| &*join.channel);
        assert_eq!(collect(&standing, channels, &self.hub, ROOM, &mut entries), Found::Entries);
        entries.iter().map(told).collect()
    }
}

fn told(entry: &Delivery) -> (EntryKind, u64, String, bool) {
    let text = String::from_utf8_lossy(entry.frame.bytes(Framing::CloseDelimited)).into_owned();
    let data = text.lines().find_map(|line| line.strip_prefix("data: ")).expect("all of them have data");
    let name = data.split('"').nth(3).unwrap_or(data).to_owned();
    (entry.kind, entry.position.number, name, text.starts_with("id: "))
}

fn expected(told: &[(EntryKind, u64, &str, bool)]) -> Vec<(EntryKind, u64, String, bool)> {
    told.iter().map(|(kind, number, name, has_id)| (*kind, *number, (*name).to_owned(), *has_id)).collect()
}

/// 1. A client has all of c and d up to 90.
/// 2. c gets 91, 95 and 96, of which this node keeps the last; d gets 92.
/// 3. The client comes back, is cut off behind 92, and goes on at a node that has everything. It says 92 there, so nobody
///    there knows that it lacks 91: it must have been told before it got 92.
#[test]
fn a_stream_of_several_channels_is_told_what_it_misses_before_it_gets_an_id_behind_it() {
    let mut node = Node::new();
    node.publish(&[(91, "c"), (92, "d"), (95, "c"), (96, "c")]);
    let resuming = Resuming { unknown: None, floors: None, began: Some(node.hub.watermark().position) };
    assert_eq!(
        node.told(CURSOR, &resuming),
        expected(&[(Gap, 92, "c", false), (Numbered, 92, "d", true), (Gap, 95, "c", true), (Numbered, 96, "c", true)])
    );
}

/// 1. A live stream stands still at 90.
/// 2. d gets 91, c gets 92 and 93, and d two events beside 93. Of the numbered events d lacks 91, which is below the place
///    of c's gap; but a live stream is told where the last is that d lacks, whatever it was.
/// 3. The stream skips, and is cut off behind c's gap. It goes on elsewhere with 92.
#[test]
fn a_live_stream_that_skips_is_told_early_of_a_floor_that_is_higher_for_it() {
    let mut node = Node::new();
    node.publish(&[(91, "d"), (92, "c"), (93, "c")]);
    node.publish_beside("d");
    node.publish_beside("d");
    let skipping = Resuming { unknown: Some(GapReason::Skipped), floors: None, began: None };
    assert_eq!(
        node.told(CURSOR, &skipping),
        expected(&[
            (Gap, 92, "d", false),
            (Gap, 92, "c", true),
            (Numbered, 93, "c", true),
            (Gap, 93, "d", true),
            (Beside, 93, "d", false)
        ])
    );
}

#[test]
fn a_replay_is_not_told_early_of_what_it_was_never_promised() {
    let mut node = Node::new();
    node.publish(&[(91, "c"), (92, "d"), (95, "c"), (96, "c")]);
    let floors = node.joins.iter().map(|join| join.channel.floor().position).collect();
    let resuming = Resuming { unknown: None, floors: Some(floors), began: Some(node.hub.watermark().position) };
    assert_eq!(
        node.told(Position::new(1, 92).before(), &resuming),
        expected(&[(Numbered, 92, "d", true), (Numbered, 96, "c", true)])
    );
}
