//! Readers over TLS that stop in the middle of a record: the cost of each, and its end while the rest waits.

use std::net::SocketAddr;

use fantail_testkit::client::SubscribeRequest;
use fantail_testkit::{Certificates, Close, End, Fantail, PATIENCE, Signal, SseClient};
use rustls::SupportedProtocolVersion;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{VERSIONS, request};
use crate::keys::{KeyDirectory, SECRET, now, signed};
use crate::node::{
    ask, connection_id, connections, metrics, publish, read_to_close, subscribe, tls_node, until, until_closed,
    until_open, until_state,
};
use crate::slow_streams::{around_the_gap, stand_still_and_read_on};

/// Small kernel buffers, so that a stopped reader is noticed at once, and no other end but the one that is tried.
const NARROW: [&str; 4] = ["--send-buffer-bytes", "4KiB", "--progress-deadline", "5m"];

async fn narrow_node(certificates: &Certificates, flags: &[&str]) -> (Fantail, SocketAddr) {
    tls_node(certificates, &[&NARROW, flags].concat()).await
}

fn narrow(
    address: SocketAddr,
    certificates: &Certificates,
    version: &'static SupportedProtocolVersion,
    path: &str,
) -> SubscribeRequest {
    request(address, certificates, version, path).receive_buffer(4_096)
}

/// Publishes a frame of many records, which the client takes in part.
async fn stop_within_a_record(node: &Fantail, client: &SseClient, channel: &str, text: &str) {
    publish(node, channel, text).await;
    publish(node, channel, "behind it").await;
    until_state(node, client.local_addr().unwrap(), "blocked").await;
}

/// The frame is whole, the last words say why, and the end is announced.
async fn reads_on_to(client: &mut SseClient, text: &str, reason: &str) {
    let (events, why) = read_to_close(client).await;
    assert_eq!((events.len(), &*why), (1, reason));
    assert!(events[0].data == text, "{reason}: the frame was torn");
    assert_eq!(client.read_until_closed(PATIENCE).await.unwrap(), Close::Fin, "{reason}");
}

/// A stream that has come to its end has no channels any more. Its rest still waits, and its last words behind it.
async fn until_its_last_words_wait(node: &Fantail, client: &SseClient) {
    let peer = Value::from(client.local_addr().unwrap().to_string());
    let is_ended = |it: &Value| it["peer"] == peer && it["state"] == "blocked" && it["channels"] == json!([]);
    while !connections(node).await.iter().any(is_ended) {
        tokio::task::yield_now().await;
    }
}

async fn unsent(node: &Fantail) -> u64 {
    metrics(node).await.count("fantail_unsent_bytes")
}

/// While the rest waits, comments are due every 20 ms, and none may come between two parts of a record.
#[tokio::test]
async fn a_stream_that_is_ended_in_the_middle_of_a_record_finishes_it_first() {
    let certificates = Certificates::make().unwrap();
    let (node, address) = narrow_node(&certificates, &["--keepalive-interval", "20ms"]).await;
    let _idle = subscribe(&node, "/sse/idle").await;
    let text = "x".repeat(200_000);
    for version in VERSIONS {
        for reason in ["kicked", "channel-deleted", "tls-input", "limit-reached"] {
            let path = if reason == "limit-reached" { "/sse/a?limit=1" } else { "/sse/a" };
            let request = narrow(address, &certificates, version, path);
            for request in [request.clone(), request.http_1_0()] {
                let mut client = request.connect().await.unwrap();
                stop_within_a_record(&node, &client, "a", &text).await;
                let comments = metrics(&node).await.count("fantail_keepalives_total");
                until(&node, "comments to the other", |m| m.count("fantail_keepalives_total") > comments + 3).await;
                match reason {
                    "kicked" => {
                        let id = connection_id(&node, client.local_addr().unwrap()).await;
                        ask(&node, "DELETE", &format!("/connections/{id}")).await;
                    }
                    "channel-deleted" => drop(ask(&node, "DELETE", "/channels/a").await),
                    "tls-input" => client.send_raw(b"input").await.unwrap(),
                    _ => {
                        let (events, end) = client.read_until_end(PATIENCE).await.unwrap();
                        assert!(events.len() == 1 && events[0].data == text && end == End::Clean);
                        assert_eq!(client.read_until_closed(PATIENCE).await.unwrap(), Close::Fin);
                        continue;
                    }
                }
                timeout(PATIENCE, until_its_last_words_wait(&node, &client)).await.expect(reason);
                reads_on_to(&mut client, &text, reason).await;
            }
        }
    }
    until_open(&node, 1).await;
}

/// The records that stand in the kernel for it would still arrive, and it may read no more.
#[tokio::test]
async fn a_token_that_expires_while_a_rest_waits_resets_the_stream_at_once() {
    // A right ends two seconds before its token.
    for seconds in [3, 6, 12, 24, 48] {
        if is_reset_when_its_token_expires(seconds).await {
            return;
        }
        println!("a token for {seconds} seconds is too short for this machine");
    }
    panic!("no token lived until its streams were blocked");
}

