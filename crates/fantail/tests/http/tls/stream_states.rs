//! The states of an encrypted stream: a key alone, or the library's connection, which is the judge of the other.

use std::net::SocketAddr;

use fantail_testkit::{Certificates, Fantail, PATIENCE, SseClient, TlsTrust};
use serde_json::Value;

use super::{NARROW_BYTES, VERSIONS};
use crate::node::{ask, publish, read_to_close, tls_node, until, until_open, whole_log};

async fn node_with(state: &str, certificates: &Certificates) -> (Fantail, SocketAddr) {
    tls_node(certificates, &["--tls-stream-state", state, "--progress-deadline", "5m"]).await
}

async fn open(address: SocketAddr, trust: &TlsTrust) -> SseClient {
    SseClient::request(address, "/sse/a").over_tls(trust).keep_body().connect().await.unwrap()
}

/// The lines behind the opening without the ids, which hold the term of their node.
fn comparable(stream: &SseClient) -> String {
    let body = String::from_utf8(stream.body().to_vec()).unwrap();
    let (_opening, events) = body.split_once("\n\n").unwrap();
    events.lines().filter(|line| !line.starts_with("id: ")).collect::<Vec<_>>().join("\n")
}

/// Events of every size, a reader that stops and goes on, and an end: the text is the same, byte for byte.
#[tokio::test]
async fn a_dissolved_and_a_kept_connection_bring_the_same_bytes() {
    let certificates = Certificates::make().unwrap();
    for version in VERSIONS {
        let trust = TlsTrust::with_versions(&certificates.ca(), &[version]).unwrap();
        let mut bodies = Vec::new();
        for state in ["dissolved", "kept"] {
            let (node, address) = node_with(state, &certificates).await;
            let request = SseClient::request(address, "/sse/a").over_tls(&trust).receive_buffer(NARROW_BYTES);
            let mut stream = request.keep_body().connect().await.unwrap();
            until_open(&node, 1).await;
            for number in 0..300 {
                publish(&node, "a", format!("{number} {}", "z".repeat(number * 61 % 20_000))).await;
            }
            until(&node, "it was blocked", |metrics| metrics.count("fantail_write_blocked_total") > 0).await;
            for _ in 0..300 {
                stream.next_event(PATIENCE).await.unwrap();
            }
            let listing = ask(&node, "GET", "/connections").await.json().unwrap();
            let id = listing["connections"][0]["id"].as_str().unwrap().to_owned();
            assert_eq!(ask(&node, "DELETE", &format!("/connections/{id}")).await.status, 200);
            assert_eq!(read_to_close(&mut stream).await.1, "kicked");
            let body = comparable(&stream);
            let (events, _retry) = body.rsplit_once("retry: ").unwrap();
            bodies.push(events.to_owned());
        }
        assert!(bodies[0] == bodies[1], "{version:?}");
    }
}

/// That is what the price of a kept connection is for.
#[tokio::test]
async fn a_kept_stream_lives_through_a_change_of_keys_and_drops_what_its_client_sends() {
    let certificates = Certificates::make().unwrap();
    let (node, address) = node_with("kept", &certificates).await;
    let trust = TlsTrust::new(&certificates.ca()).unwrap();
    let mut stream = open(address, &trust).await;
    until_open(&node, 1).await;
    for round in 0..3 {
        stream.change_keys().await.unwrap();
        stream.send_raw(b"more").await.unwrap();
        let word = format!("round {round}");
        publish(&node, "a", &word).await;
        assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, word);
    }
    stream.half_close().await.unwrap();
    until_open(&node, 0).await;
}

#[tokio::test]
async fn a_kept_stream_whose_client_breaks_the_rules_of_tls_ends() {
    let certificates = Certificates::make().unwrap();
    let (node, address) = node_with("kept", &certificates).await;
    let trust = TlsTrust::new(&certificates.ca()).unwrap();
    let mut stream = open(address, &trust).await;
    until_open(&node, 1).await;
    stream.send_below_tls(b"\x17\x03\x03\x00\x05hello").await.unwrap();
    until_open(&node, 0).await;
    until(&node, "it has its reason", |metrics| metrics.closed("tls_input") == 1).await;
}

/// A kernel without kTLS leaves it to the node, which says so in its log and in `/config`.
#[tokio::test]
async fn where_the_kernel_is_to_seal_streams_are_served_and_the_node_says_whether_it_does() {
    let certificates = Certificates::make().unwrap();
    let (node, address) = node_with("kernel", &certificates).await;
    let trust = TlsTrust::new(&certificates.ca()).unwrap();
    let mut stream = open(address, &trust).await;
    until_open(&node, 1).await;
    publish(&node, "a", "sealed").await;
    assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, "sealed");
    let config: Value = ask(&node, "GET", "/config").await.json().unwrap();
    let state = config["tls_stream_state"]["value"].as_str().unwrap();
    let is_told = whole_log(&node).await.contains("this kernel does not seal");
    assert_eq!(state, if is_told { "dissolved" } else { "kernel" });
}
