//! Thousands of streams, many of them over TLS, that join, leave, stall, break off and come back at random, while several
//! publishers go on. The ledger then proves for every stream and channel: every event came in order, once and whole, none
//! is foreign, and every missing one is declared by a gap.
//!
//! Everything random comes from one seed, which is printed. `FANTAIL_STORM_SEED` repeats a storm, as far as the
//! machine's timing allows.
#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

mod disturbances;
mod keeper;
#[path = "../common/node.rs"]
mod node;
mod operator;

use std::fs;
use std::time::Duration;

use fantail_testkit::{
    Certificates, Defect, Fantail, FaultProxy, FaultyServer, Http2Front, Ledger, PATIENCE, Random, RedisServer, Start,
    TlsReaders, TlsTrust, Verdict,
};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use disturbances::{Disturbances, Ends, Storm, seed};
use node::{metrics, node, publish_json, subscribe, tls_node, until};

/// One storm at a time: each is made to fill the machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

const LARGE: Disturbances = Disturbances {
    clients: 3_000,
    publishers: 6,
    pause_ms_max: 60,
    duration: Duration::from_secs(6),
    ends: Ends::Kicks,
};

/// The flags of nodes that soon have no more of what a slow reader missed.
const SHORT_LOGS: &str = "--workers 3 --send-buffer-bytes 4KiB --progress-deadline 1s --log-events-max 12";

/// The places of the control loop. A storm names one, since the cores of the machine would choose the same for all.
const CONTROL_THREADS: [&str; 2] = ["own", "shared"];

/// The flags of all nodes. In a client thread with a thousand readers a connection may wait longer for its request than
/// a node does; the node would end it without an answer.
const FLAGS: [&str; 2] = ["--request-deadline", "5m"];

/// On a busy machine a storm may be too gentle to test anything. Then another one follows.
const STORMS_MAX: usize = 5;

#[tokio::test]
async fn with_room_for_everything_in_the_logs_every_event_reaches_every_stream() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let flags = "--workers 3 --control-thread own --send-buffer-bytes 4KiB --keepalive-interval 500ms \
                 --log-events-max 1000000 --log-bytes-max 256MiB --logs-bytes-max 1GiB --log-age-max 1h";
    let (node, tls) = stormy_over_tls(flags, 3).await;
    let before = metrics(&node).await.number("process_open_fds");
    let storm = Storm::new(&LARGE, &node, seed()).over_tls(tls);
    let verdict = storm.run(&node, None).await;
    verdict.assert_whole();
    assert_control_thread(&node, "own");

    let after = until(&node, "all streams are gone", |m| m.count("fantail_connections_open") == 0).await;
    assert_eq!(after.sum("fantail_gaps_sent_total"), 0);
    assert_eq!(after.count("fantail_encodes_total"), after.count("fantail_events_in_total"), "one encode per event");
    assert!(after.count("fantail_write_blocked_total") > 100, "hardly a stream was ever blocked");
    assert!(after.number("process_open_fds") < before + 20.0, "descriptors are left open: {}", after.0);
}

#[tokio::test]
async fn with_short_logs_every_loss_is_declared() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let node = stormy(&format!("{SHORT_LOGS} --control-thread shared")).await;
    every_loss_is_declared(&node, None).await;
    assert_control_thread(&node, "shared");
}

#[tokio::test]
async fn with_short_logs_every_loss_is_declared_to_streams_over_tls() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let (node, tls) = stormy_over_tls(&format!("{SHORT_LOGS} --control-thread own"), 1).await;
    every_loss_is_declared(&node, Some(&tls)).await;
    assert_control_thread(&node, "own");
}

