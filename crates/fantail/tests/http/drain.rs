//! The end of the process: gradual for its clients, and certain.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use fantail_testkit::{Close, End, Fantail, PATIENCE, Signal, SseClient};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::node::{ask, node, publish, read_to_close, subscribe, until, until_open, until_state};
use crate::wire::Wire;

/// Waits until the node says that it drains.
pub(crate) async fn until_draining(node: &Fantail) {
    loop {
        let ready = ask(node, "GET", "/readyz").await;
        if ready.json().unwrap()["draining"] == true {
            return assert_eq!(ready.status, 503);
        }
        tokio::task::yield_now().await;
    }
}

/// Reads a stream to its end, which must be clean, between two frames, and behind a reconnection time.
async fn read_to_hint(mut client: SseClient) -> Vec<String> {
    let (events, why) = read_to_close(&mut client).await;
    assert_eq!(why, "drained");
    let body = String::from_utf8(client.body().to_vec()).unwrap();
    let (_, hint) = body.trim_end().rsplit_once('\n').unwrap();
    let retry: u64 =
        hint.strip_prefix("retry: ").unwrap_or_else(|| panic!("no hint at the end of {body:?}")).parse().unwrap();
    assert!((1_000..=2_000).contains(&retry), "{hint}");
    assert_eq!(client.read_until_closed(PATIENCE).await.unwrap(), Close::Fin);
    events.into_iter().map(|event| event.data).collect()
}

