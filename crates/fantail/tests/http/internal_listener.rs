//! The requests that the internal listener lets in, and health on a port of its own.

use std::net::SocketAddr;

use fantail_testkit::{Fantail, PATIENCE, Response, http};
use tokio::time::timeout;

use crate::node::{ask, metrics, node, publish, subscribe};
use crate::wire::Wire;

/// One route of each kind, with a method that it takes.
const ROUTES: [(&str, &str); 9] = [
    ("POST", "/publish"),
    ("POST", "/publish/a"),
    ("GET", "/channels"),
    ("DELETE", "/channels/a"),
    ("GET", "/connections"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/config"),
    ("GET", "/nope"),
];

/// A refusal's status and the field that it blames.
#[track_caller]
fn refusal(answer: &Response) -> (u16, String) {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.text());
    (answer.status, answer.json().unwrap()["field"].as_str().unwrap().to_owned())
}

async fn with_header(node: &Fantail, method: &str, path: &str, name: &str, value: &str) -> Response {
    http(node.internal(), method, path, &[(name, value)], "").await.unwrap()
}

#[tokio::test]
async fn no_request_of_a_web_page_gets_through() {
    let node = node(&["--cors-origin", "*", "--internal-hosts", "*"]).await;
    for (method, path) in ROUTES {
        for origin in ["https://example.com", "null", "http://127.0.0.1"] {
            let answer = with_header(&node, method, path, "Origin", origin).await;
            assert_eq!(refusal(&answer), (403, "origin".into()), "{method} {path} {origin}");
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
        // A picture or a form of a page has no Origin in some browsers, but all of them tell its site.
        for site in ["cross-site", "same-site", "something-new"] {
            let answer = with_header(&node, method, path, "Sec-Fetch-Site", site).await;
            assert_eq!(refusal(&answer), (403, "sec-fetch-site".into()), "{method} {path} {site}");
        }
    }
    for by_hand in ["none", "same-origin"] {
        assert_eq!(with_header(&node, "GET", "/metrics", "Sec-Fetch-Site", by_hand).await.status, 200, "{by_hand}");
    }
    assert_eq!(metrics(&node).await.count("fantail_events_in_total"), 0);
}

/// 1. A page of `evil.example` is open in a browser on this machine, and its port is that of the internal listener.
/// 2. Its name is made to lead to 127.0.0.1.
/// 3. The page reads `/connections`. To its browser that is its own site, so there is no `Origin`, and it may see the
///    answer.
#[tokio::test]
async fn a_page_whose_name_was_rebound_to_this_machine_reads_nothing() {
    let node = node(&[]).await;
    for (method, path) in ROUTES {
        for host in ["evil.example", "evil.example:8081", "localhost.evil.example", "127.0.0.1.evil.example", "fantail"]
        {
            let answer = with_header(&node, method, path, "Host", host).await;
            assert_eq!(refusal(&answer), (421, "host".into()), "{method} {path} {host}");
            let name = host.split(':').next().unwrap();
            assert!(answer.text().contains(&format!("FANTAIL_INTERNAL_HOSTS={name}")), "{}", answer.text());
        }
    }
    let mut wire = Wire::connect(node.internal()).await;
    wire.send("GET http://evil.example/connections HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(wire.answer("GET").await.unwrap().head.status, 421, "the name stands in the request's target as well");
    assert_eq!(metrics(&node).await.count("fantail_events_in_total"), 0);
}

#[tokio::test]
async fn addresses_localhost_and_the_names_that_were_set_are_answered() {
    let node = node(&["--internal-hosts", "fantail,edge.example.internal"]).await;
    let by_name = ["fantail", "fantail:8081", "FANTAIL", "edge.example.internal", "edge.example.internal.:80"];
    let by_address = ["127.0.0.1", "10.1.2.3:8081", "[::1]:8081", "localhost", "LocalHost:1"];
    for host in by_name.into_iter().chain(by_address) {
        assert_eq!(with_header(&node, "POST", "/publish/a", "Host", host).await.status, 202, "{host}");
    }
    let old = "GET /livez HTTP/1.0\r\n\r\n";
    let mut wire = Wire::connect(node.internal()).await;
    wire.send(old).await;
    assert_eq!(wire.answer("GET").await.unwrap().head.status, 200, "no browser speaks so");
    assert_eq!(with_header(&node, "GET", "/livez", "Host", "evil.example").await.status, 421);
}

#[tokio::test]
async fn a_star_answers_to_every_name() {
    let node = node(&["--internal-hosts", "*"]).await;
    assert_eq!(with_header(&node, "POST", "/publish/a", "Host", "anything.example").await.status, 202);
}

#[tokio::test]
async fn every_readable_route_answers_head_as_get_without_its_body() {
    let mut node = node(&["--health-listen", "127.0.0.1:0"]).await;
    let health = node.health().await.unwrap();
    let _stream = subscribe(&node, "/sse/a").await;
    let everywhere = ["/livez", "/readyz", "/metrics"].map(|path| [(node.internal(), path), (health, path)]).concat();
    let inside = ["/channels", "/channels/a", "/connections", "/config", "/channels/nothing"];
    for (addr, path) in everywhere.into_iter().chain(inside.map(|path| (node.internal(), path))) {
        let [get, head] = [ask_at(addr, "GET", path).await, ask_at(addr, "HEAD", path).await];
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        assert!(head.header("content-length").is_some_and(|length| length != "0"), "{path}");
    }
}

async fn ask_at(addr: SocketAddr, method: &str, path: &str) -> Response {
    http(addr, method, path, &[], "").await.unwrap()
}

#[tokio::test]
async fn health_has_a_port_of_its_own_that_answers_under_any_name_and_publishes_nothing() {
    let mut node = node(&["--health-listen", "127.0.0.1:0", "--connections-max", "1"]).await;
    let health = node.health().await.unwrap();
    for path in ["/livez", "/readyz", "/metrics"] {
        let answer = http(health, "GET", path, &[("Host", "probe.example")], "").await.unwrap();
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{path}");
        assert_eq!(answer.header("content-type"), ask(&node, "GET", path).await.header("content-type"), "{path}");
        assert_eq!(refusal(&ask_at(health, "POST", path).await), (405, "method".into()), "{path}");
    }
    for (method, path) in ROUTES.into_iter().filter(|(_, path)| !["/readyz", "/metrics"].contains(path)) {
        assert_eq!(refusal(&ask_at(health, method, path).await), (404, "path".into()), "{method} {path}");
    }
    assert_eq!(metrics(&node).await.count("fantail_events_in_total"), 0);

    let _stream = subscribe(&node, "/sse/a").await;
    let [there, here] = [ask_at(health, "GET", "/readyz").await, ask(&node, "GET", "/readyz").await];
    assert_eq!((there.status, there.json().unwrap()), (503, here.json().unwrap()));
    publish(&node, "a", "through the other port").await;
    assert!(ask_at(health, "GET", "/metrics").await.text().contains("\nfantail_events_in_total 1\n"));
}

#[tokio::test]
async fn connections_that_ask_nothing_hold_their_place_at_the_health_listener_only_for_so_long() {
    let mut node = node(&["--health-listen", "127.0.0.1:0"]).await;
    let health = node.health().await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..32 {
        silent.push(Wire::connect(health).await);
    }
    node.wait_for_output("the health listener is full", PATIENCE).await.unwrap();
    assert_eq!(ask(&node, "GET", "/livez").await.status, 200, "the other listener has places of its own");
    // It waits for a place until the silent ones are closed.
    assert_eq!(ask_at(health, "GET", "/livez").await.status, 200);
    for wire in &mut silent {
        timeout(PATIENCE, wire.rest()).await.unwrap();
    }
}
