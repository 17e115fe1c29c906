//! Streams over TLS: behind the request a stream keeps a key and a counter, and its client must notice nothing of that.

use std::net::SocketAddr;
use std::path::Path;

use fantail_testkit::client::SubscribeRequest;
use fantail_testkit::response::ResponseReader;
use fantail_testkit::{Certificates, PATIENCE, SseClient, TlsTrust};
use rustls::{SupportedProtocolVersion, version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::node::{Metrics, ask, metrics, publish, tls_node, until, until_open};

mod client_certificates;
mod drain;
mod entrance;
mod failed_handshakes;
mod hostile;
mod rotation;
mod sessions;
mod stalled;
mod stream_states;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

/// A request for a stream over TLS.
fn request(
    address: SocketAddr,
    certificates: &Certificates,
    version: &'static SupportedProtocolVersion,
    path: &str,
) -> SubscribeRequest {
    let trust = TlsTrust::with_versions(&certificates.ca(), &[version]).unwrap();
    SseClient::request(address, path).over_tls(&trust)
}

/// A client over TLS, with everything that it has read.
struct TlsClient {
    stream: TlsStream<TcpStream>,
    reader: ResponseReader,
    body: Vec<u8>,
}

/// Shakes hands as a client that has never been there, and that knows this version alone.
async fn handshake(
    address: SocketAddr,
    ca: &Path,
    version: &'static SupportedProtocolVersion,
    receive_buffer: Option<u32>,
) -> fantail_testkit::Result<TlsStream<TcpStream>> {
    let trust = TlsTrust::with_versions(ca, &[version]).unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes).unwrap();
    }
    let socket = socket.connect(address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    trust.handshake(socket).await
}

impl TlsClient {
    async fn open(
        address: SocketAddr,
        ca: &Path,
        version: &'static SupportedProtocolVersion,
        receive_buffer: Option<u32>,
    ) -> Self {
        let mut client = Self::on(handshake(address, ca, version, receive_buffer).await.unwrap());
        client.ask("/sse/a").await;
        client
    }

    /// A client that has not asked for anything.
    fn on(stream: TlsStream<TcpStream>) -> Self {
        Self { stream, reader: ResponseReader::new("GET"), body: Vec::new() }
    }

