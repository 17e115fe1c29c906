//! Hostile and broken input is refused or closed. It never becomes a stream or a second request, and it leaves nothing
//! behind.

use std::net::SocketAddr;

use fantail_testkit::{Close, End, Fantail, PATIENCE, Random, http};

use crate::node::{metrics, node, publish, subscribe, until, whole_log};
use crate::wire::{Wire, WireAnswer};

/// The bytes that an attacker wants to pass off as a request of its own.
const SMUGGLED: &str = "GET /sse/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
const SMUGGLED_PUBLISH: &str = "POST /publish/smuggled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx";

/// Sends `bytes` on a connection of their own, says that nothing follows, and reads all answers and the close.
async fn answers(addr: SocketAddr, bytes: impl AsRef<[u8]>) -> Vec<WireAnswer> {
    let mut wire = Wire::connect(addr).await;
    wire.send(bytes).await;
    wire.half_close().await;
    let mut answers = Vec::new();
    while let Some(answer) = wire.answer("GET").await {
        answers.push(answer);
    }
    wire.rest().await;
    answers
}

/// The node still serves, holds no connection but its own, and no thread of it has complained.
async fn assert_unharmed(node: &Fantail) {
    until(node, "all connections are gone", |now| now.count("fantail_connections_open") == 0).await;
    let mut client = subscribe(node, "/sse/unharmed").await;
    publish(node, "unharmed", "still here").await;
    assert_eq!(client.next_event(PATIENCE).await.unwrap().data, "still here");
    let log = whole_log(node).await;
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test]
async fn every_request_that_cannot_be_served_gets_its_status_and_the_field_at_fault() {
    let node = node(&["--channels-per-stream-max", "4"]).await;
    let (long_name, long_query) = ("x".repeat(256), "x".repeat(9_000));
    let headers = |count: usize, bytes: usize| format!("X: {}\r\n", "a".repeat(bytes)).repeat(count);
    for (what, target, more, expected) in [
        ("no channel", "/sse", "", (400, "channel")),
        ("an empty channel", "/sse/", "", (400, "channel")),
        ("an empty channel in the query", "/sse?channel=", "", (400, "channel")),
        ("Redis's glob characters", "/sse/a*", "", (400, "channel")),
        ("a hash tag", "/sse/%7Ba%7D", "", (400, "channel")),
        ("a list in one name", "/sse/a,b", "", (400, "channel")),
        ("an empty segment", "/sse/a//b", "", (400, "channel")),
        ("a way up", "/sse/a/../b", "", (400, "channel")),
        ("an encoded way up", "/sse/%2e%2e", "", (400, "channel")),
        ("a NUL", "/sse/a%00", "", (400, "channel")),
        ("a line break", "/sse/a%0d%0ab", "", (400, "channel")),
        ("a letter that is not ASCII", "/sse/%C3%A9", "", (400, "channel")),
        ("bytes that are no text", "/sse/%ff", "", (400, "channel")),
        ("a name encoded twice", "/sse/%2561", "", (400, "channel")),
        ("a long name", &format!("/sse/{long_name}"), "", (400, "channel")),
        ("one bad channel among good ones", "/sse?channel=a&channel=b*", "", (400, "channel")),
        ("channels in two places", "/sse/a?channel=b", "", (400, "channel")),
        ("too many channels", "/sse?channel=a&channel=b&channel=c&channel=d&channel=e", "", (400, "channel")),
        ("no limit", "/sse/a?limit=", "", (400, "limit")),
        ("a limit of nothing", "/sse/a?limit=0", "", (400, "limit")),
        ("a negative limit", "/sse/a?limit=-1", "", (400, "limit")),
        ("a limit beyond numbers", "/sse/a?limit=18446744073709551616", "", (400, "limit")),
        ("no replay", "/sse/a?replay=", "", (400, "replay")),
        ("a negative replay", "/sse/a?replay=-1", "", (400, "replay")),
        ("a replay of words", "/sse/a?replay=ALL", "", (400, "replay")),
        ("no path", "/", "", (404, "path")),
        ("another path", "/nope", "", (404, "path")),
        ("a path that begins alike", "/sseX/a", "", (404, "path")),
        ("a path in other letters", "/SSE/a", "", (404, "path")),
        ("a path with two slashes", "//sse/a", "", (404, "path")),
        ("a route of the internal listener", "/metrics", "", (404, "path")),
        ("publishing in public", "/publish/a", "", (404, "path")),
        ("a long target", &format!("/sse/a?{long_query}"), "", (414, "path")),
        ("a long head", "/sse/a", &headers(1, 17_000), (431, "headers")),
        ("many long headers", "/sse/a", &headers(20, 900), (431, "headers")),
        ("two hosts", "/sse/a", "Host: y\r\n", (400, "host")),
        ("a body", "/sse/a", "Content-Length: 1\r\n", (400, "body")),
        ("a body of no known length", "/sse/a", "Transfer-Encoding: chunked\r\n", (400, "body")),
    ] {
        let found = answers(node.public(), format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n")).await;
        let [answer] = found.as_slice() else { panic!("{what}: {found:?}") };
        assert_eq!(answer.head.header("content-type"), Some("application/problem+json"), "{what}");
        let problem = answer.json();
        assert_eq!((answer.head.status, problem["field"].as_str().unwrap()), expected, "{what}");
        assert_eq!(problem["status"], expected.0, "{what}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{what}");
    }
    assert_eq!(metrics(&node).await.count("fantail_streams_opened_total"), 0);
    assert_unharmed(&node).await;
}

#[tokio::test]
async fn a_wrong_method_is_answered_with_those_that_there_are() {
    let node = node(&[]).await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "QUERY", "get"] {
        let answer = http(node.public(), method, "/sse/a", &[], "").await.unwrap();
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD, OPTIONS")), "{method}");
        assert_eq!(answer.json().unwrap()["field"], "method", "{method}");
    }
    for (method, target) in [("CONNECT", "localhost:443"), ("OPTIONS", "*")] {
        for addr in [node.public(), node.internal()] {
            assert_eq!(http(addr, method, target, &[], "").await.unwrap().status, 404, "{method} {target}");
        }
    }
    assert_unharmed(&node).await;
}

