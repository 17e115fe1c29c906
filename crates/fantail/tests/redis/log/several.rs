//! An event for several channels reaches a stream once, whichever of them it follows and by whatever way it comes.

use fantail_testkit::{Fantail, RedisServer, SseClient};

use crate::broker::{behind_proxy, come_back, cut_off, logging, publish, up_to, up_to_live, words};
use crate::node::subscribe;

/// Queries, and the events of `publish_some` that their streams get.
const STREAMS: [(&str, &[&str]); 5] = [
    ("channel=a", &["ab", "abc", "a", "end"]),
    ("channel=a&channel=b", &["ab", "abc", "a", "bc", "end"]),
    ("channel=c&channel=b&channel=a", &["ab", "abc", "a", "bc", "end"]),
    ("channel=c&channel=d", &["abc", "bc", "end"]),
    ("channel=d&channel=a&channel=quiet", &["ab", "abc", "a", "end"]),
];

async fn publish_some(redis: &RedisServer) {
    for (data, channels) in [
        ("ab", &["a", "b"][..]),
        ("abc", &["c", "a", "b", "nobody"]),
        ("a", &["a", "a"]),
        ("bc", &["b", "c"]),
        ("end", &["a", "b", "c", "d"]),
    ] {
        publish(redis, data, channels).await;
    }
}

async fn open(node: &Fantail) -> Vec<SseClient> {
    let mut streams = Vec::new();
    for (query, _) in STREAMS {
        streams.push(subscribe(node, &format!("/sse?{query}")).await);
    }
    streams
}

async fn expect(streams: &mut [SseClient]) {
    for (stream, (query, owed)) in streams.iter_mut().zip(STREAMS) {
        assert_eq!(words(&up_to(stream, "end").await), owed, "{query}");
    }
}

#[tokio::test]
async fn an_event_for_several_channels_comes_once_live_on_every_node() {
    let redis = RedisServer::start().await.unwrap();
    let nodes = [logging(&redis).await, logging(&redis).await];
    let (mut here, mut there) = (open(&nodes[0]).await, open(&nodes[1]).await);
    publish_some(&redis).await;
    expect(&mut here).await;
    expect(&mut there).await;
}

#[tokio::test]
async fn an_event_for_several_channels_comes_once_from_a_repair() {
    let redis = RedisServer::start().await.unwrap();
    let (node, proxy) = behind_proxy(&redis, &[]).await;
    let mut streams = open(&node).await;
    for _ in 0..2 {
        cut_off(&node, &proxy).await;
        publish_some(&redis).await;
        proxy.accept().await.unwrap();
        expect(&mut streams).await;
    }
}

/// The node has some of the channels' logs and fetches others, so the same event is in both.
#[tokio::test]
async fn an_event_for_several_channels_comes_once_to_a_client_that_comes_back_to_any_node() {
    let redis = RedisServer::start().await.unwrap();
    let [has_all, has_b, has_none] = [logging(&redis).await, logging(&redis).await, logging(&redis).await];
    let mut streams = open(&has_all).await;
    let mut b = subscribe(&has_b, "/sse/b").await;
    let begin = publish(&redis, "begin", &["other"]).await;
    publish_some(&redis).await;
    expect(&mut streams).await;
    up_to(&mut b, "end").await;
    for node in [&has_all, &has_b, &has_none] {
        for (query, owed) in STREAMS {
            let path = format!("/sse?{query}");
            let events = up_to_live(node, come_back(node, &path, &begin).await).await;
            assert_eq!(words(&events), owed, "{query}");
            for (seen, event) in events.iter().enumerate() {
                let rest = up_to_live(node, come_back(node, &path, &event.id).await).await;
                assert_eq!(rest, events[seen + 1..], "{query} behind {}", event.data);
            }
        }
    }
}
