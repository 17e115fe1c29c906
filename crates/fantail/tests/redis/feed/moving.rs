//! Moving from node to node without the log: the ids of one node mean nothing to the other, and the client gets a gap.
//! Then it gets the events that it may have missed on its way, and not all that is kept.

use fantail_testkit::{Fantail, PATIENCE, RedisServer, Signal, SseClient};

use crate::broker::fed_by;
use crate::node::{metrics, read_to_close, subscribe, until_ready, up_to_live, words};

/// A little more than the default number of events that follow an unknown id.
const PUBLISHED: usize = 600;

/// Publishes the texts 1 to `PUBLISHED` and returns the id that node `here` gave to the last. Node `there` has it too.
async fn publish_all(redis: &RedisServer, here: &Fantail, there: &Fantail) -> String {
    let mut streams = [subscribe(here, "/sse/c").await, subscribe(there, "/sse/c").await];
    for number in 1..=PUBLISHED {
        redis.publish("fantail:c", &number.to_string()).await.unwrap();
    }
    let mut ids = Vec::new();
    for stream in &mut streams {
        let events = stream.next_events(PUBLISHED, PATIENCE).await.unwrap();
        ids.push(events.last().unwrap().id.clone());
    }
    ids.swap_remove(0)
}

/// The events of a client that comes to a node with an id.
async fn come_back(node: &Fantail, id: &str) -> Vec<String> {
    let client = SseClient::request(node.public(), "/sse/c").last_event_id(id).connect().await.unwrap();
    words(&up_to_live(node, client).await)
}

fn gap_and_from(first: usize) -> Vec<String> {
    let gap = "gap c unknown-id".to_owned();
    std::iter::once(gap).chain((first..=PUBLISHED).map(|number| number.to_string())).collect()
}

#[tokio::test]
async fn a_move_repeats_no_more_than_the_newest_few_however_much_is_kept() {
    let redis = RedisServer::start().await.unwrap();
    let (here, there) = (fed_by(&redis, &[]).await, fed_by(&redis, &[]).await);
    let id = publish_all(&redis, &here, &there).await;
    let moved = come_back(&there, &id).await;
    assert!((1..=257).contains(&moved.len()), "{}", moved.len());
    assert_eq!(moved, gap_and_from(PUBLISHED + 2 - moved.len()));
    // A wrong clock changes how much is repeated behind the gap, within the bound.
    let parts: Vec<_> = id.split('.').collect();
    let with_time = |ms: u64| format!("{}.{ms}.{}", parts[0], parts[2]);
    assert_eq!(come_back(&there, &with_time(0)).await, gap_and_from(PUBLISHED - 255));
    assert_eq!(come_back(&there, &with_time(u64::MAX)).await, gap_and_from(PUBLISHED + 1));
    assert_eq!(come_back(&there, "no id at all").await, gap_and_from(PUBLISHED - 255));
    assert_eq!(metrics(&there).await.count("fantail_ids_unknown_total"), 4);
}

#[tokio::test]
async fn a_setting_says_how_many_events_follow_an_unknown_id_and_may_be_none() {
    let redis = RedisServer::start().await.unwrap();
    let here = fed_by(&redis, &[]).await;
    for (max, follow) in [("0", 0), ("7", 7), ("100000", PUBLISHED)] {
        let there = fed_by(&redis, &["--unknown-id-replay-max", max]).await;
        publish_all(&redis, &here, &there).await;
        assert_eq!(come_back(&there, "no id at all").await, gap_and_from(PUBLISHED + 1 - follow), "{max}");
    }
}

/// 1. A stream is open at a node, and another node has the channel too. The node drains.
/// 2. While the client is on its way, events are published.
/// 3. At the other node it is told of a gap, and yet gets every one of them.
#[tokio::test]
async fn events_published_while_a_client_moves_follow_the_gap() {
    let redis = RedisServer::start().await.unwrap();
    let here = fed_by(&redis, &["--drain-window", "0s"]).await;
    let there = fed_by(&redis, &[]).await;
    let mut other = subscribe(&there, "/sse/c").await;
    let request = SseClient::request(here.public(), "/sse/c").keep_body();
    let mut client = request.connect().await.unwrap();
    redis.publish("fantail:c", "before").await.unwrap();
    let seen = client.next_event(PATIENCE).await.unwrap();
    assert_eq!(seen.data, "before");
    here.signal(Signal::TERM).unwrap();
    assert_eq!(read_to_close(&mut client).await.1, "drained");
    for number in 1..=50 {
        redis.publish("fantail:c", &number.to_string()).await.unwrap();
    }
    other.next_events(51, PATIENCE).await.unwrap();
    until_ready(&there, true).await;
    let moved = come_back(&there, &seen.id).await;
    let missed: Vec<_> = (1..=50).map(|number| number.to_string()).collect();
    assert_eq!(moved[0], "gap c unknown-id");
    assert!(moved.ends_with(&missed), "{moved:?}");
    assert!(moved.len() <= 52, "what it had comes again once at most: {moved:?}");
}
