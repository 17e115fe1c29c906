//! The socket leaves the HTTP server: the stream is whole, whatever a client sent before, with and after its subscribe.

use fantail_testkit::response::Framing;
use fantail_testkit::{Close, End, PATIENCE, SseClient};

use crate::node::{
    connection_id, connections, metrics, node, publish, read_to_close, until, until_closed, until_state,
};
use crate::wire::Wire;

const NEXT: &str = "GET /sse/other HTTP/1.1\r\nHost: x\r\n\r\n";

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")
}

#[tokio::test]
async fn a_request_pipelined_behind_a_subscribe_is_never_answered_and_does_not_break_the_stream() {
    let node = node(&[]).await;
    let mut wire = Wire::connect(node.public()).await;
    wire.send(get("/sse/a?limit=3") + NEXT + "DELETE /sse/a HTTP/1.1\r\nHost: x\r\n\r\n").await;
    // The state tells more than the count: a stream is counted a moment before it has its place.
    until_state(&node, wire.local_addr(), "live").await;
    publish(&node, "a", "one").await;
    wire.send(NEXT).await;
    publish(&node, "a", "two").await;
    wire.send("GET /half a requ").await;
    publish(&node, "a", "three").await;

    let answer = wire.answer("GET").await.unwrap();
    let data: Vec<_> = answer.events().into_iter().map(|event| event.data).collect();
    assert_eq!((data, answer.end), (vec!["one".into(), "two".into(), "three".into()], End::Clean));
    let (rest, close) = wire.rest().await;
    assert_eq!((rest.as_slice(), close), (&b""[..], Close::Fin));
    assert_eq!(metrics(&node).await.sum("fantail_requests_total"), 1);
}

/// The scenario that loses an answer if the socket is taken too early:
/// 1. A client pipelines requests that are answered at once, and a subscribe behind them, and does not read.
/// 2. The answers fill the socket; the last of them are still in the HTTP server's buffer.
/// 3. The subscribe is parsed. If the socket were taken now, those answers would be gone.
/// 4. The client reads.
///
/// The kernel decides how many answers fill a socket, so the test tries many numbers. The HTTP server keeps answers
/// with and without a body in different ways, so there are both.
#[tokio::test]
async fn all_answers_before_a_pipelined_subscribe_arrive_whole_and_first_though_nobody_reads_them() {
    let node = node(&["--send-buffer-bytes", "4KiB"]).await;
    publish(&node, "a", "retained").await;
    let mut wires = Vec::new();
    for (method, target, status) in [("GET", "/sse/bad*", 400), ("OPTIONS", "/sse/a", 204), ("HEAD", "/sse/a", 200)] {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        for count in [1, 10, 20, 30, 40, 50, 60, 70, 80, 100, 120, 140, 160, 200, 300, 1_000] {
            let mut wire = Wire::connect_narrow(node.public(), 4_096).await;
            wire.send(request.repeat(count) + &get("/sse/a?replay=all&limit=1")).await;
            wires.push((method, status, count, wire));
        }
    }
    // Nobody reads, so the count stops at some point: two looks in a row see the same.
    let mut last = 0;
    until(&node, "the sockets are full", |now| {
        let before = std::mem::replace(&mut last, now.sum("fantail_requests_total"));
        last > 1_000 && before == last
    })
    .await;
    for (method, status, count, mut wire) in wires {
        for number in 0..count {
            let what = format!("answer {number} of {count} to {method}");
            let answer = wire.answer(method).await.unwrap_or_else(|| panic!("{what} is missing"));
            assert_eq!((answer.head.status, answer.end), (status, End::Clean), "{what}");
        }
        let stream = wire.answer("GET").await.unwrap_or_else(|| panic!("no stream behind {count} answers"));
        assert_eq!((stream.head.status, stream.end), (200, End::Clean), "behind {count} answers to {method}");
        assert_eq!(stream.events()[0].data, "retained");
        assert_eq!(wire.rest().await, (vec![], Close::Fin));
    }
}

