//! The drain of a node whose clients speak TLS: each stream ends as TLS wants it, and nobody new shakes hands.

use std::io::ErrorKind;

use fantail_testkit::{Certificates, Close, PATIENCE, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{TlsClient, VERSIONS, request};
use crate::drain::until_draining;
use crate::node::{publish, read_to_close, tls_node, until};

#[tokio::test]
async fn a_drain_ends_every_stream_over_tls_with_its_last_words_and_a_close_notify() {
    let certificates = Certificates::make().unwrap();
    let flags = ["--drain-window", "500ms", "--drain-deadline", "60s"];
    let (mut node, address) = tls_node(&certificates, &flags).await;
    let mut clients = Vec::new();
    for version in VERSIONS {
        for path in ["/sse/a", "/sse?channel=a&channel=b"] {
            let request = request(address, &certificates, version, path);
            for _ in 0..5 {
                clients.push(request.clone().connect().await.unwrap());
                clients.push(request.clone().http_1_0().connect().await.unwrap());
            }
        }
    }
    publish(&node, "a", "before").await;
    node.signal(Signal::TERM).unwrap();
    let mut ends = JoinSet::new();
    for mut client in clients {
        ends.spawn(async move {
            let (events, why) = read_to_close(&mut client).await;
            let data: Vec<_> = events.into_iter().map(|event| event.data).collect();
            // An end without a `close_notify` would be unannounced.
            (data, why, client.read_until_closed(PATIENCE).await.unwrap())
        });
    }
    for end in ends.join_all().await {
        assert_eq!(end, (vec!["before".to_owned()], "drained".to_owned(), Close::Fin));
    }
    assert!(node.wait(PATIENCE).await.unwrap().success());
}

/// 1. Streams are open. One connection is idle behind its handshake, one is in the middle of it, and one says nothing.
/// 2. The drain begins: these three are closed, and nobody new can connect.
/// 3. The streams that are not yet ended still get their events.
#[tokio::test]
async fn during_the_drain_handshakes_end_idle_connections_are_closed_and_streams_over_tls_get_their_events() {
    let certificates = Certificates::make().unwrap();
    let flags = ["--workers", "1", "--drain-window", "60s", "--drain-deadline", "120s", "--request-deadline", "5m"];
    let (mut node, address) = tls_node(&certificates, &flags).await;
    let mut streams = Vec::new();
    for version in [VERSIONS, VERSIONS].concat() {
        streams.push(request(address, &certificates, version, "/sse/a").connect().await.unwrap());
    }
    let mut idle = TlsClient::on(super::handshake(address, &certificates.ca(), VERSIONS[0], None).await.unwrap());
    idle.ask("/nope").await;
    while !idle.reader.is_done() {
        assert!(idle.read().await > 0, "the answer is cut");
    }
    let mut begun = TcpStream::connect(address).await.unwrap();
    begun.write_all(b"\x16\x03\x01").await.unwrap();
    let mut silent = TcpStream::connect(address).await.unwrap();
    until(&node, "all are accepted", |m| m.count("fantail_connections_open") == 7).await;

    node.signal(Signal::TERM).unwrap();
    until_draining(&node).await;
    // rustls fails the read of an end without a `close_notify`.
    assert_eq!(idle.read().await, 0, "it is closed in order");
    for socket in [&mut begun, &mut silent] {
        let mut bytes = Vec::new();
        // A reset is as good an end.
        let _ = timeout(PATIENCE, socket.read_to_end(&mut bytes)).await.expect("it is closed");
        assert_eq!(bytes, b"", "no handshake goes on");
    }
    let refused = async {
        while TcpStream::connect(address).await.map_err(|error| error.kind()).err()
            != Some(ErrorKind::ConnectionRefused)
        {}
    };
    timeout(PATIENCE, refused).await.expect("the port is still open");

    // The first in line is ended at once, the others have a minute.
    assert_eq!(read_to_close(&mut streams.remove(0)).await, (vec![], "drained".to_owned()));
    assert_eq!(publish(&node, "a", "still here").await["subscribers"], 3);
    for stream in &mut streams {
        assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, "still here");
    }
    node.kill();
}
