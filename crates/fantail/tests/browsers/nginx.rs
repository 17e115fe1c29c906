//! Behind a real nginx with nothing configured but `proxy_pass`: our own headers must be enough for it to pass every
//! event on at once and whole.
//!
//! By default nginx speaks HTTP/1.0 to its upstream. All of it is tried again with HTTP/1.1.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use fantail_testkit::port::free_port;
use fantail_testkit::response::Framing;
use fantail_testkit::{End, Fantail, Nginx, PATIENCE, Random, SseClient, http, payload};

use crate::node::{ask, connections, node, publish, read_to_close, until_closed, until_open};
use crate::recipe::{deployed, recipe};

/// The lines in the location besides `proxy_pass`.
const CONFIGURATIONS: [&str; 2] = ["", "proxy_http_version 1.1;"];

/// Ends the only open stream. The node sees nginx's address, so the client's cannot be looked up.
async fn kick_the_only_one(node: &Fantail) {
    let listing = connections(node).await;
    assert_eq!(listing.len(), 1, "{listing:?}");
    let path = format!("/connections/{}", listing[0]["id"].as_str().unwrap());
    assert_eq!(ask(node, "DELETE", &path).await.status, 200);
}

#[tokio::test]
async fn each_event_passes_before_the_next_is_published() {
    let node = node(&[]).await;
    for lines in CONFIGURATIONS {
        let nginx = Nginx::start_with(node.public(), lines).await.unwrap();
        let mut stream = SseClient::connect(nginx.addr(), "/sse?channel=a&channel=b").await.unwrap();
        for number in 0..50 {
            let data = format!("event {number}");
            publish(&node, ["a", "b"][number % 2], &data).await;
            assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, data, "{lines}");
        }
    }
}

#[tokio::test]
async fn the_head_and_the_first_bytes_pass_though_nothing_is_published() {
    let node = node(&["--retry", "70ms", "--cors-origin", "https://app.example"]).await;
    for lines in CONFIGURATIONS {
        let nginx = Nginx::start_with(node.public(), lines).await.unwrap();
        let request = SseClient::request(nginx.addr(), "/sse/a").header("Origin", "https://app.example");
        let mut stream = request.connect().await.unwrap();
        assert_eq!((stream.status(), stream.response().framing()), (200, Framing::Chunked));
        for (name, value) in [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-cache, no-store, no-transform"),
            ("access-control-allow-origin", "https://app.example"),
        ] {
            assert_eq!(stream.head().headers_named(name).collect::<Vec<_>>(), [value], "{name}, {lines}");
        }
        for unwanted in ["content-length", "content-encoding", "x-accel-buffering"] {
            assert_eq!(stream.header(unwanted), None, "{lines}");
        }
        while stream.last_event_id().is_empty() {
            stream.read_more(PATIENCE).await.unwrap();
        }
        assert!((70..=140).contains(&stream.parser().retry().unwrap()) && stream.parser().comments() > 0);
        drop(stream);
        until_open(&node, 0).await;
    }
}

#[tokio::test]
async fn keepalives_pass() {
    let node = node(&["--keepalive-interval", "30ms"]).await;
    for lines in CONFIGURATIONS {
        let nginx = Nginx::start_with(node.public(), lines).await.unwrap();
        let mut stream = SseClient::connect(nginx.addr(), "/sse/a").await.unwrap();
        // A proxy that buffers would still wait for its four kilobytes to fill when our patience ends.
        while stream.parser().comments() < 10 {
            stream.read_more(PATIENCE).await.unwrap();
        }
    }
}

#[tokio::test]
async fn large_events_pass_whole() {
    let node = node(&[]).await;
    for lines in CONFIGURATIONS {
        let nginx = Nginx::start_with(node.public(), lines).await.unwrap();
        let mut stream = SseClient::connect(nginx.addr(), "/sse/large").await.unwrap();
        let mut random = Random::from_seed(1);
        let owed: Vec<_> = (0..100).map(|number| payload("large", number, 10 << 10, &mut random)).collect();
        for data in &owed {
            publish(&node, "large", data).await;
        }
        for data in &owed {
            assert!(stream.next_event(PATIENCE).await.unwrap().data == *data, "{lines}");
        }
    }
}

