//! A stream of JetStream, with the whole program: clients come back to any node with their last id, and get the missed
//! events, once and in order, or a gap.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::time::Duration;

use fantail_testkit::ledger::Composed;
use fantail_testkit::proxy::Cut;
use fantail_testkit::{Event, Fantail, FaultProxy, Ledger, NatsServer, PATIENCE, Random, SseClient, Start};
use tokio::task::LocalSet;

use crate::node::{metrics, node, opening, publish, publish_to, subscribe, until_ready, until_state, words};

async fn server_with_stream() -> NatsServer {
    let server = NatsServer::start_jetstream().await.unwrap();
    server.make_stream("EVENTS", "").await.unwrap();
    server
}

async fn node_of(url: &str) -> Fantail {
    let node = node(&["--nats-url", url, "--nats-stream", "EVENTS"]).await;
    until_ready(&node, true).await;
    node
}

async fn send(server: &NatsServer, channel: &str, data: &str) {
    server.publish_to_stream(&format!("fantail.{channel}"), data).await.unwrap();
}

async fn come_back(node: &Fantail, path: &str, id: &str) -> SseClient {
    let client = SseClient::request(node.public(), path).last_event_id(id).connect().await.unwrap();
    assert_eq!(client.status(), 200, "{path}");
    client
}

async fn up_to(stream: &mut SseClient, last: &str) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    while events.last().is_none_or(|event| event.data != last) {
        events.push(stream.next_event(PATIENCE).await.unwrap());
    }
    events
}

#[tokio::test]
async fn a_client_that_goes_to_and_fro_between_two_nodes_gets_every_event_once() {
    let server = server_with_stream().await;
    let nodes = [node_of(&server.url()).await, node_of(&server.url()).await];
    let mut stream = subscribe(&nodes[0], "/sse/c").await;
    send(&server, "c", "first").await;
    let mut id = stream.next_event(PATIENCE).await.unwrap().id;
    for round in 1..=6 {
        drop(stream);
        let (missed, live) = (format!("missed {round}"), format!("live {round}"));
        send(&server, "c", &missed).await;
        send(&server, "other", "x").await;
        stream = come_back(&nodes[round % 2], "/sse/c", &id).await;
        send(&server, "c", &live).await;
        let events = up_to(&mut stream, &live).await;
        assert_eq!(words(&events), [missed, live], "round {round}");
        id.clone_from(&events[1].id);
    }
    for node in &nodes {
        assert_eq!(metrics(node).await.count("fantail_gaps_sent_total"), 0);
    }
}

#[tokio::test]
async fn after_kill_9_of_its_node_a_client_goes_on_at_a_node_that_was_started_since() {
    let server = server_with_stream().await;
    let mut here = node_of(&server.url()).await;
    let mut stream = subscribe(&here, "/sse?channel=a&channel=b").await;
    send(&server, "a", "1").await;
    publish(&here, "b", "2").await;
    let id = stream.next_events(2, PATIENCE).await.unwrap().remove(1).id;
    here.kill();
    send(&server, "b", "3").await;
    let again = node_of(&server.url()).await;
    publish_to(&again, &["a", "b"], "4").await;
    let mut stream = come_back(&again, "/sse?channel=a&channel=b", &id).await;
    assert_eq!(words(&stream.next_events(2, PATIENCE).await.unwrap()), ["3", "4"]);
    assert_eq!(metrics(&again).await.count("fantail_gaps_sent_total"), 0);
}

#[tokio::test]
async fn an_outage_of_nats_loses_nothing_that_the_stream_keeps() {
    let mut server = server_with_stream().await;
    let proxy = FaultProxy::start(server.addr()).unwrap();
    let node = node_of(&format!("nats://{}", proxy.addr())).await;
    let mut stream = subscribe(&node, "/sse/c").await;
    until_state(&node, stream.local_addr().unwrap(), "live").await;
    send(&server, "c", "1").await;
    assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, "1");
    proxy.refuse().await.unwrap();
    proxy.cut(Cut::Reset).await.unwrap();
    send(&server, "c", "2").await;
    server.kill();
    server.restart().await.unwrap();
    send(&server, "c", "3").await;
    proxy.accept().await.unwrap();
    assert_eq!(words(&up_to(&mut stream, "3").await), ["2", "3"]);
    assert_eq!(metrics(&node).await.count("fantail_feed_repaired_events_total"), 2);
}

