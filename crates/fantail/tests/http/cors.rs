//! The web pages that may read streams and answers: their browsers decide it by our headers.

use fantail_testkit::response::Head;
use fantail_testkit::{Fantail, Signal};

use crate::node::{FANTAIL, ask, node, publish, subscribe, until};
use crate::wire::Wire;

const LISTED: &str = "https://app.example.com";

/// A request of every kind of answer: its name, its beginning, its status.
const REQUESTS: [(&str, &str, u16); 8] = [
    ("a stream", "GET /sse/a?replay=1&limit=1 HTTP/1.1\r\n", 200),
    ("a stream over HTTP/1.0", "GET /sse/a?replay=1&limit=1 HTTP/1.0\r\n", 200),
    ("a head", "HEAD /sse/a HTTP/1.1\r\n", 200),
    ("a bad channel", "GET /sse/a* HTTP/1.1\r\n", 400),
    ("a path that is not there", "GET /nope HTTP/1.1\r\n", 404),
    ("a wrong method", "PUT /sse/a HTTP/1.1\r\n", 405),
    ("a body", "GET /sse/a HTTP/1.1\r\nContent-Length: 1\r\n", 400),
    ("a preflight", "OPTIONS /sse/a HTTP/1.1\r\nAccess-Control-Request-Method: GET\r\n", 204),
];

/// The head of the answer to a request with these `Origin` headers.
async fn head(node: &Fantail, request: &str, origins: &[&str]) -> Head {
    let mut wire = Wire::connect(node.public()).await;
    let origins: Vec<_> = origins.iter().map(|origin| format!("Origin: {origin}\r\n")).collect();
    wire.send(format!("{request}Host: x\r\n{}\r\n", origins.concat())).await;
    wire.answer(request.split(' ').next().unwrap()).await.unwrap().head
}

/// The head's message to a browser: the allowed origin, and whether caches must keep answers apart.
fn told(head: &Head) -> (Option<&str>, Option<&str>) {
    assert!(head.headers_named("access-control-allow-origin").count() <= 1, "{head:?}");
    assert_eq!(head.header("access-control-allow-credentials"), None, "{head:?}");
    (head.header("access-control-allow-origin"), head.header("vary"))
}

#[tokio::test]
async fn without_a_list_no_answer_speaks_of_origins() {
    let node = node(&[]).await;
    publish(&node, "a", "retained").await;
    for (what, request, status) in REQUESTS {
        for origins in [&[][..], &[LISTED], &["null"]] {
            let head = head(&node, request, origins).await;
            assert_eq!((head.status, told(&head)), (status, (None, None)), "{what} {origins:?}");
        }
    }
}

#[tokio::test]
async fn a_listed_origin_may_read_every_answer_and_no_other_origin_any() {
    let node = node(&["--cors-origin", LISTED, "--cors-origin", "http://localhost:3000"]).await;
    publish(&node, "a", "retained").await;
    for (what, request, status) in REQUESTS {
        for origin in [LISTED, "http://localhost:3000", "https://app.example.com:443"] {
            let head = head(&node, request, &[origin]).await;
            assert_eq!((head.status, told(&head)), (status, (Some(origin), Some("Origin"))), "{what} {origin}");
        }
        for origins in [
            &[][..],
            &["https://example.com"],
            &["http://app.example.com"],
            &["https://app.example.com:8443"],
            &["https://app.example.com.evil.net"],
            &["https://evil-app.example.com"],
            &["https://app.example.com@evil.net"],
            &["null"],
            &[""],
            &["*"],
            &[LISTED, LISTED],
            &[LISTED, "https://evil.net"],
        ] {
            let head = head(&node, request, origins).await;
            assert_eq!((head.status, told(&head)), (status, (None, Some("Origin"))), "{what} {origins:?}");
        }
    }
}

#[tokio::test]
async fn a_star_lets_every_page_read_every_answer() {
    let node = node(&["--cors-origin", "*"]).await;
    publish(&node, "a", "retained").await;
    for (what, request, status) in REQUESTS {
        for origins in [&[][..], &["https://anyone.example"], &["null"]] {
            let head = head(&node, request, origins).await;
            assert_eq!((head.status, told(&head)), (status, (Some("*"), None)), "{what} {origins:?}");
        }
    }
}

