//! Input that no browser sends: around the request, while a connection becomes a stream, and into the stream.
//!
//! The records are made by rustls and sent by the test, so that it decides which bytes come together.

use std::io::Write;

use fantail_testkit::{Certificates, End, Fantail, PATIENCE, SseClient};
use rustls::SupportedProtocolVersion;
use rustls::version::TLS13;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::{TlsClient, VERSIONS, handshake, request};
use crate::node::{metrics, publish, read_to_close, tls_node, until, until_closed, until_open, whole_log};

const REQUEST: &[u8] = b"GET /sse/a HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Bytes behind a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// Text in the record of the request itself.
    SameRecord,
    Data,
    KeyUpdate,
    KeyUpdateAndData,
    CloseNotify,
    Garbage,
}

const TAILS: [Tail; 6] =
    [Tail::SameRecord, Tail::Data, Tail::KeyUpdate, Tail::KeyUpdateAndData, Tail::CloseNotify, Tail::Garbage];

impl Tail {
    /// TLS 1.2 has no change of keys.
    fn is_known_to(self, version: &SupportedProtocolVersion) -> bool {
        version == &TLS13 || !matches!(self, Self::KeyUpdate | Self::KeyUpdateAndData)
    }
}

/// The request and its tail, sealed and not yet sent.
fn records(stream: &mut TlsStream<TcpStream>, tail: Tail) -> Vec<u8> {
    let connection = stream.get_mut().1;
    let mut wire = Vec::new();
    match tail {
        Tail::SameRecord => connection.writer().write_all(&[REQUEST, b"more"].concat()).unwrap(),
        _ => connection.writer().write_all(REQUEST).unwrap(),
    }
    if matches!(tail, Tail::KeyUpdate | Tail::KeyUpdateAndData) {
        connection.refresh_traffic_keys().unwrap();
    }
    if matches!(tail, Tail::Data | Tail::KeyUpdateAndData) {
        connection.writer().write_all(b"more").unwrap();
    }
    if tail == Tail::CloseNotify {
        connection.send_close_notify();
    }
    while connection.wants_write() {
        connection.write_tls(&mut wire).unwrap();
    }
    if tail == Tail::Garbage {
        wire.extend(b"\x17\x03\x03\x00\x14not sealed by anyone");
    }
    wire
}

/// The stream lives, and brings the next event, or it ends in order because of the input. True if it lives. Any record that
/// is not whole and the next one fails the read.
async fn lives_or_ends_in_order(node: &Fantail, stream: TlsStream<TcpStream>, case: &str) -> bool {
    let mut client = TlsClient::on(stream);
    client.read_to("retry: ").await;
    publish(node, "a", case).await;
    let event = format!("data: {case}\n\n");
    loop {
        if client.body.windows(event.len()).any(|window| window == event.as_bytes()) {
            return true;
        }
        if client.read().await == 0 {
            let text = String::from_utf8_lossy(&client.body).into_owned();
            assert!(client.reader.is_done() && text.contains("{\"reason\":\"tls-input\"}"), "{case}: {text}");
            return false;
        }
    }
}

#[tokio::test]
async fn bytes_that_come_with_a_request_are_no_part_of_its_stream() {
    let certificates = Certificates::make().unwrap();
    let (node, address) = tls_node(&certificates, &[]).await;
    for version in VERSIONS {
        for tail in TAILS.into_iter().filter(|tail| tail.is_known_to(version)) {
            let mut stream = handshake(address, &certificates.ca(), version, None).await.unwrap();
            let wire = records(&mut stream, tail);
            stream.get_mut().0.write_all(&wire).await.unwrap();
            if tail == Tail::Garbage {
                // It is no request but an attack on the connection, which is closed.
                let mut client = TlsClient::on(stream);
                let mut bytes = [0; 64];
                let read = client.stream.read(&mut bytes).await;
                assert!(!matches!(read, Ok(1..)), "{version:?}: an answer to an attack");
                continue;
            }
            lives_or_ends_in_order(&node, stream, &format!("{tail:?}")).await;
        }
    }
    until_open(&node, 0).await;
}