/// Heads that two HTTP parsers may read in two ways. Each must be refused, and the bytes behind it must not run.
#[tokio::test]
async fn a_head_that_can_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_run() {
    let node = node(&[]).await;
    for (attack, head) in [
        ("both lengths, the chunked one last", "Content-Length: 5\r\nTransfer-Encoding: chunked"),
        ("both lengths, the counted one last", "Transfer-Encoding: chunked\r\nContent-Length: 5"),
        ("two lengths that differ", "Content-Length: 0\r\nContent-Length: 40"),
        ("two lengths that agree", "Content-Length: 5\r\nContent-Length: 5"),
        ("a length with a plus", "Content-Length: +0"),
        ("a negative length", "Content-Length: -1"),
        ("a length in hex", "Content-Length: 0x0"),
        ("a list of lengths", "Content-Length: 0, 0"),
        ("two lengths in one value", "Content-Length: 0 0"),
        ("a length of nothing", "Content-Length:"),
        ("a length with an underscore", "Content-Length: 0_0"),
        ("a length of 64 bits and one", "Content-Length: 18446744073709551616"),
        ("a length that is a mark in hyper", "Content-Length: 18446744073709551615"),
        ("a length in other digits", "Content-Length: \u{663}"),
        ("a vertical tab before the length", "Content-Length:\x0b0"),
        ("a NUL behind the length", "Content-Length: 0\0"),
        ("chunked twice", "Transfer-Encoding: chunked, chunked"),
        ("chunked, then nothing known", "Transfer-Encoding: chunked, identity"),
        ("not quite chunked", "Transfer-Encoding: xchunked"),
        ("a vertical tab before chunked", "Transfer-Encoding:\x0bchunked"),
        ("a NUL behind chunked", "Transfer-Encoding: chunked\0"),
        ("quoted chunked", "Transfer-Encoding: \"chunked\""),
        ("no transfer coding", "Transfer-Encoding: identity"),
        ("an empty transfer coding", "Transfer-Encoding:"),
        ("another coding before chunked", "Transfer-Encoding: gzip, chunked"),
        ("two transfer codings", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
        ("a blank before the colon", "Transfer-Encoding : chunked"),
        ("a folded header", "Transfer-Encoding:\r\n chunked"),
        ("a folded header nobody asked for", "X: a\r\n b"),
        ("a blank before any colon", "X : a"),
        ("a control character in a name", "X\x01: a"),
        ("a NUL in a value", "X: a\0b"),
        ("a bare CR in a value", "X: a\rb"),
        ("a header without a colon", "garbage"),
        ("a header without a name", ": a"),
        ("a second host", "Host: y"),
        ("a host with a blank", "Host: a b"),
        ("a host with a user", "Host: a@b"),
    ] {
        let host = if head.starts_with("Host: a") { "" } else { "Host: localhost\r\n" };
        let request = format!("GET /sse/a HTTP/1.1\r\n{host}{head}\r\n\r\n0\r\n\r\n{SMUGGLED}");
        let found = answers(node.public(), request).await;
        // A refused host leaves no doubt where its request ends. Another request follows it, and that one is bad too.
        let statuses: Vec<_> = found.iter().map(|answer| answer.head.status).collect();
        assert!(statuses.iter().all(|status| [400, 431].contains(status)), "{attack}: {statuses:?}");
        assert!((1..=2).contains(&statuses.len()), "{attack}: {statuses:?}");
    }
    assert_eq!(metrics(&node).await.count("fantail_streams_opened_total"), 0);
    assert_unharmed(&node).await;
}

#[tokio::test]
async fn a_request_line_that_is_none_is_refused() {
    let node = node(&[]).await;
    for line in [
        "GET /sse/a",
        "GET  /sse/a HTTP/1.1",
        "GET\t/sse/a HTTP/1.1",
        "GET /sse/a\0 HTTP/1.1",
        "GET /sse/a b HTTP/1.1",
        "GET sse/a HTTP/1.1",
        "GET /sse/a HTTP/1.2",
        "GET /sse/a HTTP/2.0",
        "GET /sse/a HTTP/3",
        "GET /sse/a HTTP/1.1 ",
        "GET /sse/a http/1.1",
        "GET /sse/a HTTP/11",
        " GET /sse/a HTTP/1.1",
        "G\u{e9}T /sse/a HTTP/1.1",
        "GET /sse/\u{e9} HTTP/1.1",
        "/sse/a",
        "GET",
        "PRI * HTTP/2.0",
    ] {
        let found = answers(node.public(), format!("{line}\r\nHost: localhost\r\n\r\n{SMUGGLED}")).await;
        let statuses: Vec<_> = found.iter().map(|answer| answer.head.status).collect();
        let is_refused = statuses.is_empty() || statuses[0] == 400;
        assert!(is_refused, "{line:?}: {statuses:?}");
        // A refused name is in a whole request; any other fault ends the connection.
        assert!(statuses.len() <= 1 || line.contains('\u{e9}'), "{line:?}: {statuses:?}");
    }
    assert_unharmed(&node).await;
}

#[tokio::test]
async fn a_body_with_broken_chunks_publishes_nothing_and_nothing_behind_it() {
    let node = node(&[]).await;
    let head = "POST /publish/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let long_extension = format!("1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(20_000));
    for (attack, body) in [
        ("a chunk size beyond 64 bits", "10000000000000001\r\nx\r\n0\r\n\r\n"),
        ("a chunk size that ends in LF", "1\nx\r\n0\r\n\r\n"),
        ("data longer than its chunk", "1\r\nxx0\r\n\r\n"),
        ("data that ends in LF", "1\r\nx\n0\r\n\r\n"),
        ("an extension with LF", "1;a\nb\r\nx\r\n0\r\n\r\n"),
        ("an endless extension", &long_extension),
        ("a negative chunk size", "-1\r\nx\r\n0\r\n\r\n"),
        ("a chunk size with a plus", "+1\r\nx\r\n0\r\n\r\n"),
        ("a chunk size with a prefix", "0x1\r\nx\r\n0\r\n\r\n"),
        ("no chunk size", "\r\nx\r\n0\r\n\r\n"),
        ("a last chunk that ends in LF", "1\r\nx\r\n0\n\n"),
        ("an end without its blank line", "1\r\nx\r\n0\r\n"),
    ] {
        let found = answers(node.internal(), format!("{head}{body}{SMUGGLED_PUBLISH}")).await;
        let statuses: Vec<_> = found.iter().map(|answer| answer.head.status).collect();
        assert!(statuses.iter().all(|status| *status == 400) && statuses.len() <= 1, "{attack}: {statuses:?}");
    }
    assert_eq!(metrics(&node).await.count("fantail_events_in_total"), 0);

    // With both lengths the chunks count, and the connection ends behind them.
    let both = "POST /publish/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
    let found = answers(node.internal(), format!("{both}1\r\nx\r\n0\r\n\r\n{SMUGGLED_PUBLISH}")).await;
    assert_eq!(found.iter().map(|answer| answer.head.status).collect::<Vec<_>>(), [202]);
    assert_eq!(metrics(&node).await.count("fantail_events_in_total"), 1);
    assert_unharmed(&node).await;
}