    async fn ask(&mut self, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Reads until the body holds the text. Every record must be the next one and whole, or rustls reports it.
    async fn read_to(&mut self, text: &str) {
        while !self.body.windows(text.len()).any(|window| window == text.as_bytes()) {
            assert!(self.read().await > 0, "the stream ended before {text:?}");
        }
    }

    /// Reads to the end, which must be a `close_notify`: rustls takes an end without one for an attack.
    async fn read_to_end(&mut self) -> String {
        while self.read().await > 0 {}
        assert!(self.reader.is_done(), "the body was cut");
        String::from_utf8_lossy(&self.body).into_owned()
    }

    async fn read(&mut self) -> usize {
        let mut bytes = vec![0; 64 * 1024];
        let read = timeout(PATIENCE, self.stream.read(&mut bytes)).await.expect("it comes").unwrap();
        self.body.extend(self.reader.feed(&bytes[..read]).unwrap());
        read
    }
}

/// The events behind the opening, which has an id and a time of its own.
fn behind_opening(body: &[u8]) -> &[u8] {
    let end = body.windows(2).position(|pair| pair == b"\n\n").unwrap() + 2;
    &body[end..]
}

#[tokio::test]
async fn a_stream_over_tls_brings_byte_for_byte_what_a_plain_one_brings() {
    let certificates = Certificates::make().unwrap();
    let (node, address) = tls_node(&certificates, &[]).await;
    for version in VERSIONS {
        let mut plain = SseClient::request(node.public(), "/sse/a").keep_body().connect().await.unwrap();
        let mut sealed = TlsClient::open(address, &certificates.ca(), version, None).await;
        until_open(&node, 2).await;
        sealed.read_to("\n\n").await;
        for size in [1, 10, 16_380, 16_384, 16_390, 100_000, 1, 200_000] {
            publish(&node, "a", "x".repeat(size)).await;
        }
        for number in 0..300 {
            publish(&node, "a", format!("event {number}")).await;
        }
        publish(&node, "a", "the end").await;
        sealed.read_to("the end\n\n").await;
        let mut seen = 0;
        while seen < 309 {
            plain.next_event(PATIENCE).await.unwrap();
            seen += 1;
        }
        let at = plain.body().len() - behind_opening(plain.body()).len();
        assert!(behind_opening(&sealed.body) == &plain.body()[at..], "{version:?}");
        drop((plain, sealed));
        until_open(&node, 0).await;
    }
}

/// Both sockets hold this much. With 4 KiB the kernel asks for room dozens of times, waits longer each time, and on a busy machine
/// takes the client for dead.
const NARROW_BYTES: u32 = 16 << 10;

/// Its socket takes parts of records at any place, some seventy times. Sealed bytes stay as they are, and others get the next
/// number.
#[tokio::test]
async fn a_reader_that_stops_and_goes_on_gets_whole_records_in_their_order() {
    let certificates = Certificates::make().unwrap();
    let flags = ["--log-events-max", "4096", "--send-buffer-bytes", "16KiB", "--progress-deadline", "5m"];
    let (node, address) = tls_node(&certificates, &flags).await;
    for version in VERSIONS {
        let before = metrics(&node).await.count("fantail_write_blocked_total");
        let mut slow = TlsClient::open(address, &certificates.ca(), version, Some(NARROW_BYTES)).await;
        slow.read_to("\n\n").await;
        let opening = slow.body.len();
        let sent: Vec<_> = (0..400).map(|number| format!("{number:05}{}", "y".repeat(number * 37 % 9000))).collect();
        for text in &sent {
            publish(&node, "a", text).await;
        }
        let is_blocked = |metrics: &Metrics| metrics.count("fantail_write_blocked_total") > before;
        until(&node, "its socket takes nothing more", is_blocked).await;
        publish(&node, "a", "the end").await;
        slow.read_to("the end\n\n").await;
        let text = String::from_utf8(slow.body[opening..].to_vec()).unwrap();
        let events: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        assert!(events.iter().copied().eq(sent.iter().map(String::as_str).chain(["the end"])), "{version:?}");
        drop(slow);
        until_open(&node, 0).await;
    }
}

#[tokio::test]
async fn bytes_that_a_client_sends_into_its_tls_stream_end_it_in_order() {
    let certificates = Certificates::make().unwrap();
    let (node, address) = tls_node(&certificates, &[]).await;
    for version in VERSIONS {
        for case in ["data", "garbage", "key update"] {
            if case == "key update" && *version == version::TLS12 {
                continue; // TLS 1.2 has none
            }
            let mut client = TlsClient::open(address, &certificates.ca(), version, None).await;
            client.read_to("\n\n").await;
            match case {
                "data" => client.stream.write_all(b"more").await.unwrap(),
                "garbage" => client.stream.get_mut().0.write_all(b"\x17\x03\x03\x00\x05hello").await.unwrap(),
                _ => client.stream.get_mut().1.refresh_traffic_keys().unwrap(),
            }
            client.stream.flush().await.unwrap();
            let text = client.read_to_end().await;
            assert!(text.contains("event: fantail.close\ndata: {\"reason\":\"tls-input\"}\nretry: "), "{case}: {text}");
        }
    }
    until(&node, "each has its reason", |metrics| metrics.closed("tls_input") == 5).await;
}

/// rustls queues its answer to such a change, and it must go out before the connection is taken apart.
#[tokio::test]
async fn a_change_of_keys_before_the_request_is_answered_before_the_stream_begins() {
    let certificates = Certificates::make().unwrap();
    let (node, address) = tls_node(&certificates, &[]).await;
    let mut stream = handshake(address, &certificates.ca(), VERSIONS[0], None).await.unwrap();
    stream.get_mut().1.refresh_traffic_keys().unwrap();
    let mut client = TlsClient::on(stream);
    client.ask("/sse/a").await;
    client.read_to("\n\n").await;
    publish(&node, "a", "served").await;
    client.read_to("served\n\n").await;
}

#[tokio::test]
async fn a_client_that_closes_in_order_is_counted_as_one() {
    let certificates = Certificates::make().unwrap();
    let (node, address) = tls_node(&certificates, &[]).await;
    let mut client = TlsClient::open(address, &certificates.ca(), VERSIONS[0], None).await;
    client.read_to("\n\n").await;
    client.stream.shutdown().await.unwrap();
    drop(client);
    until_open(&node, 0).await;
    until(&node, "it is counted", |metrics| metrics.closed("client_closed") + metrics.closed("tls_input") == 1).await;
}

/// Those that connect and say nothing hold a place for a handshake, and no longer than the request deadline.
#[tokio::test]
async fn silent_connections_give_their_places_for_handshakes_back() {
    let certificates = Certificates::make().unwrap();
    let flags = ["--workers", "1", "--tls-handshakes-max", "2", "--request-deadline", "300ms"];
    let (node, address) = tls_node(&certificates, &flags).await;
    let mut silent = Vec::new();
    for number in 0..6 {
        let mut socket = TcpStream::connect(address).await.unwrap();
        // Some begin and stop, the others say nothing at all.
        if number % 2 == 0 {
            socket.write_all(b"\x16").await.unwrap();
        }
        silent.push(socket);
    }
    let mut client = TlsClient::open(address, &certificates.ca(), VERSIONS[0], None).await;
    client.read_to("\n\n").await;
    publish(&node, "a", "served").await;
    client.read_to("served\n\n").await;
}

/// They begin a handshake and stop. Newcomers take their places, the oldest first, long before any deadline.
#[tokio::test]
async fn clients_that_stop_in_their_handshakes_keep_nobody_out() {
    let certificates = Certificates::make().unwrap();
    let flags = ["--workers", "1", "--tls-handshakes-max", "3", "--request-deadline", "5m"];
    let (node, address) = tls_node(&certificates, &flags).await;
    let mut stopped = Vec::new();
    for _ in 0..12 {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(b"\x16\x03\x01").await.unwrap();
        stopped.push(socket);
    }
    until(&node, "the oldest made room", |metrics| {
        metrics.count("fantail_connections_turned_away_total{how=\"handshake\"}") >= 9
    })
    .await;
    let mut client = TlsClient::open(address, &certificates.ca(), VERSIONS[0], None).await;
    client.read_to("\n\n").await;
}

#[tokio::test]
async fn every_other_answer_comes_over_tls_too() {
    let certificates = Certificates::make().unwrap();
    let (node, address) = tls_node(&certificates, &[]).await;
    let mut stream = handshake(address, &certificates.ca(), VERSIONS[0], None).await.unwrap();
    for (method, path, status) in [("GET", "/nope", 404), ("HEAD", "/sse/a", 200), ("PUT", "/sse/a", 405)] {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = ResponseReader::new(method);
        while !answer.is_done() {
            let mut bytes = [0; 4096];
            let read = timeout(PATIENCE, stream.read(&mut bytes)).await.expect("it comes").unwrap();
            assert!(read > 0, "{method} {path}: the answer is cut");
            answer.feed(&bytes[..read]).unwrap();
        }
        assert_eq!(answer.head().map(|head| head.status), Some(status), "{method} {path}");
        assert_eq!(answer.surplus(), b"", "{method} {path}: more than the answer came");
    }
    assert_eq!(ask(&node, "GET", "/livez").await.status, 200);
}