#[tokio::test]
async fn streams_end_cleanly_one_after_the_other_over_the_window_and_the_process_with_the_last() {
    // Long enough that a machine that stalls for a second does not look like a node that ends most streams late.
    const WINDOW: Duration = Duration::from_secs(6);
    let mut node = node(&["--drain-window", "6s", "--drain-deadline", "60s", "--retry", "1s"]).await;
    let request = SseClient::request(node.public(), "/sse/a").keep_body();
    let mut clients = Vec::new();
    for _ in 0..25 {
        clients.push(request.clone().connect().await.unwrap());
        clients.push(request.clone().http_1_0().connect().await.unwrap());
    }
    publish(&node, "a", "before").await;
    let signalled = Instant::now();
    node.signal(Signal::TERM).unwrap();
    let mut ends = JoinSet::new();
    for client in clients {
        ends.spawn(async move {
            assert_eq!(read_to_hint(client).await, ["before"]);
            signalled.elapsed()
        });
    }
    let ends = ends.join_all().await;
    let late = ends.iter().filter(|end| **end > WINDOW / 2).count();
    // None can end before its time: the half, less the rounding of each worker.
    assert!((20..=40).contains(&late), "{late} of 50 ended in the second half: {ends:?}");
    assert_eq!(node.wait(Duration::from_secs(10)).await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn during_the_drain_nobody_new_gets_in_idle_connections_are_closed_and_streams_get_their_events() {
    let flags = ["--workers", "1", "--drain-window", "60s", "--drain-deadline", "120s", "--request-deadline", "5m"];
    let mut node = node(&flags).await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(subscribe(&node, "/sse/a").await);
    }
    let mut idle = Wire::connect(node.public()).await;
    idle.send("GET /nope HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(idle.answer("GET").await.unwrap().head.status, 404);
    let mut silent = Wire::connect(node.public()).await;
    until(&node, "all are accepted", |m| m.count("fantail_connections_open") == 6).await;

    node.signal(Signal::TERM).unwrap();
    until_draining(&node).await;
    for wire in [&mut idle, &mut silent] {
        assert_eq!(wire.rest().await, (vec![], Close::Fin));
    }
    let refused = async {
        while TcpStream::connect(node.public()).await.map_err(|error| error.kind()).err()
            != Some(ErrorKind::ConnectionRefused)
        {}
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("the port is still open");

    // The first in line is ended at once, the others have a minute.
    assert_eq!(read_to_close(&mut streams.remove(0)).await, (vec![], "drained".to_owned()));
    assert_eq!(publish(&node, "a", "still here").await["subscribers"], 3);
    for stream in &mut streams {
        assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, "still here");
    }
    assert_eq!(ask(&node, "GET", "/livez").await.status, 200);

    // A second signal ends it at once.
    node.signal(Signal::TERM).unwrap();
    assert_eq!(node.wait(Duration::from_secs(10)).await.unwrap().code(), Some(1));
}

#[tokio::test]
async fn for_the_drain_delay_newcomers_are_served_though_the_node_is_not_ready() {
    let mut node = node(&["--drain-delay", "1h"]).await;
    let mut before = subscribe(&node, "/sse/a").await;
    node.signal(Signal::TERM).unwrap();
    until_draining(&node).await;
    let mut newcomer = subscribe(&node, "/sse/a").await;
    publish(&node, "a", "to both").await;
    for stream in [&mut before, &mut newcomer] {
        assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, "to both");
    }
    // The second signal ends the delay too.
    node.signal(Signal::TERM).unwrap();
    assert_eq!(node.wait(Duration::from_secs(10)).await.unwrap().code(), Some(1));
}

#[tokio::test]
async fn behind_the_drain_delay_streams_end_and_the_process_with_them() {
    let mut node = node(&["--drain-delay", "300ms", "--drain-window", "100ms", "--retry", "1s"]).await;
    let client = SseClient::request(node.public(), "/sse/a").keep_body().connect().await.unwrap();
    node.signal(Signal::TERM).unwrap();
    assert_eq!(read_to_hint(client).await, [""; 0]);
    assert_eq!(node.wait(Duration::from_secs(10)).await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn an_interrupt_from_a_terminal_waits_for_no_balancer() {
    let mut node = node(&["--drain-delay", "1h"]).await;
    node.signal(Signal::INT).unwrap();
    assert_eq!(node.wait(Duration::from_secs(10)).await.unwrap().code(), Some(0));
}

/// A closing terminal and many scripts send it; a daemon that ended by it would cut every stream.
#[tokio::test]
async fn a_hangup_is_told_and_ends_nothing() {
    let mut node = node(&["--drain-window", "0s"]).await;
    let mut stream = subscribe(&node, "/sse/a").await;
    node.signal(Signal::HUP).unwrap();
    node.wait_for_output("SIGHUP: keys, tokens and certificates are read again", PATIENCE).await.unwrap();
    publish(&node, "a", "still here").await;
    assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, "still here");
    node.signal(Signal::TERM).unwrap();
    assert_eq!(read_to_close(&mut stream).await, (vec![], "drained".to_owned()));
    assert_eq!(node.wait(PATIENCE).await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_request_under_way_is_told_to_come_back() {
    let mut node = node(&["--drain-window", "60s", "--drain-deadline", "120s", "--retry", "1s"]).await;
    let _stream = subscribe(&node, "/sse/a").await;
    let _another = subscribe(&node, "/sse/a").await;
    let mut wires = Vec::new();
    for accept in ["text/event-stream", "*/*"] {
        let mut wire = Wire::connect(node.public()).await;
        wire.send(format!("GET /sse/a HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n")).await;
        wires.push(wire);
    }
    until(&node, "all are accepted", |m| m.count("fantail_connections_open") == 4).await;
    // Each answer comes from every shard's loop, which has read the halves of the heads by then.
    for _ in 0..3 {
        ask(&node, "GET", "/connections").await;
    }
    node.signal(Signal::TERM).unwrap();
    until_draining(&node).await;
    for wire in &mut wires {
        wire.send("\r\n").await;
    }
    // A browser gives up for ever on any status but 200.
    let browser = wires[0].answer("GET").await.unwrap();
    assert_eq!((browser.head.status, browser.end), (200, End::Clean));
    assert_eq!(browser.head.header("content-type"), Some("text/event-stream"));
    let told = browser.events().pop().expect("why");
    assert_eq!((told.event.as_str(), told.data.as_str()), ("fantail.close", r#"{"reason":"drained"}"#));
    assert!(told.retry.is_some());
    let other = wires[1].answer("GET").await.unwrap();
    assert_eq!((other.head.status, other.head.header("retry-after")), (503, Some("1")));
    for wire in &mut wires {
        assert_eq!(wire.rest().await, (vec![], Close::Fin));
    }
    node.kill();
}

/// 1. The process is stopped. Clients come to its port with their requests, and the kernel accepts them.
/// 2. The drain begins before it goes on. With the listener the kernel would reset them.
#[tokio::test]
async fn connections_in_the_backlog_are_told_to_come_back_when_the_drain_begins() {
    for connections_max in ["100", "1"] {
        let flags = ["--workers", "1", "--connections-max", connections_max, "--drain-window", "500ms"];
        let mut node = node(&flags).await;
        let mut inside = subscribe(&node, "/sse/a").await;
        node.signal(Signal::STOP).unwrap();
        let mut outside = Vec::new();
        for _ in 0..4 {
            outside.push(SseClient::request(node.public(), "/sse/a").send().await.unwrap());
        }
        node.signal(Signal::TERM).unwrap();
        node.signal(Signal::CONT).unwrap();
        assert_eq!(inside.read_until_end(PATIENCE).await.unwrap().1, End::Clean);
        drop(inside);
        for (number, mut client) in outside.into_iter().enumerate() {
            let head = client.wait_for_head(PATIENCE).await.unwrap_or_else(|error| panic!("client {number}: {error}"));
            assert_eq!(head.status, 200);
            assert_eq!(client.read_until_end(PATIENCE).await.unwrap().1, End::Clean);
            assert!(client.parser().retry().is_some());
        }
        assert_eq!(node.wait(Duration::from_secs(10)).await.unwrap().code(), Some(0));
    }
}

#[tokio::test]
async fn a_reader_in_the_middle_of_a_frame_gets_the_rest_before_the_end() {
    let flags = ["--send-buffer-bytes", "4KiB", "--drain-window", "100ms", "--drain-deadline", "20s", "--retry", "1s"];
    let mut node = node(&flags).await;
    let request = SseClient::request(node.public(), "/sse/a").keep_body().receive_buffer(4_096);
    let client = request.connect().await.unwrap();
    let text = "x".repeat(200_000);
    publish(&node, "a", &text).await;
    until_state(&node, client.local_addr().unwrap(), "blocked").await;
    node.signal(Signal::TERM).unwrap();
    until_draining(&node).await;
    assert_eq!(read_to_hint(client).await, [text]);
    assert_eq!(node.wait(Duration::from_secs(10)).await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_client_that_reads_nothing_does_not_keep_the_process_past_the_deadline() {
    let flags =
        ["--send-buffer-bytes", "4KiB", "--drain-window", "100ms", "--drain-deadline", "700ms", "--retry", "1s"];
    let mut node = node(&flags).await;
    let stopped = SseClient::request(node.public(), "/sse/large").receive_buffer(4_096).connect().await.unwrap();
    let other = SseClient::request(node.public(), "/sse/a").keep_body().connect().await.unwrap();
    publish(&node, "large", "x".repeat(200_000)).await;
    until_state(&node, stopped.local_addr().unwrap(), "blocked").await;
    node.signal(Signal::TERM).unwrap();
    assert_eq!(read_to_hint(other).await, [""; 0]);
    // Below the default progress deadline, which would end the stopped stream too.
    assert_eq!(node.wait(Duration::from_secs(8)).await.unwrap().code(), Some(0));
    assert!(node.output().stderr.contains("the drain deadline has passed"), "{}", node.output().stderr);
}

#[tokio::test]
async fn without_streams_the_process_ends_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut node = node(&["--drain-window", "60s", "--drain-deadline", "120s"]).await;
        let client = subscribe(&node, "/sse/a").await;
        drop(client);
        until_open(&node, 0).await;
        node.signal(signal).unwrap();
        assert_eq!(node.wait(Duration::from_secs(10)).await.unwrap().code(), Some(0));
    }
}