#[tokio::test]
async fn a_stream_resumes_by_its_id_and_by_the_query() {
    let node = node(&[]).await;
    for lines in CONFIGURATIONS {
        let nginx = Nginx::start_with(node.public(), lines).await.unwrap();
        let mut stream = SseClient::connect(nginx.addr(), "/sse/a").await.unwrap();
        publish(&node, "a", "seen").await;
        let id = stream.next_event(PATIENCE).await.unwrap().id;
        drop(stream);
        until_open(&node, 0).await;
        publish(&node, "a", "missed").await;
        let by_header = SseClient::request(nginx.addr(), "/sse/a").last_event_id(&id);
        let by_query = SseClient::request(nginx.addr(), &format!("/sse/a?last_event_id={id}"));
        for request in [by_header, by_query] {
            let mut stream = request.connect().await.unwrap();
            assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, "missed", "{lines}");
            drop(stream);
            until_open(&node, 0).await;
        }
    }
}

#[tokio::test]
async fn a_client_that_goes_away_is_noticed_behind_the_proxy() {
    let node = node(&[]).await;
    for lines in CONFIGURATIONS {
        let nginx = Nginx::start_with(node.public(), lines).await.unwrap();
        let mut streams = Vec::new();
        for number in 0..20 {
            streams.push(SseClient::connect(nginx.addr(), &format!("/sse/{number}")).await.unwrap());
        }
        until_open(&node, 20).await;
        for (number, stream) in streams.into_iter().enumerate() {
            if number % 2 == 0 {
                stream.reset().unwrap();
            }
        }
        // The node finds out without an event or a keepalive.
        until_open(&node, 0).await;
    }
}

#[tokio::test]
async fn a_stream_that_we_end_ends_cleanly_for_the_client() {
    let node = node(&[]).await;
    for (kicked, lines) in (1..).zip(CONFIGURATIONS) {
        let nginx = Nginx::start_with(node.public(), lines).await.unwrap();
        let mut limited = SseClient::connect(nginx.addr(), "/sse/a?limit=2").await.unwrap();
        for data in ["one", "two"] {
            publish(&node, "a", data).await;
        }
        let (events, end) = limited.read_until_end(PATIENCE).await.unwrap();
        assert_eq!((events.len(), end), (2, End::Clean), "{lines}");
        until_open(&node, 0).await;

        let mut stream = SseClient::connect(nginx.addr(), "/sse/a").await.unwrap();
        kick_the_only_one(&node).await;
        assert_eq!(read_to_close(&mut stream).await, (vec![], "kicked".to_owned()), "{lines}");
        until_closed(&node, "kicked", kicked).await;
    }
}

#[tokio::test]
async fn with_our_file_a_browser_is_told_when_to_come_back_though_no_node_answers_and_others_get_503() {
    const ORIGIN: &str = "https://app.example";
    let nobody = format!("127.0.0.1:{}", free_port().unwrap()).parse().unwrap();
    let nginx = Nginx::start_site(|port| recipe(port, nobody, ORIGIN)).await.unwrap();
    for (origin, allowed) in [(ORIGIN, Some(ORIGIN)), ("https://another.example", None)] {
        let request = SseClient::request(nginx.addr(), "/sse/a").header("Origin", origin);
        let mut browser = request.header("Accept", "text/event-stream").connect().await.unwrap();
        assert_eq!((browser.status(), browser.header("content-type")), (200, Some("text/event-stream")));
        assert_eq!(browser.header("access-control-allow-origin"), allowed);
        assert_eq!(browser.read_until_end(PATIENCE).await.unwrap(), (vec![], End::Clean));
        assert!((2000..=4000).contains(&browser.parser().retry().unwrap()));
    }
    assert_eq!(http(nginx.addr(), "GET", "/sse/a", &[("Accept", "*/*")], "").await.unwrap().status, 503);
}

