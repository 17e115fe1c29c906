//! Gaps of streams whose clients may go on at another node.

use std::sync::Arc;

use fantail_hub::EntryKind::{Event as Numbered, Gap, Unnumbered};
use fantail_hub::{HubSettings, Join, LogLimits, NumberedBy, Publisher};
use fantail_wire::{ChannelName, EndedTerm, Event, EventId, Framing, GapReason, Lane, Publication, Term, Terms};

use super::super::{Collected, collect};
use super::*;
use crate::outgoing::READ_LIMIT;
use crate::streams::Resuming;

fn settings() -> HubSettings {
    HubSettings {
        log: LogLimits { entries_max: 1, bytes_max: 1 << 20, age_ms_max: u64::MAX },
        ..HubSettings::unbounded(NumberedBy::Feed, || 1000)
    }
}

const CURSOR: Position = Position::new(1, 90);

const SKIPPED: Floor = Floor { position: Position::ORIGIN, at_ms: 0, reason: GapReason::Skipped };

/// A node that follows c and d from 90 on and keeps one entry of each.
struct TwoChannels {
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

fn terms(term: u64, number: u64) -> Terms {
    Terms { current: Term::from_random(term), start: 0, number, ms: 1000, ended: Vec::new() }
}

impl TwoChannels {
    fn new() -> Self {
        let (hub, mut publisher) = Hub::new(settings(), Arc::default());
        publisher.synced(Lane::default(), &terms(1, 90));
        let joins =
            [("c", 0), ("d", 1)].map(|(name, slot)| hub.join(&channel(name), 0, slot, None).expect("there is room"));
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

    fn publish_unnumbered(&mut self, names: &[&str]) {
        let publication = Publication::new(names.iter().map(|name| channel(name)), Event::text(names.concat()));
        self.publisher.publish_unnumbered(&publication).expect("small");
    }

    /// The entries that a stream at `cursor` gets: the kind, the number of its place, the channel if it is a gap, and whether an id
    /// is told.
    fn told(&self, cursor: Position, resuming: &Resuming) -> Vec<(EntryKind, u64, String, bool)> {
        let channels = self.joins.iter().map(|join| &*join.channel);
        told_of(&self.hub, channels, cursor, resuming)
    }
}

fn told_of<'a>(
    hub: &Hub,
    channels: impl ExactSizeIterator<Item = &'a Channel>,
    cursor: Position,
    resuming: &Resuming,
) -> Vec<(EntryKind, u64, String, bool)> {
    let watermark = hub.watermark(Lane::default()).position;
    let standing = Standing { cursor, watermark, resuming: Some(resuming), ids_are_shared: true };
    let mut entries = Vec::new();
    assert_eq!(collect(&standing, channels, hub, READ_LIMIT, &mut entries), Collected::Entries);
    entries.iter().map(told).collect()
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
    let mut node = TwoChannels::new();
    node.publish(&[(91, "c"), (92, "d"), (95, "c"), (96, "c")]);
    let resuming = Resuming { unknown: None, floors: None, began: Some(node.hub.watermark(Lane::default()).position) };
    assert_eq!(
        node.told(CURSOR, &resuming),
        expected(&[(Gap, 92, "c", false), (Numbered, 92, "d", true), (Gap, 95, "c", true), (Numbered, 96, "c", true)])
    );
}

/// 1. A live stream stands still at 90.
/// 2. d gets 91, c gets 92 and 93, and d two unnumbered events behind 93. Of the numbered events d lacks 91, which is below the place
///    of c's gap; but a live stream is told where the last is that d lacks, whatever it was.
/// 3. The stream skips, and is cut off behind c's gap. It goes on elsewhere with 92.
#[test]
fn a_live_stream_that_skips_is_told_early_of_a_floor_that_is_higher_for_it() {
    let mut node = TwoChannels::new();
    node.publish(&[(91, "d"), (92, "c"), (93, "c")]);
    node.publish_unnumbered(&["d"]);
    node.publish_unnumbered(&["d"]);
    let skipping = Resuming { unknown: Some(SKIPPED), floors: None, began: None };
    assert_eq!(
        node.told(CURSOR, &skipping),
        expected(&[
            (Gap, 92, "d", false),
            (Gap, 92, "c", true),
            (Numbered, 93, "c", true),
            (Gap, 93, "d", true),
            (Unnumbered, 93, "d", false)
        ])
    );
}

#[test]
fn a_replay_is_not_told_early_of_what_it_was_never_promised() {
    let mut node = TwoChannels::new();
    node.publish(&[(91, "c"), (92, "d"), (95, "c"), (96, "c")]);
    let floors = node.joins.iter().map(|join| join.channel.floor().position).collect();
    let resuming =
        Resuming { unknown: None, floors: Some(floors), began: Some(node.hub.watermark(Lane::default()).position) };
    assert_eq!(
        node.told(Position::new(1, 92).before(), &resuming),
        expected(&[(Numbered, 92, "d", true), (Numbered, 96, "c", true)])
    );
}

/// 1. c has a gap at 95, d has 92.
/// 2. A resuming stream reads c. Before it reads d, c gets 96, and its log drops the gap.
#[test]
fn a_gap_that_leaves_the_log_while_a_stream_reads_it_is_told_early_all_the_same() {
    let TwoChannels { hub, mut publisher, joins } = TwoChannels::new();
    let event = |name: &str| Publication::new([channel(name)], Event::text(name));
    publisher.publish_numbered(&event("d"), id(92)).expect("small");
    publisher.gap(&channel("c"), id(95), GapReason::Lost);
    publisher.synced(Lane::default(), &terms(1, 95));
    let resuming = Resuming { unknown: None, floors: None, began: Some(hub.watermark(Lane::default()).position) };
    let channels = joins.iter().map(|join| &*join.channel).inspect(|next| {
        if next.name().as_str() == "d" {
            publisher.publish_numbered(&event("c"), id(96)).expect("small");
        }
    });
    assert_eq!(
        told_of(&hub, channels, CURSOR, &resuming),
        expected(&[(Gap, 92, "c", false), (Numbered, 92, "d", true), (Gap, 95, "c", true)])
    );
}

#[test]
fn the_end_of_a_term_is_told_in_its_place_alone_since_every_node_tells_of_it() {
    let mut node = TwoChannels::new();
    node.publish(&[(92, "d")]);
    let ended = vec![EndedTerm { term: Term::from_random(1), start: 0, end: 93 }];
    node.publisher.synced(Lane::default(), &Terms { start: 93, ended, ..terms(2, 93) });
    let resuming = Resuming { unknown: None, floors: None, began: Some(node.hub.watermark(Lane::default()).position) };
    // d keeps one entry, so it has no more than the end of the term.
    assert_eq!(
        node.told(CURSOR, &resuming),
        expected(&[(Gap, 92, "d", true), (Gap, 93, "c", false), (Gap, 93, "d", true)])
    );
}

/// 1. c and d get an unnumbered event behind 90, and c another, so that c has lost the first.
/// 2. A live stream skips: c's gap stands at the place of the event, which has no id to give for both.
#[test]
fn a_gap_keeps_its_id_before_an_event_that_has_none() {
    let mut node = TwoChannels::new();
    node.publish_unnumbered(&["c", "d"]);
    node.publish_unnumbered(&["c"]);
    let skipping = Resuming { unknown: Some(SKIPPED), floors: None, began: None };
    assert_eq!(
        node.told(CURSOR, &skipping),
        expected(&[(Gap, 90, "c", true), (Unnumbered, 90, "cd", false), (Unnumbered, 90, "c", false)])
    );
}
