//! Publishing through the log: what is accepted has its id at once, and is kept.

use std::time::Duration;

use fantail_feed::{LogRetention, PublishError, RedisPublisher, RedisSettings};
use fantail_testkit::{RedisServer, Reply};

use crate::feed_node::{FeedNode, eventually, publication, text};

const STREAM: &str = "fantail-stream:{0}:a";

fn with_log(url: &str) -> RedisSettings {
    let mut settings = RedisSettings::parse(url).unwrap();
    settings.log = Some(LogRetention { events_max: 3, age_max: Duration::from_hours(1) });
    settings
}

/// Waits until the node has told Redis how much is kept, which it does over another connection than it publishes by.
async fn until_bounded(server: &RedisServer) {
    let is_told = async || {
        let events_max = server.command(&["HGET", "fantail-log:{0}", "events_max"]).await.unwrap();
        events_max.text().as_deref() == Some("3")
    };
    eventually("the bound of the log", is_told).await;
}

async fn kept(server: &RedisServer) -> i64 {
    server.command(&["XLEN", STREAM]).await.unwrap().integer().unwrap()
}

#[tokio::test]
async fn an_event_has_its_id_when_it_is_accepted_and_the_node_sets_what_is_kept() {
    let server = RedisServer::start().await.unwrap();
    let node = FeedNode::start_with(with_log(&server.url()));
    until_bounded(&server).await;
    let mut reader = server.connection().await.unwrap();
    reader.command(&["SUBSCRIBE", "fantail-log:{0}:a"]).await.unwrap();
    for number in 1..=5 {
        let receipt = node.feed.publish(&publication(&["a"], text("x"))).await.unwrap();
        assert_eq!((receipt.id.unwrap().number, receipt.subscribers), (number, Some(1)));
        let push = reader.reply().await.unwrap();
        let message = push.array().unwrap()[2].text().unwrap();
        assert!(message.starts_with(&format!("{} ", receipt.id.unwrap())), "{message}");
    }
    assert_eq!(kept(&server).await, 3);
}

#[tokio::test]
async fn a_publisher_without_a_node_uses_the_same_log_and_leaves_its_bounds_alone() {
    let server = RedisServer::start().await.unwrap();
    let node = FeedNode::start_with(with_log(&server.url()));
    until_bounded(&server).await;
    let first = node.feed.publish(&publication(&["a"], text("x"))).await.unwrap().id.unwrap();
    let mut settings = with_log(&server.url());
    settings.log = Some(LogRetention::default());
    let mut publisher = RedisPublisher::connect(settings).await.unwrap();
    for number in 2..=6 {
        let id = publisher.publish(&publication(&["a", "b"], text("x"))).await.unwrap().id.unwrap();
        assert_eq!((id.term, id.number), (first.term, number));
    }
    assert_eq!(kept(&server).await, 3);
}

#[tokio::test]
async fn an_error_of_the_log_is_told_in_its_own_words() {
    let server = RedisServer::start().await.unwrap();
    server.command(&["SET", STREAM, "foreign"]).await.unwrap();
    let expected = format!("the key {STREAM} holds something else; delete or rename it");
    let node = FeedNode::start_with(with_log(&server.url()));
    let error = node.feed.publish(&publication(&["a"], text("x"))).await.unwrap_err();
    assert_eq!(error, PublishError::Unavailable(expected.clone()));
    let mut publisher = RedisPublisher::connect(with_log(&server.url())).await.unwrap();
    let error = publisher.publish(&publication(&["a"], text("x"))).await.unwrap_err();
    assert!(error.to_string().ends_with(&expected), "{error}");
    assert!(node.feed.publish(&publication(&["b"], text("x"))).await.is_ok());
}

/// 1. The server becomes a replica while a node is connected. Its events are refused, and nothing is kept.
/// 2. The node connects again until there is a master behind the address.
#[tokio::test]
async fn a_master_that_became_a_replica_is_left() {
    let server = RedisServer::start().await.unwrap();
    let node = FeedNode::start_with(with_log(&server.url()));
    node.feed.publish(&publication(&["a"], text("x"))).await.unwrap();
    server.command(&["REPLICAOF", "127.0.0.1", "1"]).await.unwrap();
    let error = node.feed.publish(&publication(&["a"], text("x"))).await.unwrap_err();
    assert!(matches!(error, PublishError::Unavailable(_)), "{error}");
    eventually("the end of the connection", async || {
        let error = node.feed.publish(&publication(&["a"], text("x"))).await.unwrap_err();
        error == PublishError::Unavailable("not connected to redis".into())
    })
    .await;
    assert_eq!(kept(&server).await, 1);
    let promoted = server.command(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    assert_eq!(promoted, Reply::Simple("OK".into()));
    eventually("the way back", async || node.feed.publish(&publication(&["a"], text("x"))).await.is_ok()).await;
    assert_eq!(kept(&server).await, 2);
}

#[tokio::test]
async fn a_restart_of_redis_begins_a_term_and_publishing_goes_on() {
    let mut server = RedisServer::start_durable().await.unwrap();
    let node = FeedNode::start_with(with_log(&server.url()));
    let before = node.feed.publish(&publication(&["a"], text("x"))).await.unwrap().id.unwrap();
    server.restart().await.unwrap();
    eventually("the way back", async || {
        let Ok(receipt) = node.feed.publish(&publication(&["a"], text("x"))).await else { return false };
        let id = receipt.id.unwrap();
        assert!(id.term != before.term && id.number > before.number, "{before} {id}");
        true
    })
    .await;
}
