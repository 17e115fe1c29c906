//! Gaps of streams whose clients may go on at another node.

use std::sync::Arc;

use fantail_hub::{Following, HubSettings, LogLimits, NumberedBy};
use fantail_wire::{ChannelName, Event, EventId, Framing, Lanes, Publication, Term, Terms};

use super::*;

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).expect("valid")
}

fn id(number: u64) -> EventId {
    EventId::new(Term::from_random(1), 1000, number)
}

/// 1. A client has all of c and d up to 90.
/// 2. c gets 91, 95 and 96, of which this node keeps the last; d gets 92.
/// 3. The client comes back, is cut off behind 92, and goes on at a node that has everything. It says 92 there, so nobody
///    there knows that it lacks 91: it must have been told before it got 92.
#[test]
fn a_stream_of_several_channels_is_told_what_it_misses_before_it_gets_an_id_behind_it() {
    let settings = HubSettings {
        lanes: Lanes::default(),
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
    let (hub, mut publisher) = Hub::new(settings, Arc::default());
    publisher.synced(
        Lane::default(),
        &Terms { current: Term::from_random(1), start: 0, number: 90, ms: 1000, ended: Vec::new() },
    );
    let cursor = hub.watermark(Lane::default()).position;
    let joins = [("c", 0), ("d", 1)].map(|(name, slot)| hub.join(&channel(name), 0, slot).expect("there is room"));
    while publisher.next_wish().is_some() {}
    for join in &joins {
        publisher.followed(join.channel.name(), Some(id(90)));
    }
    for (number, name) in [(91, "c"), (92, "d"), (95, "c"), (96, "c")] {
        let publication = Publication::new([channel(name)], Event::text(name));
        publisher.publish_numbered(&publication, id(number)).expect("small");
    }

    let watermark = hub.watermark(Lane::default()).position;
    let resuming = Resuming { unknown: None, floors: None, began: Some(watermark) };
    let standing = Standing { cursor, watermark, resuming: Some(&resuming) };
    let mut entries = Vec::new();
    let channels = joins.iter().map(|join| &*join.channel);
    assert_eq!(collect(&standing, channels, &hub, ROOM, &mut entries), Found::Entries);
    let told = |entry: &Delivery| {
        let has_id = entry.frame.bytes(Framing::CloseDelimited).starts_with(b"id: ");
        (entry.kind, entry.position.number, has_id)
    };
    let told: Vec<_> = entries.iter().map(told).collect();
    let (gap, event) = (EntryKind::Gap, EntryKind::Event);
    assert_eq!(told, [(gap, 92, false), (event, 92, true), (gap, 95, true), (event, 96, true)]);
}
