//! The raw client against a server that does exactly as a test says.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use fantail_testkit::{Certificates, Close, End, Error, PATIENCE, SseClient, TlsTrust, http};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// Accepts and reads the request head.
async fn accept(listener: &TcpListener) -> (TcpStream, String) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    // Byte by byte, to leave a body to the test.
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.unwrap());
    }
    (stream, String::from_utf8(request).unwrap())
}

/// A client and the server's side of its connection, with `bytes` already sent to the client.
async fn connected(bytes: &[u8]) -> (SseClient, TcpStream) {
    let (listener, addr) = listener().await;
    let client = SseClient::request(addr, "/").keep_body().send().await.unwrap();
    let (mut server, _) = accept(&listener).await;
    server.write_all(bytes).await.unwrap();
    (client, server)
}

fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

#[tokio::test]
async fn events_come_one_by_one_and_the_id_is_kept() {
    let (mut client, mut server) = connected(&[CHUNKED, &chunk("id: 0\n\n"), &chunk("data: 1\n\n")].concat()).await;
    assert_eq!(client.wait_for_head(PATIENCE).await.unwrap().status, 200);
    assert_eq!(client.next_event(PATIENCE).await.unwrap().data, "1");
    assert_eq!(client.last_event_id(), "0");
    for byte in chunk("id: 7\nevent: news\ndata: 2\n\n") {
        server.write_all(&[byte]).await.unwrap();
    }
    let event = client.next_event(PATIENCE).await.unwrap();
    assert_eq!((event.event.as_str(), event.data.as_str(), event.id.as_str()), ("news", "2", "7"));
    assert_eq!(client.response().chunk_ends().len(), 3);
    assert!(client.body().starts_with(b"id: 0\n\ndata: 1\n\nid: 7\n"));
    let early = client.next_event(Duration::from_millis(20)).await.unwrap_err();
    assert!(matches!(early, Error::Timeout { .. }), "{early}");
}

#[tokio::test]
async fn a_final_chunk_and_a_fin_are_a_clean_end() {
    let (mut client, server) = connected(&[CHUNKED, &chunk("data: 1\n\n"), b"0\r\n\r\n"].concat()).await;
    let (events, end) = client.read_until_end(PATIENCE).await.unwrap();
    assert_eq!((events.len(), end), (1, End::Clean));
    drop(server);
    assert_eq!(client.read_until_closed(PATIENCE).await.unwrap(), Close::Fin);
    assert!(matches!(client.next_event(PATIENCE).await, Err(Error::Ended(End::Clean))));
}

#[tokio::test]
async fn a_fin_without_final_chunk_is_a_cut() {
    let (mut client, server) = connected(&[CHUNKED, &chunk("data: 1\n\ndata: ")].concat()).await;
    drop(server);
    let (events, end) = client.read_until_end(PATIENCE).await.unwrap();
    assert_eq!((events.len(), end), (1, End::Cut));
    assert!(client.parser().in_mid_block());
}

#[tokio::test]
async fn a_reset_is_told_apart_from_a_cut() {
    let (mut client, server) = connected(CHUNKED).await;
    client.wait_for_head(PATIENCE).await.unwrap();
    server.set_zero_linger().unwrap();
    drop(server);
    assert_eq!(client.read_until_end(PATIENCE).await.unwrap().1, End::Reset);
    assert_eq!(client.read_until_closed(PATIENCE).await.unwrap(), Close::Reset);
}

#[tokio::test]
async fn a_reset_behind_a_complete_response_is_still_seen() {
    let (mut client, server) = connected(&[CHUNKED, b"0\r\n\r\n"].concat()).await;
    assert_eq!(client.read_until_end(PATIENCE).await.unwrap().1, End::Clean);
    server.set_zero_linger().unwrap();
    drop(server);
    assert_eq!(client.read_until_closed(PATIENCE).await.unwrap(), Close::Reset);
    assert_eq!(client.end(), Some(End::Clean));
}

#[tokio::test]
async fn the_request_says_what_it_was_told_to_say() {
    let (listener, addr) = listener().await;
    let request = SseClient::request(addr, "/sse/a?x=1").last_event_id("t.1").header("host", "here").http_1_0();
    let _client = request.send().await.unwrap();
    let (_, text) = accept(&listener).await;
    assert_eq!(
        text,
        "GET /sse/a?x=1 HTTP/1.0\r\nLast-Event-ID: t.1\r\nhost: here\r\nAccept: text/event-stream\r\n\r\n"
    );
    let _client = SseClient::request(addr, "/").raw("BREW / HTCPCP\r\n\r\n").send().await.unwrap();
    assert_eq!(accept(&listener).await.1, "BREW / HTCPCP\r\n\r\n");
}

#[tokio::test]
async fn the_source_address_is_the_chosen_one() {
    let (listener, addr) = listener().await;
    let client = SseClient::request(addr, "/").from("127.0.0.77".parse().unwrap()).send().await.unwrap();
    let (_, peer) = listener.accept().await.unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    assert_eq!(peer.ip().to_string(), "127.0.0.77");
}