/// One part or the other ends in the request, between the records, or in the tail. Behind the whole request the second part
/// waits for the stream every other time, and so comes as its input. Else it comes in the very moment.
#[tokio::test]
async fn a_tail_that_is_cut_at_any_byte_does_no_harm_while_its_connection_becomes_a_stream() {
    let certificates = Certificates::make().unwrap();
    let (node, address) = tls_node(&certificates, &[]).await;
    // By then the node has opened what it needs itself.
    drop(handshake(address, &certificates.ca(), VERSIONS[0], None).await.unwrap());
    until(&node, "it is closed", |m| m.count("fantail_connections_open") == 0).await;
    let before = metrics(&node).await.number("process_open_fds");
    let (mut lived, mut ended) = (0, 0);
    for (version, tail) in [(VERSIONS[0], Tail::KeyUpdateAndData), (VERSIONS[1], Tail::Data)] {
        for cut in 1.. {
            let mut stream = handshake(address, &certificates.ca(), version, None).await.unwrap();
            let wire = records(&mut stream, tail);
            if cut >= wire.len() {
                break;
            }
            let request_ends = 5 + usize::from(u16::from_be_bytes([wire[3], wire[4]]));
            stream.get_mut().0.write_all(&wire[..cut]).await.unwrap();
            let opened = u64::from(lived + ended + u32::from(cut >= request_ends && cut % 2 == 0));
            until(&node, "it is open", |m| m.count("fantail_streams_opened_total") >= opened).await;
            stream.get_mut().0.write_all(&wire[cut..]).await.unwrap();
            let lives = lives_or_ends_in_order(&node, stream, &format!("{version:?} {cut}")).await;
            (lived, ended) = (lived + u32::from(lives), ended + u32::from(!lives));
        }
    }
    println!("{lived} streams lived, {ended} were ended by their input");
    assert!(lived > 60 && ended > 30, "{lived} lived, {ended} ended");
    until_open(&node, 0).await;
    until(&node, "descriptors are given back", |m| m.number("process_open_fds") < before + 8.0).await;
}

