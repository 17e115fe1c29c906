//! The events of ownCloud's services, in a stream of a real server.

use std::sync::atomic::Ordering;

use fantail_feed::{NatsEventForm, NatsReach, NatsSettings, PublishError, Recalled};
use fantail_testkit::{NatsServer, OWNCLOUD_STREAM, owncloud_event, owncloud_message};
use fantail_wire::{Event, EventFields, EventId, Publication};

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

/// A node was restarted, and all of its users come back at once with their ids. Each has seen another part.
#[tokio::test]
async fn users_who_come_back_together_are_answered_by_few_readings_of_the_stream() {
    const USERS: u64 = 200;
    let server = NatsServer::start_jetstream().await.unwrap();
    let users: Vec<_> = (0..USERS).map(|user| format!("u{user}")).chain(["big".to_owned()]).collect();
    let users: Vec<_> = users.iter().map(String::as_str).collect();
    drop(node_of(&server, &users[..1]).await);
    let mut services = server.connection().await.unwrap();
    for number in 1..=3 * USERS {
        let message = owncloud_message(&[users[(number % USERS) as usize]], "x", &number.to_string());
        services.publish(OWNCLOUD_STREAM, message).await.unwrap();
    }
    // More than its part of one reading.
    let large = "x".repeat(100_000);
    for _ in 0..3 {
        send(&server, &owncloud_message(&["big"], "x", &large)).await;
    }
    let mut node = node_of(&server, &users).await;
    let mut advisories = server.connection().await.unwrap();
    let made = |consumer: &str| format!("$JS.EVENT.ADVISORY.CONSUMER.CREATED.{OWNCLOUD_STREAM}.{consumer}");
    advisories.subscribe(&made("*")).await.unwrap();
    let up_to = {
        let terms = node.intake.lock().terms.clone().unwrap();
        EventId::new(terms.current, terms.ms, terms.number)
    };
    let above = |user: usize| 2 * user as u64;
    for (user, name) in users.iter().enumerate() {
        node.feed.recall(&channel(name), Some(EventId::new(up_to.term, 0, above(user))), up_to, 100);
    }
    node.wait_for("all answers", |node| node.recalled.len() == users.len()).await;
    let recalled = node.intake.lock().recalled.clone();
    for (user, name) in users[..USERS as usize].iter().enumerate() {
        let expected = (1..=3 * USERS).filter(|number| number % USERS == user as u64 && *number > above(user));
        let expected: Vec<_> = expected.map(|number| number.to_string()).collect();
        let found: Vec<_> = recalled[*name].entries.iter().map(|(_, event)| event.data.clone()).collect();
        assert_eq!((found, recalled[*name].from.unwrap().number), (expected, above(user)), "{name}");
    }
    assert_eq!(recalled["big"].entries.len(), 3);
    server.publish(&made("all-were-answered"), "").await.unwrap();
    let mut readings = 0;
    while advisories.next_message().await.unwrap().subject != made("all-were-answered") {
        readings += 1;
    }
    assert!((2..=8).contains(&readings), "{readings} for {} users", users.len());
}

/// 1. Ann has an event at 1 and Bob one at 2, and more messages of other types than one reading takes stand behind them. Bob has one more behind those.
/// 2. Ann's stream asks for what she had up to 1, and Bob's for what he had up to the end.
/// 3. One reading for both would begin far above 1.
#[tokio::test]
async fn a_question_for_little_is_answered_though_another_asks_for_more_than_one_reading_takes() {
    let server = NatsServer::start_jetstream().await.unwrap();
    drop(node_of(&server, &["ann"]).await);
    send(&server, &owncloud_message(&["ann"], "x", "of-ann")).await;
    send(&server, &owncloud_message(&["bob"], "x", "early")).await;
    let mut services = server.connection().await.unwrap();
    let other = owncloud_event("events.UploadReady", "e30=");
    for _ in 0..(1 << 16) + 10 {
        services.send_message(OWNCLOUD_STREAM, other.as_bytes()).await.unwrap();
    }
    services.settle().await.unwrap();
    let last = send(&server, &owncloud_message(&["bob"], "x", "late")).await;
    let mut node = node_of(&server, &["ann", "bob"]).await;
    let term = node.intake.lock().terms.clone().unwrap().current;
    let place = |number| EventId::new(term, 0, number);
    node.feed.recall(&channel("ann"), Some(place(0)), place(1), 100);
    node.feed.recall(&channel("bob"), Some(place(0)), place(last), 100);
    node.wait_for("both answers", |node| node.recalled.len() == 2).await;
    let told = |user: &str| {
        let Recalled { entries, from } = node.intake.lock().recalled[user].clone();
        let data: Vec<_> = entries.into_iter().map(|(_, event)| event.data).collect();
        (data, from.unwrap().number)
    };
    assert_eq!(told("ann"), (vec!["of-ann".to_owned()], 0));
    let (of_bob, whole_above) = told("bob");
    assert_eq!(of_bob, ["late"]);
    assert!((2..last).contains(&whole_above), "the rest is told as missing: {whole_above}");
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
