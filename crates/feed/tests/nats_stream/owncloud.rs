//! The events of ownCloud's services, in a stream of a real server.

use std::sync::atomic::Ordering;

use fantail_feed::{NatsEventForm, NatsReach, NatsSettings, PublishError};
use fantail_testkit::{NatsServer, OWNCLOUD_STREAM, owncloud_event, owncloud_message};
use fantail_wire::{Event, EventFields, Publication};

use crate::log_node::{LogNode, channel};
use crate::node::settings;
use crate::recalls::recall;

fn owncloud(url: &str) -> NatsSettings {
    let reach = NatsReach { servers: vec![url.into()], ..NatsReach::default() };
    let mut of_owncloud = NatsSettings::new(reach, Some(OWNCLOUD_STREAM.into())).unwrap();
    of_owncloud.probe_interval = settings(url).probe_interval;
    of_owncloud.form = NatsEventForm::OwnCloud;
    of_owncloud
}

async fn node_of(server: &NatsServer, users: &[&str]) -> LogNode {
    let mut node = LogNode::start_with(owncloud(&server.url()));
    node.follow(users).await;
    node
}

async fn send(server: &NatsServer, message: &str) -> u64 {
    server.publish_to_stream(OWNCLOUD_STREAM, message).await.unwrap()
}

#[tokio::test]
async fn each_user_gets_the_events_that_name_the_user_and_no_others() {
    let server = NatsServer::start_jetstream().await.unwrap();
    let mut node = node_of(&server, &["alice", "a~40b"]).await;
    send(&server, &owncloud_message(&["alice"], "folder-created", "one")).await;
    send(&server, &owncloud_message(&["bob"], "folder-created", "for-another")).await;
    send(&server, &owncloud_event("events.UploadReady", "for no user")).await;
    send(&server, &owncloud_message(&["bob", "a@b", "alice", "a@b"], "x", "two")).await;
    send(&server, &owncloud_message(&["alice"], "a\\nb", "of-a-type-that-cannot-be")).await;
    send(&server, &owncloud_message(&["alice"], "", "three")).await;
    node.until_data("three").await;
    assert_eq!(node.told(), ["1 alice one", "4 alice+a~40b two", "gap alice 5 lost", "6 alice three"]);
    let counters = node.feed.counters();
    assert_eq!((counters.ignored.load(Ordering::Relaxed), counters.refused_field.load(Ordering::Relaxed)), (2, 1));
}

#[tokio::test]
async fn a_stream_that_nobody_has_made_is_made_and_one_that_is_there_is_taken_as_it_is() {
    let mut server = NatsServer::start_jetstream().await.unwrap();
    let mut first = node_of(&server, &["alice"]).await;
    let second = node_of(&server, &["alice"]).await;
    send(&server, &owncloud_message(&["alice"], "x", "one")).await;
    first.until_data("one").await;
    drop(second);
    // All of it is lost with the server, and the services that publish wait until somebody makes it again.
    server.restart_empty().await.unwrap();
    first.wait_for("another term", |node| node.told.iter().any(|line| line == "term")).await;
    send(&server, &owncloud_message(&["alice"], "x", "two")).await;
    first.until_data("two").await;
    assert_eq!(first.told().last().map(String::as_str), Some("1 alice two"));
}

#[tokio::test]
async fn older_events_of_a_user_are_found_among_those_of_all_others() {
    let server = NatsServer::start_jetstream().await.unwrap();
    drop(node_of(&server, &["alice"]).await);
    for number in 1..=20 {
        let user = if number % 5 == 0 { "a" } else { "b" };
        send(&server, &owncloud_message(&[user], "x", &number.to_string())).await;
    }
    let mut node = node_of(&server, &["alice"]).await;
    let found = |numbers: &[&str]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(recall(&mut node, Some(5), 100).await, (found(&["10", "15", "20"]), Some(5)));
    assert_eq!(recall(&mut node, None, 2).await, (found(&["15", "20"]), Some(10)));
}

#[tokio::test]
async fn an_event_that_a_node_publishes_is_one_of_owncloud() {
    let server = NatsServer::start_jetstream().await.unwrap();
    let mut node = node_of(&server, &["alice", "a~40b"]).await;
    let event =
        EventFields { data: "hello".into(), event: Some("userlog-notification".into()), ..EventFields::default() };
    let event = event.validate().unwrap();
    node.feed.publish(&Publication::new([channel("alice"), channel("a~40b")], event)).await.unwrap();
    node.until_data("hello").await;
    assert_eq!(node.told(), ["1 alice+a~40b hello"]);
    let refused = node.feed.publish(&Publication::new([channel("a:b")], Event::text("x"))).await;
    assert!(matches!(refused, Err(PublishError::Form(_))), "{refused:?}");
}
