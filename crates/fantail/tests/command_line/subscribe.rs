//! `fantail subscribe`: its output, the id that it comes back with, and its end.

use fantail_testkit::Fantail;
use fantail_testkit::port::free_port;
use serde_json::{Value, json};

use crate::canned::{CLEAN_END, Canned, STREAM, answer, chunk};
use crate::node::{node, publish};
use crate::running::{Piped, lines, noted, objects, run, status, subscriber};

fn url(node: &Fantail, path: &str) -> String {
    format!("http://{}{path}", node.public())
}

fn data(objects: &[Value]) -> Vec<&str> {
    objects.iter().map(|object| object["data"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn events_are_printed_in_each_form_as_they_come() {
    let node = node(&[]).await;
    let url = url(&node, "/sse/demo");
    let mut fields = subscriber(&[&url]);
    let mut json = subscriber(&["--json", &url]);
    let mut plain = subscriber(&["--data", &url]);
    for child in [&mut fields, &mut json, &mut plain] {
        noted(child, "connected to").await;
    }

    let first = publish(&node, "demo", "hello").await;
    publish(&node, "demo?event=tick&id=own&retry=700", "a\nb\u{1b}[2J").await;

    let first_id = first["id"].as_str().unwrap();
    let expected = format!(
        "event: message\nid: {first_id}\ndata: hello\n\nevent: tick\nid: own\nretry: 700\ndata: a\ndata: b\\u{{1b}}[2J\n\n"
    );
    assert_eq!(lines(&mut fields, 10).await.join("\n") + "\n", expected);
    assert_eq!(lines(&mut plain, 3).await, ["hello", "a", "b\u{1b}[2J"]);
    let objects = objects(&mut json, 2).await;
    assert_eq!(objects[0], json!({"event": "message", "data": "hello", "id": first_id}));
    assert_eq!(objects[1], json!({"event": "tick", "data": "a\nb\u{1b}[2J", "id": "own", "retry": 700}));
}

/// 1. The server ends each stream after one event, cleanly.
/// 2. The subscriber comes back with the id of that event and gets the next one, and none twice.
#[tokio::test]
async fn after_a_clean_end_it_goes_on_behind_its_last_event() {
    let node = node(&["--retry", "10ms"]).await;
    for event in ["1", "2", "3", "4"] {
        publish(&node, "demo", event).await;
    }
    let mut child = subscriber(&["--json", "--limit", "5", &url(&node, "/sse/demo?replay=all&limit=1")]);
    assert_eq!(data(&objects(&mut child, 4).await), ["1", "2", "3", "4"]);
    publish(&node, "demo", "5").await;
    assert_eq!(status(&mut child).await, Some(0));
    assert_eq!(data(&objects(&mut child, 5).await), ["1", "2", "3", "4", "5"]);
}

/// 1. A node with the memory feed is killed. Its events are gone with it, and so is its numbering.
/// 2. Another is started at the same place.
/// 3. The subscribers come back with an id that it does not know. They report the gap and go on.
#[tokio::test]
async fn after_a_kill_it_comes_back_to_the_new_server_and_tells_the_gap() {
    let listen = format!("127.0.0.1:{}", free_port().unwrap());
    let flags = ["--listen", &listen, "--retry", "10ms"];
    let mut before = node(&flags).await;
    let url = url(&before, "/sse/demo");
    let (mut fields, mut json) = (subscriber(&[&url]), subscriber(&["--json", "--limit", "2", &url]));
    for child in [&mut fields, &mut json] {
        noted(child, "connected to").await;
    }
    publish(&before, "demo", "before").await;
    lines(&mut fields, 4).await;
    objects(&mut json, 1).await;
    before.kill();
    for child in [&mut fields, &mut json] {
        noted(child, "the stream was cut").await;
        noted(child, &format!("cannot connect to {listen}")).await;
    }

    let after = node(&flags).await;
    publish(&after, "demo", "after").await;
    let objects = objects(&mut json, 3).await;
    let events: Vec<_> = objects.iter().map(|object| object["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["message", "fantail.gap", "message"]);
    let gap: Value = serde_json::from_str(objects[1]["data"].as_str().unwrap()).unwrap();
    assert_eq!(gap, json!({"channel": "demo", "reason": "unknown-id"}));
    assert_eq!(objects[2]["data"], "after");

    let printed = lines(&mut fields, 8).await;
    assert!(
        printed.contains(&"data: after".to_owned()) && !printed.iter().any(|line| line.contains("gap")),
        "{printed:?}"
    );
    noted(&mut fields, "gap: events of channel \"demo\" may be missing here (unknown-id)").await;
    assert!(!json.output().stderr.contains("gap"), "{}", json.output().stderr);
    // Two events; the gap between them is not counted.
    assert_eq!(status(&mut json).await, Some(0));
}

/// Each step is one connection, and its expected request:
/// 1. The opening block carries an id and no event. Then the connection breaks: the id is sent back all the same.
/// 2. The server answers with an error of its own: it is asked again, with the same id.
/// 3. An event comes, and half of another: only the first one's id counts.
/// 4. A block takes the id away.
/// 5. Nothing more will come.
#[tokio::test]
async fn a_subscriber_comes_back_with_the_id_of_the_last_whole_block() {
    let server = Canned::listen().await;
    let mut child = subscriber(&["--json", "--last-event-id", "given", &server.url("/s?a=b")]);

    let request = server.answer(STREAM.to_owned() + &chunk(":\nretry: 1\nid: start\n\n")).await;
    assert!(request.head.starts_with("get /s?a=b http/1.1"), "{}", request.head);
    assert_eq!(request.header("last-event-id"), Some("given"));
    assert_eq!(request.header("accept"), Some("text/event-stream"));
    assert_eq!(request.header("host"), Some(server.addr().to_string().as_str()));

    let request = server.answer(answer("503 Service Unavailable", "text/plain", "not now")).await;
    assert_eq!(request.header("last-event-id"), Some("start"));
    noted(&mut child, "503 Service Unavailable: not now").await;

    let request = server.answer(STREAM.to_owned() + &chunk("id: 7\ndata: x\n\nid: 8\ndata: ha") + CLEAN_END).await;
    assert_eq!(request.header("last-event-id"), Some("start"));

    let request = server.answer(STREAM.to_owned() + &chunk("data: y\n\nid\n\n") + CLEAN_END).await;
    assert_eq!(request.header("last-event-id"), Some("7"));

    let request = server.answer("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(request.header("last-event-id"), None);
    assert_eq!(status(&mut child).await, Some(0));
    let expected =
        [json!({"event": "message", "data": "x", "id": "7"}), json!({"event": "message", "data": "y", "id": "7"})];
    assert_eq!(objects(&mut child, 2).await, expected);
}

#[tokio::test]
async fn headers_are_sent_and_win_over_its_own() {
    let server = Canned::listen().await;
    let headers = ["--header", "Authorization: Bearer t", "--header", "accept: */*"];
    let mut child = subscriber(&[&headers[..], &["--no-reconnect", &server.url("/")]].concat());
    let request = server.answer(STREAM.to_owned() + CLEAN_END).await;
    assert_eq!(request.header("authorization"), Some("bearer t"));
    assert_eq!(request.header("accept"), Some("*/*"));
    assert_eq!(request.head.matches("\naccept:").count(), 1, "{}", request.head);
    assert_eq!(status(&mut child).await, Some(0));
}

/// A token ends before the command does. Something renews the file meanwhile, and it is empty for a moment.
#[tokio::test]
async fn the_token_is_read_again_for_each_connection() {
    let server = Canned::listen().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "first\n").unwrap();
    let mut child = subscriber(&["--token-file", file.path().to_str().unwrap(), "--limit", "1", &server.url("/")]);
    let mut first = server.accept().await;
    assert_eq!(first.request().await.header("authorization"), Some("bearer first"));
    std::fs::write(&file, "").unwrap();
    first.say(STREAM.to_owned() + &chunk("retry: 1\n\n") + CLEAN_END).await;
    noted(&mut child, "there is no token").await;
    std::fs::write(&file, "second\n").unwrap();
    let request = server.answer(STREAM.to_owned() + &chunk("data: x\n\n")).await;
    assert_eq!(request.header("authorization"), Some("bearer second"));
    assert_eq!(status(&mut child).await, Some(0));
}

#[tokio::test]
async fn without_reconnecting_the_status_tells_a_clean_end_from_a_cut_and_from_nothing_at_all() {
    let server = Canned::listen().await;
    let event = STREAM.to_owned() + &chunk("data: x\n\n");
    for (text, expected, reason) in [
        (event.clone() + CLEAN_END, Some(0), ""),
        (event.clone(), Some(1), "the stream was cut"),
        (event + &chunk("data: y\n") + CLEAN_END, Some(1), "in the middle of an event"),
        (answer("500 Oops", "text/plain", ""), Some(1), "the server answered 500"),
        (String::new(), Some(1), "did not answer"),
    ] {
        let mut child = subscriber(&["--no-reconnect", "--data", &server.url("/")]);
        server.answer(&text).await;
        assert_eq!(status(&mut child).await, expected, "{text}");
        noted(&mut child, reason).await;
    }
    let nobody = format!("http://127.0.0.1:{}/", free_port().unwrap());
    let outcome = run(&["subscribe", "--no-reconnect", &nobody]).await;
    assert_eq!(outcome.status, Some(1));
    assert!(outcome.stderr.contains("cannot connect"), "{}", outcome.stderr);
}

#[tokio::test]
async fn an_error_that_a_retry_would_not_change_ends_it_with_the_servers_reason() {
    let node = node(&[]).await;
    let outcome = run(&["subscribe", &url(&node, "/elsewhere")]).await;
    assert_eq!(outcome.status, Some(1));
    assert!(outcome.stderr.contains("404 Not Found: streams are at /sse/{channel}"), "{}", outcome.stderr);

    let server = Canned::listen().await;
    let moved = "HTTP/1.1 308 Permanent Redirect\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n";
    for (text, reason) in [
        (answer("200 OK", "text/html", "<html>"), "no event stream: its content-type is \"text/html\""),
        (
            answer("401 Unauthorized", "application/json", "{\"title\":\"who\\u001b[2J\"}"),
            "Unauthorized: who\\u{1b}[2J",
        ),
        (moved.to_owned(), "subscribe to /there"),
    ] {
        let mut child = subscriber(&[&server.url("/")]);
        server.answer(&text).await;
        assert_eq!(status(&mut child).await, Some(1), "{text}");
        noted(&mut child, reason).await;
    }
}

#[tokio::test]
async fn wrong_usage_is_told_at_once() {
    for (arguments, reason) in [
        (&[][..], "<URL>"),
        (&["https://127.0.0.1/sse/demo", "--ca", "/no/such/file"], "--ca: /no/such/file: cannot be read"),
        (&["http://127.0.0.1/sse/demo", "--ca", "/dev/null"], "--ca: an http:// server shows no certificate"),
        (&["127.0.0.1:8080/sse/demo"], "begin with http://"),
        (&["http://127.0.0.1/", "--limit", "0"], "--limit"),
        (&["http://127.0.0.1/", "--header", "x"], "--header: "),
        (&["http://127.0.0.1/", "--token-file", "/no/such/file"], "--token-file: /no/such/file cannot be read"),
        (&["http://127.0.0.1/", "--token-file", "/dev/null"], "--token-file: /dev/null is empty"),
        (&["http://127.0.0.1/", "--jsno"], "--json"),
    ] {
        let outcome = run(&[&["subscribe"], arguments].concat()).await;
        assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(outcome.stderr.contains(reason), "{}", outcome.stderr);
    }
}

/// `fantail subscribe … | head -1`, without another event that would meet the closed pipe.
#[tokio::test]
async fn it_ends_quietly_when_nobody_reads_any_more_though_the_stream_is_idle() {
    let node = node(&[]).await;
    publish(&node, "demo", "only").await;
    let mut run = Piped::start(&["subscribe", "--data", &url(&node, "/sse/demo?replay=all")]);
    assert_eq!(run.line().await, "only\n");
    let outcome = run.hang_up().await;
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    assert_eq!(outcome.stderr, format!("fantail: connected to {}\n", node.public()));
}