#[tokio::test]
async fn a_request_and_its_tail_may_come_one_byte_at_a_time() {
    let certificates = Certificates::make().unwrap();
    let (node, address) = tls_node(&certificates, &[]).await;
    for version in VERSIONS {
        for tail in TAILS.into_iter().filter(|tail| tail.is_known_to(version) && *tail != Tail::Garbage) {
            let mut stream = handshake(address, &certificates.ca(), version, None).await.unwrap();
            stream.get_ref().0.set_nodelay(true).unwrap();
            for byte in records(&mut stream, tail) {
                stream.get_mut().0.write_all(&[byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            lives_or_ends_in_order(&node, stream, &format!("{tail:?}")).await;
        }
    }
    until_open(&node, 0).await;
}

/// Records that are none, and records of kinds that have no place in a stream.
const INPUTS: [&[u8]; 8] = [
    b"\x17",
    b"\x17\x03\x03\x00\x00",
    b"\x17\x03\x03\xff\xfftoo long",
    b"\x15\x03\x03\x00\x02\x02\x28",
    b"\x15\x03\x03\x00\x02\x01\x00",
    b"\x14\x03\x03\x00\x01\x01",
    b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
    b"GET /sse/b HTTP/1.1\r\nHost: localhost\r\n\r\n",
];

#[tokio::test]
async fn alerts_and_garbage_in_a_stream_end_it_in_order() {
    let certificates = Certificates::make().unwrap();
    let (node, address) = tls_node(&certificates, &[]).await;
    let mut large = vec![0; 60_000];
    large.fill(0x17);
    for version in VERSIONS {
        for input in INPUTS.into_iter().chain([&large[..]]) {
            let mut client = TlsClient::open(address, &certificates.ca(), version, None).await;
            client.read_to("\n\n").await;
            client.stream.get_mut().0.write_all(input).await.unwrap();
            let text = client.read_to_end().await;
            assert!(text.contains("{\"reason\":\"tls-input\"}"), "{version:?} {:?}: {text}", &input[..1]);
        }
    }
    until_closed(&node, "tls_input", 2 * (INPUTS.len() as u64 + 1)).await;
}

#[tokio::test]
async fn a_flood_into_a_stream_ends_it_and_harms_no_other() {
    let certificates = Certificates::make().unwrap();
    let (node, address) = tls_node(&certificates, &["--workers", "1"]).await;
    let mut other = request(address, &certificates, VERSIONS[0], "/sse/a").connect().await.unwrap();
    let mut flood = TlsClient::open(address, &certificates.ca(), VERSIONS[0], None).await;
    flood.read_to("\n\n").await;
    // The stream may be gone before all of it is sent.
    let _ = flood.stream.get_mut().0.write_all(&vec![0; 4 << 20]).await;
    until(&node, "it is ended", |m| m.closed("tls_input") + m.closed("input_flood") == 1).await;
    publish(&node, "a", "unharmed").await;
    assert_eq!(other.next_event(PATIENCE).await.unwrap().data, "unharmed");
}

#[tokio::test]
async fn a_client_that_closes_its_side_without_a_word_is_ended_in_order_and_one_that_resets_is_gone() {
    let certificates = Certificates::make().unwrap();
    let (node, address) = tls_node(&certificates, &[]).await;
    for (number, version) in (1..).zip(VERSIONS) {
        let mut client = TlsClient::open(address, &certificates.ca(), version, None).await;
        client.read_to("\n\n").await;
        client.stream.get_mut().0.shutdown().await.unwrap();
        client.read_to_end().await;
        until_closed(&node, "client_closed", number).await;

        let mut client = request(address, &certificates, version, "/sse/a").connect().await.unwrap();
        publish(&node, "a", "before").await;
        client.next_event(PATIENCE).await.unwrap();
        client.reset().unwrap();
        until_closed(&node, "client_reset", number).await;
    }
    until_open(&node, 0).await;
}

/// The client's alert is sealed, so that the node cannot know what it says.
#[tokio::test]
async fn a_client_that_says_that_it_closes_and_stays_is_told_and_ended() {
    let certificates = Certificates::make().unwrap();
    let (node, address) = tls_node(&certificates, &[]).await;
    for version in VERSIONS {
        let mut client = TlsClient::open(address, &certificates.ca(), version, None).await;
        client.read_to("\n\n").await;
        let (socket, connection) = client.stream.get_mut();
        connection.send_close_notify();
        let mut alert = Vec::new();
        connection.write_tls(&mut alert).unwrap();
        socket.write_all(&alert).await.unwrap();
        assert!(client.read_to_end().await.contains("{\"reason\":\"tls-input\"}"));
    }
    until_closed(&node, "tls_input", 2).await;
    // The same client over a plain stream is one that sends nothing but bytes to drop.
    let mut plain = SseClient::connect(node.public(), "/sse/a").await.unwrap();
    plain.send_raw(b"dropped").await.unwrap();
    publish(&node, "a", "still here").await;
    assert_eq!(plain.next_event(PATIENCE).await.unwrap().data, "still here");
    plain.half_close().await.unwrap();
    assert_eq!(plain.read_until_end(PATIENCE).await.unwrap().1, End::Clean);
}

/// Its id lets the client go on where its input has ended the stream.
#[tokio::test]
async fn a_client_that_was_ended_for_its_input_resumes_and_misses_nothing() {
    let certificates = Certificates::make().unwrap();
    let (node, address) = tls_node(&certificates, &[]).await;
    for version in VERSIONS {
        let request = request(address, &certificates, version, "/sse/a");
        let mut client = request.clone().connect().await.unwrap();
        publish(&node, "a", "one").await;
        assert_eq!(client.next_event(PATIENCE).await.unwrap().data, "one");
        client.send_raw(b"input").await.unwrap();
        let (events, reason) = read_to_close(&mut client).await;
        publish(&node, "a", "two").await;
        let mut again = request.last_event_id(client.last_event_id()).connect().await.unwrap();
        let next = again.next_event(PATIENCE).await.unwrap();
        assert_eq!((events.len(), &*reason, &*next.data), (0, "tls-input", "two"));
    }
}

/// A handshake that no client makes, and a warning that nobody asked for.
const HELLOS: [&[u8]; 2] = [b"\x16\x03\x01\x00\x04\x0e\x00\x00\x00", b"\x15\x03\x01\x00\x02\x01\x5a"];

/// Each would be a line that anyone may write as often as they like, at the level that operators watch.
#[tokio::test]
async fn a_faulty_handshake_writes_no_line_into_the_log() {
    let certificates = Certificates::make().unwrap();
    let (node, address) = tls_node(&certificates, &[]).await;
    for hello in HELLOS {
        for _ in 0..10 {
            let mut socket = TcpStream::connect(address).await.unwrap();
            socket.write_all(hello).await.unwrap();
            socket.shutdown().await.unwrap();
            // A reset is as good an end.
            let _ = timeout(PATIENCE, socket.read_to_end(&mut Vec::new())).await.expect("the node closes it");
        }
    }
    until(&node, "all are gone", |m| m.count("fantail_connections_open") == 0).await;
    let log = whole_log(&node).await;
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}
