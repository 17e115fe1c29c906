//! Core NATS, with the whole program: live events, declared outages, and the operator's view of both.

use fantail_testkit::child::Child;
use fantail_testkit::{Fantail, NatsServer, PATIENCE};
use serde_json::Value;

use crate::node::{
    FANTAIL, ask, metrics, node, publish, publish_to, subscribe, until, until_ready, until_state, words,
};

async fn node_at(server: &NatsServer) -> Fantail {
    let node = node(&["--nats-url", &server.url()]).await;
    until_ready(&node, true).await;
    node
}

#[tokio::test]
async fn an_event_reaches_the_streams_of_every_node_whoever_published_it() {
    let server = NatsServer::start().await.unwrap();
    let nodes = [node_at(&server).await, node_at(&server).await];
    let mut streams =
        [subscribe(&nodes[0], "/sse/demo").await, subscribe(&nodes[1], "/sse?channel=demo&channel=b").await];
    for (node, stream) in nodes.iter().zip(&streams) {
        until_state(node, stream.local_addr().unwrap(), "live").await;
    }
    server.publish("fantail.demo", "plain").await.unwrap();
    publish(&nodes[0], "demo?event=tick", "over http").await;
    publish_to(&nodes[1], &["b", "demo"], "both").await;
    let command = ["publish", "--nats-url", &server.url(), "--event", "e", "demo", "by command"].map(str::to_owned);
    let mut child = Child::spawn("fantail", std::process::Command::new(FANTAIL).args(command)).unwrap();
    assert!(child.wait(PATIENCE).await.unwrap().success(), "{:?}", child.output());
    for stream in &mut streams {
        let events = stream.next_events(4, PATIENCE).await.unwrap();
        assert_eq!(words(&events), ["plain", "over http", "both", "by command"]);
        assert_eq!((events[1].event.as_str(), events[3].event.as_str()), ("tick", "e"));
    }
}

#[tokio::test]
async fn an_outage_is_a_gap_of_every_open_stream_and_readyz_tells_the_reason() {
    let mut server = NatsServer::start().await.unwrap();
    let node = node_at(&server).await;
    let mut stream = subscribe(&node, "/sse/demo").await;
    until_state(&node, stream.local_addr().unwrap(), "live").await;
    publish(&node, "demo", "before").await;
    server.kill();
    until_ready(&node, false).await;
    let told: Value = ask(&node, "GET", "/readyz").await.json().unwrap();
    assert_eq!(told["feed"], "connecting", "{told}");
    assert!(told["reason"].as_str().unwrap().contains("nats"), "{told}");
    let refused = fantail_testkit::http(node.internal(), "POST", "/publish/demo", &[], "x").await.unwrap();
    assert_eq!(refused.status, 503, "{}", refused.text());
    server.restart().await.unwrap();
    until_ready(&node, true).await;
    publish(&node, "demo", "after").await;
    assert_eq!(words(&stream.next_events(3, PATIENCE).await.unwrap()), ["before", "gap demo outage", "after"]);
    let metrics = metrics(&node).await;
    assert_eq!(metrics.count("fantail_outages_total"), 1);
    assert_eq!(metrics.count("fantail_feed_reconnects_total"), 1);
}

#[tokio::test]
async fn a_message_that_cannot_be_sent_is_a_gap_and_counted() {
    let server = NatsServer::start().await.unwrap();
    let node = node_at(&server).await;
    let mut stream = subscribe(&node, "/sse/demo").await;
    until_state(&node, stream.local_addr().unwrap(), "live").await;
    server.publish("fantail.demo", b"\xff").await.unwrap();
    server.publish("fantail.demo", "fine").await.unwrap();
    assert_eq!(words(&stream.next_events(2, PATIENCE).await.unwrap()), ["gap demo lost", "fine"]);
    until(&node, "the refusal is counted", |metrics| metrics.sum("fantail_events_rejected_total") == 1).await;
}

#[tokio::test]
async fn the_banner_names_the_servers_and_the_line_that_publishes() {
    let server = NatsServer::start_jetstream().await.unwrap();
    let url = server.url();
    for (flags, feed) in [
        (&["--nats-url", &url][..], format!("core nats at {}", server.addr())),
        (&["--nats-url", &url, "--nats-stream", "EVENTS"], format!("the stream EVENTS in nats at {}", server.addr())),
    ] {
        let mut node = node(flags).await;
        node.wait_for_output("\nor ", PATIENCE).await.unwrap();
        let output = node.output().stdout;
        assert!(output.contains(&feed), "{output}");
        assert!(output.contains(&format!("nats -s {url} pub fantail.demo hello")), "{output}");
    }
}

#[tokio::test]
async fn settings_that_cannot_work_end_the_program_before_it_serves() {
    for (flags, reason) in [
        (&["--nats-url=nats://n1", "--redis-url=redis://db"][..], "must not be given beside redis_url"),
        (&["--nats-url=nats://n1", "--nats-stream=a.b"], "no name of a stream"),
        (&["--nats-url=nats://n1", "--nats-token-file=/no/such/file"], "nats_token_file /no/such/file"),
        (&["--nats-url=nats://n1", "--nats-tls-ca=/dev/null"], "nats_tls_ca /dev/null"),
    ] {
        let (status, output) = Fantail::run_to_end(FANTAIL, &[&["serve"], flags].concat(), &[]).await.unwrap();
        assert_eq!(status.code(), Some(2), "{output:?}");
        assert!(output.stderr.contains(reason), "{output:?}");
    }
}
