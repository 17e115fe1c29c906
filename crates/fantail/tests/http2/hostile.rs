//! Clients that mean no good, each with its attack in one sentence.

use std::net::SocketAddr;

use fantail_testkit::{PATIENCE, Tab};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::Served;
use crate::node::{metrics, publish, until};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
    [&[a, b, c, kind, flags][..], &stream.to_be_bytes(), payload].concat()
}

/// A request for the stream of `a`.
fn subscribe(stream: u32) -> Vec<u8> {
    frame(1, 5, stream, &[&[0x82, 0x87, 0x41, 1, b'h', 0x04, 6][..], b"/sse/a"].concat())
}

/// Sends this behind the preface until the node has closed the connection. Returns all that it said.
async fn attack(address: SocketAddr, mut more: impl FnMut(u32) -> Vec<u8>) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(&[PREFACE, &SETTINGS].concat()).await.unwrap();
    let (mut from, mut to) = socket.split();
    let mut heard = Vec::new();
    let sending = async {
        for round in 0.. {
            if to.write_all(&more(round)).await.is_err() {
                return;
            }
        }
    };
    // A client that goes on sending may have its answer destroyed by a reset: it is closed either way.
    let closed = async { while from.read_buf(&mut heard).await.is_ok_and(|read| read > 0) {} };
    let both = async {
        tokio::select! { () = sending => {}, () = closed => {} }
    };
    timeout(PATIENCE, both).await.expect("the node closes the connection");
    heard
}

#[tokio::test]
async fn every_flood_ends_its_connection_is_counted_and_disturbs_no_other() {
    let served = Served::start(&["--workers", "1"]).await;
    let mut client = served.plain().await;
    let mut tab: Tab = client.get("/sse/a", &[]).await.unwrap();
    let address = served.node.public();
    // It opens streams and resets each at once, so that the work for each is in vain (CVE-2023-44487).
    attack(address, |round| [subscribe(2 * round + 1), frame(3, 0, 2 * round + 1, &[0, 0, 0, 8])].concat()).await;
    // It makes the node reset its streams (CVE-2025-8671).
    attack(address, |round| [subscribe(2 * round + 1), frame(8, 0, 2 * round + 1, &[0; 4])].concat()).await;
    // It sends a header block without an end (CVE-2024-27316).
    attack(address, |round| if round == 0 { frame(1, 1, 1, &[0x82]) } else { frame(9, 0, 1, &[0x82; 100]) }).await;
    // It asks for acknowledgments, and never reads one.
    attack(address, |_| SETTINGS.to_vec()).await;
    attack(address, |_| frame(6, 0, 0, &[0; 8])).await;
    // It opens windows by one byte at a time.
    attack(address, |_| frame(8, 0, 0, &[0, 0, 0, 1])).await;
    // It sends text without any text.
    attack(address, |round| if round == 0 { frame(1, 4, 1, &[0x83, 0x87, 0x84]) } else { frame(0, 0, 1, &[]) }).await;
    let after = metrics(&served.node).await;
    assert_eq!(after.count("fantail_http2_faults_total{fault=\"flood\"}"), 7);
    publish(&served.node, "a", "still here").await;
    assert_eq!(tab.next_events().await.unwrap()[0].data, "still here");
    until(&served.node, "one stream is left", |m| m.count("fantail_streams_open") == 1).await;
}

#[tokio::test]
async fn a_client_that_begins_something_and_does_not_end_it_is_closed_at_the_deadline() {
    let served = Served::start(&["--request-deadline", "300ms"]).await;
    for begun in [
        &PREFACE[..10],
        PREFACE,
        &[PREFACE, &SETTINGS[..5]].concat(),
        &[PREFACE, &SETTINGS, &frame(1, 1, 1, &[0x82])].concat(),
        &[PREFACE, &SETTINGS, &subscribe(1)[..20]].concat(),
        // All is whole, and no request comes.
        &[PREFACE, &SETTINGS].concat(),
    ] {
        let mut socket = TcpStream::connect(served.node.public()).await.unwrap();
        socket.write_all(begun).await.unwrap();
        let mut heard = Vec::new();
        timeout(PATIENCE, socket.read_to_end(&mut heard)).await.expect("it is closed").unwrap();
        assert!(heard.windows(2).any(|pair| pair[0] == 7), "a GOAWAY in {heard:?}");
    }
    until(&served.node, "all are gone", |m| m.count("fantail_connections_open") == 0).await;
}

/// Its window is shut, so the answer never goes out, and no stream of events is there whose deadline could end it.
#[tokio::test]
async fn a_client_that_takes_no_answer_is_closed_at_the_deadline() {
    let served = Served::start(&["--request-deadline", "300ms"]).await;
    let mut socket = TcpStream::connect(served.node.public()).await.unwrap();
    let shut = [frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]), frame(4, 1, 0, &[])].concat();
    let elsewhere = frame(1, 5, 1, &[&[0x82, 0x87, 0x41, 1, b'h', 0x04, 2][..], b"/x"].concat());
    socket.write_all(&[PREFACE, &shut, &elsewhere].concat()).await.unwrap();
    let mut heard = Vec::new();
    timeout(PATIENCE, socket.read_to_end(&mut heard)).await.expect("the connection ends").unwrap();
    until(&served.node, "it is gone", |m| m.count("fantail_connections_open") == 0).await;
}

/// No attack: a proxy that connects anew asks for all the streams that it holds.
#[tokio::test]
async fn a_client_may_ask_for_all_of_its_streams_before_it_reads_the_first_head() {
    let served = Served::start(&["--streams-per-connection-max", "1000"]).await;
    let socket = TcpSocket::new_v4().unwrap();
    // Its kernel takes only few of the heads.
    socket.set_recv_buffer_size(4096).unwrap();
    let mut socket = socket.connect(served.node.public()).await.unwrap();
    let requests: Vec<u8> = (0..1_000).flat_map(|number| subscribe(2 * number + 1)).collect();
    socket.write_all(&[PREFACE, &SETTINGS, &requests].concat()).await.unwrap();
    let open = until(&served.node, "all are open", |m| m.count("fantail_streams_open") == 1_000).await;
    assert_eq!((open.sum("fantail_http2_faults_total"), open.count("fantail_http2_connections")), (0, 1));
}

/// Its windows are shut from the beginning: it costs its streams, and they end at the deadline.
#[tokio::test]
async fn a_client_that_opens_no_window_holds_its_streams_for_so_long_and_no_longer() {
    let served = Served::start(&["--progress-deadline", "300ms", "--request-deadline", "300ms"]).await;
    let mut socket = TcpStream::connect(served.node.public()).await.unwrap();
    let shut = [frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]), frame(4, 1, 0, &[])].concat();
    let requests: Vec<u8> = (0..100).flat_map(|number| subscribe(2 * number + 1)).collect();
    socket.write_all(&[PREFACE, &shut, &requests].concat()).await.unwrap();
    until(&served.node, "all are open", |m| m.count("fantail_streams_opened_total") == 100).await;
    let after = until(&served.node, "all are gone", |m| m.count("fantail_streams_open") == 0).await;
    assert_eq!(after.closed("stalled"), 100);
    let mut heard = Vec::new();
    timeout(PATIENCE, socket.read_to_end(&mut heard)).await.expect("the connection ends behind them").unwrap();
}
