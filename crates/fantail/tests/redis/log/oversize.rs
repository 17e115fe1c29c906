//! An event that is larger than a node sends: Redis has taken it, so its streams are told that it is missing.

use fantail_testkit::{RedisServer, SseClient};

use crate::broker::{behind_proxy, come_back, cut_off, logging, node_at, publish, up_to, up_to_live, words};
use crate::node::{metrics, subscribe};

const SMALL: [&str; 2] = ["--event-bytes-max", "1KiB"];
const PASSED_OVER: [&str; 3] = ["before", "gap c lost", "after"];

/// Publishes an event that is too large for some nodes, between two that are not.
async fn publish_large(redis: &RedisServer) {
    publish(redis, "before", &["c"]).await;
    publish(redis, &large(), &["c", "d"]).await;
    publish(redis, "after", &["c"]).await;
}

fn large() -> String {
    "x".repeat(5_000)
}

async fn told(stream: &mut SseClient) -> Vec<String> {
    words(&up_to(stream, "after").await)
}

#[tokio::test]
async fn an_event_that_is_too_large_for_one_node_is_declared_there_and_sent_by_others() {
    let redis = RedisServer::start().await.unwrap();
    let (small, large_enough) = (node_at(redis.addr(), &SMALL).await, logging(&redis).await);
    let mut told_of_it = subscribe(&small, "/sse/c").await;
    let mut gets_it = subscribe(&large_enough, "/sse/c").await;
    publish_large(&redis).await;
    assert_eq!(told(&mut told_of_it).await, PASSED_OVER);
    assert_eq!(told(&mut gets_it).await, ["before", &large(), "after"]);
    assert_eq!(metrics(&small).await.count("fantail_events_rejected_total{reason=\"too_large\"}"), 1);
}

#[tokio::test]
async fn a_too_large_event_is_declared_also_when_it_was_missed_or_is_fetched_for_a_client() {
    let redis = RedisServer::start().await.unwrap();
    let (small, proxy) = behind_proxy(&redis, &SMALL).await;
    let begin = publish(&redis, "long ago", &["c"]).await;
    let mut stream = subscribe(&small, "/sse/c").await;
    cut_off(&small, &proxy).await;
    publish_large(&redis).await;
    proxy.accept().await.unwrap();
    assert_eq!(told(&mut stream).await, PASSED_OVER);

    let fresh = node_at(redis.addr(), &SMALL).await;
    let all = up_to_live(&fresh, come_back(&fresh, "/sse/c", &begin).await).await;
    assert_eq!(words(&all), PASSED_OVER);
    for node in [&small, &fresh] {
        for (seen, event) in all.iter().enumerate() {
            let rest = up_to_live(node, come_back(node, "/sse/c", &event.id).await).await;
            assert_eq!(rest, all[seen + 1..], "behind {}", event.data);
        }
    }
}
