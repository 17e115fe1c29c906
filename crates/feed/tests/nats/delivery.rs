//! Published events arrive: whole, in order, once.

use std::sync::atomic::Ordering;

use fantail_feed::{CHANNELS_PER_EVENT_MAX, NatsPublisher, PublishError, Refusal};
use fantail_testkit::NatsServer;
use fantail_wire::{Event, EventFields};

use crate::feed_node::{FeedNode, channel, publication, text, whole_event};
use crate::node::settings;

#[tokio::test]
async fn events_of_several_channels_arrive_in_the_order_in_which_nats_took_them() {
    let server = NatsServer::start().await.unwrap();
    let mut node = FeedNode::following(&server.url(), &["a", "b..c"]).await;
    let mut publisher = server.connection().await.unwrap();
    for number in 0..1_000 {
        let subject = ["fantail.a", "fantail.b.%.c", "fantail.foreign"][number % 3];
        publisher.send_message(subject, number.to_string().as_bytes()).await.unwrap();
    }
    node.until("a 999").await;
    let expected =
        (0..1_000).filter(|number| number % 3 < 2).map(|number| format!("{} {number}", ["a", "b..c"][number % 3]));
    let told: Vec<_> = node.lines().into_iter().filter(|line| !line.starts_with("followed")).collect();
    assert_eq!(told, expected.collect::<Vec<_>>());
    assert_eq!(node.feed.counters().ignored.load(Ordering::Relaxed), 333);
}

#[tokio::test]
async fn every_field_of_an_event_arrives_at_every_node() {
    let server = NatsServer::start().await.unwrap();
    let mut here = FeedNode::following(&server.url(), &["a"]).await;
    let mut there = FeedNode::following(&server.url(), &["a"]).await;
    let publication = publication(&["a"], whole_event(" tick 100% é"));
    here.feed.publish(&publication).await.unwrap();
    for node in [&mut here, &mut there] {
        node.data(1).await;
        assert_eq!(node.events(), [(vec!["a".into()], publication.event.clone())]);
    }
}

#[tokio::test]
async fn headers_of_a_foreign_publisher_are_the_fields_of_its_event() {
    let server = NatsServer::start().await.unwrap();
    let mut node = FeedNode::following(&server.url(), &["a", "b"]).await;
    let mut publisher = server.connection().await.unwrap();
    let headers = ["Fantail-Event: tick", "Fantail-Id: mine-7", "Fantail-Retry: 3000", "Traceparent: 00-x"];
    publisher.send_with_headers("fantail.a", &headers, b"x").await.unwrap();
    publisher.send_with_headers("fantail.%several", &["Fantail-Channels: b,x,a"], b"y").await.unwrap();
    node.until("b+a y").await;
    let fields =
        EventFields { event: Some("tick".into()), id: Some("mine-7".into()), retry_ms: Some(3000), ..text("x") };
    let events: Vec<_> = node.events().into_iter().map(|(_, event)| event).collect();
    assert_eq!(events, [fields.validate().unwrap(), Event::text("y")]);
}

#[tokio::test]
async fn an_event_for_several_channels_comes_once_and_names_those_followed() {
    let server = NatsServer::start().await.unwrap();
    let mut node = FeedNode::following(&server.url(), &["a", "b", "c"]).await;
    node.feed.publish(&publication(&["d", "c", "a"], text("1"))).await.unwrap();
    let mut publisher = NatsPublisher::connect(settings(&server.url())).await.unwrap();
    publisher.publish(&publication(&["a", "b"], text("2"))).await.unwrap();
    publisher.publish(&publication(&["c"], text("3"))).await.unwrap();
    node.until("c 3").await;
    assert_eq!(node.lines()[3..], ["c+a 1", "a+b 2", "c 3"]);
}

#[tokio::test]
async fn an_accepted_event_fits_into_every_node() {
    let server = NatsServer::start().await.unwrap();
    let mut settings = settings(&server.url());
    settings.event_bytes_max = 200;
    let mut node = FeedNode::start_with(settings);
    node.follow(&["a"]).await;
    let mut accepted = Vec::new();
    for length in (0..200).step_by(7) {
        match node.feed.publish(&publication(&["a"], text("x".repeat(length)))).await {
            Ok(_) => accepted.push(format!("a {}", "x".repeat(length))),
            Err(error) => assert!(matches!(error, PublishError::Encode(_)), "{error}"),
        }
    }
    assert!((7..27).contains(&accepted.len()), "{}", accepted.len());
    node.until(accepted.last().unwrap()).await;
    assert_eq!(node.lines()[1..], accepted);
    assert_eq!(node.feed.counters().refused(Refusal::TooLarge), 0);

    let mut too_many = publication(&["a"], text("x"));
    too_many.channels = std::iter::repeat_n(channel("a"), CHANNELS_PER_EVENT_MAX + 1).collect();
    let found = CHANNELS_PER_EVENT_MAX + 1;
    assert_eq!(node.feed.publish(&too_many).await, Err(PublishError::TooManyChannels { found }));
}

#[tokio::test]
async fn an_event_that_is_larger_than_nats_takes_is_refused_to_its_publisher() {
    let server = NatsServer::start().await.unwrap();
    let mut settings = settings(&server.url());
    settings.event_bytes_max = 4 << 20;
    let mut node = FeedNode::start_with(settings);
    node.follow(&["a"]).await;
    let refused = node.feed.publish(&publication(&["a"], text("x".repeat(2 << 20)))).await;
    assert!(matches!(refused, Err(PublishError::Encode(_))), "{refused:?}");
    node.feed.publish(&publication(&["a"], text("small"))).await.unwrap();
    node.until("a small").await;
    assert_eq!(node.lines(), ["followed a", "a small"]);
}

#[tokio::test]
async fn hostile_messages_neither_stop_nor_shift_the_stream() {
    let server = NatsServer::start().await.unwrap();
    let mut node = FeedNode::following(&server.url(), &["a"]).await;
    let mut publisher = server.connection().await.unwrap();
    let wide = format!("Fantail-Channels: a{}", ",a".repeat(CHANNELS_PER_EVENT_MAX));
    // Each with the attack: not UTF-8, forged SSE, forged fields, width, no list, an empty list.
    let attacks: [(&str, &[&str], &[u8]); 9] = [
        ("fantail.a", &["X: y"], b"\xff\xfe\0"),
        ("fantail.a", &["Fantail-Event: a%0D%0Adata: forged"], b"x"),
        ("fantail.a", &["Fantail-Event: fantail.gap"], b"x"),
        ("fantail.a", &["Fantail-Id: a%00"], b"x"),
        ("fantail.a", &["Fantail-Id: %ff"], b"x"),
        ("fantail.a", &["Fantail-Retry: 18446744073709551616"], b"x"),
        ("fantail.%several", &[&wide], b"x"),
        ("fantail.%several", &["X: y"], b"x"),
        ("fantail.%several", &["Fantail-Channels: ,,"], b"x"),
    ];
    for (subject, headers, payload) in attacks {
        publisher.send_with_headers(subject, headers, payload).await.unwrap();
    }
    publisher.publish("fantail.a", "after").await.unwrap();
    node.until("a after").await;
    let told = node.lines();
    assert_eq!(told.iter().filter(|line| *line == "dropped a").count(), 6, "{told:?}");
    assert_eq!(told.len(), 8, "{told:?}");
}
