//! A client comes back to another node: its id is good there too.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use fantail_testkit::ledger::Composed;
use fantail_testkit::{Fantail, Ledger, PATIENCE, Random, Reader, RedisServer, SseClient, Start};
use serde_json::json;
use tokio::sync::Barrier;
use tokio::task::LocalSet;

use crate::broker::{
    ask_back, behind_proxy, call, come_back, id_of, logging, node_at, publish, publish_all, texts, up_to, up_to_live,
    words,
};
use crate::node::{metrics, opening, subscribe, until, until_ready, until_state};

/// How long a reader under load waits for an event before it checks whether any are left.
const A_WHILE: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_client_that_goes_to_and_fro_between_two_nodes_gets_every_event_once() {
    let redis = RedisServer::start().await.unwrap();
    let nodes = [logging(&redis).await, logging(&redis).await];
    let mut stream = subscribe(&nodes[0], "/sse/c").await;
    publish(&redis, "first", &["c"]).await;
    let mut id = stream.next_event(PATIENCE).await.unwrap().id;
    for round in 1..=10 {
        drop(stream);
        let missed = texts(&format!("missed {round}"), 1..=3);
        publish_all(&redis, "c", &missed).await;
        stream = come_back(&nodes[round % 2], "/sse/c", &id).await;
        let live = texts(&format!("live {round}"), 1..=2);
        publish_all(&redis, "c", &live).await;
        let events = up_to(&mut stream, &live[1]).await;
        assert_eq!(words(&events), [missed, live].concat(), "round {round}");
        assert!(events.iter().all(|event| event.own_id.is_some()));
        id.clone_from(&events[4].id);
    }
    for node in &nodes {
        assert_eq!(metrics(node).await.count("fantail_gaps_sent_total"), 0);
    }
}

#[tokio::test]
async fn a_client_that_saw_only_the_opening_of_its_stream_loses_nothing_elsewhere() {
    let redis = RedisServer::start().await.unwrap();
    let (here, there) = (logging(&redis).await, logging(&redis).await);
    publish(&redis, "long ago", &["a", "b"]).await;
    for path in ["/sse/a", "/sse?channel=a&channel=b"] {
        let mut client = SseClient::request(here.public(), path).keep_body().connect().await.unwrap();
        let id = opening(&mut client).await;
        drop(client);
        publish(&redis, path, &["a"]).await;
        assert_eq!(words(&up_to(&mut come_back(&there, path, id).await, path).await), [path]);
    }
}

/// One node follows `a` and `b`, another `b` alone, a third nothing.
#[tokio::test]
async fn one_id_is_good_for_several_channels_on_nodes_that_follow_some_of_them_or_none() {
    let redis = RedisServer::start().await.unwrap();
    let (both, one, none) = (logging(&redis).await, logging(&redis).await, logging(&redis).await);
    let _b_stays = subscribe(&one, "/sse/b").await;
    let path = "/sse?channel=a&channel=b&channel=quiet";
    let mut stream = subscribe(&both, path).await;
    for number in 1..=12 {
        publish(&redis, &number.to_string(), [&["a"][..], &["b"], &["a", "b"], &["other"]][number % 4]).await;
    }
    let all = up_to(&mut stream, "12").await;
    assert_eq!(words(&all), ["1", "2", "4", "5", "6", "8", "9", "10", "12"]);
    for node in [&both, &one, &none] {
        for (seen, event) in all.iter().enumerate() {
            let rest = up_to_live(node, come_back(node, path, &event.id).await).await;
            assert_eq!(rest, all[seen + 1..], "behind {}", event.data);
        }
        assert_eq!(metrics(node).await.count("fantail_gaps_sent_total"), 0);
    }
}

