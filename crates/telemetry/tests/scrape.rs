//! A scrape, and the reference page, which shows the same.

// A failed unwrap is how a test fails.
#![allow(clippy::unwrap_used)]

use fantail_wire::{FeedState, SlowPolicy};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{env, fs};

use fantail_telemetry::{
    Bound, CloseReason, EvictReason, HandshakeFailure, Metrics, RejectReason, StatusClass, TextFormat, TurnedAway,
    reference_markdown,
};

/// The value of one series, written as a scrape writes it.
fn value<'a>(page: &'a str, series: &str) -> Option<&'a str> {
    page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
}

fn assert_series(page: &str, expected: &[(&str, u64)]) {
    for (series, number) in expected {
        assert_eq!(value(page, series), Some(number.to_string().as_str()), "{series} in\n{page}");
    }
}

/// The names of all series, without labels.
fn names(page: &str) -> BTreeSet<&str> {
    let series = page.lines().filter(|line| !line.starts_with('#'));
    series.filter_map(|line| line.split(['{', ' ']).next()).collect()
}

#[test]
fn the_names_of_all_metrics() {
    let expected = "\
        fantail_build_info fantail_channels fantail_channels_max fantail_channels_forgotten_total fantail_connections_accepted_total fantail_connections_open \
        fantail_connections_max fantail_connections_turned_away_total fantail_connections_turning_away \
        fantail_delivered_bytes_total fantail_deliveries_total fantail_encodes_total fantail_events_in_total \
        fantail_events_misplaced_total fantail_events_rejected_total fantail_evictions_total \
        fantail_feed_connect_failures_total fantail_feed_probes_lost_total fantail_feed_recalls_total \
        fantail_feed_reconnects_total fantail_feed_repaired_events_total fantail_feed_repairs_total \
        fantail_feed_state fantail_followed_channels fantail_follows_refused_total fantail_gaps_sent_total \
        fantail_http2_connections fantail_http2_faults_total fantail_ids_unknown_total fantail_internal_requests_total fantail_internal_tls_handshakes_failed_total fantail_keepalives_total fantail_log_bytes fantail_log_entries \
        fantail_outages_total fantail_overruns_total fantail_passes_total fantail_memory_level fantail_memory_max_bytes fantail_proxy_headers_missing_total fantail_publishes_refused_total fantail_recalled_total fantail_refused_total \
        fantail_requests_total \
        fantail_shard_streams_open fantail_shed_total fantail_slices_total fantail_streams_behind \
        fantail_streams_closed_total fantail_streams_max fantail_streams_open fantail_streams_opened_total fantail_tls_certificate_expiry_timestamp_seconds fantail_tls_handshakes_failed_total fantail_unsent_bytes \
        fantail_wakes_total fantail_write_blocked_total fantail_write_calls_total process_cpu_seconds_total \
        process_max_fds process_open_fds process_resident_memory_bytes process_start_time_seconds process_threads";
    let page = Metrics::new(2).render(TextFormat::OpenMetrics);
    assert_eq!(names(&page), expected.split(' ').collect(), "{page}");
}

#[test]
fn shards_are_added_up_at_the_scrape() {
    let metrics = Metrics::new(3);
    for (number, shard) in (1..).zip(metrics.shards()) {
        shard.streams_open.add(number);
        shard.deliveries.add(100 * number);
        shard.streams_closed.add(CloseReason::Stalled, number);
        shard.requests.add(StatusClass::of(404), 1);
    }
    let expected = [
        ("fantail_streams_open", 6),
        ("fantail_shard_streams_open{shard=\"0\"}", 1),
        ("fantail_shard_streams_open{shard=\"2\"}", 3),
        ("fantail_deliveries_total", 600),
        ("fantail_streams_closed_total{reason=\"stalled\"}", 6),
        ("fantail_streams_closed_total{reason=\"client_closed\"}", 0),
        ("fantail_requests_total{status=\"4xx\"}", 3),
    ];
    assert_series(&metrics.render(TextFormat::OpenMetrics), &expected);
}

