//! Redis goes away and comes back: streams stay open, and each gets a gap where something may be missing.

use fantail_testkit::proxy::Cut;
use fantail_testkit::{Fantail, FaultProxy, PATIENCE, RedisServer, SseClient};

use crate::broker::{assert_gap, data, fed_by};
use crate::node::{ask, metrics, node, publish, subscribe, until, until_ready};

/// Kills Redis, waits until the node has noticed, and starts it again.
async fn outage(redis: &mut RedisServer, node: &Fantail) {
    redis.kill();
    until_ready(node, false).await;
    redis.restart().await.unwrap();
    until_ready(node, true).await;
}

#[tokio::test]
async fn streams_live_through_a_crash_of_redis_and_each_channel_gets_one_gap() {
    let mut redis = RedisServer::start().await.unwrap();
    let node = fed_by(&redis, &["--keepalive-interval", "100ms"]).await;
    let mut single = Vec::new();
    for number in 0..30 {
        single.push((format!("c{}", number % 3), subscribe(&node, &format!("/sse/c{}", number % 3)).await));
    }
    let mut several = subscribe(&node, "/sse?channel=c0&channel=c1&channel=c2").await;
    for number in 0..3 {
        publish(&node, &format!("c{number}"), "before").await;
    }
    // A Redis that is killed may have answered the publisher before it sent the event to the node.
    for (_, stream) in &mut single {
        assert_eq!(data(stream, 1).await, ["before"]);
    }
    assert_eq!(data(&mut several, 3).await, ["before"; 3]);

    redis.kill();
    until_ready(&node, false).await;
    let refused = fantail_testkit::http(node.internal(), "POST", "/publish/c0", &[], "lost").await.unwrap();
    assert_eq!((refused.status, refused.header("retry-after").is_some()), (503, true), "{}", refused.text());
    let keepalives = metrics(&node).await.count("fantail_keepalives_total");
    until(&node, "streams get keepalives meanwhile", |m| m.count("fantail_keepalives_total") >= keepalives + 31).await;
    redis.restart().await.unwrap();
    until_ready(&node, true).await;

    for number in 0..3 {
        publish(&node, &format!("c{number}"), "after").await;
    }
    for (channel, stream) in &mut single {
        let events = stream.next_events(2, PATIENCE).await.unwrap();
        assert_gap(&events[0], channel, "outage");
        assert_eq!(events[1].data, "after");
    }
    let events = several.next_events(6, PATIENCE).await.unwrap();
    let mut gaps: Vec<_> = events[..3].iter().map(|event| event.data.clone()).collect();
    gaps.sort_unstable();
    assert_eq!(gaps, [0, 1, 2].map(|number| format!("{{\"channel\":\"c{number}\",\"reason\":\"outage\"}}")));
    assert!(events[3..].iter().all(|event| event.data == "after"), "{events:?}");

    let told = metrics(&node).await;
    assert_eq!((told.count("fantail_streams_open"), told.sum("fantail_streams_closed_total")), (31, 0));
    assert_eq!(told.count("fantail_gaps_sent_total"), 30 + 3);
    assert_eq!((told.count("fantail_outages_total"), told.count("fantail_feed_reconnects_total")), (1, 1));
    assert_eq!(told.count("fantail_feed_state{state=\"connected\"}"), 1);
}

