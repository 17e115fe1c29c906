//! The way in over TLS: by any address, behind other requests, behind a proxy's header, into a full node, by a name, and
//! before the feed is there.

use std::fs;
use std::net::SocketAddr;

use fantail_testkit::response::ResponseReader;
use fantail_testkit::{Certificates, Close, End, Fantail, PATIENCE, TlsTrust};
use serde_json::{Value, json};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::{NARROW_BYTES, TlsClient, VERSIONS, handshake, request};
use crate::node::{connections, metrics, publish, read_to_close, tls_node, until, until_open};

const BAD: &str = "GET /sse/bad* HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Whether the kernel keeps bytes for this client because its window is closed: then a timer of the node's socket asks for room.
fn is_window_closed(client: SocketAddr) -> bool {
    const ASKS_FOR_ROOM: &str = "04:";
    let SocketAddr::V4(client) = client else { panic!("{client} is no address of IPv4") };
    let client = format!("{:08X}:{:04X}", u32::from_ne_bytes(client.ip().octets()), client.port());
    let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
    sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).any(|fields| {
        matches!(fields[..], [_, _, remote, _, _, timer, ..] if remote == client && timer.starts_with(ASKS_FOR_ROOM))
    })
}

/// Answers that nobody reads fill the socket, and the library's buffer in front of it. The stream's own records come behind
/// them, with the next numbers.
#[tokio::test]
async fn all_answers_before_a_pipelined_subscribe_come_whole_and_first() {
    let certificates = Certificates::make().unwrap();
    let (node, address) = tls_node(&certificates, &["--send-buffer-bytes", "4KiB", "--progress-deadline", "5m"]).await;
    publish(&node, "a", "retained").await;
    let mut answered = 0;
    for version in VERSIONS {
        for count in [1, 10, 40, 80, 120, 200, 400] {
            let mut stream = handshake(address, &certificates.ca(), version, Some(NARROW_BYTES)).await.unwrap();
            let subscribe = "GET /sse/a?replay=all&limit=1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
            stream.write_all((BAD.repeat(count) + subscribe).as_bytes()).await.unwrap();
            answered += count as u64 + 1;
            let client = stream.get_ref().0.local_addr().unwrap();
            until(&node, "all is answered, or its socket is full", |now| {
                now.sum("fantail_requests_total") == answered || is_window_closed(client)
            })
            .await;
            let mut bytes = Vec::new();
            timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("it ends").unwrap();
            for number in 0..count {
                let mut answer = ResponseReader::new("GET");
                let body = answer.feed(&bytes).unwrap();
                let what = format!("{version:?}: answer {number} of {count}");
                assert!(answer.is_done() && answer.head().is_some_and(|head| head.status == 400), "{what}");
                assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["status"], 400, "{what}");
                bytes = answer.surplus().to_vec();
            }
            let mut stream = ResponseReader::new("GET");
            let body = String::from_utf8(stream.feed(&bytes).unwrap()).unwrap();
            assert!(stream.is_done() && stream.surplus().is_empty(), "{version:?} {count}: {body}");
            assert_eq!(stream.head().map(|head| head.status), Some(200), "{version:?} {count}: {body}");
            assert!(body.contains("data: retained\n\n"), "{version:?} {count}: {body}");
        }
    }
}