/// False if the token expired before its streams were blocked.
async fn is_reset_when_its_token_expires(seconds: u64) -> bool {
    let (certificates, keys) = (Certificates::make().unwrap(), KeyDirectory::new());
    let key = keys.key("HS256", SECRET);
    let (node, address) = narrow_node(&certificates, &["--access", "token", "--token-keys", &key]).await;
    let expires = now() + seconds;
    let token = signed("HS256", SECRET, json!({ "sub": "u", "channels": ["a"], "exp": expires }));
    let mut clients = Vec::new();
    for version in VERSIONS {
        let request = narrow(address, &certificates, version, "/sse/a");
        let client = request.header("Authorization", &format!("Bearer {token}")).connect().await.unwrap();
        if client.status() != 200 {
            assert!(now() >= expires, "a token that is valid opens no stream");
            return false;
        }
        clients.push(client);
    }
    publish(&node, "a", "x".repeat(200_000)).await;
    let are_blocked = async || connections(&node).await.iter().filter(|it| it["state"] == "blocked").count() == 2;
    let blocked = async {
        while !are_blocked().await {
            if metrics(&node).await.closed("token_expired") > 0 {
                return false;
            }
        }
        true
    };
    if !timeout(PATIENCE, blocked).await.expect("they are blocked, or expire") {
        return false;
    }
    until_closed(&node, "token_expired", 2).await;
    for client in &mut clients {
        assert_eq!(client.read_until_end(PATIENCE).await.unwrap(), (vec![], End::Reset));
    }
    until(&node, "nothing is held", |m| m.count("fantail_unsent_bytes") == 0).await;
    true
}

#[tokio::test]
async fn a_drain_that_begins_while_a_rest_waits_ends_the_stream_behind_it() {
    let certificates = Certificates::make().unwrap();
    let text = "x".repeat(200_000);
    for version in VERSIONS {
        let flags = ["--drain-window", "0s", "--drain-deadline", "60s"];
        let (mut node, address) = narrow_node(&certificates, &flags).await;
        let mut client = narrow(address, &certificates, version, "/sse/a").connect().await.unwrap();
        stop_within_a_record(&node, &client, "a", &text).await;
        node.signal(Signal::TERM).unwrap();
        timeout(PATIENCE, until_its_last_words_wait(&node, &client)).await.expect("the drain begins");
        reads_on_to(&mut client, &text, "drained").await;
        drop(client);
        assert!(node.wait(PATIENCE).await.unwrap().success());
    }
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_reset_after_the_deadline_on_progress() {
    let certificates = Certificates::make().unwrap();
    let flags = ["--send-buffer-bytes", "4KiB", "--progress-deadline", "300ms"];
    let (node, address) = tls_node(&certificates, &flags).await;
    for (number, version) in (1..).zip(VERSIONS) {
        let mut stopped = narrow(address, &certificates, version, "/sse/a").connect().await.unwrap();
        publish(&node, "a", "x".repeat(200_000)).await;
        until_closed(&node, "stalled", number).await;
        let (events, end) = stopped.read_until_end(PATIENCE).await.unwrap();
        assert_eq!((events, end), (vec![], End::Reset));
    }
    until(&node, "nothing is held", |m| m.count("fantail_unsent_bytes") == 0).await;
}

/// The memory of the program, as the kernel counts it.
fn resident_bytes(node: &Fantail) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", node.pid())).unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Each of twenty keeps the sealed rest of one frame, and not a byte of the frames behind it, however many come.
#[tokio::test]
async fn twenty_stopped_readers_of_the_largest_events_cost_one_frame_each_and_the_others_nothing() {
    const READERS: u64 = 20;
    const FRAME: u64 = 256 << 10;
    let certificates = Certificates::make().unwrap();
    let (node, address) = narrow_node(&certificates, &["--workers", "1"]).await;
    let mut stopped = Vec::new();
    for number in 0..READERS as usize {
        stopped.push(narrow(address, &certificates, VERSIONS[number % 2], "/sse/a").connect().await.unwrap());
    }
    let mut others = vec![
        subscribe(&node, "/sse/a").await,
        request(address, &certificates, VERSIONS[0], "/sse/a").connect().await.unwrap(),
        request(address, &certificates, VERSIONS[1], "/sse?channel=a&channel=b").connect().await.unwrap(),
    ];
    let before = resident_bytes(&node);
    for number in 0..16 {
        let text = format!("{number} {}", "x".repeat(255_000));
        publish(&node, "a", &text).await;
        for other in &mut others {
            assert!(other.next_event(PATIENCE).await.unwrap().data == text, "an event of another was torn");
        }
    }
    until(&node, "all are counted", |m| m.count("fantail_streams_behind") == READERS).await;
    let unsent = unsent(&node).await;
    assert!((READERS * 200_000..READERS * FRAME).contains(&unsent), "{unsent} bytes are unsent");
    // Besides the rests: the channel's log of 4 MiB with as much that is being freed, and the buffers of all.
    let grown = resident_bytes(&node).saturating_sub(before);
    println!("{unsent} bytes unsent, {grown} bytes of memory more");
    assert!(grown < READERS * FRAME + (20 << 20), "{grown} bytes more");
    drop(stopped);
    until(&node, "all is given back", |m| m.count("fantail_unsent_bytes") == 0).await;
}

#[tokio::test]
async fn a_slow_reader_that_goes_on_behind_a_gap_gets_whole_records_there() {
    let certificates = Certificates::make().unwrap();
    for policy in ["skip", "latest"] {
        let (node, address) = narrow_node(&certificates, &["--log-events-max", "6", "--slow-policy", policy]).await;
        for version in VERSIONS {
            let request = narrow(address, &certificates, version, "/sse/a");
            let (events, verdict) = stand_still_and_read_on(&node, request, 9).await;
            verdict.assert_clean();
            assert_eq!(around_the_gap(&events).1, if policy == "skip" { 6 } else { 1 }, "{policy}");
        }
    }
}
