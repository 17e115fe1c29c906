//! Resuming by id loses nothing and doubles nothing; events that cannot be replayed are declared as a gap.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::time::Duration;

use fantail_testkit::ledger::Composed;
use fantail_testkit::{Error, Event, Fantail, Ledger, PATIENCE, Random, SseClient, Start};
use tokio::task::LocalSet;

use crate::node::{ask, metrics, node, opening, publish, publish_to, subscribe, up_to_live, words};

/// How long a reader under load waits for an event before it checks whether any are left.
const A_WHILE: Duration = Duration::from_millis(200);

/// Everything that a client gets when it comes back to `path` with `id`, up to being live.
async fn come_back(node: &Fantail, path: &str, id: impl AsRef<[u8]>) -> Vec<Event> {
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nLast-Event-ID: ");
    let request = [head.as_bytes(), id.as_ref(), b"\r\n\r\n"].concat();
    let client = SseClient::request(node.public(), "").raw(request).connect().await.unwrap();
    up_to_live(node, client).await
}

/// Publishes each text to its channels and returns the ids.
async fn publish_all(node: &Fantail, events: &[(&[&str], &str)]) -> Vec<String> {
    let mut ids = Vec::new();
    for (channels, text) in events {
        ids.push(publish_to(node, channels, text).await["id"].as_str().unwrap().to_owned());
    }
    ids
}

/// Publishes 1 to `last` to channel `a`.
async fn publish_numbers(node: &Fantail, last: u32) -> Vec<String> {
    let texts: Vec<_> = (1..=last).map(|number| number.to_string()).collect();
    publish_all(node, &texts.iter().map(|text| (&["a"][..], text.as_str())).collect::<Vec<_>>()).await
}

#[tokio::test]
async fn an_id_brings_what_came_after_it_by_header_and_by_query() {
    let node = node(&[]).await;
    let ids = publish_numbers(&node, 5).await;
    assert_eq!(words(&come_back(&node, "/sse/a", &ids[1]).await), ["3", "4", "5"]);
    assert_eq!(words(&come_back(&node, "/sse/a", &ids[4]).await), [""; 0]);

    let by_query = format!("/sse/a?last_event_id={}", ids[2]);
    assert_eq!(words(&up_to_live(&node, subscribe(&node, &by_query).await).await), ["4", "5"]);
    // A browser comes back with the URL of its first connect, so its newer id is in the header.
    assert_eq!(words(&come_back(&node, &by_query, &ids[3]).await), ["5"]);
    assert_eq!(words(&come_back(&node, "/sse/a?replay=all", &ids[3]).await), ["5"]);
    assert_eq!(metrics(&node).await.count("fantail_gaps_sent_total"), 0);
}

#[tokio::test]
async fn a_client_that_saw_no_event_loses_none() {
    let node = node(&[]).await;
    let mut ids = Vec::new();
    for path in ["/sse/a", "/sse/a?replay=all", "/sse?channel=a&channel=b"] {
        let mut client = SseClient::request(node.public(), path).keep_body().connect().await.unwrap();
        ids.push((path, opening(&mut client).await));
    }
    publish_all(&node, &[(&["a"], "1"), (&["b"], "2"), (&["a", "b"], "3")]).await;
    for (path, id) in ids {
        let expected: &[&str] = if path.contains("=b") { &["1", "2", "3"] } else { &["1", "3"] };
        assert_eq!(words(&come_back(&node, path, id).await), expected, "{path}");
    }
}

#[tokio::test]
async fn an_id_that_is_no_place_here_is_told_and_what_is_retained_follows() {
    let node = node(&["--retry", "10s"]).await;
    let ids = publish_numbers(&node, 3).await;
    let (place, number) = ids[2].rsplit_once('.').unwrap();
    let (term, _) = place.split_once('.').unwrap();
    let cases: [(&str, Vec<u8>, &str); 11] = [
        ("garbage", b"nonsense".into(), "unknown-id"),
        ("bytes that are no text", b"\xff\xfe".into(), "unknown-id"),
        ("an id of another numbering", format!("aaaaaaaaaaaa.0.{number}").into(), "unknown-id"),
        ("a place that was not reached yet", format!("{term}.0.{}", 1_000_000).into(), "beyond-end"),
        ("the last place that can be written", format!("{term}.0.{}", u64::MAX).into(), "beyond-end"),
        ("a number that is none", format!("{place}.99999999999999999999999").into(), "unknown-id"),
        ("another spelling of a place", format!("{place}.0{number}").into(), "unknown-id"),
        ("a place with a sign", format!("{place}.+{number}").into(), "unknown-id"),
        ("a place cut short", place.into(), "unknown-id"),
        ("two ids in one header", format!("{}, {}", ids[0], ids[1]).into(), "unknown-id"),
        ("an id of many kilobytes", vec![b'x'; 10_000], "unknown-id"),
    ];
    for (what, id, reason) in cases {
        let events = come_back(&node, "/sse/a", &id).await;
        assert_eq!(words(&events), [&format!("gap a {reason}"), "1", "2", "3"], "{what}");
        // The client has an id again, from which it goes on without a second gap.
        let again = come_back(&node, "/sse/a", &events[0].id).await;
        assert_eq!(words(&again), ["1", "2", "3"], "{what}");
    }
    let nul = subscribe(&node, "/sse/a?last_event_id=a%00b").await;
    assert_eq!(words(&up_to_live(&node, nul).await), ["gap a unknown-id", "1", "2", "3"]);
    assert_eq!(words(&come_back(&node, "/sse/empty", "nonsense").await), ["gap empty unknown-id"]);
}

