//! Published events arrive: whole, in order, once.

use fantail_feed::{CHANNELS_PER_EVENT_MAX, PublishError, Receipt, RedisSettings, Refusal};
use fantail_testkit::RedisServer;
use fantail_wire::Event;

use crate::feed_node::{FeedNode, channel, publication, text, whole_event};

#[tokio::test]
async fn events_of_both_kinds_arrive_in_the_order_in_which_redis_took_them() {
    let server = RedisServer::start().await.unwrap();
    let mut node = FeedNode::following(&server.url(), &["a"]).await;
    let mut publisher = server.connection().await.unwrap();
    for number in 0..1_000 {
        let (name, payload) = match number % 2 {
            0 => ("fantail:a", number.to_string()),
            _ => ("fantail-event:a", format!("{{\"data\":\"{number}\"}}")),
        };
        publisher.send(&[b"PUBLISH".as_slice(), name.as_bytes(), payload.as_bytes()]).await.unwrap();
    }
    let expected: Vec<_> = (0..1_000).map(|number| number.to_string()).collect();
    assert_eq!(node.data(1_000).await, expected);
}

#[tokio::test]
async fn every_field_of_an_event_arrives_at_every_node() {
    let server = RedisServer::start().await.unwrap();
    let mut here = FeedNode::following(&server.url(), &["a"]).await;
    let mut there = FeedNode::following(&server.url(), &["a"]).await;
    let publication = publication(&["a"], whole_event("tick"));
    let receipt = here.feed.publish(&publication).await.unwrap();
    assert_eq!(receipt, Receipt { id: None, subscribers: Some(2) });
    for node in [&mut here, &mut there] {
        node.data(1).await;
        assert_eq!(node.events(), [(vec!["a".into()], publication.event.clone())]);
    }
}

#[tokio::test]
async fn an_event_for_several_channels_comes_once_and_names_those_followed() {
    let server = RedisServer::start().await.unwrap();
    let mut node = FeedNode::following(&server.url(), &["a", "b", "c"]).await;
    let mut other = FeedNode::following(&server.url(), &["c", "x"]).await;
    let receipt = node.feed.publish(&publication(&["d", "c", "a"], text("1"))).await.unwrap();
    assert_eq!(receipt.subscribers, Some(2));
    node.feed.publish(&publication(&["a", "b"], text("2"))).await.unwrap();
    node.feed.publish(&publication(&["c"], text("3"))).await.unwrap();
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    node.data(3).await;
    let expected = [
        (names(&["a", "c"]), Event::text("1")),
        (names(&["a", "b"]), Event::text("2")),
        (names(&["c"]), Event::text("3")),
    ];
    assert_eq!(node.events(), expected);
    other.data(2).await;
    assert_eq!(other.events(), [(names(&["c"]), Event::text("1")), (names(&["c"]), Event::text("3"))]);
}

#[tokio::test]
async fn an_accepted_event_fits_into_every_node() {
    let server = RedisServer::start().await.unwrap();
    let mut settings = RedisSettings::parse(&server.url()).unwrap();
    settings.event_bytes_max = 200;
    let mut node = FeedNode::start_with(settings);
    node.follow(&["a"]).await;
    let mut accepted = Vec::new();
    for length in 0..200 {
        match node.feed.publish(&publication(&["a"], text("x".repeat(length)))).await {
            Ok(_) => accepted.push("x".repeat(length)),
            Err(error) => assert!(matches!(error, PublishError::Encode(_)), "{error}"),
        }
    }
    assert!((50..190).contains(&accepted.len()), "{}", accepted.len());
    assert_eq!(node.data(accepted.len()).await, accepted);
    assert_eq!(node.feed.counters().refused(Refusal::TooLarge), 0);

    let mut too_many = publication(&["a"], text("x"));
    too_many.channels = std::iter::repeat_n(channel("a"), CHANNELS_PER_EVENT_MAX + 1).collect();
    let found = CHANNELS_PER_EVENT_MAX + 1;
    assert_eq!(node.feed.publish(&too_many).await, Err(PublishError::TooManyChannels { found }));
}

