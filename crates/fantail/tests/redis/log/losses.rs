//! Redis loses its connections, its process, or its data, under open streams. They stay open, get the events that Redis
//! kept, and get one gap where something may be missing. Publishing goes on.

use fantail_testkit::RedisServer;

use crate::broker::{behind_proxy, come_back, cut_off, logging, publish, up_to, up_to_live, words};
use crate::node::{metrics, subscribe, until_ready};

#[tokio::test]
async fn a_lost_connection_is_repaired_and_nobody_is_told_of_it() {
    let redis = RedisServer::start().await.unwrap();
    let (node, proxy) = behind_proxy(&redis, &[]).await;
    let mut single = subscribe(&node, "/sse/a").await;
    let mut both = subscribe(&node, "/sse?channel=a&channel=b").await;
    for round in ["1", "2"] {
        publish(&redis, "live", &["a"]).await;
        let id = up_to(&mut single, "live").await.last().unwrap().id.clone();
        cut_off(&node, &proxy).await;
        publish(&redis, "missed a", &["a"]).await;
        publish(&redis, "missed b", &["b"]).await;
        proxy.accept().await.unwrap();
        until_ready(&node, true).await;
        publish(&redis, round, &["a", "b"]).await;
        assert_eq!(words(&up_to(&mut single, round).await), ["missed a", round]);
        assert_eq!(words(&up_to(&mut both, round).await), ["live", "missed a", "missed b", round]);
        let back = up_to_live(&node, come_back(&node, "/sse?channel=a&channel=b", &id).await).await;
        assert_eq!(words(&back), ["missed a", "missed b", round]);
    }
    let told = metrics(&node).await;
    assert_eq!(told.count("fantail_feed_repaired_events_total"), 4);
    assert_eq!((told.count("fantail_gaps_sent_total"), told.count("fantail_feed_recalls_total")), (0, 0));
}

/// 1. One node is cut off from Redis, and misses two events.
/// 2. Redis is killed, and started again with all its data.
/// 3. An event is published at once, and another when both nodes are back.
#[tokio::test]
async fn after_a_restart_with_its_data_streams_get_what_redis_kept_and_one_gap_per_channel() {
    let mut redis = RedisServer::start_durable().await.unwrap();
    let here = logging(&redis).await;
    let (there, proxy) = behind_proxy(&redis, &[]).await;
    let mut singles = [subscribe(&here, "/sse/a").await, subscribe(&there, "/sse/a").await];
    let path = "/sse?channel=a&channel=b";
    let mut boths = [subscribe(&here, path).await, subscribe(&there, path).await];
    let first = publish(&redis, "1", &["a"]).await;
    for stream in singles.iter_mut().chain(&mut boths) {
        up_to(stream, "1").await;
    }
    cut_off(&there, &proxy).await;
    publish(&redis, "2", &["a"]).await;
    publish(&redis, "3", &["b"]).await;
    up_to(&mut singles[0], "2").await;
    up_to(&mut boths[0], "3").await;
    redis.kill();
    until_ready(&here, false).await;
    redis.restart().await.unwrap();
    publish(&redis, "4", &["a", "b"]).await;
    proxy.accept().await.unwrap();
    until_ready(&here, true).await;
    until_ready(&there, true).await;
    publish(&redis, "5", &["a"]).await;

    let single = ["2", "gap a term-ended", "4", "5"];
    let both = ["2", "3", "gap a term-ended", "gap b term-ended", "4", "5"];
    assert_eq!(words(&up_to(&mut singles[0], "5").await), single[1..]);
    assert_eq!(words(&up_to(&mut singles[1], "5").await), single);
    assert_eq!(sorted_gaps(&words(&up_to(&mut boths[0], "5").await)), both[2..]);
    assert_eq!(sorted_gaps(&words(&up_to(&mut boths[1], "5").await)), both);
    for node in [&here, &there, &logging(&redis).await] {
        let back = up_to_live(node, come_back(node, path, &first).await).await;
        assert_eq!(sorted_gaps(&words(&back)), both);
    }
}

#[tokio::test]
async fn after_an_empty_restart_streams_are_told_once_and_go_on() {
    let mut redis = RedisServer::start().await.unwrap();
    let here = logging(&redis).await;
    let mut stream = subscribe(&here, "/sse/a").await;
    let mut both = subscribe(&here, "/sse?channel=a&channel=b").await;
    let mut ids = Vec::new();
    for round in 0..2 {
        let (before, after) = (format!("before {round}"), format!("after {round}"));
        ids.push(publish(&redis, &before, &["a"]).await);
        up_to(&mut both, &before).await;
        redis.kill();
        until_ready(&here, false).await;
        redis.restart().await.unwrap();
        until_ready(&here, true).await;
        publish(&redis, &after, &["a"]).await;
        assert_eq!(words(&up_to(&mut stream, &after).await), [&before, "gap a term-ended", &after]);
        let told = words(&up_to(&mut both, &after).await);
        assert_eq!(sorted_gaps(&told), ["gap a term-ended", "gap b term-ended", &after]);
    }
    // This node remembers events that Redis has forgotten; another one cannot.
    let back = up_to_live(&here, come_back(&here, "/sse/a", &ids[0]).await).await;
    let owed = ["gap a term-ended", "after 0", "before 1", "gap a term-ended", "after 1"];
    assert_eq!(words(&back), owed);
    let fresh = logging(&redis).await;
    for id in &ids {
        let back = up_to_live(&fresh, come_back(&fresh, "/sse/a", id).await).await;
        assert_eq!(words(&back), ["gap a unknown-id", "after 1"]);
    }
}

