//! The table of metrics: each is declared here and nowhere else.
//!
//! A row gives the name, the meaning and where the number is read. The exposition, the reference
//! page and the test of names are made from these rows.

use fantail_wire::{FeedState, SlowPolicy};

use crate::counter::Counter;
use crate::hub_counters::{EvictReason, HubFields, RejectReason};
use crate::label::Label;
use crate::process::ProcessFigures;
use crate::shard_counters::{Bound, CloseReason, HandshakeFailure, Http2Fault, ShardFields, StatusClass, TurnedAway};

/// One metric.
pub(crate) struct MetricRow {
    /// The name without the `_total` that the exposition gives to counters.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) help: &'static str,
    pub(crate) reading: Reading,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
}

/// Where a metric's numbers come from.
pub(crate) enum Reading {
    /// One number: all shards added up.
    Shards(fn(&ShardFields) -> u64),
    /// One number per shard, labelled with the shard's number.
    EachShard(fn(&ShardFields) -> u64),
    /// One number per value of a label: all shards added up.
    ShardsBy(Words, fn(&ShardFields) -> &[Counter]),
    /// One number of the control loop.
    Hub(fn(&HubFields) -> u64),
    /// One number of the control loop per value of a label.
    HubBy(Words, fn(&HubFields) -> &[Counter]),
    /// One for the current value of a label, zero for the others.
    HubState(Words, fn(&HubFields) -> usize),
    /// A figure of the kernel about this process.
    Process(fn(&ProcessFigures) -> f64),
}

/// A label's name, its values and what they mean.
#[derive(Clone, Copy)]
pub(crate) struct Words {
    pub(crate) label: &'static str,
    pub(crate) values: &'static [&'static str],
    pub(crate) meanings: &'static [&'static str],
}

const BOUNDS: Words = words::<Bound>("bound");
const REASONS: Words = words::<CloseReason>("reason");
const HTTP2_FAULTS: Words = words::<Http2Fault>("fault");
const EVICT_REASONS: Words = words::<EvictReason>("reason");
const HANDSHAKE_FAILURES: Words = words::<HandshakeFailure>("reason");
const POLICIES: Words = words::<SlowPolicy>("policy");
const REJECT_REASONS: Words = words::<RejectReason>("reason");
const STATES: Words = words::<FeedState>("state");
const STATUSES: Words = words::<StatusClass>("status");
const TURNED_AWAY: Words = words::<TurnedAway>("how");

const fn words<L: Label>(label: &'static str) -> Words {
    Words { label, values: L::WORDS, meanings: L::MEANINGS }
}

const fn counter(name: &'static str, reading: Reading, help: &'static str) -> MetricRow {
    MetricRow { name, kind: Kind::Counter, help, reading }
}

const fn gauge(name: &'static str, reading: Reading, help: &'static str) -> MetricRow {
    MetricRow { name, kind: Kind::Gauge, help, reading }
}

impl MetricRow {
    /// The name as a scrape shows it.
    pub(crate) fn exposed_name(&self) -> String {
        match self.kind {
            Kind::Counter => format!("{}_total", self.name),
            Kind::Gauge => self.name.to_owned(),
        }
    }
}

