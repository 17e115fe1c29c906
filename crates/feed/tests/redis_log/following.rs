//! The log while nothing fails.

use fantail_testkit::RedisServer;
use fantail_wire::Lane;

use crate::log_node::{LogNode, channel};
use crate::node::publish;

#[tokio::test]
async fn every_node_gets_every_event_with_the_number_that_redis_gave_it() {
    let server = RedisServer::start().await.unwrap();
    let mut here = LogNode::following(&server.url(), &["a", "b"]).await;
    let mut there = LogNode::following(&server.url(), &["b"]).await;
    publish(&server, "1", &["a"]).await;
    publish(&server, "2", &["b"]).await;
    publish(&server, "3", &["a", "b", "x"]).await;
    publish(&server, "4", &["b"]).await;
    here.until_data("4").await;
    there.until_data("4").await;
    assert_eq!(here.told(), ["1 a 1", "2 b 2", "3 a+b 3", "4 b 4"]);
    assert_eq!(there.told(), ["2 b 2", "3 b 3", "4 b 4"]);
    assert_eq!(here.intake.lock().ids[1..], there.intake.lock().ids[..], "one event has one id everywhere");
}

#[tokio::test]
async fn plain_events_come_live_and_unnumbered() {
    let server = RedisServer::start().await.unwrap();
    let mut node = LogNode::following(&server.url(), &["a"]).await;
    publish(&server, "1", &["a"]).await;
    server.publish("fantail:a", "plain").await.unwrap();
    server.publish("fantail-event:a", "{\"data\":\"enveloped\"}").await.unwrap();
    publish(&server, "2", &["a"]).await;
    node.until_data("2").await;
    assert_eq!(node.told(), ["1 a 1", "unnumbered a plain", "unnumbered a enveloped", "2 a 2"]);
}

#[tokio::test]
async fn a_channel_followed_later_is_complete_from_its_confirmation_on() {
    let server = RedisServer::start().await.unwrap();
    let mut node = LogNode::following(&server.url(), &["a"]).await;
    for round in 0..50 {
        let name = format!("c{round}");
        publish(&server, "early", &[&name]).await;
        node.follow(&[&name]).await;
        publish(&server, &format!("late{round}"), &[&name]).await;
        node.until_data(&format!("late{round}")).await;
    }
    assert!(!node.data().contains(&"early".to_owned()));
}

#[tokio::test]
async fn a_channel_that_is_let_go_and_followed_again_at_once_has_no_hole() {
    let server = RedisServer::start().await.unwrap();
    let mut node = LogNode::following(&server.url(), &["a"]).await;
    for round in 0..50 {
        node.feed.unfollow(&channel("a"));
        publish(&server, "between", &["a"]).await;
        node.follow(&["a"]).await;
        publish(&server, &format!("after{round}"), &["a"]).await;
        node.until_data(&format!("after{round}")).await;
    }
    assert_eq!(node.told().iter().filter(|line| line.starts_with("gap")).count(), 0);
}

#[tokio::test]
async fn a_quiet_node_learns_how_far_the_log_is_when_it_asks() {
    let server = RedisServer::start().await.unwrap();
    let mut node = LogNode::following(&server.url(), &["a"]).await;
    let id = publish(&server, "x", &["not-followed"]).await;
    node.feed.sync(Lane::default());
    let knows =
        |node: &crate::log_node::LogNodeRecorder| node.terms.as_ref().is_some_and(|terms| terms.number >= id.number);
    node.wait_for("the answer", knows).await;
}
