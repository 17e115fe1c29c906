//! Tabs: streams that share a connection.

use fantail_testkit::http2_client::TabEnd;
use fantail_testkit::{Certificates, Http2Client, PATIENCE, Signal, SseClient, Tab, TlsTrust, http};
use serde_json::Value;
use tokio::time::timeout;

use crate::node::{ask, connections, metrics, publish, tls_node, until, until_open, words};
use crate::{Served, WINDOW};

/// Events up to the one with this data, which must come.
async fn read_to(tab: &mut Tab, data: &str) -> Vec<String> {
    let mut read = Vec::new();
    while read.last().is_none_or(|last| last != data) {
        read.extend(words(&tab.next_events().await.unwrap()));
    }
    read
}

/// The end of a tab that the node has ended in order, and the reason that it was told.
async fn reason_of_end(tab: &mut Tab) -> String {
    let (events, end) = tab.read_to_end().await.unwrap();
    assert_eq!(end, TabEnd::Clean, "{}", tab.text());
    let told: Value = serde_json::from_str(&events.last().expect("last words").data).unwrap();
    told["reason"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn many_tabs_of_a_connection_get_every_event_over_tls_and_without() {
    let served = Served::start(&[]).await;
    for mut client in [served.over_tls().await, served.plain().await] {
        let mut tabs = Vec::new();
        for number in 0..50 {
            let path = if number % 5 == 0 { "/sse?channel=a&channel=b" } else { "/sse/a" };
            let tab = client.get(path, &[]).await.unwrap();
            assert_eq!(
                (tab.status.as_u16(), &tab.headers["content-type"]),
                (200, &"text/event-stream".parse().unwrap())
            );
            assert!(!tab.headers.contains_key("connection") && !tab.headers.contains_key("transfer-encoding"));
            tabs.push(tab);
        }
        until_open(&served.node, 50).await;
        let large = "x".repeat(100_000);
        for data in ["first", &large, "last"] {
            publish(&served.node, "a", data).await;
        }
        for tab in &mut tabs {
            assert_eq!(read_to(tab, "last").await, ["first", &large, "last"]);
        }
        drop((tabs, client));
        until_open(&served.node, 0).await;
    }
    until(&served.node, "the connections are gone", |m| m.count("fantail_connections_open") == 0).await;
    assert_eq!(metrics(&served.node).await.count("fantail_http2_connections"), 0);
}

#[tokio::test]
async fn a_tab_that_comes_back_goes_on_behind_its_id() {
    let served = Served::start(&[]).await;
    let mut client = served.over_tls().await;
    let mut tab = client.get("/sse/a", &[]).await.unwrap();
    publish(&served.node, "a", "seen").await;
    let seen = tab.next_events().await.unwrap().pop().unwrap();
    drop(tab);
    until_open(&served.node, 0).await;
    publish(&served.node, "a", "missed").await;
    let id = seen.own_id.unwrap();
    let mut tab = client.get("/sse/a", &[("last-event-id", &id)]).await.unwrap();
    publish(&served.node, "a", "new").await;
    assert_eq!(read_to(&mut tab, "new").await, ["missed", "new"]);
}

#[tokio::test]
async fn a_tab_that_is_kicked_ends_with_its_last_words_and_the_others_stay() {
    let served = Served::start(&[]).await;
    let mut client = served.over_tls().await;
    let mut kicked = client.get("/sse/a", &[]).await.unwrap();
    let mut other = client.get("/sse/b", &[]).await.unwrap();
    until_open(&served.node, 2).await;
    let listing = connections(&served.node).await;
    assert_eq!(listing[0]["peer"], listing[1]["peer"], "both are tabs of one connection");
    let of_a = listing.iter().find(|one| one["channels"][0] == "a").unwrap();
    let path = format!("/connections/{}", of_a["id"].as_str().unwrap());
    assert_eq!(ask(&served.node, "DELETE", &path).await.status, 200);
    assert_eq!(reason_of_end(&mut kicked).await, "kicked");
    publish(&served.node, "b", "still here").await;
    assert_eq!(read_to(&mut other, "still here").await, ["still here"]);
    assert_eq!(ask(&served.node, "DELETE", "/channels/b").await.status, 200);
    assert_eq!(reason_of_end(&mut other).await, "channel-deleted");
}

/// 1. Ten tabs of a connection have windows of 20,000 bytes each. One of them reads nothing.
/// 2. Events of 5,000 bytes come. Nine tabs read them all, and the log loses what the tenth has not taken.
/// 3. At the deadline the tenth is reset, and the others stay.
#[tokio::test]
async fn a_tab_that_reads_nothing_is_reset_at_the_deadline_and_stalls_no_other() {
    let served = Served::start(&["--progress-deadline", "500ms", "--log-events-max", "4", "--workers", "1"]).await;
    let mut client = served.over_tls_with(20_000).await;
    let mut stuck = client.get("/sse/a", &[]).await.unwrap();
    let mut others = Vec::new();
    for _ in 0..9 {
        others.push(client.get("/sse/a", &[]).await.unwrap());
    }
    until_open(&served.node, 10).await;
    for number in 0..20 {
        let data = format!("{number} {}", "x".repeat(5_000));
        publish(&served.node, "a", &data).await;
        for tab in &mut others {
            assert_eq!(read_to(tab, &data).await, [data.as_str()]);
        }
    }
    let after = until(&served.node, "the stuck one is gone", |m| m.count("fantail_streams_open") == 9).await;
    assert_eq!(after.closed("stalled"), 1);
    let (events, end) = stuck.read_to_end().await.unwrap();
    // It is reset with CANCEL, behind the events that its window let.
    assert_eq!(end, TabEnd::Reset(8));
    assert!(events.len() < 5, "{}", events.len());
    publish(&served.node, "a", "last").await;
    for tab in &mut others {
        read_to(tab, "last").await;
    }
}

#[tokio::test]
async fn an_address_has_so_many_streams_however_few_connections_they_share() {
    let served = Served::start(&["--connections-per-address-max", "3"]).await;
    let mut client = served.plain().await;
    let _first = client.get("/sse/a", &[]).await.unwrap();
    let second = client.get("/sse/a", &[]).await.unwrap();
    until_open(&served.node, 2).await;
    let mut third = client.get("/sse/a", &[("accept", "text/event-stream")]).await.unwrap();
    assert_eq!((third.status.as_u16(), reason_of_end(&mut third).await.as_str()), (200, "too-many-streams"));
    assert_eq!(client.get("/sse/a", &[]).await.unwrap().status.as_u16(), 429);
    drop(second);
    until_open(&served.node, 1).await;
    assert_eq!(client.get("/sse/a", &[]).await.unwrap().status.as_u16(), 200);
}

/// Connections are not what is short: each may have a hundred streams.
#[tokio::test]
async fn a_node_has_so_many_streams_however_few_connections_they_share() {
    let served = Served::start(&["--streams-max", "3"]).await;
    let mut client = served.over_tls().await;
    let _first = client.get("/sse/a", &[]).await.unwrap();
    let second = client.get("/sse/a", &[]).await.unwrap();
    let _other = SseClient::connect(served.node.public(), "/sse/a").await.unwrap();
    until_open(&served.node, 3).await;
    let mut browser = client.get("/sse/a", &[("accept", "text/event-stream")]).await.unwrap();
    assert_eq!((browser.status.as_u16(), reason_of_end(&mut browser).await.as_str()), (200, "overloaded"));
    let program = client.get("/sse/a", &[]).await.unwrap();
    assert_eq!((program.status.as_u16(), program.headers.contains_key("retry-after")), (503, true));
    let over_http_1 = http(served.node.public(), "GET", "/sse/a", &[], "").await.unwrap();
    assert_eq!((over_http_1.status, over_http_1.header("retry-after").is_some()), (503, true));
    let full = metrics(&served.node).await;
    assert_eq!(full.count("fantail_refused_total{bound=\"streams_max\"}"), 3);
    assert_eq!((full.count("fantail_streams_open"), full.count("fantail_streams_max")), (3, 3));
    let ready = ask(&served.node, "GET", "/readyz").await;
    assert_eq!((ready.status, &ready.json().unwrap()["reason"]), (503, &"all 3 streams are open (streams_max)".into()));
    drop(second);
    until_open(&served.node, 2).await;
    assert_eq!(ask(&served.node, "GET", "/readyz").await.status, 200);
    assert_eq!(client.get("/sse/a", &[]).await.unwrap().status.as_u16(), 200);
}

#[tokio::test]
async fn a_drain_ends_every_tab_with_its_last_words_and_then_the_connection() {
    let mut served = Served::start(&["--drain-window", "300ms"]).await;
    let mut client = served.over_tls().await;
    let idle = served.plain().await;
    let mut tabs = Vec::new();
    for _ in 0..20 {
        tabs.push(client.get("/sse/a", &[]).await.unwrap());
    }
    until_open(&served.node, 20).await;
    served.node.signal(Signal::TERM).unwrap();
    for tab in &mut tabs {
        assert_eq!(reason_of_end(tab).await, "drained");
    }
    drop(tabs);
    client.ended().await.unwrap();
    idle.ended().await.unwrap();
    assert!(served.node.wait(PATIENCE).await.unwrap().success());
}

#[tokio::test]
async fn clients_of_http_1_are_served_on_the_same_ports() {
    let served = Served::start(&[]).await;
    let mut plain = SseClient::connect(served.node.public(), "/sse/a").await.unwrap();
    let mut sealed = SseClient::request(served.tls, "/sse/a").over_tls(&served.trust).connect().await.unwrap();
    let mut client = served.over_tls().await;
    let mut tab = client.get("/sse/a", &[]).await.unwrap();
    until_open(&served.node, 3).await;
    publish(&served.node, "a", "for all").await;
    for client in [&mut plain, &mut sealed] {
        assert_eq!(client.next_event(PATIENCE).await.unwrap().data, "for all");
    }
    assert_eq!(read_to(&mut tab, "for all").await, ["for all"]);
}

/// Over HTTP/1 each stream has a handshake of its own, which judges the client's certificate.
#[tokio::test]
async fn a_client_whose_authorities_count_no_longer_opens_no_stream_over_its_old_connection() {
    let (certificates, others) = (Certificates::make().unwrap(), Certificates::make().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("clients.pem");
    std::fs::copy(certificates.ca(), &ca).unwrap();
    let (node, address) = tls_node(&certificates, &["--http2", "--tls-client-ca", ca.to_str().unwrap()]).await;
    let (certificate, key) = (certificates.client(), certificates.client_key());
    let trust = TlsTrust::with_certificate(&certificates.ca(), rustls::ALL_VERSIONS, &certificate, &key).unwrap();
    let mut client = Http2Client::connect(address, Some(&trust), WINDOW).await.unwrap();
    let tab = client.get("/sse/a", &[]).await.unwrap();
    assert_eq!(tab.status.as_u16(), 200);
    std::fs::copy(others.ca(), &ca).unwrap();
    node.signal(Signal::HUP).unwrap();
    // The files are read by and by.
    let refused = async { while client.get("/sse/a", &[]).await.unwrap().status.as_u16() == 200 {} };
    timeout(PATIENCE, refused).await.expect("it is locked out");
    drop(tab);
    client.ended().await.unwrap();
}