async fn every_loss_is_declared(node: &Fantail, tls: Option<&TlsReaders>) {
    let disturbances =
        Disturbances { clients: 1_200, duration: Duration::from_secs(4), ends: Ends::KicksAndSlow, ..LARGE };
    let (mut storms, mut declared) = (0, 0);
    loop {
        let storm = Storm::new(&disturbances, node, seed());
        let storm = match tls {
            Some(tls) => storm.over_tls(tls.clone()),
            None => storm,
        };
        let verdict = storm.run(node, None).await;
        verdict.assert_clean();
        let after = until(node, "all streams are gone", |m| m.count("fantail_connections_open") == 0).await;
        (storms, declared) = (storms + 1, declared + verdict.declared);
        let never = ["stalled", "overrun", "kicked"].into_iter().find(|reason| after.closed(reason) == 0);
        if declared > 100 && never.is_none() {
            break;
        }
        assert!(storms < STORMS_MAX, "{declared} losses, and no stream ended as {never:?}");
    }
}

#[tokio::test]
async fn where_slow_streams_go_on_behind_a_gap_every_loss_is_declared() {
    let _alone = ONE_AT_A_TIME.lock().await;
    for (policy, control) in ["skip", "latest"].into_iter().zip(CONTROL_THREADS) {
        let flags = format!("{SHORT_LOGS} --slow-policy {policy} --control-thread {control}");
        let (node, tls) = stormy_over_tls(&flags, 2).await;
        let disturbances =
            Disturbances { clients: 800, duration: Duration::from_secs(3), ends: Ends::KicksAndSlow, ..LARGE };
        let (mut storms, mut declared) = (0, 0);
        loop {
            let storm = Storm::new(&disturbances, &node, seed()).over_tls(tls.clone());
            let verdict = storm.run(&node, None).await;
            verdict.assert_clean();
            let after = until(&node, "all streams are gone", |m| m.count("fantail_connections_open") == 0).await;
            assert_eq!(after.closed("overrun"), 0, "{policy} lets slow streams go on");
            let went_on = after.count(&format!("fantail_overruns_total{{policy=\"{policy}\"}}"));
            (storms, declared) = (storms + 1, declared + verdict.declared);
            if declared > 100 && went_on > 20 {
                break;
            }
            assert!(storms < STORMS_MAX, "{declared} losses, and {went_on} streams went on");
        }
        assert_control_thread(&node, control);
    }
}

#[tokio::test]
async fn through_redis_every_loss_is_declared_also_when_its_connection_is_cut() {
    let _alone = ONE_AT_A_TIME.lock().await;
    for control in CONTROL_THREADS {
        through_redis_every_loss_is_declared(control).await;
    }
}

/// The feed lives on the control loop, so this storm has both places of it.
async fn through_redis_every_loss_is_declared(control: &str) {
    let redis = RedisServer::start().await.unwrap();
    let proxy = FaultProxy::start(redis.addr()).unwrap();
    let flags = "--workers 3 --send-buffer-bytes 4KiB --linger 50ms --follow-deadline 5m --control-thread";
    let node = stormy(&format!("{flags} {control} --redis-url redis://{}", proxy.addr())).await;
    until(&node, "redis is there", |m| m.count("fantail_feed_state{state=\"connected\"}") == 1).await;
    let duration = Duration::from_secs(3);
    let disturbances = Disturbances { clients: 1_500, duration, ..LARGE };
    let verdict = Storm::new(&disturbances, &node, seed()).through(&redis).run(&node, Some(&proxy)).await;
    verdict.assert_clean();
    assert!(verdict.gaps > disturbances.clients, "not everyone was told of the outages: {verdict}");
    let after = until(&node, "all streams are gone", |m| m.count("fantail_connections_open") == 0).await;
    assert_eq!(after.count("fantail_outages_total"), disturbances::CUTS);
    until(&node, "nothing is followed any more", |m| m.count("fantail_followed_channels") == 0).await;
    assert_control_thread(&node, control);
}

