//! Plain PUBLISH while the log is on: the event comes live to open streams, and is never replayed.

use fantail_testkit::{RedisServer, Reply, SseClient};

use crate::broker::{behind_proxy, come_back, cut_off, logging, node_at, publish, up_to, up_to_live, words};
use crate::node::{metrics, opening, subscribe, until, until_ready};

const ENVELOPE: &str = r#"{"data":"enveloped","event":"tick","id":"own","retry":7}"#;

#[tokio::test]
async fn plain_events_come_live_without_an_id_and_leave_the_clients_where_it_was() {
    let redis = RedisServer::start().await.unwrap();
    let nodes = [logging(&redis).await, logging(&redis).await];
    let mut streams = [subscribe(&nodes[0], "/sse/c").await, subscribe(&nodes[1], "/sse?channel=c&channel=d").await];
    let first = publish(&redis, "1", &["c"]).await;
    redis.publish("fantail:c", "plain").await.unwrap();
    redis.publish("fantail-event:c", ENVELOPE).await.unwrap();
    let second = publish(&redis, "2", &["c"]).await;
    redis.publish("fantail:c", "last").await.unwrap();
    for stream in &mut streams {
        let events = up_to(stream, "last").await;
        assert_eq!(words(&events), ["1", "plain", "enveloped", "2", "last"]);
        let own: Vec<_> = events.iter().map(|event| event.own_id.as_ref()).collect();
        assert_eq!(own, [Some(&first), None, None, Some(&second), None]);
        let kept: Vec<_> = events.iter().map(|event| &event.id).collect();
        assert_eq!(kept, [&first, &first, &first, &second, &second]);
        assert_eq!((events[2].event.as_str(), events[2].retry), ("tick", Some(7)));
    }
}

#[tokio::test]
async fn plain_events_are_never_replayed_wherever_a_client_comes_back() {
    let redis = RedisServer::start().await.unwrap();
    let node = logging(&redis).await;
    let mut first = SseClient::request(node.public(), "/sse/c").keep_body().connect().await.unwrap();
    let before = opening(&mut first).await;
    let mut stays = subscribe(&node, "/sse/c").await;
    redis.publish("fantail:c", "plain 1").await.unwrap();
    let id = publish(&redis, "numbered 1", &["c"]).await;
    redis.publish("fantail:c", "plain 2").await.unwrap();
    redis.publish("fantail-event:c", ENVELOPE).await.unwrap();
    publish(&redis, "numbered 2", &["c"]).await;
    redis.publish("fantail:c", "plain 3").await.unwrap();
    up_to(&mut stays, "plain 3").await;

    let both = ["numbered 1", "numbered 2"];
    for node in [&node, &logging(&redis).await] {
        let come = |id: &str| come_back(node, "/sse/c", id.to_owned());
        assert_eq!(words(&up_to_live(node, come(&before).await).await), both);
        assert_eq!(words(&up_to_live(node, come(&id).await).await), both[1..]);
        // The id of an envelope is not sent, so no client has it.
        let unknown = words(&up_to_live(node, come("own").await).await);
        assert_eq!(unknown, ["gap c unknown-id", "numbered 1", "numbered 2"]);
        for (replay, from) in [("1", 1), ("2", 0), ("all", 0)] {
            let stream = subscribe(node, &format!("/sse/c?replay={replay}")).await;
            assert_eq!(words(&up_to_live(node, stream).await), both[from..], "replay={replay}");
        }
    }
}

/// Unnumbered entries differ from node to node, and only a gap's id names such a place.
#[tokio::test]
async fn an_id_of_another_nodes_unnumbered_gap_hides_no_plain_event_here() {
    let redis = RedisServer::start().await.unwrap();
    let node = logging(&redis).await;
    let id = publish(&redis, "1", &["c"]).await;
    let mut stream = come_back(&node, "/sse/c", format!("{id}.5")).await;
    for text in ["plain 1", "plain 2"] {
        redis.publish("fantail:c", text).await.unwrap();
    }
    publish(&redis, "2", &["c"]).await;
    assert_eq!(words(&up_to(&mut stream, "2").await), ["plain 1", "plain 2", "2"]);
}

/// Ends the subscriptions of all nodes, as any short trouble does, and returns how many there were.
async fn kill_subscriptions(redis: &RedisServer) -> i64 {
    match redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.unwrap() {
        Reply::Integer(killed) => killed,
        reply => panic!("{reply:?}"),
    }
}

/// 1. A plain event comes, the subscription is killed, and another is published before the node is back.
/// 2. The second event is lost, so its channel gets a gap. Events of the log are repaired, without a gap.
#[tokio::test]
async fn a_lost_connection_is_a_gap_where_plain_events_were_seen_and_nowhere_else() {
    let redis = RedisServer::start().await.unwrap();
    let (node, proxy) = behind_proxy(&redis, &[]).await;
    let mut plain = subscribe(&node, "/sse/plain").await;
    let mut logged = subscribe(&node, "/sse/logged").await;
    let mut both = subscribe(&node, "/sse?channel=plain&channel=logged").await;
    redis.publish("fantail:plain", "one").await.unwrap();
    let id = publish(&redis, "numbered one", &["plain", "logged"]).await;
    up_to(&mut plain, "numbered one").await;
    for round in ["1", "2"] {
        cut_off(&node, &proxy).await;
        redis.publish("fantail:plain", "two").await.unwrap();
        publish(&redis, "numbered two", &["logged"]).await;
        proxy.accept().await.unwrap();
        until_ready(&node, true).await;
        redis.publish("fantail:plain", round).await.unwrap();
        publish(&redis, "numbered three", &["logged"]).await;
        assert_eq!(words(&up_to(&mut plain, round).await), ["gap plain outage", round]);
    }
    let rounds = ["numbered two", "numbered three", "numbered two", "numbered three"];
    let first = ["numbered one"];
    let logged = [up_to(&mut logged, "numbered three").await, up_to(&mut logged, "numbered three").await].concat();
    assert_eq!(words(&logged), [&first[..], &rounds].concat());
    let both = [up_to(&mut both, "numbered three").await, up_to(&mut both, "numbered three").await].concat();
    let of_round = |round| ["numbered two", "gap plain outage", round, "numbered three"];
    assert_eq!(words(&both), [&["one", "numbered one"][..], &of_round("1"), &of_round("2")].concat());
    // It was not open, so it has lost none; its id is that of the log.
    let back = up_to_live(&node, come_back(&node, "/sse?channel=plain&channel=logged", &id).await).await;
    assert_eq!(words(&back), rounds);
}

