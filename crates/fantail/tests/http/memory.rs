//! The memory of the process: what gives way when it is short, and what does not.

use std::fs;

use fantail_testkit::{Close, Fantail, PATIENCE, http};

use crate::node::{ask, metrics, node, publish, read_to_close, subscribe, until, until_ready, until_state};
use crate::wire::Wire;

const MIB: u64 = 1 << 20;

/// The memory of the program, as it counts it itself.
fn resident_bytes(node: &Fantail) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{}/statm", node.pid())).unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Publishes into a channel that keeps all of it, until so much memory is in use.
async fn fill(node: &Fantail, bytes: u64) {
    let data = vec![b'x'; 200_000];
    while resident_bytes(node) < bytes {
        publish(node, "fill", &data).await;
    }
}

/// 1. Above 80% newcomers are told to come back later, and `/readyz` says so. Streams that are open get their events.
/// 2. Above 95% a stream that takes nothing is ended. One that keeps up is not.
/// 3. The memory is given back, and all is as before.
#[tokio::test]
async fn newcomers_give_way_to_open_streams_when_memory_is_short_and_then_the_slowest_do() {
    let usual = node(&[]).await;
    let memory_max = resident_bytes(&usual) + 100 * MIB;
    drop(usual);
    let text = memory_max.to_string();
    let roomy = ["--log-bytes-max", "512MiB", "--logs-bytes-max", "1GiB", "--log-events-max", "100000"];
    let node = node(&[&["--memory-max", &text, "--progress-deadline", "1h"], &roomy[..]].concat()).await;
    let mut stream = subscribe(&node, "/sse/a").await;
    let mut slow = Wire::connect_narrow(node.public(), 4096).await;
    slow.send("GET /sse/slow HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    until_state(&node, slow.local_addr(), "live").await;
    for _ in 0..20 {
        publish(&node, "slow", vec![b'x'; 200_000]).await;
    }
    until_state(&node, slow.local_addr(), "blocked").await;
    let start = metrics(&node).await;
    assert_eq!((start.count("fantail_memory_max_bytes"), start.count("fantail_memory_level")), (memory_max, 0));
    assert_eq!(ask(&node, "GET", "/readyz").await.status, 200);

    fill(&node, memory_max / 100 * 83).await;
    until(&node, "memory is short", |m| m.count("fantail_memory_level") == 1).await;
    let ready = ask(&node, "GET", "/readyz").await;
    let reason = ready.json().unwrap()["reason"].as_str().unwrap().to_owned();
    assert_eq!(ready.status, 503);
    assert!(reason.contains("of memory are in use (memory_max)"), "{reason}");
    let mut newcomer = subscribe(&node, "/sse/a").await;
    assert_eq!(read_to_close(&mut newcomer).await.1, "overloaded");
    assert_eq!(http(node.public(), "GET", "/sse/a", &[], "").await.unwrap().status, 503);
    let refused = metrics(&node).await.count("fantail_refused_total{bound=\"memory_max\"}");
    assert_eq!((refused, metrics(&node).await.closed("memory")), (2, 0));
    publish(&node, "a", "short").await;
    assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, "short");

    fill(&node, memory_max / 100 * 97).await;
    until(&node, "the slowest is ended", |m| m.closed("memory") == 1).await;
    assert_eq!(slow.rest().await.1, Close::Reset);
    publish(&node, "a", "scarce").await;
    assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, "scarce");
    assert_eq!(metrics(&node).await.count("fantail_streams_open"), 1);

    assert_eq!(ask(&node, "DELETE", "/channels/fill").await.status, 200);
    until_ready(&node, true).await;
    subscribe(&node, "/sse/a").await;
    publish(&node, "a", "enough").await;
    assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, "enough");
}
