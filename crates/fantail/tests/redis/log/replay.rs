//! First connects that ask for the past get it from Redis, from a node that has never heard of the channel.

use fantail_testkit::{PATIENCE, RedisServer};

use crate::broker::{come_back, logging, publish, publish_all, texts, up_to, up_to_live, words};
use crate::node::{metrics, subscribe};

#[tokio::test]
async fn a_node_that_never_followed_a_channel_replays_it() {
    let redis = RedisServer::start().await.unwrap();
    let _first = logging(&redis).await; // brings the functions
    let all = texts("event", 1..=400); // more than a node reads at a time
    let ids = publish_all(&redis, "c", &all).await;
    for (replay, from) in [("1", 399), ("3", 397), ("300", 100), ("400", 0), ("401", 0), ("all", 0), ("0", 400)] {
        let node = logging(&redis).await;
        let events = up_to_live(&node, subscribe(&node, &format!("/sse/c?replay={replay}")).await).await;
        assert_eq!(words(&events), all[from..], "replay={replay}");
        assert!(events.iter().zip(&ids[from..]).all(|(event, id)| event.own_id.as_ref() == Some(id)));
        assert_eq!(metrics(&node).await.count("fantail_gaps_sent_total"), 0, "older events were never promised");
    }
}

#[tokio::test]
async fn on_one_node_later_replays_reach_further_back_than_earlier_ones() {
    let redis = RedisServer::start().await.unwrap();
    let node = logging(&redis).await;
    let mut all = texts("event", 1..=10);
    publish_all(&redis, "c", &all).await;
    for (replay, events) in [("2", 2), ("5", 5), ("3", 3), ("all", 10), ("100", 10)] {
        let mut stream = subscribe(&node, &format!("/sse/c?replay={replay}")).await;
        let expected = all[all.len() - events..].to_vec();
        assert_eq!(words(&stream.next_events(events, PATIENCE).await.unwrap()), expected, "replay={replay}");
        assert_eq!(words(&up_to_live(&node, stream).await), [""; 0], "replay={replay}");
    }
    // The events that came live since join those that were read back.
    let mut stream = subscribe(&node, "/sse/c?replay=all").await;
    publish(&redis, "live", &["c"]).await;
    all.push("live".into());
    assert_eq!(words(&up_to(&mut stream, "live").await), all);
}

#[tokio::test]
async fn a_replay_counts_events_over_all_channels_of_the_stream_and_each_of_them_once() {
    let redis = RedisServer::start().await.unwrap();
    let _first = logging(&redis).await;
    for (data, channels) in
        [("1", &["a"][..]), ("2", &["b"]), ("3", &["a", "b"]), ("4", &["a"]), ("x", &["x"]), ("5", &["b", "a"])]
    {
        publish(&redis, data, channels).await;
    }
    let all = ["1", "2", "3", "4", "5"];
    for (replay, from) in [("1", 4), ("2", 3), ("3", 2), ("4", 1), ("5", 0), ("all", 0)] {
        let node = logging(&redis).await;
        let path = format!("/sse?channel=a&channel=b&channel=quiet&replay={replay}");
        assert_eq!(words(&up_to_live(&node, subscribe(&node, &path).await).await), all[from..], "replay={replay}");
    }
}

#[tokio::test]
async fn a_client_that_comes_back_with_an_id_gets_what_is_behind_it_and_no_replay() {
    let redis = RedisServer::start().await.unwrap();
    let node = logging(&redis).await;
    let ids = publish_all(&redis, "c", &texts("event", 1..=5)).await;
    let events = up_to_live(&node, come_back(&node, "/sse/c?replay=all", &ids[3]).await).await;
    assert_eq!(words(&events), ["event 5"]);
}