/// 1. Both nodes follow the channel. Redis tells the second one nothing for a while.
/// 2. A client gets an event from the first node and comes back to the second with its id.
/// 3. The second node knows nothing of that event: its stream waits, and begins when the node knows.
#[tokio::test]
async fn a_client_that_is_ahead_of_a_node_waits_for_it_and_gets_nothing_twice() {
    let redis = RedisServer::start().await.unwrap();
    let here = logging(&redis).await;
    let (there, proxy) = behind_proxy(&redis, &["--follow-deadline", "5m"]).await;
    let mut stream = subscribe(&here, "/sse/c").await;
    let mut stays = subscribe(&there, "/sse/c").await;
    publish(&redis, "1", &["c"]).await;
    stays.next_event(PATIENCE).await.unwrap();
    proxy.pause();
    publish(&redis, "2", &["c"]).await;
    let id = publish(&redis, "3", &["c"]).await;
    assert_eq!(up_to(&mut stream, "3").await.last().unwrap().id, id);

    let mut moved = ask_back(&there, "/sse/c", &id).send().await.unwrap();
    let mut with_older = come_back(&there, "/sse/c", stays.last_event_id()).await;
    until_state(&there, moved.local_addr().unwrap(), "waiting").await;
    proxy.resume();
    assert_eq!(moved.wait_for_head(PATIENCE).await.unwrap().status, 200);
    publish(&redis, "4", &["c"]).await;
    assert_eq!(words(&up_to(&mut moved, "4").await), ["4"]);
    assert_eq!(words(&up_to(&mut stays, "4").await), ["2", "3", "4"]);
    assert_eq!(words(&up_to(&mut with_older, "4").await), ["2", "3", "4"]);
}

/// An id names a place for all channels at once. The client saw an event of `loud` and now wants `quiet` alone, which
/// the other node follows. That node has heard nothing of the event.
#[tokio::test]
async fn a_node_that_heard_nothing_of_an_event_asks_how_far_the_log_is() {
    let redis = RedisServer::start().await.unwrap();
    let node = logging(&redis).await;
    let _followed = subscribe(&node, "/sse/quiet").await;
    for round in ["1", "2"] {
        let id = publish(&redis, "loud", &["loud"]).await;
        let mut moved = come_back(&node, "/sse/quiet", &id).await;
        publish(&redis, round, &["quiet"]).await;
        assert_eq!(words(&up_to(&mut moved, round).await), [round]);
    }
}

#[tokio::test]
async fn after_kill_9_of_its_node_a_client_goes_on_at_the_other_or_at_the_one_that_was_started_again() {
    let redis = RedisServer::start().await.unwrap();
    let (mut here, there) = (logging(&redis).await, logging(&redis).await);
    let mut stream = subscribe(&here, "/sse?channel=a&channel=b").await;
    publish(&redis, "1", &["a"]).await;
    publish(&redis, "2", &["b"]).await;
    let id = stream.next_events(2, PATIENCE).await.unwrap().remove(1).id;
    here.kill();
    publish(&redis, "3", &["b"]).await;
    publish(&redis, "4", &["a", "b"]).await;
    let again = logging(&redis).await;
    for node in [&there, &again] {
        let mut stream = come_back(node, "/sse?channel=a&channel=b", &id).await;
        assert_eq!(words(&stream.next_events(2, PATIENCE).await.unwrap()), ["3", "4"]);
    }
    publish(&redis, "5", &["a"]).await;
    assert_eq!(words(&up_to(&mut come_back(&again, "/sse/a", &id).await, "5").await), ["4", "5"]);
}

/// The state that the tasks of the test under load share.
struct MovingLoad {
    redis: RedisServer,
    /// The nodes at the moment.
    nodes: RefCell<Vec<SocketAddr>>,
    ledger: Ledger,
    /// Events still to publish.
    left: Cell<usize>,
    /// Publishers that are not done.
    publishing: Cell<usize>,
    /// The very last event, for every reader.
    last: OnceCell<Composed>,
    /// No node is killed before all readers have begun.
    begun: Barrier,
}

const READERS: usize = 9;

const CHANNELS: [&[&str]; 3] = [&["a"], &["b"], &["a", "b"]];