#[tokio::test]
async fn two_outages_are_two_gaps_also_for_a_stream_that_comes_back_later() {
    let mut redis = RedisServer::start().await.unwrap();
    let node = fed_by(&redis, &[]).await;
    let mut stream = subscribe(&node, "/sse/c").await;
    publish(&node, "c", "one").await;
    let before = stream.next_event(PATIENCE).await.unwrap().id;
    outage(&mut redis, &node).await;
    publish(&node, "c", "two").await;
    let mut live = stream.next_events(2, PATIENCE).await.unwrap();
    outage(&mut redis, &node).await;
    publish(&node, "c", "three").await;
    live.extend(stream.next_events(2, PATIENCE).await.unwrap());

    let resume = |id: String| SseClient::request(node.public(), "/sse/c").last_event_id(&id).connect();
    let resumed = resume(before).await.unwrap().next_events(4, PATIENCE).await.unwrap();
    for events in [&live, &resumed] {
        assert_gap(&events[0], "c", "outage");
        assert_gap(&events[2], "c", "outage");
        assert_eq!((events[1].data.as_str(), events[3].data.as_str()), ("two", "three"));
    }
    assert_eq!(live, resumed, "a resumed stream gets the events of the live one");
    // Each of their ids is a place to resume from, and no gap is told twice.
    for (at, event) in live.iter().enumerate() {
        let mut stream = resume(event.id.clone()).await.unwrap();
        publish(&node, "c", "end").await;
        let mut rest = Vec::new();
        while rest.last().is_none_or(|last: &fantail_testkit::Event| last.data != "end") {
            rest.push(stream.next_event(PATIENCE).await.unwrap());
        }
        let ends = rest.iter().filter(|event| event.data == "end").count();
        assert_eq!(rest[..rest.len() - ends], live[at + 1..], "behind {event:?}");
    }
    assert_eq!(metrics(&node).await.count("fantail_outages_total"), 2);
}

/// A channel that is joined during the outage waits for its head. So does one that is followed already, since an event
/// published now would not arrive.
#[tokio::test]
async fn nobody_gets_a_head_while_redis_is_away() {
    let mut redis = RedisServer::start().await.unwrap();
    let node = fed_by(&redis, &["--follow-deadline", "5m"]).await;
    let mut followed = subscribe(&node, "/sse/followed").await;
    redis.kill();
    until_ready(&node, false).await;
    let mut waiting = Vec::new();
    for query in ["channel=followed", "channel=new", "channel=new&channel=followed"] {
        waiting.push(SseClient::request(node.public(), &format!("/sse?{query}")).send().await.unwrap());
    }
    until(&node, "all are taken over", |metrics| metrics.count("fantail_streams_open") == 4).await;
    let listing = ask(&node, "GET", "/connections").await.json().unwrap();
    let states = listing["connections"].as_array().unwrap().iter().map(|connection| connection["state"].clone());
    assert_eq!(states.filter(|state| state == "waiting").count(), 3, "{listing}");

    redis.restart().await.unwrap();
    for stream in &mut waiting {
        assert_eq!(stream.wait_for_head(PATIENCE).await.unwrap().status, 200);
    }
    for channel in ["followed", "new"] {
        publish(&node, channel, channel).await;
    }
    assert_eq!(data(&mut waiting[0], 1).await, ["followed"], "a stream that begins now has missed nothing");
    assert_eq!(data(&mut waiting[1], 1).await, ["new"]);
    assert_eq!(data(&mut waiting[2], 2).await, ["followed", "new"]);
    let events = followed.next_events(2, PATIENCE).await.unwrap();
    assert_gap(&events[0], "followed", "outage");
    assert_eq!(events[1].data, "followed");
}

/// Events that Redis takes while this node's connection is cut are lost for this node alone; a gap stands in their
/// place.
#[tokio::test]
async fn an_event_published_while_the_connection_was_cut_is_behind_a_gap() {
    let redis = RedisServer::start().await.unwrap();
    let proxy = FaultProxy::start(redis.addr()).unwrap();
    let node = node(&["--redis-url", &format!("redis://{}", proxy.addr())]).await;
    until_ready(&node, true).await;
    let mut stream = subscribe(&node, "/sse/c").await;
    for (number, cut) in [Cut::Fin, Cut::Reset, Cut::Fin].into_iter().enumerate() {
        proxy.refuse().await.unwrap();
        proxy.cut(cut).await.unwrap();
        until_ready(&node, false).await;
        assert_eq!(redis.publish("fantail:c", "missed").await.unwrap(), 0);
        proxy.accept().await.unwrap();
        redis.wait_for_subscribers("fantail:c", 1).await.unwrap();
        redis.publish("fantail:c", format!("seen {number}")).await.unwrap();
        let events = stream.next_events(2, PATIENCE).await.unwrap();
        assert_gap(&events[0], "c", "outage");
        assert_eq!(events[1].data, format!("seen {number}"));
        until_ready(&node, true).await;
    }
}
