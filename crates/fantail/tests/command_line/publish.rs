//! `fantail publish`: over HTTP and through Redis, from arguments and from standard input.

use std::time::Duration;

use fantail_testkit::port::free_port;
use fantail_testkit::{Event, Fantail, PATIENCE, RedisServer, SseClient};
use serde_json::{Value, json};

use crate::canned::{Canned, answer};
use crate::node::{node, subscribe};
use crate::running::{FinishedCommand, Piped, run, run_with};

/// How often an awaited state is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Publishes to this node.
async fn publish_at(node: &Fantail, arguments: &[&str], input: impl AsRef<[u8]>) -> FinishedCommand {
    let url = format!("http://{}", node.internal());
    run_with(&[&["publish", "--url", &url], arguments].concat(), input).await
}

async fn next(client: &mut SseClient) -> Event {
    client.next_event(PATIENCE).await.unwrap()
}

async fn data(client: &mut SseClient, count: usize) -> Vec<String> {
    let events = client.next_events(count, PATIENCE).await.unwrap();
    events.into_iter().map(|event| event.data).collect()
}

fn receipt(outcome: &FinishedCommand) -> Value {
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    serde_json::from_str(&outcome.stdout).unwrap()
}

#[tokio::test]
async fn an_event_goes_from_the_arguments_to_the_stream_with_all_its_fields() {
    let node = node(&[]).await;
    let mut client = subscribe(&node, "/sse/demo").await;
    let published = receipt(&publish_at(&node, &["demo", "hello"], "").await);
    let event = next(&mut client).await;
    assert_eq!((event.event.as_str(), event.data.as_str()), ("message", "hello"));
    assert_eq!(published, json!({"id": event.id, "subscribers": 1}));

    let fields = ["--event=tick", "--id=own 1", "--retry=2500", "demo", "a\nb"];
    receipt(&publish_at(&node, &fields, "").await);
    let event = next(&mut client).await;
    assert_eq!((event.event.as_str(), event.data.as_str(), event.id.as_str()), ("tick", "a\nb", "own 1"));
    assert_eq!(event.retry, Some(2500));
}

#[tokio::test]
async fn an_event_for_several_channels_reaches_a_stream_once() {
    let node = node(&[]).await;
    let mut client = subscribe(&node, "/sse?channel=a&channel=b").await;
    receipt(&publish_at(&node, &["--channel", "a", "--channel", "b", "both"], "").await);
    let quiet = publish_at(&node, &["-q", "b", "then"], "").await;
    assert_eq!((quiet.status, quiet.stdout.as_str()), (Some(0), ""));
    assert_eq!(data(&mut client, 2).await, ["both", "then"]);
}

#[tokio::test]
async fn data_comes_from_standard_input_without_its_last_line_break() {
    let node = node(&[]).await;
    let mut client = subscribe(&node, "/sse/demo").await;
    for (arguments, input, expected) in
        [(&["demo"][..], "hello\n", "hello"), (&["demo", "-"], "a\nb\n\n", "a\nb\n"), (&["demo"], "", "")]
    {
        receipt(&publish_at(&node, arguments, input).await);
        assert_eq!(next(&mut client).await.data, expected);
    }
}

/// 1. Two lines come while the pipe stays open: each is published before the next is there, over one connection.
/// 2. The node closes the idle connection.
/// 3. The third line goes over a new one.
#[tokio::test]
async fn lines_are_published_as_they_come_over_one_connection_that_is_made_anew_when_it_was_closed() {
    let server = Canned::listen().await;
    let url = server.url("/base/");
    let mut run = Piped::start(&["publish", "--url", &url, "--lines", "demo"]);
    let accepted = answer("202 Accepted", "application/json", "{\"subscribers\":0}\n");

    run.say("one\n").await;
    let mut conversation = server.accept().await;
    let request = conversation.request().await;
    assert!(request.head.starts_with("post /base/publish http/1.1"), "{}", request.head);
    assert_eq!(serde_json::from_str::<Value>(&request.body).unwrap(), json!({"channels": ["demo"], "data": "one"}));
    conversation.say(&accepted).await;
    assert_eq!(run.line().await, "{\"subscribers\":0}\n");
    run.say("two\n").await;
    assert!(conversation.request().await.body.contains("two"));
    conversation.say(&accepted).await;
    assert_eq!(run.line().await, "{\"subscribers\":0}\n");
    conversation.end().await;

    run.say("three").await;
    let (outcome, request) = tokio::join!(run.finish(), server.answer(&accepted));
    assert!(request.body.contains("three"));
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(0), "{\"subscribers\":0}\n"), "{outcome:?}");
}