#[tokio::test]
async fn trimmed_events_are_a_gap_in_their_place_and_only_of_the_channel_that_lost_them() {
    let node = node(&["--log-events-max", "4"]).await;
    // Of `a` 4 to 7 are kept, of `b` everything.
    let events = [(&["a"][..], "a1"), (&["b"], "b2"), (&["a"], "a3"), (&["a", "b"], "ab4"), (&["a"], "a5")];
    let mut ids = publish_all(&node, &events).await;
    ids.extend(publish_all(&node, &[(&["a"], "a6"), (&["a"], "a7")]).await);

    assert_eq!(words(&come_back(&node, "/sse/a", &ids[0]).await), ["gap a trimmed", "ab4", "a5", "a6", "a7"]);
    assert_eq!(words(&come_back(&node, "/sse/a", &ids[2]).await), ["ab4", "a5", "a6", "a7"], "exactly at the floor");
    assert_eq!(words(&come_back(&node, "/sse/b", &ids[0]).await), ["b2", "ab4"]);

    let path = "/sse?channel=a&channel=b";
    let all = come_back(&node, path, &ids[0]).await;
    assert_eq!(words(&all), ["b2", "gap a trimmed", "ab4", "a5", "a6", "a7"]);
    // From any last event, a client gets exactly the rest.
    for (seen, event) in all.iter().enumerate() {
        let rest = words(&come_back(&node, path, &event.id).await);
        assert_eq!(rest, words(&all[seen + 1..]), "after {}", event.data);
    }
    let unknown = come_back(&node, path, "nonsense").await;
    assert_eq!(words(&unknown), ["gap b unknown-id", "b2", "gap a unknown-id", "ab4", "a5", "a6", "a7"]);
    // A gap of another channel is still to come: it is told again, for the reason that its log gives.
    let rest = words(&come_back(&node, path, &unknown[0].id).await);
    assert_eq!(rest, ["b2", "gap a trimmed", "ab4", "a5", "a6", "a7"]);
}

#[tokio::test]
async fn gaps_that_stand_at_one_place_are_all_told_before_the_client_gets_an_id_from_there() {
    let node = node(&["--log-events-max", "1"]).await;
    let events = [(&["a", "b", "c"][..], "1"), (&["a", "b", "c"], "2"), (&["a", "b"], "3")];
    let ids = publish_all(&node, &events).await;
    let path = "/sse?channel=a&channel=b&channel=c";
    let all = come_back(&node, path, &ids[0]).await;
    assert_eq!(words(&all), ["gap a trimmed", "gap b trimmed", "2", "3"]);
    let own_ids: Vec<_> = all.iter().map(|event| event.own_id.as_deref()).collect();
    // A client that is cut off between the first gap and the event comes back with its old id and is told of both.
    assert_eq!(own_ids, [None, None, Some(ids[1].as_str()), Some(ids[2].as_str())]);
}

#[tokio::test]
async fn an_id_from_before_a_deletion_is_told_of_it() {
    let node = node(&[]).await;
    let ids = publish_all(&node, &[(&["a"], "1"), (&["b"], "2"), (&["a"], "3")]).await;
    assert_eq!(ask(&node, "DELETE", "/channels/a").await.status, 200);
    publish_all(&node, &[(&["a"], "4"), (&["b"], "5")]).await;
    for id in &ids {
        let events = come_back(&node, "/sse/a", id).await;
        assert_eq!(words(&events), ["gap a deleted", "4"]);
        assert_eq!(words(&come_back(&node, "/sse/a", &events[0].id).await), ["4"]);
    }
    assert_eq!(words(&come_back(&node, "/sse/b", &ids[0]).await), ["2", "5"], "the other channel has lost nothing");
}

