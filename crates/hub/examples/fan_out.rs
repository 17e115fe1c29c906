//! The hub without sockets: an event for two channels, and the bytes that a subscriber of one of them gets.
//!
//!     cargo run -p fantail-hub --example fan_out
//!
//! The control loop publishes; a shard is told by its mailbox and reads the log above its cursor.
#![allow(clippy::unwrap_used, reason = "the inputs are constants")]

use std::sync::Arc;

use fantail_hub::{Hub, HubSettings, LogLimits, NumberedBy, ReadLimit};
use fantail_telemetry::HubCounters;
use fantail_wire::{ChannelName, Event, Framing, Lane, Publication, Term};

fn main() {
    print!("{}", text_for_a_subscriber());
}

pub(crate) fn text_for_a_subscriber() -> String {
    let settings = HubSettings {
        log: LogLimits { entries_max: 100, bytes_max: 1 << 20, age_ms_max: 300_000 },
        unknown_id_replay_max: 256,
        ..HubSettings::unbounded(NumberedBy::Node(Term::from_random(7)), || 1_764_000_000_000)
    };
    let (hub, mut publisher) = Hub::new(settings, Arc::new(HubCounters::default()));
    let [orders, news] = ["orders", "news"].map(|name| ChannelName::parse(name).unwrap());

    // The shard: slot 0 of shard 0 wants `orders`, from here on.
    let join = hub.join(&orders, 0, 0, None).unwrap();
    let cursor = hub.watermark(Lane::default()).position;

    // The control loop: one frame, for both channels.
    publisher.publish(&Publication::new([orders, news], Event::text("paid\nshipped"))).unwrap();

    // The shard again, in the order that keeps it from missing an event: clear the mark, then the watermark, then the log.
    hub.mailbox(0).take().unwrap().clear();
    let watermark = hub.watermark(Lane::default()).position;
    let mut deliveries = Vec::new();
    join.channel.read(cursor, watermark, ReadLimit { entries: 100, bytes: 1 << 20 }, &mut deliveries);
    let texts = deliveries.iter().map(|it| std::str::from_utf8(it.frame.bytes(Framing::CloseDelimited)).unwrap());
    texts.collect()
}