#[tokio::test]
async fn the_first_bad_line_ends_it_and_is_named() {
    let node = node(&[]).await;
    let mut client = subscribe(&node, "/sse/demo").await;
    let outcome = publish_at(&node, &["--lines", "demo"], *b"one\r\n\nbad \xff\nfour\n").await;
    assert_eq!((outcome.status, outcome.lines().len()), (Some(1), 2), "{outcome:?}");
    assert!(outcome.stderr.contains("line 3 ") && outcome.stderr.contains("UTF-8 at byte 4"), "{}", outcome.stderr);
    receipt(&publish_at(&node, &["demo", "next"], "").await);
    assert_eq!(data(&mut client, 3).await, ["one", "", "next"]);
}

#[tokio::test]
async fn an_event_that_is_not_accepted_is_reported_with_the_reason() {
    let node = node(&["--event-bytes-max", "1KiB"]).await;
    let large = "x".repeat(2048);
    let outcome = publish_at(&node, &["demo", &large], "").await;
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(1), ""));
    assert!(outcome.stderr.contains("413") && outcome.stderr.contains("1024"), "{}", outcome.stderr);

    let outcome = publish_at(&node, &["demo"], *b"\xff").await;
    assert_eq!(outcome.status, Some(1));
    assert!(outcome.stderr.contains("data is not valid UTF-8"), "{}", outcome.stderr);

    let public = format!("http://{}", node.public());
    let outcome = run(&["publish", "--url", &public, "demo", "x"]).await;
    assert_eq!(outcome.status, Some(1));
    assert!(outcome.stderr.contains("the server answered 4"), "{}", outcome.stderr);

    let nobody = format!("http://127.0.0.1:{}", free_port().unwrap());
    let outcome = run(&["publish", "--url", &nobody, "demo", "x"]).await;
    assert_eq!(outcome.status, Some(1));
    assert!(outcome.stderr.contains("cannot connect"), "{}", outcome.stderr);
}

/// Another kind of server may say 200 to everything: that is no receipt.
#[tokio::test]
async fn only_a_receipt_counts_as_published() {
    let server = Canned::listen().await;
    for text in [
        answer("200 OK", "application/json", "{}"),
        answer("202 Accepted", "text/html", "<html>"),
        "HTTP/1.1 202 Accepted\r\nContent-Length: 9\r\n\r\n{}".to_owned(),
        String::new(),
    ] {
        let url = server.url("");
        let arguments = ["publish", "--url", &url, "demo", "x"];
        let (outcome, _) = tokio::join!(run(&arguments), server.answer(&text));
        assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(1), ""), "{text}");
        assert!(outcome.stderr.starts_with("fantail: "), "{}", outcome.stderr);
    }
}

#[tokio::test]
async fn bad_fields_are_named_all_at_once_before_anything_is_sent() {
    let server = Canned::listen().await;
    let url = server.url("");
    let fields = ["--event=fantail.gap", "--id=", "--retry=99999999999"];
    let outcome = run(&[&["publish", "--url", &url], &fields[..], &["a*", "x"]].concat()).await;
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(2), ""));
    for place in ["CHANNEL: ", "--event: ", "--id: ", "--retry: "] {
        assert!(outcome.stderr.contains(place), "{place} in {}", outcome.stderr);
    }
    // Nothing came before this.
    let accepted = answer("202 Accepted", "application/json", "{}");
    let arguments = ["publish", "--url", &url, "a", "good"];
    let (good, request) = tokio::join!(run(&arguments), server.answer(accepted));
    assert_eq!(good.status, Some(0));
    assert!(request.body.contains("good"));
}

/// Plain data, fields, and several channels: each arrives whole at a node that follows the same Redis.
#[tokio::test]
async fn events_go_through_redis_to_a_running_node() {
    let redis = RedisServer::start_with(&["--requirepass", "hunter2"]).await.unwrap();
    let url = redis.url();
    let node = node(&["--redis-url", &url]).await;
    let mut client = subscribe(&node, "/sse?channel=a&channel=b").await;
    let mut spy = redis.connection().await.unwrap();
    spy.command(&["PSUBSCRIBE", "fantail*:[ab]"]).await.unwrap();
    let through_redis = async |arguments: &[&str], input: &str| {
        run_with(&[&["publish", "--redis-url", &url], arguments].concat(), input).await
    };

    // The spy is a subscriber to Redis like the node.
    assert_eq!(receipt(&through_redis(&["a", "plain"], "").await), json!({"subscribers": 2}));
    receipt(&through_redis(&["--event=tick", "--id=own", "--retry=900", "b"], "fields\n").await);
    receipt(&through_redis(&["--channel=a", "--channel=b", "both"], "").await);
    let many = through_redis(&["--lines", "-q", "b"], "1\n2\n").await;
    assert_eq!((many.status, many.stdout.as_str()), (Some(0), ""), "{many:?}");

    assert_eq!(next(&mut client).await.data, "plain");
    let event = next(&mut client).await;
    assert_eq!((event.event.as_str(), event.data.as_str(), event.id.as_str()), ("tick", "fields", "own"));
    assert_eq!(event.retry, Some(900));
    assert_eq!(data(&mut client, 3).await, ["both", "1", "2"]);

    let mut seen = Vec::new();
    for _ in 0..6 {
        let message = spy.reply().await.unwrap();
        seen.push(message.array().unwrap()[2].text().unwrap());
    }
    let expected = ["fantail:a", "fantail-event:b", "fantail-event:a", "fantail-event:b", "fantail:b", "fantail:b"];
    assert_eq!(seen, expected);
}