/// The header and the client's first record come in one segment, and nothing of the record may be taken for the header.
#[tokio::test]
async fn a_header_of_the_proxy_protocol_stands_before_the_handshake() {
    const HEADERS: [&[u8]; 2] = [
        b"PROXY TCP4 198.51.100.7 127.0.0.1 4711 8443\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc6\x33\x64\x07\x7f\0\0\x01\x12\x34\x20\xfb",
    ];
    let certificates = Certificates::make().unwrap();
    let flags = ["--proxy-protocol", "--trusted-proxies", "127.0.0.1"];
    let (node, address) = tls_node(&certificates, &flags).await;
    let trust = TlsTrust::new(&certificates.ca()).unwrap();
    for header in HEADERS {
        let mut socket = TcpStream::connect(address).await.unwrap();
        // Held back by the kernel, for 200 ms at most, until more comes.
        SockRef::from(&socket).set_tcp_cork(true).unwrap();
        socket.write_all(header).await.unwrap();
        let mut client = TlsClient::on(trust.handshake(socket).await.unwrap());
        client.stream.get_mut().0.set_nodelay(true).unwrap();
        SockRef::from(client.stream.get_ref().0).set_tcp_cork(false).unwrap();
        client.ask("/sse/a").await;
        client.read_to("retry: ").await;
        assert_eq!(connections(&node).await[0]["forwarded"], json!("198.51.100.7"));
        drop(client);
        until_open(&node, 0).await;
    }
    // Without a header there is no handshake.
    assert!(handshake(address, &certificates.ca(), VERSIONS[0], None).await.is_err());
    assert_eq!(metrics(&node).await.count("fantail_proxy_headers_missing_total"), 1);
}

/// Reads until the text has come.
async fn read_to(stream: &mut TlsStream<UnixStream>, text: &str) {
    let mut read = Vec::new();
    while !read.windows(text.len()).any(|window| window == text.as_bytes()) {
        let more = timeout(PATIENCE, stream.read_buf(&mut read)).await.expect("it comes").unwrap();
        assert!(more > 0, "it ended before {text:?}: {}", String::from_utf8_lossy(&read));
    }
}

#[tokio::test]
async fn every_encrypted_address_of_a_node_brings_the_same_events() {
    let certificates = Certificates::make().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tls");
    let socket = format!("unix:{}", path.display());
    let (node, first) = tls_node(&certificates, &["--tls-listen", "[::1]:0", "--tls-listen", &socket]).await;
    let told = node.output().stdout;
    let urls: Vec<_> = told.lines().filter_map(|line| line.strip_prefix("tls ")).map(str::trim).collect();
    assert_eq!((urls.len(), urls[2]), (3, &*format!("https+{socket}/sse")), "{told}");
    let second = urls[1].trim_start_matches("https://").trim_end_matches("/sse").parse().unwrap();
    for version in VERSIONS {
        let mut one = request(first, &certificates, version, "/sse/a").connect().await.unwrap();
        let mut two = request(second, &certificates, version, "/sse/a").connect().await.unwrap();
        let trust = TlsTrust::with_versions(&certificates.ca(), &[version]).unwrap();
        let mut three = trust.handshake(UnixStream::connect(&path).await.unwrap()).await.unwrap();
        three.write_all(b"GET /sse/a HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        until_open(&node, 3).await;
        publish(&node, "a", "for all").await;
        for stream in [&mut one, &mut two] {
            assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, "for all");
        }
        read_to(&mut three, "data: for all\n\n").await;
        drop((one, two, three));
        until_open(&node, 0).await;
    }
}

