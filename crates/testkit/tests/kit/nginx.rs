//! The kit's nginx against the real nginx, in front of a tiny server.

use std::net::SocketAddr;

use fantail_testkit::{End, Nginx, PATIENCE, SseClient, http};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// Answers every connection with one event stream, whose event holds the request.
async fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut request).await.unwrap();
            }
            let request = String::from_utf8(request).unwrap();
            let line = request.lines().next().unwrap();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Accel-Buffering: no\r\n\r\n";
            stream.write_all(format!("{head}data: {line}\n\n").as_bytes()).await.unwrap();
        }
    });
    addr
}

#[tokio::test]
async fn a_plain_proxy_pass_speaks_http_1_0_to_the_upstream() {
    let nginx = Nginx::start(upstream().await).await.unwrap();
    let mut client = SseClient::connect(nginx.addr(), "/sse/news").await.unwrap();
    assert_eq!(client.status(), 200);
    assert!(client.header("server").unwrap().starts_with("nginx/"));
    assert_eq!(client.next_event(PATIENCE).await.unwrap().data, "GET /sse/news HTTP/1.0");
    assert_eq!(client.read_until_end(PATIENCE).await.unwrap(), (vec![], End::Clean));
}

#[tokio::test]
async fn more_location_lines_are_heeded() {
    let nginx = Nginx::start_with(upstream().await, "proxy_http_version 1.1;").await.unwrap();
    let mut client = SseClient::connect(nginx.addr(), "/").await.unwrap();
    assert_eq!(client.next_event(PATIENCE).await.unwrap().data, "GET / HTTP/1.1");
}

#[tokio::test]
async fn a_missing_upstream_gives_502_and_a_word_in_the_log() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut nginx = Nginx::start(gone).await.unwrap();
    assert_eq!(http(nginx.addr(), "GET", "/", &[], "").await.unwrap().status, 502);
    nginx.wait_for_error_log("Connection refused", PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_bad_directive_is_told_in_nginx_own_words() {
    let error = Nginx::start_with("127.0.0.1:1".parse().unwrap(), "no_such_directive on;").await.unwrap_err();
    assert!(error.to_string().contains("no_such_directive"), "{error}");
}