#[tokio::test]
async fn with_credentials_a_page_of_a_listed_origin_may_send_cookies_and_no_other() {
    let node = node(&["--cors-origin", LISTED, "--cors-credentials"]).await;
    publish(&node, "a", "retained").await;
    for (what, request, status) in REQUESTS {
        let request = format!("{request}Cookie: session=1\r\n");
        let head = head(&node, &request, &[LISTED]).await;
        assert_eq!((head.status, head.header("access-control-allow-origin")), (status, Some(LISTED)), "{what}");
        assert_eq!(head.header("access-control-allow-credentials"), Some("true"), "{what}");
    }
    for origins in [&[][..], &["https://evil.net"], &["null"]] {
        let head = head(&node, REQUESTS[0].1, origins).await;
        assert_eq!(told(&head), (None, Some("Origin")), "{origins:?}");
    }
}

#[tokio::test]
async fn a_preflight_of_a_listed_origin_is_granted_what_a_reconnect_needs_and_of_others_nothing() {
    let node = node(&["--cors-origin", LISTED]).await;
    let request = "OPTIONS /sse/a HTTP/1.1\r\nAccess-Control-Request-Method: GET\r\n\
                   Access-Control-Request-Headers: last-event-id\r\n";
    let granted = head(&node, request, &[LISTED]).await;
    assert_eq!(granted.header("access-control-allow-methods"), Some("GET, HEAD"));
    let headers = granted.header("access-control-allow-headers").unwrap().to_ascii_lowercase();
    assert!(headers.split(", ").any(|header| header == "last-event-id"), "{headers}");
    assert_eq!(granted.header("access-control-max-age"), Some("7200"));
    let refused = head(&node, request, &["https://evil.net"]).await;
    assert_eq!((granted.status, refused.status), (204, 204));
    assert!(!refused.headers.iter().any(|(name, _)| name.starts_with("access-control-")), "{refused:?}");
}

/// The drain turns a stream away; without the header a page could not tell why. A node is not ready a moment before its shards turn
/// streams away, so a request may still be the last that is let in.
#[tokio::test]
async fn a_stream_that_cannot_begin_is_readable_too() {
    let node = node(&["--cors-origin", LISTED, "--drain-window", "60s", "--drain-deadline", "120s"]).await;
    publish(&node, "a", "x").await;
    let _streams = [subscribe(&node, "/sse/a").await, subscribe(&node, "/sse/a").await];
    let mut wires = Vec::new();
    for _ in 0..16 {
        let mut wire = Wire::connect(node.public()).await;
        wire.send(format!("GET /sse/a?replay=1&limit=1 HTTP/1.1\r\nHost: x\r\nOrigin: {LISTED}\r\n")).await;
        wires.push(wire);
    }
    until(&node, "they are accepted", |m| m.count("fantail_connections_open") == 18).await;
    node.signal(Signal::TERM).unwrap();
    let mut answers = Vec::new();
    for mut wire in wires {
        while ask(&node, "GET", "/readyz").await.status != 503 {}
        wire.send("\r\n").await;
        let answer = wire.answer("GET").await.unwrap();
        answers.push(answer.head.status);
        assert_eq!(told(&answer.head), (Some(LISTED), Some("Origin")));
        if answer.head.status != 200 {
            break;
        }
    }
    assert_eq!(answers.last(), Some(&503), "{answers:?}");
}

#[tokio::test]
async fn a_list_that_would_allow_more_than_it_says_is_refused_at_the_start() {
    for (origins, told) in [
        (&["null"][..], "null"),
        (&["https://a.example/"], "https://a.example/"),
        (&["a.example"], "a.example"),
        (&["https://*.example"], "*"),
        (&["*", "https://a.example"], "*"),
    ] {
        let mut arguments = vec!["serve", "--listen", "127.0.0.1:0", "--internal-listen", "127.0.0.1:0"];
        for origin in origins {
            arguments.extend(["--cors-origin", origin]);
        }
        let (status, output) = Fantail::run_to_end(FANTAIL, &arguments, &[]).await.unwrap();
        assert_eq!(status.code(), Some(2), "{origins:?}: {output:?}");
        assert!(output.stderr.contains(told), "{origins:?}: {}", output.stderr);
    }
}
