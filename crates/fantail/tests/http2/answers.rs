//! Answers that are no streams: they are those of HTTP/1.

use ::http::Method;
use fantail_testkit::http;

use crate::Served;

#[tokio::test]
async fn errors_heads_and_preflights_are_those_of_http_1() {
    let served = Served::start(&["--cors-origin", "https://a.example"]).await;
    let mut client = served.over_tls().await;
    let origin = ("origin", "https://a.example");
    let cases = [
        (Method::GET, "/elsewhere", 404, "streams are at /sse/{channel}"),
        (Method::GET, "/sse/a*", 400, "\"field\":\"channel\""),
        (Method::DELETE, "/sse/a", 405, "this path answers GET, HEAD, OPTIONS"),
        (Method::POST, "/sse/a", 405, "publishing is on the internal one"),
        (Method::HEAD, "/sse/a", 200, ""),
        (Method::OPTIONS, "/sse/a", 204, ""),
        (Method::GET, "/sse/a?limit=0", 400, "\"field\":\"limit\""),
    ];
    for (method, path, status, told) in cases {
        let mut answer = client.ask(method.clone(), path, &[origin]).await.unwrap();
        assert_eq!(answer.status.as_u16(), status, "{method} {path}");
        assert_eq!(answer.headers["access-control-allow-origin"], "https://a.example", "{method} {path}");
        assert!(answer.headers.contains_key("date") && !answer.headers.contains_key("connection"));
        let _ = answer.read_to_end().await.unwrap();
        assert!(answer.text().contains(told), "{method} {path}: {}", answer.text());
        if method == Method::HEAD {
            assert_eq!(answer.headers["content-type"], "text/event-stream");
        }
    }
}

#[tokio::test]
async fn with_public_hosts_a_request_to_another_name_is_misdirected() {
    let served = Served::start(&["--public-hosts", "events.example.com"]).await;
    let public = served.node.public();
    let mut client = served.over_tls().await;
    for (name, status) in [
        ("events.example.com", 200),
        ("EVENTS.example.com:8443", 200),
        ("localhost", 200),
        ("127.0.0.1:8080", 200),
        ("evil.example", 421),
        ("example.com", 421),
        ("events.example.com.evil.example", 421),
    ] {
        for method in [Method::HEAD, Method::OPTIONS] {
            let status = if status == 200 && method == Method::OPTIONS { 204 } else { status };
            let answer = client.ask(method.clone(), &format!("https://{name}/sse/a"), &[]).await.unwrap();
            assert_eq!(answer.status.as_u16(), status, "{method} {name}");
            let answer = http(public, method.as_str(), "/sse/a", &[("Host", name)], "").await.unwrap();
            assert_eq!(answer.status, status, "{method} {name} over HTTP/1.1");
        }
    }
    let told = http(public, "GET", "/sse/a", &[("Host", "evil.example")], "").await.unwrap();
    assert_eq!(told.header("content-type"), Some("application/problem+json"));
    assert!(told.text().contains("FANTAIL_PUBLIC_HOSTS=evil.example"), "{}", told.text());
    let named_twice = http(public, "GET", "http://evil.example/sse/a", &[], "").await.unwrap();
    assert_eq!(named_twice.status, 421, "the name stands in the request's target as well");
    // The connection is another server's too, and goes on.
    assert_eq!(client.get("https://events.example.com/sse/a", &[]).await.unwrap().status.as_u16(), 200);
}

#[tokio::test]
async fn without_public_hosts_every_name_is_answered() {
    let served = Served::start(&[]).await;
    let mut client = served.over_tls().await;
    assert_eq!(client.get("https://anything.example/sse/a", &[]).await.unwrap().status.as_u16(), 200);
    let answer = http(served.node.public(), "HEAD", "/sse/a", &[("Host", "anything.example")], "").await.unwrap();
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered_and_the_connection_stays() {
    let served = Served::start(&["--head-bytes-max", "8KiB"]).await;
    let mut client = served.plain().await;
    for (bytes, status) in [(100, 200), (9_000, 431), (20_000, 431)] {
        let answer = client.get("/sse/a?limit=1", &[("x-filling", &"x".repeat(bytes))]).await.unwrap();
        assert_eq!(answer.status.as_u16(), status, "{bytes}");
    }
    let long = format!("/sse/a?x={}", "x".repeat(9_000));
    assert!([414, 431].contains(&client.get(&long, &[]).await.unwrap().status.as_u16()));
    assert_eq!(client.get("/sse/a", &[]).await.unwrap().status.as_u16(), 200);
}
