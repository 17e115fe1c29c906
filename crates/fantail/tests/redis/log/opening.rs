//! After the head of a stream, a publisher may publish: the event arrives.

use fantail_testkit::{PATIENCE, RedisServer, SseClient};
use serde_json::json;
use tokio::task::JoinSet;

use crate::broker::{call, id_of, logging};
use crate::node::metrics;

/// The scenario that a head sent too early would fail:
/// 1. A client opens a stream of a channel that nobody follows yet.
/// 2. It sees the head, and tells a publisher.
/// 3. The publisher calls the function at once, over a connection to Redis that is open already.
#[tokio::test]
async fn an_event_published_after_the_head_arrives_in_each_of_500_fresh_channels() {
    const CLIENTS: usize = 5;
    const CHANNELS_PER_CLIENT: usize = 100;
    let redis = RedisServer::start().await.unwrap();
    let node = logging(&redis).await;
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (addr, mut publisher) = (node.public(), redis.connection().await.unwrap());
        clients.spawn(async move {
            for number in 0..CHANNELS_PER_CLIENT {
                let channel = format!("fresh-{client}-{number}");
                let mut stream = SseClient::connect(addr, &format!("/sse/{channel}")).await.unwrap();
                let id = id_of(&call(&mut publisher, &json!({ "data": "early" }), &[&channel]).await);
                let event = stream.next_event(PATIENCE).await.unwrap();
                assert_eq!((event.data.as_str(), event.id), ("early", id), "{channel}");
            }
        });
    }
    clients.join_all().await;
    assert_eq!(metrics(&node).await.count("fantail_gaps_sent_total"), 0);
}

/// As above, while others publish to the channel before and after the head: the events begin at one place and have no
/// hole.
#[tokio::test]
async fn a_stream_that_opens_while_others_publish_has_no_hole() {
    let redis = RedisServer::start().await.unwrap();
    let node = logging(&redis).await;
    let mut publisher = redis.connection().await.unwrap();
    for round in 0..50 {
        let channel = format!("busy-{round}");
        let addr = node.public();
        let path = format!("/sse/{channel}");
        let opening = tokio::spawn(async move { SseClient::connect(addr, &path).await.unwrap() });
        let mut last = 0;
        while !opening.is_finished() {
            last += 1;
            call(&mut publisher, &json!({ "data": last.to_string() }), &[&channel]).await;
        }
        let mut stream = opening.await.unwrap();
        last += 1;
        call(&mut publisher, &json!({ "data": last.to_string() }), &[&channel]).await;
        let mut next: u32 = stream.next_event(PATIENCE).await.unwrap().data.parse().unwrap();
        while next < last {
            let event = stream.next_event(PATIENCE).await.unwrap();
            assert_eq!(event.data, (next + 1).to_string(), "{channel}");
            next += 1;
        }
    }
}