#[tokio::test]
async fn with_our_file_the_answers_of_a_node_pass_unchanged() {
    let node = node(&[]).await;
    let nginx = Nginx::start_site(|port| recipe(port, node.public(), "https://app.example")).await.unwrap();
    assert_eq!(http(nginx.addr(), "GET", "/sse/a*", &[], "").await.unwrap().status, 400);
    let mut stream = SseClient::connect(nginx.addr(), "/sse/a").await.unwrap();
    publish(&node, "a", "through nginx").await;
    assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, "through nginx");
    kick_the_only_one(&node).await;
    assert_eq!(read_to_close(&mut stream).await, (vec![], "kicked".to_owned()));
}

#[tokio::test]
async fn with_the_file_for_several_nodes_each_channel_has_one_node_and_an_address_has_so_many_streams() {
    let sockets = tempfile::tempdir().unwrap();
    let socket = |name: &str| format!("unix:{}", sockets.path().join(name).display());
    // nginx's workers may belong to another user.
    fs::set_permissions(sockets.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut nodes = Vec::new();
    for name in ["one", "two"] {
        let listen = ["--listen", "127.0.0.1:0", "--listen", &socket(name), "--unix-socket-mode", "666"];
        nodes.push(node(&[&listen[..], &["--trusted-proxies", "127.0.0.1"]].concat()).await);
    }
    let site = |port| {
        let places = [
            ("listen 80;", format!("listen 127.0.0.1:{port};")),
            ("server unix:/run/fantail/one.sock;", format!("server {};", socket("one"))),
            ("server unix:/run/fantail/two.sock;", format!("server {};", socket("two"))),
            ("rate=20r/s", "rate=1r/m".to_owned()),
            ("limit_conn fantail_streams 100;", "limit_conn fantail_streams 40;".to_owned()),
        ];
        deployed("nginx/fantail-nodes.conf", &places)
    };
    let nginx = Nginx::start_site(site).await.unwrap();
    let mut streams = Vec::new();
    for number in 0..40 {
        // Two streams of each channel.
        let stream = SseClient::connect(nginx.addr(), &format!("/sse/{}", number / 2)).await.unwrap();
        assert_eq!(stream.status(), 200);
        streams.push(stream);
    }
    let mut channels = Vec::new();
    for node in &nodes {
        let listing = connections(node).await;
        assert!(!listing.is_empty(), "both nodes have streams");
        assert!(listing.iter().all(|stream| stream["forwarded"] == "127.0.0.1"), "{listing:?}");
        channels.push(listing.iter().map(|stream| stream["channels"].to_string()).collect::<HashSet<_>>());
        assert_eq!(listing.len(), channels.last().unwrap().len() * 2, "the streams of a channel are together");
    }
    assert!(channels[0].is_disjoint(&channels[1]), "{channels:?}");
    let accept = |accept| SseClient::request(nginx.addr(), "/sse/0").header("Accept", accept);
    assert_eq!(accept("*/*").connect().await.unwrap().status(), 503);
    let mut browser = accept("text/event-stream").connect().await.unwrap();
    assert_eq!(browser.read_until_end(PATIENCE).await.unwrap(), (vec![], End::Clean));
    assert!((2000..=4000).contains(&browser.parser().retry().unwrap()));
    drop(streams);
    for node in &nodes {
        until_open(node, 0).await;
    }
    // Requests that become no stream count for the other bound: 100 at once, of which some are used up.
    let mut statuses = Vec::new();
    for _ in 0..100 {
        statuses.push(http(nginx.addr(), "GET", "/sse/a*", &[], "").await.unwrap().status);
    }
    assert_eq!((statuses[0], statuses[99]), (400, 503), "{statuses:?}");
}
