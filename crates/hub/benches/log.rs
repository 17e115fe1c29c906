//! The cost of an event on its way through the hub: into a log, into a mailbox and out of both.
#![allow(clippy::unwrap_used, reason = "the inputs are constants")]

use std::cell::RefCell;
use std::sync::Arc;

use fantail_bench_micro::{Bench, main as run};
use fantail_hub::{Hub, HubSettings, Join, LogLimits, NumberedBy, Position, Publisher, ReadLimit};
use fantail_telemetry::HubCounters;
use fantail_wire::{ChannelName, Event, Lane, Publication, Term};

const EVENTS_KEPT: usize = 1024;
const READ_LIMIT: ReadLimit = ReadLimit { entries: 64, bytes: 64 * 1024 };

/// A hub with one channel that one shard follows.
struct FullLog {
    hub: Arc<Hub>,
    publisher: Publisher,
    join: Join,
    publication: Publication,
}

impl FullLog {
    fn new() -> Self {
        let settings = HubSettings {
            log: LogLimits { entries_max: EVENTS_KEPT, bytes_max: 1 << 20, age_ms_max: 300_000 },
            ..HubSettings::unbounded(NumberedBy::Node(Term::from_random(1)), || 1_700_000_000_000)
        };
        let (hub, publisher) = Hub::new(settings, Arc::new(HubCounters::default()));
        let name = ChannelName::parse("news").unwrap();
        let join = hub.join(&name, 0, 0, None).unwrap();
        let publication = Publication::new([name], Event::text("x".repeat(128)));
        Self { hub, publisher, join, publication }
    }

    /// Like the control loop.
    fn publish(&mut self) -> Position {
        self.publisher.publish(&self.publication).unwrap();
        self.hub.watermark(Lane::default()).position
    }

    /// Like the shard: marks out of the mailbox, then the log above the cursor.
    fn take(&self) -> bool {
        let mailbox = self.hub.mailbox(0);
        mailbox.silence();
        mailbox.take().is_some_and(|mark| !mark.clear())
    }
}

fn main() {
    let full = |mut node: FullLog| {
        let from = node.hub.watermark(Lane::default()).position;
        let positions: Vec<_> = (0..EVENTS_KEPT).map(|_| node.publish()).collect();
        (node, from, positions)
    };
    let (read_node, _, positions) = full(FullLog::new());
    let (last, one_before, many_before) =
        (positions[EVENTS_KEPT - 1], positions[EVENTS_KEPT - 2], positions[EVENTS_KEPT - 1 - READ_LIMIT.entries]);
    let read = |from: Position| {
        let mut out = Vec::with_capacity(READ_LIMIT.entries);
        read_node.join.channel.read(from, last, READ_LIMIT, &mut out);
        out.len() as u64
    };
    // The shard never looks: marks coalesce and the log evicts, as with a shard that is far behind.
    let (behind, _, _) = full(FullLog::new());
    let behind = RefCell::new(behind);
    let (served, _, _) = full(FullLog::new());
    let served = RefCell::new(served);
    assert!(served.borrow().take() && !served.borrow().take(), "marks coalesce");
    assert_eq!((read(one_before), read(many_before)), (1, READ_LIMIT.entries as u64));
    run(&mut [
        Bench::new("publish_128_bytes_shard_behind", || behind.borrow_mut().publish().number),
        Bench::new("publish_128_bytes_post_and_take_mark", || {
            let position = served.borrow_mut().publish();
            assert!(served.borrow().take());
            position.number
        }),
        Bench::new("read_newest_of_1024", || read(one_before)),
        Bench::new("read_newest_64_of_1024", || read(many_before)),
    ]);
}