/// The node cannot know of a plain event that it never saw. An operator may set that plain events are to be expected.
#[tokio::test]
async fn where_plain_events_are_expected_an_outage_is_a_gap_before_the_first_was_seen() {
    let redis = RedisServer::start().await.unwrap();
    let node = node_at(redis.addr(), &["--channel", "pattern=user.*,plain_events_expected=true"]).await;
    let mut expected = subscribe(&node, "/sse/user.1").await;
    let mut other = subscribe(&node, "/sse/other").await;
    kill_subscriptions(&redis).await;
    until(&node, "the node is back", |metrics| metrics.count("fantail_feed_reconnects_total") == 1).await;
    until_ready(&node, true).await;
    for name in ["fantail:user.1", "fantail:other"] {
        redis.publish(name, "last").await.unwrap();
    }
    assert_eq!(words(&up_to(&mut expected, "last").await), ["gap user.1 outage", "last"]);
    assert_eq!(words(&up_to(&mut other, "last").await), ["last"]);
}

/// Plain events are published without a pause while the subscription is killed again and again. They come in runs, and
/// between two runs that do not join stands a gap.
#[tokio::test]
async fn in_a_loop_of_kills_no_plain_event_vanishes_without_a_gap_and_no_numbered_one_costs_any() {
    const KILLS: u64 = 5;
    let redis = RedisServer::start().await.unwrap();
    let node = logging(&redis).await;
    let mut plain = subscribe(&node, "/sse/plain").await;
    let mut logged = subscribe(&node, "/sse/logged").await;
    let mut publisher = redis.connection().await.unwrap();
    let (mut published, mut numbered) = (0_u64, 0);
    publisher.publish("fantail:plain", b"0").await.unwrap();
    for round in 1..=KILLS {
        assert!(kill_subscriptions(&redis).await > 0);
        while metrics(&node).await.count("fantail_feed_repairs_total") < round {
            for _ in 0..20 {
                published += 1;
                publisher.publish("fantail:plain", published.to_string().as_bytes()).await.unwrap();
            }
            numbered += 1;
            publish(&redis, &numbered.to_string(), &["logged"]).await;
        }
    }
    publisher.publish("fantail:plain", b"last").await.unwrap();
    publish(&redis, "last", &["logged"]).await;

    let expected: Vec<_> = (1..=numbered).map(|number| number.to_string()).chain(["last".to_owned()]).collect();
    assert_eq!(words(&up_to(&mut logged, "last").await), expected);
    let came = words(&up_to(&mut plain, "last").await);
    let mut next = 0;
    for run in came.split(|word| word == "gap plain outage") {
        let mut numbers = run.iter().map(|word| word.parse().unwrap_or(published + 1));
        next = numbers.next().map_or(next, |first| {
            assert!(first >= next, "{first} comes after {next}");
            numbers.fold(first, |before, number| {
                assert_eq!(number, before + 1, "what is between is missing without a gap");
                number
            }) + 1
        });
    }
    let gaps = came.iter().filter(|word| *word == "gap plain outage").count() as u64;
    assert!(came.len() as u64 - gaps < published + 2, "nothing was lost");
    assert_eq!(gaps, KILLS, "one for each loss");
}

/// Redis took them, so their publishers believe that they are there.
#[tokio::test]
async fn open_streams_get_a_gap_for_an_event_that_cannot_be_sent() {
    let redis = RedisServer::start().await.unwrap();
    let node = node_at(redis.addr(), &["--event-bytes-max", "1KiB"]).await;
    let mut stream = subscribe(&node, "/sse?channel=c&channel=d").await;
    let id = publish(&redis, "1", &["c"]).await;
    let (large, large_envelope) = ("x".repeat(5_000), format!("{{\"data\":\"{}\"}}", "x".repeat(5_000)));
    let unusable: [(&str, &[u8]); 5] = [
        ("fantail:c", large.as_bytes()),
        ("fantail:c", b"\xff"),
        ("fantail-event:c", b"no envelope"),
        ("fantail-event:c", br#"{"data":"x","retry":-1}"#),
        ("fantail-event:c", large_envelope.as_bytes()),
    ];
    let mut publisher = redis.connection().await.unwrap();
    for (name, payload) in unusable {
        publisher.publish(name, payload).await.unwrap();
    }
    publish(&redis, "2", &["c"]).await;
    let told = up_to(&mut stream, "2").await;
    assert_eq!(words(&told), [&["1"][..], &["gap c lost"; 5], &["2"]].concat());
    assert!(told[1..6].iter().all(|gap| gap.own_id.is_none() && gap.id == id), "{told:?}");
    assert_eq!(words(&up_to_live(&node, come_back(&node, "/sse/c", id).await).await), ["2"]);
}