#[test]
fn a_counter_that_moves_shows_in_the_series_of_its_name_alone() {
    let metrics = Metrics::new(1);
    let (shard, hub) = (metrics.shard(0), metrics.hub());
    // Each gets its own number, so that a row that reads its neighbour is found out.
    shard.connections_accepted.add(101);
    shard.connections_open.add(102);
    shard.connections_turning_away.add(119);
    shard.turned_away.add(TurnedAway::Cut, 120);
    shard.tls_handshakes_failed.add(HandshakeFailure::Late, 123);
    hub.tls_handshakes_failed.add(HandshakeFailure::Refused, 226);
    shard.proxy_headers_missing.add(121);
    shard.refused.add(Bound::Memory, 122);
    hub.publishes_refused.add(223);
    hub.memory_max.set(224);
    hub.memory_level.set(225);
    hub.connections_max.set(221);
    hub.channels_max.set(222);
    hub.streams_max.set(227);
    shard.shed.add(103);
    shard.streams_opened.add(104);
    shard.streams_open.add(105);
    shard.streams_behind.add(106);
    shard.unsent_bytes.add(107);
    shard.deliveries.add(108);
    shard.delivered_bytes.add(109);
    shard.write_calls.add(110);
    shard.write_blocked.add(111);
    shard.keepalives.add(112);
    shard.gaps_sent.add(113);
    shard.ids_unknown.add(119);
    shard.passes.add(114);
    shard.overruns.add(SlowPolicy::Skip, 118);
    shard.slices.add(115);
    shard.wakes.add(116);
    shard.requests.add(StatusClass::Success, 117);
    hub.events_in.add(201);
    hub.encodes.add(202);
    hub.channels.add(203);
    hub.followed_channels.add(204);
    hub.log_entries.add(205);
    hub.log_bytes.add(206);
    hub.evictions.add(EvictReason::Budget, 207);
    hub.channels_forgotten.add(220);
    hub.feed_reconnects.add(208);
    hub.outages.add(209);
    hub.feed_connect_failures.add(212);
    hub.feed_probes_lost.add(213);
    hub.follows_refused.add(214);
    hub.requests.add(StatusClass::Success, 210);
    hub.events_rejected.add(RejectReason::TooLarge, 211);
    hub.feed_repairs.add(217);
    hub.feed_repaired_events.add(218);
    hub.feed_recalls.add(219);
    hub.recalled.add(215);
    hub.events_misplaced.add(216);
    let expected = [
        ("fantail_connections_accepted_total", 101),
        ("fantail_connections_open", 102),
        ("fantail_connections_turning_away", 119),
        ("fantail_connections_turned_away_total{how=\"cut\"}", 120),
        ("fantail_tls_handshakes_failed_total{reason=\"late\"}", 123),
        ("fantail_internal_tls_handshakes_failed_total{reason=\"refused\"}", 226),
        ("fantail_connections_max", 221),
        ("fantail_channels_max", 222),
        ("fantail_streams_max", 227),
        ("fantail_shed_total", 103),
        ("fantail_streams_opened_total", 104),
        ("fantail_streams_open", 105),
        ("fantail_streams_behind", 106),
        ("fantail_unsent_bytes", 107),
        ("fantail_deliveries_total", 108),
        ("fantail_delivered_bytes_total", 109),
        ("fantail_write_calls_total", 110),
        ("fantail_write_blocked_total", 111),
        ("fantail_keepalives_total", 112),
        ("fantail_gaps_sent_total", 113),
        ("fantail_ids_unknown_total", 119),
        ("fantail_passes_total", 114),
        ("fantail_overruns_total{policy=\"skip\"}", 118),
        ("fantail_slices_total", 115),
        ("fantail_wakes_total", 116),
        ("fantail_requests_total{status=\"2xx\"}", 117),
        ("fantail_proxy_headers_missing_total", 121),
        ("fantail_refused_total{bound=\"memory_max\"}", 122),
        ("fantail_publishes_refused_total", 223),
        ("fantail_memory_max_bytes", 224),
        ("fantail_memory_level", 225),
        ("fantail_events_in_total", 201),
        ("fantail_encodes_total", 202),
        ("fantail_channels", 203),
        ("fantail_followed_channels", 204),
        ("fantail_log_entries", 205),
        ("fantail_log_bytes", 206),
        ("fantail_evictions_total{reason=\"budget\"}", 207),
        ("fantail_channels_forgotten_total", 220),
        ("fantail_feed_reconnects_total", 208),
        ("fantail_outages_total", 209),
        ("fantail_feed_connect_failures_total", 212),
        ("fantail_feed_probes_lost_total", 213),
        ("fantail_follows_refused_total", 214),
        ("fantail_internal_requests_total{status=\"2xx\"}", 210),
        ("fantail_events_rejected_total{reason=\"too_large\"}", 211),
        ("fantail_feed_repairs_total", 217),
        ("fantail_feed_repaired_events_total", 218),
        ("fantail_feed_recalls_total", 219),
        ("fantail_recalled_total", 215),
        ("fantail_events_misplaced_total", 216),
    ];
    assert_series(&metrics.render(TextFormat::OpenMetrics), &expected);
}

#[test]
fn the_state_of_the_feed_is_one_among_zeros() {
    let metrics = Metrics::new(1);
    metrics.hub().set_feed_state(FeedState::Connecting);
    let expected = [
        ("fantail_feed_state{state=\"memory\"}", 0),
        ("fantail_feed_state{state=\"connecting\"}", 1),
        ("fantail_feed_state{state=\"connected\"}", 0),
    ];
    assert_series(&metrics.render(TextFormat::OpenMetrics), &expected);
}

