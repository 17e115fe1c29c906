//! A stream brings the right first bytes, every event of its channels once and in the order of publishing, and a clean
//! end.

use std::collections::HashSet;

use fantail_testkit::{Close, End, Fantail, PATIENCE, SseClient};

use crate::node::{
    Metrics, ask, metrics, node, opening, publish, publish_json, publish_to, read_to_close, subscribe, until,
    until_closed, until_open,
};

/// The data of the next events.
async fn data(client: &mut SseClient, count: usize) -> Vec<String> {
    client.next_events(count, PATIENCE).await.unwrap().into_iter().map(|event| event.data).collect()
}

/// Publishes each text to its channels, in this order.
async fn publish_all(node: &Fantail, events: &[(&[&str], &str)]) {
    for (channels, text) in events {
        publish_to(node, channels, text).await;
    }
}

#[tokio::test]
async fn a_stream_opens_with_the_right_head_a_comment_a_jittered_retry_and_an_id() {
    let node = node(&["--retry", "400ms"]).await;
    let mut hints = HashSet::new();
    for _ in 0..30 {
        let mut client = SseClient::request(node.public(), "/sse/a").keep_body().connect().await.unwrap();
        let head = client.head().clone();
        assert_eq!((head.minor_version, head.status), (1, 200));
        for (name, value) in [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-cache, no-store, no-transform"),
            ("x-accel-buffering", "no"),
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
        ] {
            assert_eq!(head.headers_named(name).collect::<Vec<_>>(), [value], "{name}");
        }
        assert!(head.header("date").is_some_and(|date| date.ends_with(" GMT")), "{head:?}");
        assert_eq!(head.headers.len(), 6, "{head:?}");

        let id = opening(&mut client).await;
        let retry = client.parser().retry().unwrap();
        assert_eq!(String::from_utf8_lossy(client.body()), format!(":\nretry: {retry}\nid: {id}\n\n"));
        assert!((400..=800).contains(&retry), "{retry}");
        assert!(id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.'), "{id}");
        hints.insert(retry);
    }
    assert!(hints.len() > 5, "clients must not come back at once: {hints:?}");
}

#[tokio::test]
async fn several_channels_come_merged_in_the_order_of_publishing_and_a_common_event_comes_once() {
    let node = node(&[]).await;
    let mut both = subscribe(&node, "/sse?channel=a&channel=b&channel=a").await;
    let mut only_a = subscribe(&node, "/sse/a").await;
    let mut only_b = subscribe(&node, "/sse?channel=b").await;
    let events: Vec<_> = (0..60)
        .map(|number| {
            let channels = [&["a"][..], &["b"], &["a", "b"], &["b", "c", "a"], &["c"]][number % 5];
            (channels, number.to_string())
        })
        .collect();
    let body: Vec<_> =
        events.iter().map(|(channels, text)| serde_json::json!({ "channels": channels, "data": text })).collect();
    assert_eq!(publish_json(&node, serde_json::to_string(&body).unwrap()).await.status, 202);

    let expected = |wanted: &[&str]| -> Vec<String> {
        let is_wanted = |channels: &[&str]| channels.iter().any(|channel| wanted.contains(channel));
        events.iter().filter(|(channels, _)| is_wanted(channels)).map(|(_, text)| text.clone()).collect()
    };
    for (client, wanted) in [(&mut both, &["a", "b"][..]), (&mut only_a, &["a"]), (&mut only_b, &["b"])] {
        let expected = expected(wanted);
        assert_eq!(data(client, expected.len()).await, expected, "{wanted:?}");
    }
    // Nothing came twice behind the last one either.
    publish_to(&node, &["a", "b"], "the end").await;
    for client in [&mut both, &mut only_a, &mut only_b] {
        assert_eq!(data(client, 1).await, ["the end"]);
    }
}

#[tokio::test]
async fn a_stream_with_a_limit_ends_cleanly_behind_its_last_event() {
    let node = node(&[]).await;
    let one = SseClient::request(node.public(), "/sse/a?limit=2");
    let several = SseClient::request(node.public(), "/sse?channel=a&channel=b&limit=2");
    for (count, request) in [(1, one.clone()), (2, one.http_1_0()), (3, several.clone()), (4, several.http_1_0())] {
        let mut client = request.connect().await.unwrap();
        let body = r#"[{"channel":"a","data":"1"},{"channel":"a","data":"2"},{"channel":"a","data":"3"}]"#;
        assert_eq!(publish_json(&node, body).await.status, 202);
        let (events, end) = client.read_until_end(PATIENCE).await.unwrap();
        let events: Vec<_> = events.iter().map(|event| event.data.as_str()).collect();
        assert_eq!((events, end), (vec!["1", "2"], End::Clean));
        assert_eq!(client.read_until_closed(PATIENCE).await.unwrap(), Close::Fin);
        drop(client);
        until_closed(&node, "limit_reached", count).await;
    }
}

#[tokio::test]
async fn a_replay_brings_the_last_retained_events_and_then_live_ones() {
    let node = node(&["--log-events-max", "5"]).await;
    // Of `a`, 4 to 8 are kept. A replay promises no more than the kept events, so nothing is missing.
    publish_all(&node, &[(&["a"], "a1"), (&["b"], "b2"), (&["a"], "a3"), (&["a"], "a4"), (&["a", "b"], "ab5")]).await;
    publish_all(&node, &[(&["a"], "a6"), (&["a"], "a7"), (&["a"], "a8")]).await;
    let cases = [
        ("channel=a&replay=0", &[][..]),
        ("channel=a&replay=2", &["a7", "a8"]),
        ("channel=a&replay=all", &["a4", "ab5", "a6", "a7", "a8"]),
        ("channel=a&replay=1000000", &["a4", "ab5", "a6", "a7", "a8"]),
        ("channel=b&replay=all", &["b2", "ab5"]),
        ("channel=a&channel=b&replay=3", &["a6", "a7", "a8"]),
        ("channel=a&channel=b&replay=5", &["a4", "ab5", "a6", "a7", "a8"]),
        ("channel=a&channel=b&replay=6", &["b2", "a4", "ab5", "a6", "a7", "a8"]),
        ("channel=a&channel=b&replay=all", &["b2", "a4", "ab5", "a6", "a7", "a8"]),
        ("channel=nothing&replay=all", &[]),
    ];
    for (number, (query, expected)) in cases.into_iter().enumerate() {
        // A channel of its own marks the end of the replay.
        let live = format!("live{number}");
        let mut client = subscribe(&node, &format!("/sse?{query}&channel={live}")).await;
        publish(&node, &live, &live).await;
        assert_eq!(data(&mut client, expected.len() + 1).await, [expected, &[&live]].concat(), "{query}");
    }
    let mut limited = subscribe(&node, "/sse/a?replay=4&limit=2").await;
    let (events, end) = limited.read_until_end(PATIENCE).await.unwrap();
    assert_eq!((events[0].data.as_str(), events[1].data.as_str(), events.len()), ("ab5", "a6", 2));
    assert_eq!(end, End::Clean);
    assert_eq!(metrics(&node).await.count("fantail_gaps_sent_total"), 0);
}

#[tokio::test]
async fn deleting_a_channel_ends_its_streams_cleanly_and_no_others() {
    let node = node(&[]).await;
    assert_eq!(ask(&node, "DELETE", "/channels/a").await.status, 404);
    let mut of_it = Vec::new();
    for _ in 0..4 {
        of_it.push(subscribe(&node, "/sse/a").await);
        of_it.push(subscribe(&node, "/sse?channel=b&channel=a").await);
        of_it.push(SseClient::request(node.public(), "/sse/a").http_1_0().connect().await.unwrap());
    }
    let mut other = subscribe(&node, "/sse/b").await;
    publish(&node, "a", "before").await;
    for client in &mut of_it {
        assert_eq!(data(client, 1).await, ["before"]);
    }

    let answer = ask(&node, "DELETE", "/channels/a").await;
    assert_eq!((answer.status, answer.json().unwrap()), (200, serde_json::json!({ "deleted": "a" })));
    for client in &mut of_it {
        assert_eq!(read_to_close(client).await, (vec![], "channel-deleted".to_owned()));
        assert_eq!(client.read_until_closed(PATIENCE).await.unwrap(), Close::Fin);
    }
    let streams = of_it.len() as u64;
    drop(of_it);
    until_closed(&node, "channel_deleted", streams).await;
    until_open(&node, 1).await;

    publish(&node, "b", "still here").await;
    assert_eq!(data(&mut other, 1).await, ["still here"]);
    // The name can be used again, and nothing is left of its past.
    let mut again = subscribe(&node, "/sse/a?replay=all").await;
    publish(&node, "a", "anew").await;
    assert_eq!(data(&mut again, 1).await, ["anew"]);
}

#[tokio::test]
async fn an_event_is_encoded_once_however_many_streams_get_it() {
    let node = node(&[]).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(subscribe(&node, "/sse/a").await);
        clients.push(subscribe(&node, "/sse?channel=b&channel=a").await);
        clients.push(SseClient::request(node.public(), "/sse/a").http_1_0().connect().await.unwrap());
    }
    let before = metrics(&node).await;
    for number in 0..10 {
        publish_to(&node, &["a", "b", "c"], &number.to_string()).await;
    }
    for client in &mut clients {
        assert_eq!(data(client, 10).await.last().unwrap(), "9");
    }
    let grown = |now: &Metrics, name| now.count(name) - before.count(name);
    let after =
        until(&node, "all deliveries are counted", |now| grown(now, "fantail_deliveries_total") == 10 * 60).await;
    assert_eq!((grown(&after, "fantail_events_in_total"), grown(&after, "fantail_encodes_total")), (10, 10));
}