/// No node is there: the log takes and numbers events all the same.
#[tokio::test]
async fn events_are_kept_in_the_log_with_the_id_that_the_receipt_tells() {
    let redis = RedisServer::start().await.unwrap();
    let url = redis.url();
    let through_log = async |arguments: &[&str], input: &str| {
        run_with(&[&["publish", "--redis-url", &url, "--redis-log"], arguments].concat(), input).await
    };
    let published = receipt(&through_log(&["a", "plain"], "").await);
    assert_eq!(published["subscribers"], json!(0));
    let id = published["id"].as_str().unwrap();
    assert!(id.ends_with(".1"), "{id}");
    receipt(&through_log(&["--event=tick", "--channel=a", "--channel=b"], "both\n").await);
    let many = through_log(&["--lines", "-q", "b"], "1\n2\n").await;
    assert_eq!((many.status, many.stdout.as_str()), (Some(0), ""), "{many:?}");

    for (key, count) in [("fantail-stream:{0}:a", 2), ("fantail-stream:{0}:b", 3)] {
        assert_eq!(redis.command(&["XLEN", key]).await.unwrap().integer(), Some(count));
    }
    redis.command(&["SET", "fantail-stream:{0}:c", "foreign"]).await.unwrap();
    let refused = through_log(&["c", "x"], "").await;
    assert_eq!(refused.status, Some(1));
    assert!(refused.stderr.contains("fantail-stream:{0}:c holds something else"), "{refused:?}");
}

/// Waits until no socket of this machine is a client of this port any more: the close has been seen and answered.
async fn until_no_client(port: u16) {
    let is_client = |line: &str| {
        // Local address, remote address, state: established, or closed by the other side only.
        let fields: Vec<_> = line.split_whitespace().skip(1).take(3).collect();
        matches!(fields[..], [_, remote, "01" | "08"] if remote.ends_with(&format!(":{port:04X}")))
    };
    let started = tokio::time::Instant::now();
    while std::fs::read_to_string("/proc/net/tcp").unwrap().lines().any(is_client) {
        assert!(started.elapsed() < PATIENCE, "the client does not close");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Redis may close connections that are idle for long; here it is told to close this one.
#[tokio::test]
async fn a_redis_connection_that_was_closed_between_two_lines_is_made_anew() {
    let redis = RedisServer::start().await.unwrap();
    let mut run = Piped::start(&["publish", "--redis-url", &redis.url(), "--lines", "a"]);
    run.say("one\n").await;
    assert_eq!(run.line().await, "{\"subscribers\":0}\n");
    redis.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await.unwrap();
    until_no_client(redis.addr().port()).await;
    run.say("two\n").await;
    let outcome = run.finish().await;
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(0), "{\"subscribers\":0}\n"), "{outcome:?}");
}

#[tokio::test]
async fn a_redis_that_is_away_or_refuses_the_event_is_told_without_its_password() {
    let nobody = format!("redis://:hunter2@127.0.0.1:{}", free_port().unwrap());
    let redis = RedisServer::start_with(&["--requirepass", "other"]).await.unwrap();
    let locked = format!("redis://:hunter2@{}", redis.addr());
    let large = "x".repeat(300_000);
    for (url, data, reason) in
        [(nobody.as_str(), "x", "cannot connect"), (&locked, "x", "cannot connect"), (&redis.url(), &large, "300")]
    {
        let outcome = run_with(&["publish", "--redis-url", url, "a"], data).await;
        assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(1), ""), "{outcome:?}");
        assert!(outcome.stderr.contains(reason) && !outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
    }
}

#[tokio::test]
async fn the_public_listener_says_where_publishing_is() {
    let advice = "this is the public listener; publishing is on the internal one, by default 127.0.0.1:8081";
    let node = node(&[]).await;
    for path in ["", "/sse"] {
        let url = format!("http://{}{path}", node.public());
        let outcome = run(&["publish", "--url", &url, "demo", "x"]).await;
        assert_eq!(outcome.status, Some(1));
        assert!(outcome.stderr.contains(advice), "{}", outcome.stderr);
    }
    let server = Canned::listen().await;
    let (url, elsewhere) = (server.url(""), answer("404 Not Found", "text/plain", "no such page"));
    let arguments = ["publish", "--url", &url, "demo", "x"];
    let (outcome, _) = tokio::join!(run(&arguments), server.answer(&elsewhere));
    assert!(outcome.stderr.contains("no such page; is this a node's internal listener?"), "{}", outcome.stderr);
}