/// Publishes to `a`, `b` and both until nothing is left; the publisher that is done last sends the last event.
async fn publish_what_is_left(load: Rc<MovingLoad>, seed: u64) {
    let mut publisher = load.ledger.publisher(Random::from_seed(seed));
    let mut connection = load.redis.connection().await.unwrap();
    while load.left.get() > 0 {
        let number = load.left.get() - 1;
        load.left.set(number);
        let channels = CHANNELS[number % 3];
        let event = publisher.compose_for(channels, 100 + number % 400);
        id_of(&call(&mut connection, &json!({ "data": event.text }), channels).await);
        publisher.confirm(&event);
        // Long enough for readers to come and go in between, whatever the machine.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    load.publishing.set(load.publishing.get() - 1);
    if load.publishing.get() == 0 {
        let last = publisher.compose_for(&["a", "b"], 100);
        id_of(&call(&mut connection, &json!({ "data": last.text }), &["a", "b"]).await);
        publisher.confirm(&last);
        load.last.set(last).unwrap();
    }
}

/// Reads in short connections, each to a random node and dropped in the middle of the stream, until everything is
/// published. Then it comes back for the rest.
async fn read_in_pieces(load: Rc<MovingLoad>, seed: u64) {
    let channels = CHANNELS[seed as usize % 3];
    let mut random = Random::from_seed(seed);
    let path = format!("/sse?channel={}", channels.join("&channel="));
    let first = load.nodes.borrow()[seed as usize % 2];
    let mut first = SseClient::request(first, &path).keep_body().connect().await.unwrap();
    let reader = load.ledger.reader(format!("reader {seed}"), channels, Start::Live(load.ledger.mark()));
    let mut id = opening(&mut first).await;
    drop(first);
    load.begun.wait().await;
    loop {
        let last = load.last.get();
        let node = *random.pick(&load.nodes.borrow()).unwrap();
        // The last connection reads to the end. Any of them may meet a node that was killed.
        let events_max = last.map_or(random.below(12), |_| u64::MAX);
        if let Ok(client) = SseClient::request(node, &path).last_event_id(&id).connect().await {
            read(client, events_max, &reader, &mut id).await;
        } else {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if last.is_some_and(|last| reader.has(last)) {
            return reader.stopped(load.ledger.mark());
        }
    }
}

async fn read(mut client: SseClient, events_max: u64, reader: &Reader, id: &mut String) {
    for _ in 0..events_max {
        match client.next_event(A_WHILE).await {
            Ok(event) => {
                reader.record(&event);
                id.clone_from(&event.id);
            }
            // Nothing to read for now, or the node was killed.
            Err(_) => return,
        }
    }
}

/// Kills one node after the other and starts a new one in its place, until everything is published.
async fn kill_again_and_again(load: Rc<MovingLoad>, mut nodes: Vec<Fantail>) -> (Vec<Fantail>, usize) {
    let mut kills = 0;
    load.begun.wait().await;
    while load.last.get().is_none() {
        let at = kills % nodes.len();
        nodes[at].kill();
        kills += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
        nodes[at] = node_at(load.redis.addr(), &["--linger", "10ms"]).await;
        load.nodes.borrow_mut()[at] = nodes[at].public();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    (nodes, kills)
}

#[tokio::test]
async fn clients_that_move_under_load_between_nodes_that_are_killed_lose_nothing_and_get_nothing_twice() {
    const SEED: u64 = 30;
    let redis = RedisServer::start().await.unwrap();
    let mut nodes = Vec::new();
    for _ in 0..2 {
        nodes.push(node_at(redis.addr(), &["--linger", "10ms"]).await);
    }
    let load = Rc::new(MovingLoad {
        redis,
        nodes: RefCell::new(nodes.iter().map(Fantail::public).collect()),
        ledger: Ledger::new(),
        left: Cell::new(1_500),
        publishing: Cell::new(3),
        last: OnceCell::new(),
        begun: Barrier::new(READERS + 1),
    });
    let tasks = LocalSet::new();
    for number in 0..READERS as u64 {
        tasks.spawn_local(read_in_pieces(Rc::clone(&load), SEED + number));
    }
    for number in 0..3 {
        tasks.spawn_local(publish_what_is_left(Rc::clone(&load), SEED + number));
    }
    let killer = tasks.spawn_local(kill_again_and_again(Rc::clone(&load), nodes));
    tokio::time::timeout(2 * PATIENCE, tasks).await.unwrap();
    let (nodes, kills) = killer.await.unwrap();
    assert!(kills > 2, "nodes were hardly ever killed, so little was tried");
    let verdict = load.ledger.judge();
    assert_eq!(verdict.readers, READERS as u64);
    assert!(verdict.delivered > 3_000, "{verdict}");
    verdict.assert_whole();
    assert_eq!(verdict.gaps, 0, "{verdict}");
    for node in &nodes {
        until_ready(node, true).await;
        until(node, "the order was kept", |m| m.count("fantail_events_misplaced_total") == 0).await;
    }
}