/// Every metric but the build information, which is text and has no number.
pub(crate) static ROWS: [MetricRow; 63] = [
    counter(
        "fantail_connections_accepted",
        Reading::Shards(|shard| shard.connections_accepted.get()),
        "Connections taken from the public listener",
    ),
    gauge(
        "fantail_connections_open",
        Reading::Shards(|shard| shard.connections_open.get()),
        "Connections open on the public listener, streams included, without those in the reserve",
    ),
    gauge(
        "fantail_connections_max",
        Reading::Hub(|hub| hub.connections_max.get()),
        "Connections that may be open on the public listener; beyond it newcomers are turned away",
    ),
    gauge(
        "fantail_tls_certificate_expiry_timestamp_seconds",
        Reading::Hub(|hub| hub.tls_certificate_expiry.get()),
        "When the first of the TLS certificates expires, in seconds since 1970; 0 without one",
    ),
    gauge(
        "fantail_http2_connections",
        Reading::Shards(|shard| shard.http2_connections.get()),
        "Connections open on the public listener that speak HTTP/2; each may have many streams",
    ),
    counter(
        "fantail_http2_faults",
        Reading::ShardsBy(HTTP2_FAULTS, |shard| shard.http2_faults.counters()),
        "HTTP/2 connections that ended since their client broke the rules, by the fault",
    ),
    gauge(
        "fantail_connections_turning_away",
        Reading::Shards(|shard| shard.connections_turning_away.get()),
        "Connections in the reserve, in which a full node tells newcomers to come back later",
    ),
    counter(
        "fantail_connections_turned_away",
        Reading::ShardsBy(TURNED_AWAY, |shard| shard.turned_away.counters()),
        "Connections for which there was no room, by what became of them",
    ),
    counter(
        "fantail_tls_handshakes_failed",
        Reading::ShardsBy(HANDSHAKE_FAILURES, |shard| shard.tls_handshakes_failed.counters()),
        "TLS handshakes with the public listener that failed, by the cause; the log names a client now and then",
    ),
    counter(
        "fantail_internal_tls_handshakes_failed",
        Reading::HubBy(HANDSHAKE_FAILURES, |hub| hub.tls_handshakes_failed.counters()),
        "TLS handshakes with the internal listener that failed, by the cause",
    ),
    counter(
        "fantail_refused",
        Reading::ShardsBy(BOUNDS, |shard| shard.refused.counters()),
        "Connections closed at once and streams told to come back later, by the setting whose bound they would have passed",
    ),
    counter(
        "fantail_proxy_headers_missing",
        Reading::Shards(|shard| shard.proxy_headers_missing.get()),
        "Connections closed since they did not begin with a header of the PROXY protocol by one of the trusted_proxies, which proxy_protocol demands",
    ),
    counter(
        "fantail_requests",
        Reading::ShardsBy(STATUSES, |shard| shard.requests.counters()),
        "Requests answered on the public listener",
    ),
    counter(
        "fantail_internal_requests",
        Reading::HubBy(STATUSES, |hub| hub.requests.counters()),
        "Requests answered on the internal listener",
    ),
    counter(
        "fantail_publishes_refused",
        Reading::Hub(|hub| hub.publishes_refused.get()),
        "Events refused since their publisher passed publish_rate_max",
    ),
    gauge(
        "fantail_memory_max_bytes",
        Reading::Hub(|hub| hub.memory_max.get()),
        "Memory that this process may use: memory_max, or what its machine or its cgroup has",
    ),
    gauge(
        "fantail_memory_level",
        Reading::Hub(|hub| hub.memory_level.get()),
        "How short memory is: 0 there is enough, 1 newcomers are told to come back later, 2 slow streams are ended",
    ),
    counter(
        "fantail_shed",
        Reading::Shards(|shard| shard.shed.get()),
        "Requests for a stream that were told to come back later",
    ),
    counter("fantail_streams_opened", Reading::Shards(|shard| shard.streams_opened.get()), "Streams opened"),
    gauge("fantail_streams_open", Reading::Shards(|shard| shard.streams_open.get()), "Streams open"),
    gauge(
        "fantail_streams_max",
        Reading::Hub(|hub| hub.streams_max.get()),
        "Streams that may be open; beyond it newcomers are told to come back later",
    ),
    gauge(
        "fantail_shard_streams_open",
        Reading::EachShard(|shard| shard.streams_open.get()),
        "Streams open on each shard; they should be about equal",
    ),
    counter(
        "fantail_streams_closed",
        Reading::ShardsBy(REASONS, |shard| shard.streams_closed.counters()),
        "Streams ended; each end has one reason",
    ),
    gauge(
        "fantail_streams_behind",
        Reading::Shards(|shard| shard.streams_behind.get()),
        "Streams that have not taken everything yet",
    ),
    gauge(
        "fantail_unsent_bytes",
        Reading::Shards(|shard| shard.unsent_bytes.get()),
        "Bytes kept only because their clients have not taken them yet",
    ),
    counter(
        "fantail_deliveries",
        Reading::Shards(|shard| shard.deliveries.get()),
        "Events written whole to a stream, once per stream",
    ),
    counter(
        "fantail_delivered_bytes",
        Reading::Shards(|shard| shard.delivered_bytes.get()),
        "Bytes accepted by the sockets of streams",
    ),
    counter(
        "fantail_write_calls",
        Reading::Shards(|shard| shard.write_calls.get()),
        "Write calls on the sockets of streams",
    ),
    counter(
        "fantail_write_blocked",
        Reading::Shards(|shard| shard.write_blocked.get()),
        "Write calls after which the socket took no more",
    ),
    counter("fantail_keepalives", Reading::Shards(|shard| shard.keepalives.get()), "Keepalive comments written"),
    counter(
        "fantail_gaps_sent",
        Reading::Shards(|shard| shard.gaps_sent.get()),
        "Gap events written: streams that were told of missing events",
    ),
    counter(
        "fantail_ids_unknown",
        Reading::Shards(|shard| shard.ids_unknown.get()),
        "Streams that began with an id that this node does not know: their clients were told of a gap in each channel",
    ),
    counter(
        "fantail_overruns",
        Reading::ShardsBy(POLICIES, |shard| shard.overruns.counters()),
        "Times an open stream was slower than what its channel's log keeps, by what became of it",
    ),
    counter("fantail_passes", Reading::Shards(|shard| shard.passes.get()), "Passes over the subscribers of a channel"),
    counter("fantail_slices", Reading::Shards(|shard| shard.slices.get()), "Slices of time that passes were cut into"),
    counter("fantail_wakes", Reading::Shards(|shard| shard.wakes.get()), "Times a shard was woken by another thread"),
    counter("fantail_events_in", Reading::Hub(|hub| hub.events_in.get()), "Events that came in from the feed"),
    counter(
        "fantail_events_rejected",
        Reading::HubBy(REJECT_REASONS, |hub| hub.events_rejected.counters()),
        "Messages of Redis or NATS that were refused; a publisher over HTTP is answered with a status instead",
    ),
    counter(
        "fantail_encodes",
        Reading::Hub(|hub| hub.encodes.get()),
        "Frames built; one per event, however many streams get it",
    ),
    gauge("fantail_channels", Reading::Hub(|hub| hub.channels.get()), "Channels known to this node"),
    gauge(
        "fantail_channels_max",
        Reading::Hub(|hub| hub.channels_max.get()),
        "Channels that this node may know; beyond it streams are refused and events not kept",
    ),
    gauge(
        "fantail_followed_channels",
        Reading::Hub(|hub| hub.followed_channels.get()),
        "Channels that the feed follows",
    ),
    gauge("fantail_log_entries", Reading::Hub(|hub| hub.log_entries.get()), "Entries kept in the logs of all channels"),
    gauge(
        "fantail_log_bytes",
        Reading::Hub(|hub| hub.log_bytes.get()),
        "Bytes of frames kept in the logs of all channels",
    ),
    counter(
        "fantail_evictions",
        Reading::HubBy(EVICT_REASONS, |hub| hub.evictions.counters()),
        "Entries dropped from a log, by the bound that it would have passed",
    ),
    counter(
        "fantail_channels_forgotten",
        Reading::Hub(|hub| hub.channels_forgotten.get()),
        "Channels forgotten because no stream followed them and no event of them was kept",
    ),
    counter(
        "fantail_recalled",
        Reading::Hub(|hub| hub.recalled.get()),
        "Entries fetched back into a log for a client that asked for older events",
    ),
    counter(
        "fantail_events_misplaced",
        Reading::Hub(|hub| hub.events_misplaced.get()),
        "Events dropped since the feed numbered them out of turn; always 0 unless something is broken",
    ),
    gauge(
        "fantail_feed_state",
        Reading::HubState(STATES, |hub| hub.feed_state().index()),
        "How the feed is: 1 for the current state",
    ),
    counter(
        "fantail_feed_reconnects",
        Reading::Hub(|hub| hub.feed_reconnects.get()),
        "Connections made to the feed again after one was lost",
    ),
    counter(
        "fantail_feed_repairs",
        Reading::Hub(|hub| hub.feed_repairs.get()),
        "Times that events missed by a lost connection were read back from the feed's log",
    ),
    counter(
        "fantail_feed_repaired_events",
        Reading::Hub(|hub| hub.feed_repaired_events.get()),
        "Events read back from the feed's log after a lost connection",
    ),
    counter(
        "fantail_feed_recalls",
        Reading::Hub(|hub| hub.feed_recalls.get()),
        "Times that older events were read back from the feed's log for clients that returned",
    ),
    counter(
        "fantail_feed_connect_failures",
        Reading::Hub(|hub| hub.feed_connect_failures.get()),
        "Attempts to connect to the feed that failed; the log tells why",
    ),
    counter(
        "fantail_feed_probes_lost",
        Reading::Hub(|hub| hub.feed_probes_lost.get()),
        "Probes that did not come back from the feed; each ended a connection that was open and deaf",
    ),
    counter(
        "fantail_follows_refused",
        Reading::Hub(|hub| hub.follows_refused.get()),
        "Channels that the feed did not let this node follow; its user lacks rights",
    ),
    counter(
        "fantail_outages",
        Reading::Hub(|hub| hub.outages.get()),
        "Times in which events may have been lost on the way from the feed",
    ),
    counter(
        "process_cpu_seconds",
        Reading::Process(|process| process.cpu_seconds),
        "Processor time used, by the program and by the kernel for it",
    ),
    gauge(
        "process_resident_memory_bytes",
        Reading::Process(|process| process.resident_bytes),
        "Memory in use, without the kernel's share of the sockets",
    ),
    gauge("process_open_fds", Reading::Process(|process| process.open_fds), "Descriptors in use"),
    gauge("process_max_fds", Reading::Process(|process| process.max_fds), "Descriptors that may be in use"),
    gauge("process_threads", Reading::Process(|process| process.threads), "Threads"),
    gauge(
        "process_start_time_seconds",
        Reading::Process(|process| process.start_time_seconds),
        "When the program started, in seconds since 1970",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_follow_the_conventions() {
        let mut names = HashSet::new();
        for MetricRow { name, help, .. } in &ROWS {
            assert!(names.insert(name), "{name} is declared twice");
            assert!(name.starts_with("fantail_") || name.starts_with("process_"), "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
            assert!(!name.ends_with("_total"), "{name}: the exposition adds this");
            assert!(!help.ends_with('.'), "{name}: the exposition adds the period");
        }
    }
}
