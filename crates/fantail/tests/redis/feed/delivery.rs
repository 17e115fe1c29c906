//! From Redis to every stream: every event after a stream's head, in order and once.

use fantail_testkit::{End, PATIENCE, RedisServer, SseClient};
use serde_json::json;
use tokio::task::JoinSet;

use crate::broker::{data, fed_by};
use crate::node::{metrics, publish, publish_json, publish_to, read_to_close, subscribe, until};

#[tokio::test]
async fn plain_text_and_envelopes_arrive_in_the_order_in_which_redis_took_them() {
    let redis = RedisServer::start().await.unwrap();
    let node = fed_by(&redis, &[]).await;
    let mut stream = subscribe(&node, "/sse/c").await;
    let mut publisher = redis.connection().await.unwrap();
    let mut owed = Vec::new();
    for number in 0..200 {
        let text = format!("line {number}\nand another");
        owed.push(text.clone());
        let (channel, payload) = match number % 3 {
            0 => ("fantail:c", text),
            1 => ("fantail-event:c", json!({ "data": text }).to_string()),
            _ => (
                "fantail-event:c",
                json!({ "data": text, "event": "tick", "id": format!("mine-{number}"), "retry": 1234 }).to_string(),
            ),
        };
        assert_eq!(publisher.publish(channel, payload.as_bytes()).await.unwrap(), 1);
    }
    let events = stream.next_events(owed.len(), PATIENCE).await.unwrap();
    assert_eq!(events.iter().map(|event| event.data.clone()).collect::<Vec<_>>(), owed);
    for (number, event) in events.iter().enumerate() {
        let enveloped = number % 3 == 2;
        assert_eq!(event.event, if enveloped { "tick" } else { "message" });
        assert_eq!(event.retry, enveloped.then_some(1234));
        assert_eq!(event.id == format!("mine-{number}"), enveloped, "{event:?}");
    }
}

/// 1. A publisher sends the copies of an event for `a` and `b` one by one. No stream follows `b` when the first goes
///    out.
/// 2. A stream of `b` opens.
/// 3. The second copy goes out. The stream of `b` must get it, and the stream of `a` gets nothing again.
#[tokio::test]
async fn an_event_whose_copies_are_sent_one_by_one_reaches_a_stream_that_opens_in_between() {
    let redis = RedisServer::start().await.unwrap();
    let node = fed_by(&redis, &["--linger", "0s"]).await;
    let copy = json!({ "data": "for both", "channels": ["a", "b"], "uid": "1" }).to_string();
    let mut a = subscribe(&node, "/sse/a").await;
    redis.publish("fantail-event:a", &copy).await.unwrap();
    assert_eq!(data(&mut a, 1).await, ["for both"]);
    let mut b = subscribe(&node, "/sse/b").await;
    redis.publish("fantail-event:b", &copy).await.unwrap();
    for channel in ["a", "b"] {
        redis.publish(&format!("fantail:{channel}"), "behind it").await.unwrap();
    }
    assert_eq!(data(&mut b, 2).await, ["for both", "behind it"]);
    assert_eq!(data(&mut a, 1).await, ["behind it"]);
}

#[tokio::test]
async fn an_event_that_one_node_accepts_reaches_the_streams_of_all() {
    let redis = RedisServer::start().await.unwrap();
    let nodes = [fed_by(&redis, &[]).await, fed_by(&redis, &[]).await];
    let mut streams = Vec::new();
    for node in &nodes {
        for _ in 0..4 {
            streams.push(subscribe(node, "/sse/c").await);
        }
    }
    for number in 0..20 {
        let receipt = publish(&nodes[number % 2], "c?event=tick", format!("event {number}")).await;
        assert_eq!(receipt, json!({ "subscribers": 2 }), "two nodes take it from Redis");
    }
    let owed: Vec<_> = (0..20).map(|number| format!("event {number}")).collect();
    for stream in &mut streams {
        assert_eq!(data(stream, 20).await, owed);
    }
}

#[tokio::test]
async fn an_event_for_several_channels_reaches_a_stream_once_on_every_node() {
    let redis = RedisServer::start().await.unwrap();
    let nodes = [fed_by(&redis, &[]).await, fed_by(&redis, &[]).await];
    let mut streams = Vec::new();
    for node in &nodes {
        for query in ["channel=a", "channel=b", "channel=a&channel=b", "channel=c&channel=b&channel=a&channel=d"] {
            streams.push(subscribe(node, &format!("/sse?{query}")).await);
        }
    }
    for number in 0..10 {
        publish_to(&nodes[0], &["a", "b", "nobody-follows-this"], &format!("both {number}")).await;
    }
    let fence = json!([{ "channel": "a", "data": "end of a" }, { "channel": "b", "data": "end of b" }]);
    assert_eq!(publish_json(&nodes[1], fence.to_string()).await.status, 202);
    let both: Vec<_> = (0..10).map(|number| format!("both {number}")).collect();
    for (at, stream) in streams.iter_mut().enumerate() {
        assert_eq!(data(stream, 10).await, both, "stream {at}");
        // Publishing went through two nodes, so only each channel's own order is sure: the two ends come in any.
        let ends = if at % 4 < 2 { 1 } else { 2 };
        assert!(data(stream, ends).await.iter().all(|end| end.starts_with("end of")), "stream {at}");
    }
    for node in &nodes {
        assert_eq!(metrics(node).await.count("fantail_events_in_total"), 12);
    }
}

