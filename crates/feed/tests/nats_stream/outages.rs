//! NATS goes away and comes back: what was missed comes first, in order, and what cannot be had is declared.

use std::sync::atomic::Ordering;

use fantail_testkit::proxy::Cut;
use fantail_testkit::{Direction, FaultProxy, NatsServer};

use crate::log_node::LogNode;
use crate::node::{publish, server_with_stream};

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn events_published_while_the_connection_was_cut_come_when_it_is_back() {
    let server = server_with_stream().await;
    let proxy = FaultProxy::start(server.addr()).unwrap();
    let names = ["a", "b", "c"];
    let mut node = LogNode::following(&format!("nats://{}", proxy.addr()), &names).await;
    for number in 0..300 {
        if number % 60 == 20 {
            proxy.cut(Cut::Reset).await.unwrap();
        }
        publish(&server, &number.to_string(), names[number % 3]).await;
    }
    node.until_data("299").await;
    assert_eq!(node.data(), numbers(0..300));
    assert_eq!(node.told().len(), 300, "nothing else was told: {:?}", node.told());
    assert!(node.feed.counters().repaired.load(Ordering::Relaxed) > 0);
}

#[tokio::test]
async fn a_killed_server_that_kept_its_stream_is_an_outage_without_a_gap() {
    let mut server = server_with_stream().await;
    let mut node = LogNode::following(&server.url(), &["a"]).await;
    publish(&server, "1", "a").await;
    node.until_data("1").await;
    server.kill();
    server.restart().await.unwrap();
    publish(&server, "2", "a").await;
    node.until_data("2").await;
    assert_eq!(node.told(), ["1 a 1", "2 a 2"]);
}

#[tokio::test]
async fn a_server_that_stands_still_is_noticed_and_nothing_is_missed() {
    let server = server_with_stream().await;
    let mut node = LogNode::following(&server.url(), &["a"]).await;
    server.stop_signal().unwrap();
    node.wait_for("the loss", |node| node.told.iter().any(|line| line == "lost")).await;
    server.cont().unwrap();
    publish(&server, "after", "a").await;
    node.until_data("after").await;
    assert_eq!(node.told(), ["1 a after"]);
}

#[tokio::test]
async fn a_connection_over_which_nothing_comes_any_more_is_given_up() {
    let server = server_with_stream().await;
    let proxy = FaultProxy::start(server.addr()).unwrap();
    let mut node = LogNode::following(&format!("nats://{}", proxy.addr()), &["a"]).await;
    proxy.pause_direction(Direction::FromTarget);
    publish(&server, "missed", "a").await;
    node.wait_for("the loss", |node| node.told.iter().any(|line| line == "lost")).await;
    proxy.resume();
    node.until_data("missed").await;
    assert_eq!(node.told(), ["1 a missed"]);
}

#[tokio::test]
async fn a_consumer_that_somebody_removed_is_noticed_and_made_anew() {
    let server = server_with_stream().await;
    let mut node = LogNode::following(&server.url(), &["a"]).await;
    let names = server.ask("$JS.API.CONSUMER.NAMES.EVENTS", "").await.unwrap();
    let name = names.split("\"consumers\":[\"").nth(1).unwrap().split('"').next().unwrap();
    server.ask(&format!("$JS.API.CONSUMER.DELETE.EVENTS.{name}"), "").await.unwrap();
    publish(&server, "missed", "a").await;
    node.until_data("missed").await;
    assert_eq!(node.told(), ["1 a missed"]);
    assert_eq!(node.feed.counters().reconnects.load(Ordering::Relaxed), 1);
}

/// A node that has got one event, `seen`, and is cut off from its server until the proxy accepts again.
async fn cut_off_behind_one() -> (NatsServer, FaultProxy, LogNode) {
    let server = server_with_stream().await;
    let proxy = FaultProxy::start(server.addr()).unwrap();
    let mut node = LogNode::following(&format!("nats://{}", proxy.addr()), &["a"]).await;
    publish(&server, "seen", "a").await;
    node.until_data("seen").await;
    node.cut_off(&proxy).await;
    (server, proxy, node)
}

#[tokio::test]
async fn messages_that_were_purged_during_an_outage_are_declared() {
    for (keep, lost) in [(0, "gap a 11 trimmed"), (4, "gap a 7 trimmed")] {
        let (server, proxy, mut node) = cut_off_behind_one().await;
        for number in 0..10 {
            publish(&server, &number.to_string(), "a").await;
        }
        server.ask("$JS.API.STREAM.PURGE.EVENTS", &format!("{{\"keep\":{keep}}}")).await.unwrap();
        proxy.accept().await.unwrap();
        node.wait_for(lost, |node| node.told.iter().any(|line| line == lost)).await;
        publish(&server, "last", "a").await;
        node.until_data("last").await;
        assert_eq!(node.data().len(), 2 + keep, "{:?}", node.told());
    }
}

#[tokio::test]
async fn a_message_that_was_deleted_during_an_outage_is_declared_in_its_place() {
    let (server, proxy, mut node) = cut_off_behind_one().await;
    for number in 2..6 {
        publish(&server, &number.to_string(), "a").await;
    }
    server.ask("$JS.API.STREAM.MSG.DELETE.EVENTS", "{\"seq\":4}").await.unwrap();
    proxy.accept().await.unwrap();
    node.until_data("5").await;
    assert_eq!(node.told(), ["1 a seen", "2 a 2", "3 a 3", "gap a 4 trimmed", "5 a 5"]);
}

#[tokio::test]
async fn a_purge_and_deletions_of_what_was_delivered_tell_nothing() {
    let server = server_with_stream().await;
    let mut node = LogNode::following(&server.url(), &["a"]).await;
    for number in 0..5 {
        publish(&server, &number.to_string(), "a").await;
    }
    node.until_data("4").await;
    server.ask("$JS.API.STREAM.MSG.DELETE.EVENTS", "{\"seq\":5}").await.unwrap();
    server.ask("$JS.API.STREAM.MSG.DELETE.EVENTS", "{\"seq\":3}").await.unwrap();
    server.ask("$JS.API.STREAM.PURGE.EVENTS", "").await.unwrap();
    publish(&server, "after", "a").await;
    node.until_data("after").await;
    assert_eq!(node.told().len(), 6, "{:?}", node.told());
    assert_eq!(node.feed.counters().outages.load(Ordering::Relaxed), 0);
}
