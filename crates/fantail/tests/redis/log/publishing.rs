//! Every way to publish returns the event's id, and a client that has it goes on exactly behind that event.

use fantail_testkit::{Fantail, RedisServer, RespConnection, http};
use serde_json::{Value, json};

use crate::broker::{call, come_back, id_of, logging, up_to, up_to_live, words};
use crate::node::{FANTAIL, publish, publish_to, subscribe};

/// The receipt of `fantail publish`.
async fn run_publish(redis: &RedisServer, arguments: &[&str]) -> Value {
    let url = redis.url();
    let all = [&["publish", "--redis-url", &url, "--redis-log"], arguments].concat();
    let (status, output) = Fantail::run_to_end(FANTAIL, &all, &[]).await.unwrap();
    assert!(status.success(), "{}", output.stderr);
    serde_json::from_str(&output.stdout).unwrap()
}

#[tokio::test]
async fn the_id_that_a_publisher_gets_is_the_one_that_clients_get_and_resumes_behind_the_event() {
    let redis = RedisServer::start().await.unwrap();
    let (here, there) = (logging(&redis).await, logging(&redis).await);
    let mut streams = [subscribe(&here, "/sse/c").await, subscribe(&there, "/sse/c").await];
    let mut receipts = vec![
        publish(&here, "c", "over http").await,
        publish(&there, "c?event=tick", "with a type").await,
        publish_to(&here, &["c", "d"], "for two channels").await,
        run_publish(&redis, &["c", "by the program"]).await,
        run_publish(&redis, &["--event", "tick", "--channel", "c", "--channel", "d", "for two by the program"]).await,
    ];
    let mut connection: RespConnection = redis.connection().await.unwrap();
    let reply = call(&mut connection, &json!({ "data": "by a call" }), &["c"]).await;
    receipts.push(json!({ "id": id_of(&reply), "subscribers": reply.array().unwrap()[1].integer().unwrap() }));

    for stream in &mut streams {
        let events = up_to(stream, "by a call").await;
        let ids: Vec<_> = events.iter().map(|event| json!({ "id": event.own_id, "subscribers": 2 })).collect();
        assert_eq!(ids, receipts);
    }
    let all = ["over http", "with a type", "for two channels", "by the program", "for two by the program", "by a call"];
    for node in [&here, &there, &logging(&redis).await] {
        for (seen, receipt) in receipts.iter().enumerate() {
            let back = come_back(node, "/sse/c", receipt["id"].as_str().unwrap()).await;
            assert_eq!(words(&up_to_live(node, back).await), all[seen + 1..]);
        }
    }
}

/// Redis gives the numbers, so an event that no node follows has an id as well.
#[tokio::test]
async fn an_event_that_no_node_follows_is_kept() {
    let redis = RedisServer::start().await.unwrap();
    let node = logging(&redis).await;
    let first = publish(&node, "c", "1").await;
    assert_eq!(first["subscribers"], 0);
    publish(&node, "c", "2").await;
    run_publish(&redis, &["c", "3"]).await;
    let back = come_back(&node, "/sse/c", first["id"].as_str().unwrap()).await;
    assert_eq!(words(&up_to_live(&node, back).await), ["2", "3"]);
}

#[tokio::test]
async fn a_publisher_that_names_its_own_id_is_told_that_of_the_log_and_both_resume() {
    let redis = RedisServer::start().await.unwrap();
    let node = logging(&redis).await;
    let mut stream = subscribe(&node, "/sse/c").await;
    let receipt = publish(&node, "c?id=order-7", "1").await;
    publish(&node, "c", "2").await;
    assert_eq!(up_to(&mut stream, "2").await[0].own_id.as_deref(), Some("order-7"));
    for node in [&node, &logging(&redis).await] {
        for id in ["order-7", receipt["id"].as_str().unwrap()] {
            assert_eq!(words(&up_to_live(node, come_back(node, "/sse/c", id).await).await), ["2"], "{id}");
        }
    }
}

#[tokio::test]
async fn an_event_that_the_function_refuses_is_neither_kept_nor_numbered() {
    let redis = RedisServer::start().await.unwrap();
    let node = logging(&redis).await;
    let first = publish(&node, "c", "1").await;
    let mut connection = redis.connection().await.unwrap();
    for (envelope, channels) in [
        (json!({ "data": 7 }), &["c"][..]),
        (json!({ "data": "x", "event": "fantail.gap" }), &["c"]),
        (json!({ "data": "x", "id": first["id"] }), &["c"]),
        (json!({ "data": "x" }), &["c", "not a channel"]),
        (json!({ "data": "x" }), &[]),
    ] {
        let reply = call(&mut connection, &envelope, channels).await;
        assert!(reply.array().is_none(), "{envelope} {channels:?}: {reply:?}");
    }
    let answer = http(node.internal(), "POST", "/publish/c?event=fantail.gap", &[], "x").await.unwrap();
    assert_eq!(answer.status, 400, "{}", answer.text());
    let second = publish(&node, "c", "2").await;
    let number = |receipt: &Value| receipt["id"].as_str().unwrap().rsplit('.').next().unwrap().parse::<u64>().unwrap();
    assert_eq!(number(&second), number(&first) + 1);
    let back = come_back(&node, "/sse/c?replay=all", "").await;
    assert_eq!(words(&up_to_live(&node, back).await), ["1", "2"]);
}
