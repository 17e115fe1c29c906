//! Messages that a publisher has formed so as to harm: none stops a node, and none makes a hole that is not told.

use std::sync::atomic::Ordering;

use crate::log_node::LogNode;
use crate::node::{publish, server_with_stream};

/// A message to `a` with these bytes as its headers.
fn message_with(headers: &str) -> Vec<u8> {
    let (head, payload) = (format!("{headers}\r\n\r\n"), "x");
    format!("HPUB fantail.a {} {}\r\n{head}{payload}\r\n", head.len(), head.len() + payload.len()).into_bytes()
}

#[tokio::test]
async fn a_publisher_cannot_speak_in_the_servers_name() {
    let server = server_with_stream().await;
    let mut node = LogNode::following(&server.url(), &["a"]).await;
    let mut publisher = server.connection().await.unwrap();
    for headers in [
        "NATS/1.0 100 Idle Heartbeat",
        "NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 9\r\nNats-Last-Stream: 9",
        "NATS/1.0 100 FlowControl Request",
        "NATS/1.0 404 No Messages",
        "NATS/1.0 409 Consumer Deleted",
    ] {
        publisher.send(&message_with(headers)).await.unwrap();
    }
    publisher.settle().await.unwrap();
    publish(&server, "after", "a").await;
    node.until_data("after").await;
    assert_eq!(node.told(), ["1 a x", "2 a x", "3 a x", "4 a x", "5 a x", "6 a after"]);
    assert_eq!(node.feed.counters().reconnects.load(Ordering::Relaxed), 0);
}

/// The NATS library ends its connection at such headers, and reads them again over the next one.
#[tokio::test]
async fn headers_that_end_every_connection_are_passed_over_with_a_gap() {
    tokio::join!(passed_over("NATS/1.0\r\nno colon"), passed_over("NATS/1.0\r\nX: a\rb"), passed_over("NATS/1.0 1x"));
}

async fn passed_over(headers: &str) {
    let server = server_with_stream().await;
    let mut node = LogNode::following(&server.url(), &["a"]).await;
    publish(&server, "before", "a").await;
    node.until_data("before").await;
    let mut publisher = server.connection().await.unwrap();
    publisher.send(&message_with(headers)).await.unwrap();
    publisher.settle().await.unwrap();
    node.wait_for("a gap", |node| node.told.iter().any(|line| line.starts_with("gap a "))).await;
    publish(&server, "after", "a").await;
    node.until_data("after").await;
    assert_eq!(node.told(), ["1 a before", "gap a 2 trimmed", "3 a after"], "{headers}");
}