/// 1. A client has seen 3 of the old stream.
/// 2. The stream is deleted and made anew, and has five messages by the time that the client comes back.
#[tokio::test]
async fn an_id_of_a_stream_that_was_made_anew_is_told_a_gap_on_every_node() {
    let server = server_with_stream().await;
    let here = node_of(&server.url()).await;
    let mut stays = subscribe(&here, "/sse/c").await;
    let mut leaves = subscribe(&here, "/sse/c").await;
    for data in ["1", "2", "3"] {
        send(&server, "c", data).await;
    }
    up_to(&mut stays, "3").await;
    let id = up_to(&mut leaves, "3").await.remove(2).id;
    drop(leaves);
    server.ask("$JS.API.STREAM.DELETE.EVENTS", "").await.unwrap();
    server.make_stream("EVENTS", "").await.unwrap();
    for data in ["new 1", "new 2", "new 3", "new 4", "new 5"] {
        send(&server, "c", data).await;
    }
    let told = words(&up_to(&mut stays, "new 5").await);
    assert_eq!(told, ["gap c term-ended", "new 1", "new 2", "new 3", "new 4", "new 5"]);
    let there = node_of(&server.url()).await;
    for node in [&here, &there] {
        let mut back = come_back(node, "/sse/c", &id).await;
        send(&server, "c", "last").await;
        let told = words(&up_to(&mut back, "last").await);
        assert!(told[0].starts_with("gap c "), "{told:?}");
    }
}

#[tokio::test]
async fn messages_that_were_purged_while_a_client_was_away_are_told_as_a_gap() {
    let server = server_with_stream().await;
    let here = node_of(&server.url()).await;
    let mut stream = subscribe(&here, "/sse/c").await;
    send(&server, "c", "1").await;
    let id = stream.next_event(PATIENCE).await.unwrap().id;
    drop(stream);
    for data in ["2", "3", "4"] {
        send(&server, "c", data).await;
    }
    server.ask("$JS.API.STREAM.PURGE.EVENTS", "{\"keep\":1}").await.unwrap();
    let there = node_of(&server.url()).await;
    let mut back = come_back(&there, "/sse/c", &id).await;
    assert_eq!(words(&up_to(&mut back, "4").await), ["gap c trimmed", "4"]);
}

/// The state that the tasks of the test under load share.
struct Load {
    server: NatsServer,
    nodes: [Fantail; 2],
    ledger: Ledger,
    left: Cell<usize>,
    last: OnceCell<Composed>,
}

const CHANNELS: [&[&str]; 2] = [&["a"], &["a", "b"]];

async fn publish_all(load: Rc<Load>) {
    let mut publisher = load.ledger.publisher(Random::from_seed(7));
    let mut send = async |channels: &'static [&'static str], size| {
        let event = publisher.compose_for(channels, size);
        publish_to(&load.nodes[size % 2], channels, &event.text).await;
        publisher.confirm(&event);
        event
    };
    while load.left.get() > 0 {
        load.left.set(load.left.get() - 1);
        send(CHANNELS[load.left.get() % 2], 100 + load.left.get()).await;
    }
    let last = send(&["a", "b"], 100).await;
    load.last.set(last).unwrap();
}

/// Reads in short connections, each to another node, until everything is published. Then it comes back for the rest.
async fn read_in_pieces(load: Rc<Load>, seed: usize) {
    let mut random = Random::from_seed(seed as u64);
    let channels = CHANNELS[seed % 2];
    let path = format!("/sse?channel={}", channels.join("&channel="));
    let mut first = SseClient::request(load.nodes[0].public(), &path).keep_body().connect().await.unwrap();
    let reader = load.ledger.reader(format!("reader {seed}"), channels, Start::Live(load.ledger.mark()));
    let mut id = opening(&mut first).await;
    drop(first);
    loop {
        let last = load.last.get();
        let node = &load.nodes[random.below(2) as usize];
        let Ok(mut client) = SseClient::request(node.public(), &path).last_event_id(&id).connect().await else {
            continue;
        };
        let events_max = last.map_or(random.below(12), |_| u64::MAX);
        for _ in 0..events_max {
            let Ok(event) = client.next_event(Duration::from_millis(200)).await else { break };
            reader.record(&event);
            id.clone_from(&event.id);
        }
        if last.is_some_and(|last| reader.has(last)) {
            return reader.stopped(load.ledger.mark());
        }
    }
}

/// The ledger judges: every reader that moves between two nodes has every event of its channels once and in order.
#[tokio::test]
async fn readers_that_move_between_nodes_under_load_get_every_event_once_and_in_order() {
    let server = server_with_stream().await;
    let nodes = [node_of(&server.url()).await, node_of(&server.url()).await];
    let load = Load { server, nodes, ledger: Ledger::new(), left: Cell::new(600), last: OnceCell::new() };
    let load = Rc::new(load);
    let local = LocalSet::new();
    local
        .run_until(async {
            let readers: Vec<_> =
                (0..6).map(|seed| tokio::task::spawn_local(read_in_pieces(Rc::clone(&load), seed))).collect();
            publish_all(Rc::clone(&load)).await;
            for reader in readers {
                tokio::time::timeout(PATIENCE, reader).await.expect("every reader gets the last event").unwrap();
            }
        })
        .await;
    load.ledger.judge().assert_whole();
    assert!(load.server.pid() > 0);
}