/// In a storm the next event wakes a stream that was forgotten; here nothing follows. While a pass goes over the
/// streams, more is published than one pass takes.
#[tokio::test]
async fn the_last_events_of_a_burst_arrive_though_nothing_follows_them() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let node = node(&["--keepalive-interval", "1h"]).await;
    let ledger = Ledger::new();
    let mut readers = Vec::new();
    for number in 0..100 {
        let channels = if number % 4 == 0 { &["a", "b"][..] } else { &["a"][..] };
        let stream = subscribe(&node, &format!("/sse?channel={}", channels.join("&channel="))).await;
        readers.push((ledger.reader(number.to_string(), channels, Start::Live(ledger.mark())), stream));
    }
    for burst in 0..5 {
        let mut publisher = ledger.publisher(Random::from_seed(burst));
        let events: Vec<_> = (0..200).map(|_| publisher.compose("a", 64)).collect();
        let items: Vec<_> = events.iter().map(|event| json!({ "channel": "a", "data": event.text })).collect();
        assert_eq!(publish_json(&node, Value::Array(items).to_string()).await.status, 202);
        for event in &events {
            publisher.confirm(event);
        }
        for (reader, stream) in &mut readers {
            for event in stream.next_events(events.len(), PATIENCE).await.unwrap() {
                reader.record(&event);
            }
        }
    }
    for (reader, _) in readers {
        reader.stopped(ledger.mark());
    }
    ledger.judge().assert_whole();
}

/// The judge judged, on real streams: a server between client and node behaves as a faulty build would.
#[tokio::test]
async fn a_build_that_drops_doubles_swaps_cuts_tears_misroutes_or_hides_a_gap_is_found_out() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let seed = seed();
    let mut storms = JoinSet::new();
    for defect in Defect::ALL {
        storms.spawn(small_storm(defect, seed));
    }
    while let Some(ended) = storms.join_next().await {
        let (defect, faults_made, verdict) = ended.unwrap();
        println!("{defect:?} made {faults_made} times: {verdict}");
        assert!(verdict.delivered > 0, "{defect:?}: nothing arrived, so nothing was proved");
        if defect != Defect::None {
            assert!(faults_made > 0, "{defect:?} was never made, so nothing was tried");
            assert!(found(defect, &verdict) > 0, "{defect:?} was not found: {verdict}");
        }
        // A fault that the server did not make is the node's own.
        let counts = [
            verdict.silent,
            verdict.duplicated,
            verdict.reordered,
            verdict.corrupted,
            verdict.foreign,
            verdict.cut,
            verdict.unfinished,
        ];
        let explained = counts.iter().zip(most_of(defect)).all(|(count, most)| *count <= most);
        assert!(explained, "there is more wrong than {defect:?} explains: {verdict}");
    }
}

/// The faults that show a defect.
fn found(defect: Defect, verdict: &Verdict) -> u64 {
    match defect {
        Defect::None => 0,
        Defect::Drop | Defect::HideGaps => verdict.silent,
        Defect::Double => verdict.duplicated,
        // The first of the two waits for the next, and may wait when the storm is over.
        Defect::Swap => verdict.reordered + verdict.silent,
        Defect::Cut => verdict.cut,
        Defect::Tear => verdict.cut + verdict.corrupted,
        Defect::Misroute => verdict.foreign,
    }
}

/// The most faults that a defect explains: silent, duplicated, reordered, corrupted, foreign, cut and unfinished ones. Each spoils
/// one event of one stream, but the one that hides every gap. A cut event is missing too, and a torn one takes the next along.
const fn most_of(defect: Defect) -> [u64; 7] {
    match defect {
        Defect::None => [0; 7],
        Defect::Drop => [1, 0, 0, 0, 0, 0, 0],
        Defect::Double => [0, 1, 0, 0, 0, 0, 0],
        Defect::Swap => [1, 0, 1, 0, 0, 0, 0],
        Defect::Cut => [1, 0, 0, 0, 0, 1, 0],
        Defect::Tear => [2, 0, 0, 1, 0, 1, 0],
        Defect::Misroute => [0, 0, 0, 0, 1, 0, 0],
        Defect::HideGaps => [u64::MAX, 0, 0, 0, 0, 0, 0],
    }
}

