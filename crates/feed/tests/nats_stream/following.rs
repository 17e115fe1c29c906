//! Events of the stream reach every node, with the same ids.

use fantail_feed::{NatsPublisher, NatsReach, NatsSettings, PublishError};
use fantail_testkit::NatsServer;
use fantail_wire::{Event, Lane, Publication};

use crate::log_node::{LogNode, channel};
use crate::node::{publish, server_with_stream, settings};

fn publication(names: &[&str], data: &str) -> Publication {
    Publication::new(names.iter().map(|name| channel(name)), Event::text(data))
}

#[tokio::test]
async fn every_node_gives_an_event_the_same_id() {
    let server = server_with_stream().await;
    publish(&server, "before", "a").await;
    let mut here = LogNode::following(&server.url(), &["a", "b"]).await;
    let mut there = LogNode::following(&server.url(), &["b"]).await;
    for (number, name) in ["a", "foreign", "b", "a", "b"].into_iter().enumerate() {
        publish(&server, &number.to_string(), name).await;
    }
    here.until_data("4").await;
    there.until_data("4").await;
    assert_eq!(here.told(), ["2 a 0", "4 b 2", "5 a 3", "6 b 4"]);
    assert_eq!(there.told(), ["4 b 2", "6 b 4"]);
    let ids = |node: &LogNode| node.intake.lock().ids.clone();
    assert_eq!(ids(&there), [ids(&here)[1], ids(&here)[3]]);
}

#[tokio::test]
async fn an_event_for_several_channels_has_one_number_and_comes_once() {
    let server = server_with_stream().await;
    let mut node = LogNode::following(&server.url(), &["a", "b"]).await;
    node.feed.publish(&publication(&["x", "b", "a"], "both")).await.unwrap();
    let mut publisher = NatsPublisher::connect(settings(&server.url())).await.unwrap();
    publisher.publish(&publication(&["a"], "one")).await.unwrap();
    node.until_data("one").await;
    assert_eq!(node.told(), ["1 b+a both", "2 a one"]);
}

#[tokio::test]
async fn a_channel_that_is_followed_later_is_complete_from_where_the_node_is() {
    let server = server_with_stream().await;
    let mut node = LogNode::following(&server.url(), &["a"]).await;
    publish(&server, "before", "b").await;
    publish(&server, "1", "a").await;
    node.until_data("1").await;
    node.follow(&["b"]).await;
    publish(&server, "2", "b").await;
    node.until_data("2").await;
    assert_eq!(node.told(), ["2 a 1", "3 b 2"]);
}

#[tokio::test]
async fn a_sync_tells_how_far_the_stream_is() {
    let server = server_with_stream().await;
    let mut node = LogNode::following(&server.url(), &["a"]).await;
    let number = publish(&server, "x", "foreign").await;
    node.feed.sync(Lane::default());
    node.wait_for("the number", |node| node.terms.as_ref().is_some_and(|terms| terms.number >= number)).await;
}

#[tokio::test]
async fn a_flood_is_taken_whole_and_in_order() {
    let server = server_with_stream().await;
    let mut node = LogNode::following(&server.url(), &["a"]).await;
    let mut publisher = server.connection().await.unwrap();
    for number in 0..20_000 {
        publisher.send_message("fantail.a", format!("{number} {}", "x".repeat(500)).as_bytes()).await.unwrap();
    }
    publisher.settle().await.unwrap();
    node.until_data("19999").await;
    assert_eq!(node.data(), (0..20_000).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(node.told().len(), 20_000, "nothing else was told");
}

#[tokio::test]
async fn an_event_that_the_stream_does_not_take_is_refused_to_its_publisher() {
    let server = NatsServer::start_jetstream().await.unwrap();
    server.make_stream("EVENTS", r#","max_msgs":1,"discard":"new""#).await.unwrap();
    let node = LogNode::following(&server.url(), &["a"]).await;
    node.feed.publish(&publication(&["a"], "fits")).await.unwrap();
    let refused = node.feed.publish(&publication(&["a"], "does not")).await;
    assert!(
        matches!(&refused, Err(PublishError::Unavailable(told)) if told.contains("maximum messages")),
        "{refused:?}"
    );

    let mut other = settings(&server.url());
    other.stream = Some("OTHER".into());
    let mut publisher = NatsPublisher::connect(other).await.unwrap();
    let refused = publisher.publish(&publication(&["a"], "x")).await;
    assert!(matches!(&refused, Err(PublishError::Unavailable(told)) if told.contains("does not match")), "{refused:?}");
}

#[tokio::test]
async fn a_stream_that_does_not_exist_is_told_until_it_does() {
    let server = NatsServer::start_jetstream().await.unwrap();
    let mut node = LogNode::start(&server.url());
    node.feed.follow(&channel("a"));
    let looking = async {
        while !node.feed.trouble().is_some_and(|trouble| trouble.contains("stream not found")) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(fantail_testkit::PATIENCE, looking).await.unwrap();
    server.make_stream("EVENTS", "").await.unwrap();
    node.wait_for("the stream", |node| node.told.iter().any(|line| line == "followed a")).await;
    assert_eq!(node.intake.lock().told, ["followed a", "Connected"], "there was nothing to be lost before");
}

/// The rights that `docs/nats.md` names.
#[tokio::test]
async fn a_user_with_the_least_rights_reads_recalls_and_publishes() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("nats.conf");
    let users = r#"authorization { users: [
        { user: admin, password: secret },
        { user: node, password: secret, permissions: {
            subscribe: ["fantail-service.>", "_INBOX.>"],
            publish: ["fantail.>", "fantail-service.>", "$JS.API.STREAM.INFO.EVENTS", "$JS.API.CONSUMER.CREATE.EVENTS",
                "$JS.API.CONSUMER.DELETE.EVENTS.*", "$JS.FC.>"]
        } }
    ], timeout: 5 }
    no_auth_user: admin"#;
    std::fs::write(&config, users).unwrap();
    let server = NatsServer::start_with(&["--jetstream", "--config", config.to_str().unwrap()]).await.unwrap();
    server.make_stream("EVENTS", "").await.unwrap();
    let reach = NatsReach {
        servers: vec![server.url()],
        username: Some("node".into()),
        password: Some("secret".into()),
        ..NatsReach::default()
    };
    let mut settings = NatsSettings::new(reach, Some("EVENTS".into())).unwrap();
    settings.probe_interval = std::time::Duration::from_millis(400);
    let mut node = LogNode::start_with(settings);
    node.follow(&["a"]).await;
    for number in 0..2_000 {
        server.publish("fantail.a", format!("{number} {}", "x".repeat(2_000))).await.unwrap();
    }
    node.feed.publish(&publication(&["a", "b"], "last")).await.unwrap();
    node.until_data("last").await;
    let up_to = *node.intake.lock().ids.last().unwrap();
    node.feed.recall(&channel("a"), None, up_to, 10);
    node.wait_for("the answer", |node| node.recalled.contains_key("a")).await;
    assert_eq!(node.intake.lock().recalled["a"].entries.len(), 10);
    assert_eq!(node.told().len(), 2_001, "flow control works, so nothing was lost");
}