#[tokio::test]
async fn a_publishers_own_id_leads_back_unless_it_was_given_twice() {
    let node = node(&[]).await;
    for (id, text) in [("order-1", "1"), ("order-2", "2"), ("%E2%80%A6", "3"), ("order-4", "4")] {
        publish(&node, &format!("a?id={id}"), text).await;
    }
    publish(&node, "a", "5").await;
    let events = come_back(&node, "/sse/a", "order-2").await;
    assert_eq!(words(&events), ["3", "4", "5"]);
    let ids: Vec<_> = events.iter().map(|event| event.own_id.as_deref().unwrap()).collect();
    assert_eq!(ids[..2], ["\u{2026}", "order-4"]);
    assert_eq!(words(&come_back(&node, "/sse/a", "\u{2026}").await), ["4", "5"], "UTF-8, as browsers send it");
    assert_eq!(words(&come_back(&node, "/sse/a", ids[2]).await), [""; 0]);
    assert_eq!(words(&come_back(&node, "/sse?channel=b&channel=a", "order-4").await), ["5"]);
    assert_eq!(words(&come_back(&node, "/sse/b", "order-4").await), ["gap b unknown-id"], "it was another channel's");

    // Nobody knows which of the two the client saw last.
    publish(&node, "a?id=order-2", "6").await;
    let all = ["gap a unknown-id", "1", "2", "3", "4", "5", "6"];
    assert_eq!(words(&come_back(&node, "/sse/a", "order-2").await), all);
}

/// The state that the tasks of the test under load share.
struct PublishingLoad {
    node: Fantail,
    ledger: Ledger,
    /// Events still to publish.
    left: Cell<usize>,
    /// Publishers that are not done.
    publishing: Cell<usize>,
    /// The very last event, for every reader.
    last: OnceCell<Composed>,
}

/// Publishes to `a`, `b` and both until nothing is left; the publisher that is done last sends the last event.
async fn publish_what_is_left(load: Rc<PublishingLoad>, seed: u64) {
    let mut publisher = load.ledger.publisher(Random::from_seed(seed));
    while load.left.get() > 0 {
        let number = load.left.get() - 1;
        load.left.set(number);
        let channels = [&["a"][..], &["b"], &["a", "b"]][number % 3];
        let event = publisher.compose_for(channels, 100 + number % 400);
        publish_to(&load.node, channels, &event.text).await;
        publisher.confirm(&event);
    }
    load.publishing.set(load.publishing.get() - 1);
    if load.publishing.get() == 0 {
        let last = publisher.compose_for(&["a", "b"], 100);
        publish_to(&load.node, &["a", "b"], &last.text).await;
        publisher.confirm(&last);
        load.last.set(last).unwrap();
    }
}

/// Reads in short connections, each of which it drops in the middle of the stream, until everything is published. Then
/// it comes back for the rest.
async fn read_in_pieces(load: Rc<PublishingLoad>, seed: u64) {
    let channels = [&["a"][..], &["b"], &["a", "b"]][seed as usize % 3];
    let mut random = Random::from_seed(seed);
    let path = format!("/sse?channel={}", channels.join("&channel="));
    let mut first = SseClient::request(load.node.public(), &path).keep_body().connect().await.unwrap();
    let reader = load.ledger.reader(format!("reader {seed}"), channels, Start::Live(load.ledger.mark()));
    // It leaves before it saw an event: the id of the opening is all that it has.
    let mut id = opening(&mut first).await;
    drop(first);
    loop {
        let last = load.last.get();
        let request = if random.chance(1, 2) {
            SseClient::request(load.node.public(), &format!("{path}&last_event_id={id}"))
        } else {
            SseClient::request(load.node.public(), &path).last_event_id(&id)
        };
        let mut client = request.connect().await.unwrap();
        // The last connection reads to the end.
        for _ in 0..last.map_or(random.below(12), |_| u64::MAX) {
            match client.next_event(A_WHILE).await {
                Ok(event) => {
                    reader.record(&event);
                    id = event.id;
                }
                Err(Error::Timeout { .. }) => break,
                Err(error) => panic!("{error}"),
            }
        }
        if last.is_some_and(|last| reader.has(last)) {
            return reader.stopped(load.ledger.mark());
        }
    }
}

#[tokio::test]
async fn clients_that_come_back_again_and_again_under_load_lose_nothing_and_get_nothing_twice() {
    const SEED: u64 = 20;
    let load = Rc::new(PublishingLoad {
        node: node(&["--log-events-max", "100000", "--log-bytes-max", "64MiB"]).await,
        ledger: Ledger::new(),
        left: Cell::new(1_500),
        publishing: Cell::new(3),
        last: OnceCell::new(),
    });
    let tasks = LocalSet::new();
    for number in 0..load.publishing.get() {
        tasks.spawn_local(publish_what_is_left(Rc::clone(&load), SEED + number as u64));
    }
    for number in 0..9 {
        tasks.spawn_local(read_in_pieces(Rc::clone(&load), SEED + number));
    }
    tokio::time::timeout(PATIENCE, tasks).await.unwrap();
    let verdict = load.ledger.judge();
    assert_eq!(verdict.readers, 9);
    assert!(verdict.delivered > 3_000, "{verdict}");
    verdict.assert_whole();
    assert_eq!(metrics(&load.node).await.count("fantail_gaps_sent_total"), 0);
}