#[tokio::test]
async fn bytes_that_are_not_http_are_closed() {
    let node = node(&[]).await;
    let mut corpus: Vec<Vec<u8>> = vec![
        vec![],
        b"\r\n".repeat(1_000),
        b"\0".repeat(1_000),
        b"A".repeat(100_000),
        b"GET /".iter().chain(&b"a".repeat(100_000)).copied().collect(),
        [&b"GET /sse/a HTTP/1.1\r\n"[..], &b"X: a\r\n".repeat(10_000)].concat(),
        [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[0; 500]].concat(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
        b"*1\r\n$4\r\nPING\r\n".to_vec(),
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET /sse/a HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(),
    ];
    let mut random = Random::from_seed(6);
    for length in 0..300 {
        corpus.push((0..length * 7).map(|_| random.below(256) as u8).collect());
    }
    for addr in [node.public(), node.internal()] {
        for bytes in &corpus {
            let statuses: Vec<_> = answers(addr, bytes).await.iter().map(|answer| answer.head.status).collect();
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
            assert!(statuses.iter().all(|status| (400..500).contains(status)), "{shown:?}: {statuses:?}");
            assert!(statuses.len() <= 1, "{shown:?}: {statuses:?}");
        }
    }
    assert_unharmed(&node).await;
}

/// A good request with one byte changed, or cut at any place: refused, or a stream that ends as cleanly as any other.
#[tokio::test]
async fn a_request_with_a_fault_in_it_is_refused_or_served_but_never_half() {
    let node = node(&[]).await;
    publish(&node, "a", "retained").await;
    let good =
        b"GET /sse/a?replay=1 HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nLast-Event-ID: 7\r\n\r\n";
    let mut random = Random::from_seed(7);
    let cut = (0..good.len()).map(|end| good[..end].to_vec());
    let changed = (0..1_000).map(|_| {
        let mut bytes = good.to_vec();
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] = random.below(256) as u8;
        bytes
    });
    let (mut served, mut refused) = (0, 0);
    for bytes in cut.chain(changed.collect::<Vec<_>>()) {
        for answer in answers(node.public(), &bytes).await {
            let shown = String::from_utf8_lossy(&bytes).into_owned();
            if answer.head.status == 200 {
                assert_eq!((answer.end, answer.head.header("content-type")), (End::Clean, Some("text/event-stream")));
                answer.events(); // no torn frame
                served += 1;
            } else {
                assert!((400..500).contains(&answer.head.status), "{shown:?}: {answer:?}");
                assert_eq!(answer.end, End::Clean, "{shown:?}");
                refused += 1;
            }
        }
    }
    assert!(served > 100 && refused > 100, "{served} served, {refused} refused");
    let descriptors = metrics(&node).await.number("process_open_fds");
    assert!(descriptors < 60.0, "{descriptors} descriptors are open though all connections are closed");
    assert_unharmed(&node).await;
}

#[tokio::test]
async fn the_server_closes_first_when_it_refuses_what_it_cannot_read() {
    let node = node(&[]).await;
    let mut wire = Wire::connect(node.public()).await;
    wire.send("garbage\r\n\r\n").await;
    assert_eq!(wire.answer("GET").await.unwrap().head.status, 400);
    assert_eq!(wire.rest().await, (vec![], Close::Fin));
}