/// The scenario that a head sent too early would fail:
/// 1. A client opens a stream of a channel that nobody follows yet.
/// 2. It sees the head, and tells a publisher.
/// 3. The publisher publishes at once, over a connection to Redis that is open already.
///
/// If the head were sent before Redis had confirmed the SUBSCRIBE, some of these events would be lost.
#[tokio::test]
async fn an_event_published_after_the_head_arrives() {
    const CLIENTS: usize = 8;
    const CHANNELS_PER_CLIENT: usize = 250;
    let redis = RedisServer::start().await.unwrap();
    let node = fed_by(&redis, &[]).await;
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (addr, mut publisher) = (node.public(), redis.connection().await.unwrap());
        clients.spawn(async move {
            for number in 0..CHANNELS_PER_CLIENT {
                let channel = format!("fresh-{client}-{number}");
                let mut stream = SseClient::connect(addr, &format!("/sse/{channel}")).await.unwrap();
                let takers = publisher.publish(&format!("fantail:{channel}"), b"early").await.unwrap();
                assert_eq!((stream.status(), takers), (200, 1), "{channel}");
                assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, "early", "{channel}");
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
}

/// As above, over channels that come and go: an UNSUBSCRIBE of the stream's channel may be under way.
#[tokio::test]
async fn an_event_published_after_the_head_arrives_though_the_channel_was_just_unfollowed() {
    const CLIENTS: usize = 4;
    let redis = RedisServer::start().await.unwrap();
    let node = fed_by(&redis, &["--linger", "0s"]).await;
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (addr, mut publisher) = (node.public(), redis.connection().await.unwrap());
        clients.spawn(async move {
            for number in 0..250 {
                // Two clients share each channel, so one often joins while the other leaves.
                let channel = format!("again-{}", client % 2);
                let mut stream = SseClient::connect(addr, &format!("/sse/{channel}")).await.unwrap();
                let text = format!("early {client} {number}");
                publisher.publish(&format!("fantail:{channel}"), text.as_bytes()).await.unwrap();
                while stream.next_event(PATIENCE).await.unwrap().data != text {}
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test]
async fn a_stream_that_saw_no_event_yet_resumes_without_loss() {
    let redis = RedisServer::start().await.unwrap();
    let node = fed_by(&redis, &[]).await;
    let mut first = subscribe(&node, "/sse?channel=a&channel=b").await;
    // The opening comes in the same write as the head; a comment behind it would too.
    while first.last_event_id().is_empty() {
        first.read_more(PATIENCE).await.unwrap();
    }
    let id = first.last_event_id().to_owned();
    first.reset().unwrap();
    until(&node, "nobody is there", |metrics| metrics.count("fantail_streams_open") == 0).await;
    for number in 0..5 {
        publish(&node, ["a", "b"][number % 2], format!("missed {number}")).await;
    }
    // The receipt says that Redis passed the event on, but not that the node has it in its log.
    until(&node, "the node has them", |metrics| metrics.count("fantail_events_in_total") == 5).await;
    let request = SseClient::request(node.public(), "/sse?channel=b&channel=a").last_event_id(&id);
    let mut second = request.connect().await.unwrap();
    let owed: Vec<_> = (0..5).map(|number| format!("missed {number}")).collect();
    assert_eq!(data(&mut second, 5).await, owed);
}

#[tokio::test]
async fn without_an_answer_in_time_browsers_are_told_to_come_back_and_others_get_503() {
    let redis = RedisServer::start().await.unwrap();
    let node = fed_by(&redis, &["--follow-deadline", "200ms", "--retry", "70ms"]).await;
    redis.stop_signal().unwrap();

    let mut browser = SseClient::connect(node.public(), "/sse/new").await.unwrap();
    assert_eq!((browser.status(), browser.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(read_to_close(&mut browser).await, (vec![], "follow-timeout".to_owned()));
    let retry = browser.parser().retry().unwrap();
    assert!((70..=140).contains(&retry), "{retry}");

    let request = SseClient::request(node.public(), "/sse/new").header("Accept", "*/*");
    let mut other = request.connect().await.unwrap();
    assert_eq!(other.status(), 503);
    assert!(other.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(other.header("content-type"), Some("application/problem+json"));
    assert_eq!(other.read_until_end(PATIENCE).await.unwrap().1, End::Clean);
    let told = until(&node, "both are counted", |metrics| metrics.closed("follow_timeout") == 2).await;
    assert_eq!(told.count("fantail_shed_total"), 2);

    redis.cont().unwrap();
    let mut stream = loop {
        let request = SseClient::request(node.public(), "/sse/new").header("Accept", "*/*");
        let stream = request.connect().await.unwrap();
        if stream.status() == 200 {
            break stream;
        }
    };
    publish(&node, "new", "here").await;
    assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, "here");
}