/// The control loop has a thread of its own, or the first shard has none.
#[track_caller]
fn assert_control_thread(node: &Fantail, expected: &str) {
    let threads = fs::read_dir(format!("/proc/{}/task", node.pid())).unwrap();
    let names: Vec<_> =
        threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("comm")).unwrap()).collect();
    let found = if names.iter().any(|name| name.trim() == "shard-0") { "own" } else { "shared" };
    assert_eq!(found, expected, "{names:?}");
}

/// A node for a storm.
async fn stormy(flags: &str) -> Fantail {
    node(&with_own(flags)).await
}

fn with_own(flags: &str) -> Vec<&str> {
    flags.split_whitespace().chain(FLAGS).collect()
}

/// The same with an encrypted listener, which one connection in so many goes to.
async fn stormy_over_tls(flags: &str, one_in: u64) -> (Fantail, TlsReaders) {
    let certificates = Certificates::make().unwrap();
    let (node, address) = tls_node(&certificates, &with_own(flags)).await;
    let trust = TlsTrust::new(&certificates.ca()).unwrap();
    (node, TlsReaders { addresses: vec![address], trust, one_in })
}

/// Clients of HTTP/1.1 come through a front that makes them tabs of few connections: the node has streams over HTTP/2, over HTTP/1.0, and over TLS
/// with sockets of their own.
#[tokio::test]
async fn with_tabs_of_http_2_among_the_streams_every_loss_is_declared() {
    let _alone = ONE_AT_A_TIME.lock().await;
    for (over_tls, control) in [true, false].into_iter().zip(CONTROL_THREADS) {
        let flags = format!("{SHORT_LOGS} --http2 --http2-plain --control-thread {control}");
        let (node, tls) = stormy_over_tls(&flags, 4).await;
        assert_control_thread(&node, control);
        let front = if over_tls {
            Http2Front::start(tls.addresses[0], Some(&tls.trust), 40).await.unwrap()
        } else {
            Http2Front::start(node.public(), None, 40).await.unwrap()
        };
        let disturbances =
            Disturbances { clients: 1_200, duration: Duration::from_secs(4), ends: Ends::KicksAndSlow, ..LARGE };
        let (mut storms, mut declared) = (0, 0);
        loop {
            let storm = Storm::new(&disturbances, &node, seed()).over_tls(tls.clone()).through_http2(&front);
            let verdict = storm.run(&node, None).await;
            verdict.assert_clean();
            let after = until(&node, "all streams are gone", |m| m.count("fantail_connections_open") == 0).await;
            assert_eq!(after.sum("fantail_http2_faults_total"), 0);
            (storms, declared) = (storms + 1, declared + verdict.declared);
            let never = ["stalled", "overrun", "kicked"].into_iter().find(|reason| after.closed(reason) == 0);
            if declared > 100 && never.is_none() {
                break;
            }
            assert!(storms < STORMS_MAX, "{declared} losses, and no stream ended as {never:?}");
        }
        assert!(front.shared() > 1_000, "{} streams shared a connection", front.shared());
    }
}

/// How often the fault was made, and the verdict of the ledger.
async fn small_storm(defect: Defect, seed: u64) -> (Defect, u64, Verdict) {
    let hides_gaps = defect == Defect::HideGaps;
    let disturbances = Disturbances {
        clients: 120,
        // The ledger knows only the order of each publisher's own events, and any two may be swapped.
        publishers: 1,
        pause_ms_max: 5,
        duration: Duration::from_millis(1_500),
        // Frames that were spoiled for a stream that is ended may come again, sound, when its client is back.
        ends: if hides_gaps { Ends::KicksAndSlow } else { Ends::Never },
    };
    // With short logs there are gaps to hide.
    let node = stormy(&format!("--log-events-max {}", if hides_gaps { 2 } else { 1024 })).await;
    let server = FaultyServer::start(node.public(), defect, seed).await.unwrap();
    let verdict = Storm::new(&disturbances, &node, seed).behind(&server, defect).run(&node, None).await;
    (defect, server.faults(), verdict)
}