/// Deletions in Redis, and the events of the open streams of `a` between the event before and the event after.
const FORGOTTEN: [(&[&str], &[&str]); 6] = [
    (&["FLUSHALL"], &["gap a term-ended"]),
    (&["DEL", "fantail-stream:{0}:a"], &[]),
    (&["DEL", "fantail-tops:{0}"], &[]),
    (&["DEL", "fantail-log:{0}"], &["gap a term-ended"]),
    (&["DEL", "fantail-log:{0}", "fantail-tops:{0}"], &["gap a term-ended"]),
    (&["HSET", "fantail-log:{0}", "number", "1"], &["gap a term-ended"]),
];

#[tokio::test]
async fn streams_live_through_whatever_redis_forgets_and_get_all_that_follows() {
    for (forget, told) in FORGOTTEN {
        let redis = RedisServer::start().await.unwrap();
        let nodes = [logging(&redis).await, logging(&redis).await];
        let mut streams = [subscribe(&nodes[0], "/sse/a").await, subscribe(&nodes[1], "/sse/a").await];
        let first = publish(&redis, "1", &["a"]).await;
        publish(&redis, "2", &["a"]).await;
        redis.command(forget).await.unwrap();
        publish(&redis, "3", &["a"]).await;
        publish(&redis, "4", &["a"]).await;
        let expected = [&["1", "2"], told, &["3", "4"]].concat();
        for stream in &mut streams {
            assert_eq!(words(&up_to(stream, "4").await), expected, "{forget:?}");
        }
        for node in &nodes {
            let back = up_to_live(node, come_back(node, "/sse/a", &first).await).await;
            assert_eq!(words(&back), expected[1..], "{forget:?}: the node has it still");
        }
        let fresh = logging(&redis).await;
        let back = words(&up_to_live(&fresh, come_back(&fresh, "/sse/a", &first).await).await);
        assert!(back.ends_with(&["3".into(), "4".into()]), "{forget:?}: {back:?}");
        assert!(back.contains(&"2".into()) || back[0].starts_with("gap a "), "{forget:?}: {back:?}");
    }
}

/// Without the tops nobody knows what the last event of a channel was: 2 of `other` might have been of `a`.
#[tokio::test]
async fn without_the_tops_streams_get_a_gap_and_all_events_that_follow() {
    let redis = RedisServer::start().await.unwrap();
    let node = logging(&redis).await;
    let mut stream = subscribe(&node, "/sse/a").await;
    publish(&redis, "1", &["a"]).await;
    publish(&redis, "2", &["other"]).await;
    redis.command(&["DEL", "fantail-tops:{0}"]).await.unwrap();
    publish(&redis, "3", &["a"]).await;
    publish(&redis, "4", &["a"]).await;
    assert_eq!(words(&up_to(&mut stream, "4").await), ["1", "gap a lost", "gap a trimmed", "gap a trimmed", "3", "4"]);
}

#[tokio::test]
async fn a_stream_that_redis_lost_while_a_node_was_cut_off_is_a_gap_where_it_is_missing() {
    let redis = RedisServer::start().await.unwrap();
    let (node, proxy) = behind_proxy(&redis, &[]).await;
    let mut stream = subscribe(&node, "/sse?channel=a&channel=b").await;
    publish(&redis, "1", &["a"]).await;
    up_to(&mut stream, "1").await;
    cut_off(&node, &proxy).await;
    publish(&redis, "2", &["a"]).await;
    publish(&redis, "3", &["b"]).await;
    redis.command(&["DEL", "fantail-stream:{0}:a"]).await.unwrap();
    publish(&redis, "4", &["b"]).await;
    proxy.accept().await.unwrap();
    until_ready(&node, true).await;
    publish(&redis, "5", &["a"]).await;
    assert_eq!(words(&up_to(&mut stream, "5").await), ["gap a trimmed", "gap a trimmed", "3", "4", "5"]);
}

/// Gaps that stand at one place come in any order of their channels.
fn sorted_gaps(words: &[String]) -> Vec<String> {
    let mut words = words.to_vec();
    words.chunk_by_mut(|a, b| a.starts_with("gap ") && b.starts_with("gap ")).for_each(<[String]>::sort);
    words
}