/// A balancer on this machine hands its connections on through a unix socket, as they are.
#[tokio::test]
async fn on_a_unix_socket_a_header_of_the_proxy_protocol_stands_before_the_handshake_too() {
    let certificates = Certificates::make().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tls");
    let socket = format!("unix:{}", path.display());
    let flags = ["--tls-listen", &socket, "--proxy-protocol", "--trusted-proxies", "127.0.0.1"];
    let (node, _) = tls_node(&certificates, &flags).await;
    let trust = TlsTrust::new(&certificates.ca()).unwrap();
    let mut balancer = UnixStream::connect(&path).await.unwrap();
    balancer.write_all(b"PROXY TCP4 198.51.100.7 127.0.0.1 4711 8443\r\n").await.unwrap();
    let mut stream = trust.handshake(balancer).await.unwrap();
    stream.write_all(b"GET /sse/a HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    read_to(&mut stream, "retry: ").await;
    assert_eq!(connections(&node).await[0]["forwarded"], json!("198.51.100.7"));
    // Without a header there is no handshake.
    assert!(trust.handshake(UnixStream::connect(&path).await.unwrap()).await.is_err());
    assert_eq!(metrics(&node).await.count("fantail_proxy_headers_missing_total"), 1);
}

#[tokio::test]
async fn a_full_node_tells_newcomers_over_tls_when_to_come_back() {
    let certificates = Certificates::make().unwrap();
    let (node, address) = tls_node(&certificates, &["--connections-max", "1"]).await;
    let inside = request(address, &certificates, VERSIONS[0], "/sse/a").connect().await.unwrap();
    for version in VERSIONS {
        let mut browser = request(address, &certificates, version, "/sse/a").connect().await.unwrap();
        assert_eq!(browser.status(), 200);
        assert_eq!(read_to_close(&mut browser).await, (vec![], "overloaded".to_owned()));
        assert_eq!(browser.read_until_closed(PATIENCE).await.unwrap(), Close::Fin);
        let other = request(address, &certificates, version, "/sse/a").header("Accept", "*/*").connect().await.unwrap();
        assert_eq!(other.status(), 503);
    }
    drop(inside);
    until_open(&node, 0).await;
    let mut newcomer = request(address, &certificates, VERSIONS[1], "/sse/a").connect().await.unwrap();
    publish(&node, "a", "inside").await;
    assert_eq!(newcomer.next_event(PATIENCE).await.unwrap().data, "inside");
}

/// A node of a Redis that is away: its streams wait.
async fn waiting_node(certificates: &Certificates) -> (Fantail, SocketAddr) {
    tls_node(certificates, &["--redis-url", "redis://127.0.0.1:1", "--follow-deadline", "5m"]).await
}

#[tokio::test]
async fn input_while_a_stream_waits_for_the_feed_ends_it_with_a_whole_answer() {
    let certificates = Certificates::make().unwrap();
    let (node, address) = waiting_node(&certificates).await;
    for version in VERSIONS {
        let mut browser = request(address, &certificates, version, "/sse/a").send().await.unwrap();
        until_open(&node, 1).await;
        browser.send_raw(b"input").await.unwrap();
        assert_eq!(browser.wait_for_head(PATIENCE).await.unwrap().status, 200);
        assert_eq!(read_to_close(&mut browser).await, (vec![], "tls-input".to_owned()));
        drop(browser);
        until_open(&node, 0).await;

        let other = request(address, &certificates, version, "/sse/a").header("Accept", "*/*");
        let mut other = other.send().await.unwrap();
        until_open(&node, 1).await;
        other.send_raw(b"input").await.unwrap();
        assert_eq!(other.wait_for_head(PATIENCE).await.unwrap().status, 503);
        assert_eq!(other.read_until_end(PATIENCE).await.unwrap().1, End::Clean);
        assert_eq!(other.read_until_closed(PATIENCE).await.unwrap(), Close::Fin);
        drop(other);
        until_open(&node, 0).await;
    }
}

#[tokio::test]
async fn a_client_gets_the_certificate_for_the_name_that_it_asks_for() {
    let names = ["localhost", "b.example.com"];
    let pairs = names.map(|name| Certificates::make_for(&[name]).unwrap());
    let (cert, key) = (pairs[1].server(), pairs[1].server_key());
    let second = ["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let (_node, address) = tls_node(&pairs[0], &second).await;
    for (pair, name) in pairs.iter().zip(names) {
        let trust = TlsTrust::new(&pair.ca()).unwrap();
        let socket = TcpStream::connect(address).await.unwrap();
        trust.handshake_with(name, socket).await.unwrap();
    }
    // Any other name gets the first, which a client then refuses for its name.
    let trust = TlsTrust::new(&pairs[0].ca()).unwrap();
    let socket = TcpStream::connect(address).await.unwrap();
    let refused = trust.handshake_with("c.example.com", socket).await.unwrap_err().to_string();
    assert!(refused.contains("not valid for name"), "{refused}");
}
