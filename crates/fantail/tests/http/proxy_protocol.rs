//! The PROXY protocol: where it is demanded it tells the client's address, by trusted proxies alone.

use fantail_testkit::{Close, Fantail, PATIENCE};
use serde_json::{Value, json};

use crate::node::{connections, metrics, node, until};
use crate::wire::Wire;

const REQUEST: &str = "GET /sse/a HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &[command, family], &length, rest].concat()
}

/// The address in the listing for this client: none until its stream is there.
async fn forwarded(node: &Fantail, wire: &Wire) -> Value {
    let peer = json!(wire.local_addr().to_string());
    let found = async || connections(node).await.into_iter().find(|connection| connection["peer"] == peer);
    let looking = async {
        loop {
            if let Some(connection) = found().await {
                return connection["forwarded"].clone();
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("it becomes a stream")
}

#[tokio::test]
async fn a_stream_comes_from_where_the_header_says_in_every_form_and_however_it_is_cut() {
    let node = node(&["--proxy-protocol", "--trusted-proxies", "127.0.0.1,203.0.113.0/24"]).await;
    let v4 = [&[198, 51, 100, 7][..], &[127, 0, 0, 1], &[0x12, 0x34], &[0x1f, 0x90]].concat();
    let through_another = format!("PROXY TCP4 203.0.113.9 127.0.0.1 1 2\r\n{}", REQUEST.trim_end())
        + "\r\nX-Forwarded-For: 6.6.6.6, 192.0.2.5\r\n\r\n";
    let claimed = format!("PROXY TCP4 198.51.100.7 127.0.0.1 1 2\r\n{}", REQUEST.trim_end())
        + "\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n";
    let with_request = |header: &[u8]| [header, REQUEST.as_bytes()].concat();
    for (bytes, expected) in [
        (with_request(b"PROXY TCP4 198.51.100.7 127.0.0.1 4711 8080\r\n"), json!("198.51.100.7")),
        (with_request(b"PROXY TCP6 2001:db8::7 ::1 4711 8080\r\n"), json!("2001:db8::7")),
        (with_request(b"PROXY UNKNOWN\r\n"), json!(null)),
        (with_request(&binary(0x21, 0x11, &v4)), json!("198.51.100.7")),
        (with_request(&binary(0x21, 0x11, &[&v4[..], &[4; 1200]].concat())), json!("198.51.100.7")),
        (with_request(&binary(0x20, 0x11, &v4)), json!(null)),
        (through_another.into_bytes(), json!("192.0.2.5")),
        (claimed.into_bytes(), json!("198.51.100.7")),
    ] {
        let mut whole = Wire::connect(node.public()).await;
        whole.send(&bytes).await;
        assert_eq!(forwarded(&node, &whole).await, expected, "{}", bytes.escape_ascii());
        let mut cut = Wire::connect(node.public()).await;
        for piece in bytes.chunks(7) {
            cut.send(piece).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(forwarded(&node, &cut).await, expected, "{}", bytes.escape_ascii());
    }
    assert_eq!(metrics(&node).await.count("fantail_proxy_headers_missing_total"), 0);
}

#[tokio::test]
async fn a_connection_that_does_not_begin_with_the_header_in_time_is_closed_without_an_answer() {
    let node = node(&["--proxy-protocol", "--trusted-proxies", "127.0.0.1", "--request-deadline", "300ms"]).await;
    let late = b"PROXY TCP4 198.51.100.7";
    let beginnings: [&[u8]; 6] =
        [b"", late, REQUEST.as_bytes(), b"PROXY TCP4 x y 1 2\r\n", &binary(0x21, 0x12, &[0; 12]), b"\r\n\r\n\0"];
    for bytes in beginnings {
        let mut wire = Wire::connect(node.public()).await;
        wire.send(bytes).await;
        let (answer, close) = wire.rest().await;
        assert_eq!(answer, b"", "{} is answered and then {close:?}", bytes.escape_ascii());
    }
    let mut gone = Wire::connect(node.public()).await;
    gone.send(late).await;
    gone.half_close().await;
    assert_eq!(gone.rest().await, (Vec::new(), Close::Fin));
    until(&node, "all are counted", |m| m.count("fantail_proxy_headers_missing_total") == 7).await;
    assert_eq!(metrics(&node).await.count("fantail_connections_open"), 0);
}

#[tokio::test]
async fn only_a_trusted_proxy_names_the_address_of_a_connection() {
    let node = node(&["--proxy-protocol", "--trusted-proxies", "192.0.2.1"]).await;
    let mut wire = Wire::connect(node.public()).await;
    wire.send(format!("PROXY TCP4 198.51.100.7 127.0.0.1 1 2\r\n{REQUEST}")).await;
    assert_eq!(wire.rest().await.0, b"");
    assert_eq!(metrics(&node).await.count("fantail_proxy_headers_missing_total"), 1);
    // Where it is not demanded it is no request.
    let plain = crate::node::node(&["--trusted-proxies", "127.0.0.1"]).await;
    let mut wire = Wire::connect(plain.public()).await;
    wire.send(format!("PROXY TCP4 198.51.100.7 127.0.0.1 1 2\r\n{REQUEST}")).await;
    assert_eq!(wire.answer("GET").await.unwrap().head.status, 400);
}
