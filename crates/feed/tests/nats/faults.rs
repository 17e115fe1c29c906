//! NATS goes away, stands still or loses messages: the node notices, says so, and comes back.

use std::sync::atomic::Ordering;

use fantail_feed::{FeedState, PublishError};
use fantail_testkit::proxy::Cut;
use fantail_testkit::{Direction, FaultProxy, NatsServer};

use crate::feed_node::{FeedNode, publication, text};
use crate::node::settings;

#[tokio::test]
async fn a_killed_server_is_an_outage_of_every_channel_and_events_come_again_behind_it() {
    let mut server = NatsServer::start().await.unwrap();
    let mut node = FeedNode::following(&server.url(), &["a"]).await;
    node.feed.publish(&publication(&["a"], text("before"))).await.unwrap();
    node.until("a before").await;
    server.kill();
    node.until("lost").await;
    assert_eq!(node.feed.state(), FeedState::Connecting);
    node.feed.follow(&crate::feed_node::channel("b"));
    server.restart().await.unwrap();
    node.until("followed b").await;
    node.until_times("Connected", 2).await;
    node.feed.publish(&publication(&["a", "b"], text("after"))).await.unwrap();
    node.until("a+b after").await;
    let told = node.lines();
    assert_eq!(told[..3], ["followed a", "a before", "lost"]);
    assert!(told[3..5].contains(&"followed a".into()), "{told:?}");
    assert_eq!(node.feed.counters().outages.load(Ordering::Relaxed), 1);
    assert_eq!(node.feed.counters().reconnects.load(Ordering::Relaxed), 1);
    assert_eq!(node.feed.trouble(), None);
}

#[tokio::test]
async fn no_event_comes_behind_a_cut_before_the_cut_is_told() {
    let server = NatsServer::start().await.unwrap();
    let proxy = FaultProxy::start(server.addr()).unwrap();
    let mut node = FeedNode::following(&format!("nats://{}", proxy.addr()), &["a"]).await;
    let mut publisher = server.connection().await.unwrap();
    for round in 0..5 {
        publisher.publish("fantail.a", format!("{round} before")).await.unwrap();
        node.until(&format!("a {round} before")).await;
        proxy.cut(Cut::Reset).await.unwrap();
        for number in 0..1_000 {
            publisher.publish("fantail.a", format!("{round} {number}")).await.unwrap();
        }
        node.until_times("followed a", round + 2).await;
    }
    publisher.publish("fantail.a", "last").await.unwrap();
    node.until("a last").await;
    let mut next = (0, 0);
    for line in node.lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["lost"] => next = (usize::MAX, 0), // anything may be missing
            ["a", round, number] if number != "before" => {
                let found: (usize, usize) = (round.parse().unwrap(), number.parse().unwrap());
                assert!(next.0 == usize::MAX || found == next || found.1 == 0, "{found:?} came where {next:?} was due");
                next = (found.0, found.1 + 1);
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_server_that_stands_still_is_given_up_after_a_lost_probe() {
    let server = NatsServer::start().await.unwrap();
    let mut node = FeedNode::following(&server.url(), &["a"]).await;
    server.stop_signal().unwrap();
    node.until("lost").await;
    assert!(node.feed.trouble().unwrap().contains("a probe did not come back"), "{:?}", node.feed.trouble());
    let refused = node.feed.publish(&publication(&["a"], text("x"))).await;
    assert!(matches!(refused, Err(PublishError::Unavailable(_))), "{refused:?}");
    server.cont().unwrap();
    node.until_times("followed a", 2).await;
}

#[tokio::test]
async fn a_connection_over_which_nothing_comes_any_more_is_given_up() {
    let server = NatsServer::start().await.unwrap();
    let proxy = FaultProxy::start(server.addr()).unwrap();
    let mut node = FeedNode::following(&format!("nats://{}", proxy.addr()), &["a"]).await;
    proxy.pause_direction(Direction::FromTarget);
    node.until("lost").await;
    assert_eq!(node.feed.counters().probes_lost.load(Ordering::Relaxed), 1);
    proxy.resume();
    node.until_times("followed a", 2).await;
}

/// 1. More messages come at once than may wait for the node.
/// 2. The library drops some of them, and does not tell which.
#[tokio::test]
async fn messages_that_a_slow_node_drops_are_told_as_an_outage() {
    let server = NatsServer::start().await.unwrap();
    let mut slow = settings(&server.url());
    slow.queue_messages_max = 100;
    let mut node = FeedNode::start_with(slow);
    node.follow(&["a"]).await;
    let mut publisher = server.connection().await.unwrap();
    // In one piece, so that one read of the node's brings many.
    let burst = b"PUB fantail.a 1\r\nx\r\n".repeat(20_000);
    publisher.send(&burst).await.unwrap();
    publisher.settle().await.unwrap();
    node.until("lost").await;
    node.until_times("followed a", 2).await;
    publisher.publish("fantail.a", "last").await.unwrap();
    node.until("a last").await;
}