#[test]
fn a_scrape_is_complete_and_ends_as_the_format_demands() {
    let page = Metrics::new(1).render(TextFormat::OpenMetrics);
    assert!(page.ends_with("# EOF\n"));
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(value(&page, &format!("fantail_build_info{{version=\"{version}\"}}")), Some("1"));
    for name in ["process_resident_memory_bytes", "process_open_fds", "process_max_fds", "process_start_time_seconds"] {
        let number: f64 = value(&page, name).unwrap().parse().unwrap();
        assert!(number > 0.0, "{name} {number}");
    }
}

/// Reads the classic form as strictly as its own parsers: each metric is described once, by its help and its kind, and its
/// series stand right behind. Returns the value of each series.
fn parse_classic(page: &str) -> BTreeMap<&str, f64> {
    let (mut described, mut series) = (BTreeSet::new(), BTreeMap::new());
    let mut lines = page.lines().peekable();
    assert!(page.ends_with('\n') && !page.contains("# EOF"), "{page}");
    while let Some(line) = lines.next() {
        let (name, help) = line.strip_prefix("# HELP ").unwrap().split_once(' ').unwrap();
        assert!(is_name(name) && described.insert(name), "{line}");
        assert!(!help.is_empty() && !help.contains('\\'), "{line}");
        let (typed, kind) = lines.next().unwrap().strip_prefix("# TYPE ").unwrap().split_once(' ').unwrap();
        assert_eq!(typed, name);
        // As promtool's linter asks of names.
        assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        assert!(kind == "counter" || kind == "gauge", "{kind}");
        assert!(!["_count", "_sum", "_bucket", "_milliseconds", "_ms"].iter().any(|end| name.ends_with(end)), "{name}");
        while let Some(sample) = lines.next_if(|line| !line.starts_with('#')) {
            let (key, value) = sample.rsplit_once(' ').unwrap();
            let (of, labels) = key.split_once('{').map_or((key, None), |(of, labels)| (of, Some(labels)));
            assert_eq!(of, name, "{sample}");
            if let Some(labels) = labels {
                let (label, word) = labels.strip_suffix("\"}").unwrap().split_once("=\"").unwrap();
                assert!(is_name(label) && !word.contains(['"', '\\']), "{sample}");
            }
            assert!(series.insert(key, value.parse().unwrap()).is_none(), "twice: {sample}");
        }
    }
    series
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// The two forms differ in how they describe, and in nothing that they say.
#[test]
fn the_classic_form_is_well_formed_and_has_the_same_series_and_numbers() {
    let metrics = Metrics::new(2);
    metrics.shard(0).deliveries.add(7);
    metrics.shard(1).streams_closed.add(CloseReason::Stalled, 3);
    metrics.hub().set_feed_state(FeedState::Connected);
    let (classic, open) = (metrics.render(TextFormat::Classic), metrics.render(TextFormat::OpenMetrics));
    let series = parse_classic(&classic);
    let counted =
        |(key, value): (&str, &str)| (!key.starts_with("process_")).then(|| (key.to_owned(), value.parse().unwrap()));
    let samples = open.lines().filter(|line| !line.starts_with('#')).filter_map(|line| counted(line.rsplit_once(' ')?));
    let expected: BTreeMap<String, f64> = samples.collect();
    let found = series.iter().filter(|(key, _)| !key.starts_with("process_"));
    assert_eq!(found.map(|(key, value)| ((*key).to_owned(), *value)).collect::<BTreeMap<_, _>>(), expected);
    assert_eq!(names(&classic), names(&open));
    assert_series(&classic, &[("fantail_streams_closed_total{reason=\"stalled\"}", 3)]);
}

#[test]
fn every_help_text_is_one_sentence_with_one_period() {
    for line in Metrics::new(1).render(TextFormat::OpenMetrics).lines().filter(|line| line.starts_with("# HELP")) {
        assert!(line.ends_with('.') && !line.ends_with(".."), "{line}");
    }
}

/// `UPDATE_EXPECT=1` writes the page anew.
#[test]
fn the_reference_page_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let expected = reference_markdown();
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &expected).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == expected, "docs/metrics.md is out of date; run UPDATE_EXPECT=1 cargo test -p fantail-telemetry");
}

#[test]
fn the_reference_page_names_what_a_scrape_shows_and_nothing_else() {
    let page = reference_markdown();
    let documented: BTreeSet<_> = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(documented, names(&Metrics::new(1).render(TextFormat::OpenMetrics)));
}
