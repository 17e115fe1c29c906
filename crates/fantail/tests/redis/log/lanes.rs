//! Several lanes: each is a log of its own, a stream is in one of them, and a request that mixes them is refused.

use fantail_testkit::proxy::Cut;
use fantail_testkit::{Fantail, FaultProxy, PATIENCE, RedisServer, Response, http};

use crate::broker::{behind_proxy, call, come_back, node_at, publish, up_to, up_to_live, words};
use crate::node::{ask, metrics, publish_json, publish_to, subscribe};

const LANES: [&str; 2] = ["--redis-log-lanes", "orders,users"];

/// Waits until the feed is in this state.
async fn until_feed_is(node: &Fantail, state: &str) {
    let started = tokio::time::Instant::now();
    let expected = format!("\"feed\":\"{state}\"");
    loop {
        let answer = ask(node, "GET", "/readyz").await;
        if answer.text().contains(&expected) {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "the feed stays {}", answer.text());
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

async fn node_with_lanes(redis: &RedisServer) -> Fantail {
    let node = node_at(redis.addr(), &LANES).await;
    until_feed_is(&node, "connected").await;
    node
}

async fn with_lanes_behind_proxy(redis: &RedisServer) -> (Fantail, FaultProxy) {
    let (node, proxy) = behind_proxy(redis, &LANES).await;
    until_feed_is(&node, "connected").await;
    (node, proxy)
}

async fn stream_answer(node: &Fantail, target: &str) -> Response {
    http(node.public(), "GET", target, &[], "").await.unwrap()
}

#[tokio::test]
async fn streams_of_all_lanes_get_their_own_events_and_resume_in_their_own_lane_on_any_node() {
    let redis = RedisServer::start().await.unwrap();
    let nodes = [node_with_lanes(&redis).await, node_with_lanes(&redis).await];
    let paths = ["/sse?channel=a&channel=b", "/sse/@orders/7", "/sse?channel=@users/1&channel=@users/2"];
    let mut streams = Vec::new();
    for path in paths {
        streams.push(subscribe(&nodes[0], path).await);
    }
    for round in 1..=3 {
        for (lane, channels) in [("plain", &["a", "b"][..]), ("orders", &["@orders/7"]), ("users", &["@users/2"])] {
            publish(&redis, &format!("{lane} {round}"), channels).await;
        }
    }
    for (stream, (path, lane)) in streams.iter_mut().zip(paths.into_iter().zip(["plain", "orders", "users"])) {
        let events = up_to(stream, &format!("{lane} 3")).await;
        assert_eq!(words(&events), [1, 2, 3].map(|round| format!("{lane} {round}")));
        let elsewhere = up_to_live(&nodes[1], come_back(&nodes[1], path, &events[0].id).await).await;
        assert_eq!(words(&elsewhere), [2, 3].map(|round| format!("{lane} {round}")), "{path}");
    }
}

#[tokio::test]
async fn a_stream_of_channels_of_several_lanes_is_refused_with_both_named() {
    let redis = RedisServer::start().await.unwrap();
    let node = node_with_lanes(&redis).await;
    for (target, told) in [
        ("/sse?channel=a&channel=@orders/7", "a and @orders/7 are in different lanes"),
        ("/sse?channel=@orders/7&channel=@orders/8&channel=@users/1", "@orders/7 and @users/1 are in different lanes"),
        ("/sse/@order/7", "@order/7 is in a lane that is not served here"),
    ] {
        let answer = stream_answer(&node, target).await;
        assert_eq!(answer.status, 400, "{target}: {}", answer.text());
        assert!(answer.text().contains(told), "{target}: {}", answer.text());
    }
}

#[tokio::test]
async fn an_event_for_channels_of_several_lanes_is_refused_by_every_entrance() {
    let redis = RedisServer::start().await.unwrap();
    let node = node_with_lanes(&redis).await;
    let mixed = publish_json(&node, r#"{"channels":["a","@orders/7"],"data":"x"}"#).await;
    assert_eq!(mixed.status, 400, "{}", mixed.text());
    assert!(mixed.text().contains("are in different lanes"), "{}", mixed.text());
    let unserved = publish_json(&node, r#"{"channel":"@order/7","data":"x"}"#).await;
    assert_eq!(unserved.status, 400, "{}", unserved.text());
    let envelope = serde_json::json!({ "data": "x" });
    let reply = call(&mut redis.connection().await.unwrap(), &envelope, &["a", "@orders/7"]).await;
    let reply = format!("{reply:?}");
    assert!(reply.contains("@orders/7 is in the lane orders"), "{reply}");
    let mut stream = subscribe(&node, "/sse?channel=@orders/7&channel=@orders/8").await;
    publish_to(&node, &["@orders/7", "@orders/8"], "both").await;
    assert_eq!(words(&up_to(&mut stream, "both").await), ["both"]);
}

/// A client may have kept an id from a stream of another lane. Its number means nothing here.
#[tokio::test]
async fn an_id_of_another_lane_is_declared_unknown() {
    let redis = RedisServer::start().await.unwrap();
    let node = node_with_lanes(&redis).await;
    let mut id = String::new();
    for number in 1..=3 {
        id = publish(&redis, &format!("plain {number}"), &["a"]).await;
        publish(&redis, &format!("order {number}"), &["@orders/7"]).await;
    }
    // With an early time, since the replay goes by it.
    let parts: Vec<_> = id.split('.').collect();
    let id = format!("{}.0.{}", parts[0], parts[2]);
    let events = up_to_live(&node, come_back(&node, "/sse/@orders/7", &id).await).await;
    assert_eq!(words(&events), ["gap @orders/7 unknown-id", "order 1", "order 2", "order 3"]);
}

#[tokio::test]
async fn all_lanes_are_repaired_after_an_outage() {
    let redis = RedisServer::start().await.unwrap();
    let (node, proxy) = with_lanes_behind_proxy(&redis).await;
    let (mut plain, mut orders) = (subscribe(&node, "/sse/a").await, subscribe(&node, "/sse/@orders/7").await);
    for round in 0..3 {
        proxy.refuse().await.unwrap();
        proxy.cut(Cut::Reset).await.unwrap();
        until_feed_is(&node, "connecting").await;
        for number in 0..50 {
            publish(&redis, &format!("{round} {number}"), &["a"]).await;
            publish(&redis, &format!("{round} {number}"), &["@orders/7"]).await;
        }
        proxy.accept().await.unwrap();
        for stream in [&mut plain, &mut orders] {
            let events = up_to(stream, &format!("{round} 49")).await;
            assert_eq!(words(&events), (0..50).map(|number| format!("{round} {number}")).collect::<Vec<_>>());
        }
    }
    assert_eq!(metrics(&node).await.count("fantail_gaps_sent_total"), 0);
}

#[tokio::test]
async fn plain_publish_reaches_channels_of_every_lane() {
    let redis = RedisServer::start().await.unwrap();
    let node = node_with_lanes(&redis).await;
    let mut stream = subscribe(&node, "/sse/@orders/7").await;
    redis.publish("fantail:@orders/7", "beside").await.unwrap();
    publish(&redis, "numbered", &["@orders/7"]).await;
    assert_eq!(words(&up_to(&mut stream, "numbered").await), ["beside", "numbered"]);
}

#[tokio::test]
async fn without_a_log_a_lane_in_a_channel_name_means_nothing() {
    let redis = RedisServer::start().await.unwrap();
    let url = redis.url();
    let node = crate::node::node(&["--redis-url", &url]).await;
    crate::node::until_ready(&node, true).await;
    let mut stream = subscribe(&node, "/sse?channel=a&channel=@orders/7").await;
    redis.publish("fantail:@orders/7", "x").await.unwrap();
    assert_eq!(words(&up_to(&mut stream, "x").await), ["x"]);
}
