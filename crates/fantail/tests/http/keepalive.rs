//! Comments that keep silent streams open: in time, only in silent streams, and only between frames.

use std::time::{Duration, Instant};

use fantail_testkit::response::Framing;
use fantail_testkit::{PATIENCE, SseClient};
use tokio::time::{MissedTickBehavior, interval};

use crate::node::{metrics, node, publish, subscribe, until, until_state};

/// Reads until so many comments came, the one of the opening included.
async fn read_comments(client: &mut SseClient, count: u64) {
    while client.parser().comments() < count {
        client.read_more(PATIENCE).await.unwrap();
    }
}

#[tokio::test]
async fn a_silent_stream_gets_a_comment_each_interval() {
    let node = node(&["--keepalive-interval", "200ms"]).await;
    let opened = Instant::now();
    let mut client = subscribe(&node, "/sse/a").await;
    read_comments(&mut client, 6).await;
    // Five intervals, each at most half a sweep early. The only bound above is patience: machines stall.
    assert!(opened.elapsed() > Duration::from_millis(5 * 190), "{:?}", opened.elapsed());
    until(&node, "they are counted", |m| m.count("fantail_keepalives_total") >= 5).await;
}

#[tokio::test]
async fn comments_are_whole_in_both_framings_and_for_streams_of_every_kind() {
    let node = node(&["--keepalive-interval", "50ms"]).await;
    for path in ["/sse/a", "/sse?channel=a&channel=b", "/sse/a?limit=5", "/sse/a?replay=all"] {
        let request = SseClient::request(node.public(), path).keep_body();
        for (request, framing) in [(request.clone(), Framing::Chunked), (request.http_1_0(), Framing::Close)] {
            let mut client = request.connect().await.unwrap();
            assert_eq!(client.response().framing(), framing);
            read_comments(&mut client, 4).await;
            publish(&node, "a", "between comments").await;
            assert_eq!(client.next_event(PATIENCE).await.unwrap().data, "between comments");
            let seen = client.parser().comments();
            read_comments(&mut client, seen + 2).await;
            assert_eq!(client.parser().unknown_lines(), 0);
            let body = String::from_utf8(client.body().to_vec()).unwrap();
            let mut blocks = body.split_terminator("\n\n");
            assert!(blocks.next().unwrap().starts_with(":\nretry: "), "{body:?}");
            let (comments, events): (Vec<_>, Vec<_>) = blocks.partition(|block| *block == ":");
            assert_eq!(comments.len() as u64 + 1, client.parser().comments(), "{body:?}");
            assert!(events.iter().all(|event| event.ends_with("\ndata: between comments")), "{body:?}");
            if framing == Framing::Chunked {
                let frames = comments.len() + events.len() + 1;
                assert_eq!(client.response().chunk_ends().len(), frames, "each is a chunk of its own: {body:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_stream_with_events_gets_no_comments_until_it_falls_silent() {
    const INTERVAL: Duration = Duration::from_secs(1);
    let node = node(&["--keepalive-interval", "1s"]).await;
    let mut before = Instant::now();
    let mut busy = subscribe(&node, "/sse/a").await;
    let mut silent = subscribe(&node, "/sse/b").await;
    let mut pace = interval(Duration::from_millis(40));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // How often it may have been silent for an interval after all, if this machine stood still.
    let mut silences = 0;
    // Until the silent stream got two comments, which takes two intervals.
    while metrics(&node).await.count("fantail_keepalives_total") < 2 + silences {
        pace.tick().await;
        let next = Instant::now();
        publish(&node, "a", "busy").await;
        assert_eq!(busy.next_event(PATIENCE).await.unwrap().data, "busy");
        // Its last write was after `before`, at most a sweep early.
        silences += (before.elapsed().as_millis() / (INTERVAL * 9 / 10).as_millis()) as u64;
        before = next;
    }
    let comments = busy.parser().comments();
    assert!((1..=1 + silences).contains(&comments), "{comments} with that of the opening; {silences} silences");
    read_comments(&mut silent, 3).await;
    read_comments(&mut busy, comments + 1).await;
}

#[tokio::test]
async fn no_comment_comes_into_the_middle_of_a_frame() {
    let node = node(&["--keepalive-interval", "20ms", "--send-buffer-bytes", "4KiB"]).await;
    let mut silent = subscribe(&node, "/sse/b").await;
    let request = SseClient::request(node.public(), "/sse/a").receive_buffer(4_096);
    for request in [request.clone(), request.http_1_0()] {
        let mut stopped = request.connect().await.unwrap();
        let text = format!("{}\n{}", "x".repeat(100_000), "y".repeat(100_000));
        publish(&node, "a", &text).await;
        until_state(&node, stopped.local_addr().unwrap(), "blocked").await;
        // The sweep comes to it many times.
        let before = metrics(&node).await.count("fantail_keepalives_total");
        until(&node, "comments to the other", |m| m.count("fantail_keepalives_total") > before + 10).await;
        let event = stopped.next_event(PATIENCE).await.unwrap();
        assert!(event.data == text, "the frame was torn");
        assert_eq!(stopped.parser().unknown_lines(), 0);
        let seen = stopped.parser().comments();
        read_comments(&mut stopped, seen + 2).await;
    }
    assert!(silent.next_event(Duration::ZERO).await.is_err());
}
