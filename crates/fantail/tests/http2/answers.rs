//! Answers that are no streams: they are those of HTTP/1.

use http::Method;

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