#[tokio::test]
async fn a_small_receive_buffer_stops_the_server_soon_and_reading_lets_it_go_on() {
    const EVENTS: usize = 48;
    let socket = TcpSocket::new_v4().unwrap();
    // Accepted sockets inherit it; otherwise the server's own buffer would swallow everything.
    socket.set_send_buffer_size(4_096).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(8).unwrap();
    let addr = listener.local_addr().unwrap();
    let bytes = [CHUNKED, &chunk(&format!("data: {}\n\n", "x".repeat(1_000))).repeat(EVENTS)].concat();

    let _roomy = SseClient::request(addr, "/").send().await.unwrap();
    let (mut server, _) = accept(&listener).await;
    timeout(PATIENCE, server.write_all(&bytes)).await.expect("an unbounded reader takes it all unread").unwrap();

    let mut narrow = SseClient::request(addr, "/").receive_buffer(4_096).send().await.unwrap();
    let (mut server, _) = accept(&listener).await;
    let sending = tokio::spawn(async move { server.write_all(&bytes).await.map(|()| server) });
    narrow.next_event(PATIENCE).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!sending.is_finished(), "all of it went into a reader that does not read");
    narrow.next_events(EVENTS - 1, PATIENCE).await.unwrap();
    timeout(PATIENCE, sending).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn half_close_send_raw_and_reset_reach_the_server() {
    let (mut client, mut server) = connected(CHUNKED).await;
    client.wait_for_head(PATIENCE).await.unwrap();
    client.send_raw(b"noise").await.unwrap();
    client.half_close().await.unwrap();
    let mut noise = String::new();
    server.read_to_string(&mut noise).await.unwrap();
    assert_eq!(noise, "noise");
    server.write_all(&chunk("data: still here\n\n")).await.unwrap();
    assert_eq!(client.next_event(PATIENCE).await.unwrap().data, "still here");

    let (client, mut server) = connected(b"").await;
    client.reset().unwrap();
    let error = server.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_plain_request_gets_its_whole_answer() {
    let (listener, addr) = listener().await;
    let server = async {
        let (mut stream, head) = accept(&listener).await;
        let mut body = [0; 4];
        stream.read_exact(&mut body).await.unwrap();
        stream.write_all(b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\nX-Y: z\r\n\r\n").await.unwrap();
        stream.write_all(b"7\r\n{\"id\":1\r\n1\r\n}\r\n0\r\n\r\n").await.unwrap();
        (head, body)
    };
    let request = http(addr, "POST", "/publish/a", &[("X-A", "b")], "data");
    let ((head, body), response) = tokio::join!(server, request);
    let response = response.unwrap();
    assert_eq!((response.status, response.header("x-y")), (202, Some("z")));
    assert_eq!(response.json().unwrap(), serde_json::json!({"id": 1}));
    assert!(head.starts_with("POST /publish/a HTTP/1.1\r\nX-A: b\r\nHost: 127.0.0.1:"), "{head}");
    assert!(head.contains("Content-Length: 4\r\n"), "{head}");
    assert_eq!(&body, b"data");
}

#[tokio::test]
async fn an_answer_cut_short_is_an_error() {
    let (listener, addr) = listener().await;
    let server = async {
        let (mut stream, _) = accept(&listener).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort").await.unwrap();
    };
    let ((), response) = tokio::join!(server, http(addr, "GET", "/", &[], ""));
    assert!(matches!(response, Err(Error::Ended(End::Cut))));
}

/// A client over TLS, and the server's side of its connection, with a whole response already sent to the client.
async fn connected_over_tls() -> (SseClient, TlsStream<TcpStream>) {
    let (listener, addr) = listener().await;
    let certificates = Certificates::make().unwrap();
    let chain = CertificateDer::pem_file_iter(certificates.server()).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(certificates.server_key()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()));
    let trust = TlsTrust::new(&certificates.ca()).unwrap();
    let request = SseClient::request(addr, "/").over_tls(&trust);
    let accepted = async { acceptor.accept(listener.accept().await.unwrap().0).await.unwrap() };
    let (client, mut server) = tokio::join!(request.send(), accepted);
    server.write_all(b"HTTP/1.0 200 OK\r\n\r\ndata: 1\n\n").await.unwrap();
    server.flush().await.unwrap();
    (client.unwrap(), server)
}

#[tokio::test]
async fn over_tls_an_end_is_clean_behind_a_close_notify_alone() {
    let (mut client, mut server) = connected_over_tls().await;
    assert!(client.is_encrypted());
    server.shutdown().await.unwrap();
    let (events, end) = client.read_until_end(PATIENCE).await.unwrap();
    assert_eq!((events.len(), end, client.read_until_closed(PATIENCE).await.unwrap()), (1, End::Clean, Close::Fin));

    let (mut client, mut server) = connected_over_tls().await;
    server.get_mut().0.shutdown().await.unwrap();
    let (events, end) = client.read_until_end(PATIENCE).await.unwrap();
    let closed = client.read_until_closed(PATIENCE).await.unwrap();
    assert_eq!((events.len(), end, closed), (1, End::Cut, Close::Unannounced));
}

#[tokio::test]
async fn a_record_that_cannot_be_opened_is_a_breach_of_the_protocol() {
    let (mut client, mut server) = connected_over_tls().await;
    assert_eq!(client.next_event(PATIENCE).await.unwrap().data, "1");
    server.get_mut().0.write_all(b"\x17\x03\x03\x00\x20no record was ever sealed like this").await.unwrap();
    assert!(matches!(client.next_event(PATIENCE).await, Err(Error::Protocol(_))));
}