#[tokio::test]
async fn ordinary_requests_on_a_kept_connection_are_answered_before_it_becomes_a_stream() {
    let node = node(&[]).await;
    publish(&node, "a", "retained").await;
    let mut wire = Wire::connect(node.public()).await;
    for (method, target, status) in
        [("GET", "/nope", 404), ("HEAD", "/sse/a", 200), ("OPTIONS", "/sse/a", 204), ("GET", "/sse/a?limit=x", 400)]
    {
        wire.send(format!("{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        let answer = wire.answer(method).await.unwrap();
        assert_eq!((answer.head.status, answer.end), (status, End::Clean), "{method} {target}");
    }
    wire.send(get("/sse/a?replay=1&limit=1")).await;
    let stream = wire.answer("GET").await.unwrap();
    assert_eq!((stream.head.status, stream.events()[0].data.as_str()), (200, "retained"));
    assert_eq!(wire.rest().await, (vec![], Close::Fin));
    let metrics = metrics(&node).await;
    assert_eq!(metrics.count("fantail_connections_accepted_total"), 1);
    assert_eq!(metrics.sum("fantail_requests_total"), 5);
}

#[tokio::test]
async fn a_subscribe_with_a_body_is_refused_and_an_announced_empty_body_is_none() {
    let node = node(&[]).await;
    for body in ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"] {
        let mut wire = Wire::connect(node.public()).await;
        // Smuggled requests rely on the end of a body: the bytes behind it are no request any more.
        wire.send(format!("GET /sse/a HTTP/1.1\r\nHost: x\r\n{body}{NEXT}")).await;
        let answer = wire.answer("GET").await.unwrap();
        assert_eq!((answer.head.status, answer.end), (400, End::Clean), "{body:?}");
        assert_eq!(answer.json()["field"], "body", "{body:?}");
        assert_eq!(wire.rest().await, (vec![], Close::Fin), "{body:?}");
    }
    let empty = SseClient::request(node.public(), "/sse/a").header("Content-Length", "0").connect().await.unwrap();
    assert_eq!(empty.status(), 200);
    assert_eq!(metrics(&node).await.count("fantail_streams_opened_total"), 1);
}

#[tokio::test]
async fn bytes_that_a_client_sends_into_its_stream_are_dropped() {
    let node = node(&[]).await;
    let mut client = crate::node::subscribe(&node, "/sse/a").await;
    for number in 0..60 {
        client.send_raw(&[b'x'; 1_000]).await.unwrap();
        publish(&node, "a", number.to_string()).await;
        assert_eq!(client.next_event(PATIENCE).await.unwrap().data, number.to_string());
    }
    assert_eq!(metrics(&node).await.sum("fantail_streams_closed_total"), 0);
}

/// 1. The stream has ended: the kernel holds its last bytes, since the client does not read.
/// 2. The client sends something. On a closed socket the kernel answers with a reset, and drops the bytes that it still
///    holds.
/// 3. The client reads.
#[tokio::test]
async fn bytes_that_a_client_sends_after_the_end_do_not_destroy_the_last_frames() {
    let node = node(&[]).await;
    let request = SseClient::request(node.public(), "/sse/a?limit=1").receive_buffer(4_096);
    let mut client = request.connect().await.unwrap();
    let text = "x".repeat(20_000);
    publish(&node, "a", &text).await;
    until_state(&node, client.local_addr().unwrap(), "ending").await;
    client.send_raw(b"more").await.unwrap();
    let (events, end) = client.read_until_end(PATIENCE).await.unwrap();
    assert_eq!((events[0].data.as_str(), end), (text.as_str(), End::Clean));
    drop(client);
    until_closed(&node, "limit_reached", 1).await;
}

#[tokio::test]
async fn a_flood_into_a_stream_ends_it_and_no_other() {
    let node = node(&[]).await;
    let mut other = crate::node::subscribe(&node, "/sse/a").await;
    let mut flood = crate::node::subscribe(&node, "/sse/a").await;
    // The reset may come while this is still being sent.
    let _ = flood.send_raw(&vec![b'x'; 200_000]).await;
    until_closed(&node, "input_flood", 1).await;
    assert_eq!(flood.read_until_closed(PATIENCE).await.unwrap(), Close::Reset);
    publish(&node, "a", "still here").await;
    assert_eq!(other.next_event(PATIENCE).await.unwrap().data, "still here");
}

#[tokio::test]
async fn http_1_0_gets_whole_frames_without_chunks_until_the_close() {
    let node = node(&[]).await;
    for keep_alive in [false, true] {
        let mut request = SseClient::request(node.public(), "/sse/a").http_1_0().keep_body();
        if keep_alive {
            request = request.header("Connection", "keep-alive");
        }
        let mut client = request.connect().await.unwrap();
        let head = client.head();
        assert_eq!((head.minor_version, head.status), (0, 200));
        assert_eq!((head.header("transfer-encoding"), head.header("content-length")), (None, None));
        assert_eq!(head.header("connection"), Some("close"));
        assert_eq!(client.response().framing(), Framing::Close);

        let text = format!("two\nlines {}", "x".repeat(5_000));
        publish(&node, "a", &text).await;
        assert_eq!(client.next_event(PATIENCE).await.unwrap().data, text);
        let id = connection_id(&node, client.local_addr().unwrap()).await;
        assert_eq!(crate::node::ask(&node, "DELETE", &format!("/connections/{id}")).await.status, 200);
        assert_eq!(read_to_close(&mut client).await, (vec![], "kicked".to_owned()));
        assert!(client.body().ends_with(b"\n\n"), "only whole frames: {:?}", String::from_utf8_lossy(client.body()));
    }
}

#[tokio::test]
async fn a_stream_closes_its_connection_whatever_the_client_asked_for() {
    let node = node(&[]).await;
    publish(&node, "a", "retained").await;
    for asked in ["close", "keep-alive", "upgrade\r\nUpgrade: websocket"] {
        let request = SseClient::request(node.public(), "/sse/a?replay=1&limit=1").header("Connection", asked);
        let mut client = request.connect().await.unwrap();
        assert_eq!((client.status(), client.header("connection")), (200, Some("close")), "{asked}");
        assert_eq!(client.header("transfer-encoding"), Some("chunked"), "{asked}");
        let (events, end) = client.read_until_end(PATIENCE).await.unwrap();
        assert_eq!((events.len(), end), (1, End::Clean), "{asked}");
        assert_eq!(client.read_until_closed(PATIENCE).await.unwrap(), Close::Fin, "{asked}");
    }
}

#[tokio::test]
async fn a_client_that_half_closes_gets_a_clean_end() {
    let node = node(&[]).await;
    let path = SseClient::request(node.public(), "/sse/a");
    for (count, request) in [(1, path.clone()), (2, path.http_1_0())] {
        let mut client = request.connect().await.unwrap();
        client.half_close().await.unwrap();
        assert_eq!(client.read_until_end(PATIENCE).await.unwrap(), (vec![], End::Clean));
        assert_eq!(client.read_until_closed(PATIENCE).await.unwrap(), Close::Fin);
        until_closed(&node, "client_closed", count).await;
    }
    assert!(connections(&node).await.is_empty());
}

/// 1. A client stops reading; its stream stands in the middle of a frame.
/// 2. It half-closes: the kernel now reports its socket as readable for ever.
/// 3. It reads. The frame must be finished and the body ended before the socket is closed.
#[tokio::test]
async fn a_client_that_half_closes_in_the_middle_of_a_frame_still_gets_the_rest_of_it() {
    let node = node(&["--send-buffer-bytes", "4KiB"]).await;
    let request = SseClient::request(node.public(), "/sse/a").receive_buffer(4_096);
    let mut client = request.connect().await.unwrap();
    let text = "x".repeat(200_000);
    publish(&node, "a", &text).await;
    until(&node, "the stream is in the middle of its frame", |m| m.count("fantail_unsent_bytes") > 0).await;
    client.half_close().await.unwrap();
    let (events, end) = client.read_until_end(PATIENCE).await.unwrap();
    assert_eq!((events.len(), end), (1, End::Clean));
    assert_eq!(events[0].data, text);
    until_closed(&node, "client_closed", 1).await;
}

#[tokio::test]
async fn a_client_that_resets_is_counted_as_such() {
    let node = node(&[]).await;
    let client = crate::node::subscribe(&node, "/sse/a").await;
    client.reset().unwrap();
    until_closed(&node, "client_reset", 1).await;
    until(&node, "its connection is gone too", |m| m.count("fantail_connections_open") == 0).await;
}