#[tokio::test]
async fn hostile_payloads_neither_stop_nor_shift_the_stream() {
    let server = RedisServer::start().await.unwrap();
    let mut node = FeedNode::following(&server.url(), &["a"]).await;
    let mut publisher = server.connection().await.unwrap();

    // Each with the attack: forged protocol, forged SSE, not UTF-8, memory, depth, width, a forged sibling list.
    let large = vec![b'x'; 10 << 20];
    let deep = format!("{{\"data\":\"x\",\"d\":{}", "[".repeat(1 << 20)).into_bytes();
    let deep_object = "{\"d\":".repeat(1 << 18).into_bytes();
    let wide = format!(r#"{{"data":"x","uid":"u","channels":["a"{}]}}"#, r#","a""#.repeat(1 << 18)).into_bytes();
    let escapes = format!(r#"{{"data":"{}"}}"#, r"\u000a".repeat(1 << 18)).into_bytes();
    let attacks: [(&str, &[u8]); 16] = [
        ("fantail:a", b"\xff\xfe\0"),
        ("fantail:a", b"ends in the middle of a character \xe2\x82"),
        ("fantail:a", &large),
        ("fantail-event:a", &large),
        ("fantail-event:a", &deep),
        ("fantail-event:a", &deep_object),
        ("fantail-event:a", &wide),
        ("fantail-event:a", &escapes),
        ("fantail-event:a", b""),
        ("fantail-event:a", b"\r\n$3\r\n"),
        ("fantail-event:a", b"{\"data\":\"\xff\"}"),
        ("fantail-event:a", br#"{"data":"x","event":"a\r\ndata: forged"}"#),
        ("fantail-event:a", br#"{"data":"x","id":"a\u0000"}"#),
        ("fantail-event:a", br#"{"data":"x","retry":18446744073709551616}"#),
        ("fantail-event:a", br#"{"data":"x","channels":["b"],"uid":"u"}"#),
        ("fantail-service:a", b"\xff"),
    ];
    for (name, payload) in attacks {
        publisher.publish(name, payload).await.unwrap();
    }
    let harmless = ["", "\r\n+OK\r\n>3\r\n$7\r\nmessage\r\n", "nul\0stays", "event: forged\n\nid: 1", "last"];
    for payload in harmless {
        publisher.publish("fantail:a", payload.as_bytes()).await.unwrap();
    }
    assert_eq!(node.data(harmless.len()).await, harmless);
    let refused = |reason| node.feed.counters().refused(reason);
    let by_reason = [Refusal::NotUtf8, Refusal::TooLarge, Refusal::Field, Refusal::Envelope].map(refused);
    assert_eq!(by_reason, [2, 2, 2, 9]);
    assert_eq!(node.feed.counters().outages.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_unix_socket_serves_as_well() {
    let server = RedisServer::start_with(&["--unixsocket", "redis.sock"]).await.unwrap();
    let reply = server.command(&["CONFIG", "GET", "dir"]).await.unwrap();
    let directory = reply.array().unwrap()[1].text().unwrap();
    let mut node = FeedNode::following(&format!("unix://{directory}/redis.sock"), &["a"]).await;
    server.publish("fantail:a", "x").await.unwrap();
    assert_eq!(node.data(1).await, ["x"]);
}

/// 1. A user of Redis may publish by the channel `a` alone. It sends an envelope that names `a` and `b`.
/// 2. Redis refuses its copy by `b`. The event reaches `a` behind its wait, or before the next event of `a`, and `b` never.
/// 3. An event for both, by a user who may, comes once.
#[tokio::test]
async fn a_publisher_whose_rights_end_at_one_channel_reaches_no_other() {
    let server = RedisServer::start().await.unwrap();
    let rights = ["ACL", "SETUSER", "few", "on", ">secret", "resetchannels", "-@all", "+publish", "&fantail-event:a"];
    server.command(&rights).await.unwrap();
    let mut few = server.connection().await.unwrap();
    few.command(&[b"AUTH".as_slice(), b"few", b"secret"]).await.unwrap();
    let mut node = FeedNode::following(&server.url(), &["a", "b"]).await;
    let copy = |data: &str| format!(r#"{{"data":"{data}","channels":["a","b"],"uid":"{data}"}}"#).into_bytes();
    few.publish("fantail-event:a", &copy("waits")).await.unwrap();
    assert!(few.publish("fantail-event:b", &copy("waits")).await.is_err(), "redis refuses it");
    assert_eq!(node.data(1).await, ["waits"]);
    few.publish("fantail-event:a", &copy("is followed")).await.unwrap();
    node.feed.publish(&publication(&["a", "b"], text("of both"))).await.unwrap();
    node.data(3).await;
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let expected = [
        (names(&["a"]), Event::text("waits")),
        (names(&["a"]), Event::text("is followed")),
        (names(&["a", "b"]), Event::text("of both")),
    ];
    assert_eq!(node.events(), expected);
}

#[tokio::test]
async fn copies_that_are_sent_one_by_one_come_once_and_a_trusted_publisher_needs_only_one() {
    let server = RedisServer::start().await.unwrap();
    let mut node = FeedNode::following(&server.url(), &["a", "b", "c"]).await;
    let mut trusting = RedisSettings::parse(&server.url()).unwrap();
    trusting.publishers_trusted = true;
    let mut trusting = FeedNode::start_with(trusting);
    trusting.follow(&["a", "b", "c"]).await;
    for number in 0..20 {
        let copy = format!(r#"{{"data":"{number}","channels":["a","b","c"],"uid":"{number}"}}"#);
        for channel in ["a", "b", "c"] {
            server.publish(&format!("fantail-event:{channel}"), &copy).await.unwrap();
        }
    }
    let expected: Vec<_> = (0..20).map(|number| number.to_string()).collect();
    assert_eq!([node.data(20).await, trusting.data(20).await], [expected.clone(), expected]);
    assert!(node.events().iter().all(|(channels, _)| channels.len() == 3), "{:?}", node.events());
    server.publish("fantail-event:a", r#"{"data":"one","channels":["a","b"],"uid":"one"}"#).await.unwrap();
    trusting.data(21).await;
    assert_eq!(trusting.events()[20], (vec!["a".to_owned(), "b".to_owned()], Event::text("one")));
}
