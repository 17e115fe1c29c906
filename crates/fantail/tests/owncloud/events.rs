//! Events of the other services reach the users that they name.

use fantail_testkit::{Event, Fantail, NatsServer, OWNCLOUD_STREAM, PATIENCE, Signal, SseClient, owncloud_event};

use crate::keys::signed;
use crate::node::{metrics, publish_json, until, until_ready, until_state};
use crate::service::{claims, nats_and_service, request, send, service, stream_of, token_of};

async fn next(stream: &mut SseClient) -> (String, String) {
    let Event { event, data, .. } = stream.next_event(PATIENCE).await.unwrap();
    (event, data)
}

/// The id that a client has which keeps one at its line, as `@microsoft/fetch-event-source` does: behind the last event.
async fn kept_id(stream: &mut SseClient) -> String {
    loop {
        let text = std::str::from_utf8(stream.body()).unwrap();
        let behind = text.rsplit_once("\n\n").map_or(text, |(_, behind)| behind);
        let mut ids = behind.split_inclusive('\n').filter_map(|line| line.strip_prefix("id: ")?.strip_suffix('\n'));
        match ids.next_back() {
            Some(id) => return id.to_owned(),
            None => stream.read_more(PATIENCE).await.unwrap(),
        }
    }
}

fn pair(kind: &str, data: &str) -> (String, String) {
    (kind.to_owned(), data.to_owned())
}

#[tokio::test]
async fn each_of_the_named_users_gets_an_event_on_every_stream_once() {
    let (nats, node) = nats_and_service(&[]).await;
    let (mut alice, mut tab, mut bob) =
        (stream_of(&node, "alice").await, stream_of(&node, "alice").await, stream_of(&node, "bob@ocis").await);
    send(&nats, &["alice", "carol", "alice"], "folder-created", r#"{"itemid":"1"}"#).await;
    nats.publish_to_stream(OWNCLOUD_STREAM, &owncloud_event("events.UploadReady", "{}")).await.unwrap();
    send(&nats, &["bob@ocis", "alice"], "", "line 1\nline 2").await;
    for stream in [&mut alice, &mut tab] {
        assert_eq!(next(stream).await, pair("folder-created", r#"{"itemid":"1"}"#));
        assert_eq!(next(stream).await, pair("message", "line 1\nline 2"));
    }
    assert_eq!(next(&mut bob).await, pair("message", "line 1\nline 2"));
}

#[tokio::test]
async fn events_that_break_a_stream_there_break_none_here() {
    let (nats, node) = nats_and_service(&[]).await;
    let mut alice = stream_of(&node, "alice").await;
    send(&nats, &["alice"], "x", "").await;
    send(&nats, &["alice"], "x", ": no comment").await;
    send(&nats, &["alice"], "a\\ndata: injected", "lost").await;
    send(&nats, &["alice"], "end", "end").await;
    assert_eq!(next(&mut alice).await, pair("x", ""));
    assert_eq!(next(&mut alice).await, pair("x", ": no comment"));
    assert_eq!(next(&mut alice).await, pair("end", "end"));
    until(&node, "the event with a broken type is declared", |m| m.count("fantail_gaps_sent_total") == 1).await;
}

#[tokio::test]
async fn a_stream_holds_nothing_at_which_the_web_client_would_dispatch_an_empty_event() {
    let (nats, node) = nats_and_service(&[("SSE_KEEPALIVE_INTERVAL", "50ms")]).await;
    let mut stream =
        request(node.public(), &token_of("alice")).header("Accept", "*/*").keep_body().connect().await.unwrap();
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    until_state(&node, stream.local_addr().unwrap(), "live").await;
    until(&node, "two keepalives", |m| m.count("fantail_keepalives_total") >= 2).await;
    send(&nats, &["alice"], "folder-created", "one").await;
    send(&nats, &["alice"], "a\\nb", "cannot be sent, so a gap is there").await;
    send(&nats, &["alice"], "folder-created", "two").await;
    let (mut blocks, mut text) = (Vec::new(), String::new());
    while blocks.len() < 2 {
        stream.read_more(PATIENCE).await.unwrap();
        text = String::from_utf8(stream.body().to_vec()).unwrap();
        blocks = text.split_terminator("\n\n").map(str::to_owned).collect();
        if !text.ends_with("\n\n") {
            blocks.pop();
        }
    }
    // Each empty line ends a block with data.
    assert!(blocks.iter().all(|block| block.lines().any(|line| line.starts_with("data: "))), "{text}");
    assert!(text.starts_with(":\nretry: ") && text.contains("\n:\n:\n"), "{text}");
    // The opening has one, and behind each event stands its own; the gap between them moves the id in silence.
    let ids = |block: &str| block.lines().filter(|line| line.starts_with("id: ")).count();
    assert_eq!(blocks.iter().map(|block| ids(block)).collect::<Vec<_>>(), [1, 2], "{text}");
}

#[tokio::test]
async fn a_client_goes_on_at_another_node_with_what_it_missed() {
    let (nats, first) = nats_and_service(&[]).await;
    let second = service(&nats.url(), &[], &[]).await;
    let mut alice = request(first.public(), &token_of("alice")).keep_body().connect().await.unwrap();
    send(&nats, &["alice"], "x", "one").await;
    assert_eq!(next(&mut alice).await, pair("x", "one"));
    let id = kept_id(&mut alice).await;
    drop(alice);
    send(&nats, &["bob"], "x", "for another").await;
    send(&nats, &["alice"], "x", "two").await;
    let again = |node: &Fantail, id: &str| request(node.public(), &token_of("alice")).last_event_id(id);
    let mut alice = again(&second, &id).connect().await.unwrap();
    assert_eq!(next(&mut alice).await, pair("x", "two"));
    // An id of the service itself is a number, which says nothing here: the client goes on with what comes.
    let mut foreign = again(&second, "17").connect().await.unwrap();
    until_state(&second, foreign.local_addr().unwrap(), "live").await;
    send(&nats, &["alice"], "x", "three").await;
    while next(&mut foreign).await.1 != "three" {}
}

#[tokio::test]
async fn a_client_that_saw_nothing_yet_knows_its_place_from_the_first_lines() {
    let (nats, node) = nats_and_service(&[]).await;
    let mut alice = request(node.public(), &token_of("alice")).keep_body().connect().await.unwrap();
    // No empty line ends these lines, and `@microsoft/fetch-event-source` keeps the id of a line at once.
    let id = kept_id(&mut alice).await;
    drop(alice);
    send(&nats, &["alice"], "x", "one").await;
    let mut alice = request(node.public(), &token_of("alice")).last_event_id(&id).connect().await.unwrap();
    assert_eq!(next(&mut alice).await, pair("x", "one"));
}

#[tokio::test]
async fn after_a_new_secret_old_tokens_are_refused_and_a_client_with_a_new_one_goes_on_behind_its_last_event() {
    let (nats, before) = nats_and_service(&[]).await;
    let mut alice = request(before.public(), &token_of("alice")).keep_body().connect().await.unwrap();
    send(&nats, &["alice"], "x", "one").await;
    assert_eq!(next(&mut alice).await, pair("x", "one"));
    let id = kept_id(&mut alice).await;
    drop((alice, before));
    send(&nats, &["alice"], "x", "two").await;
    let secret = "the-secret-of-thirty-two-bytes-xyz";
    let after = service(&nats.url(), &[("SSE_JWT_SECRET", secret)], &[]).await;
    let again = async |token: &str| request(after.public(), token).last_event_id(&id).connect().await.unwrap();
    assert_eq!(again(&token_of("alice")).await.status(), 401);
    let mut alice = again(&signed("HS256", secret, claims("alice"))).await;
    assert_eq!(next(&mut alice).await, pair("x", "two"));
}

/// ownCloud Web replaces the headers of its library, so it never sends the id.
#[tokio::test]
async fn a_client_that_sends_no_id_goes_on_with_the_events_that_come_from_then_on() {
    let (nats, node) = nats_and_service(&[]).await;
    let mut alice = stream_of(&node, "alice").await;
    send(&nats, &["alice"], "x", "one").await;
    assert_eq!(next(&mut alice).await, pair("x", "one"));
    drop(alice);
    send(&nats, &["alice"], "x", "while it was away").await;
    // Behind this one the node has seen the other.
    let mut bob = stream_of(&node, "bob").await;
    send(&nats, &["bob"], "x", "seen").await;
    assert_eq!(next(&mut bob).await, pair("x", "seen"));
    let mut alice = stream_of(&node, "alice").await;
    send(&nats, &["alice"], "x", "two").await;
    assert_eq!(next(&mut alice).await, pair("x", "two"));
}

#[tokio::test]
async fn over_a_kill_of_nats_every_event_comes_once_or_is_declared() {
    let (mut nats, node) = nats_and_service(&[]).await;
    let mut alice = stream_of(&node, "alice").await;
    send(&nats, &["alice"], "x", "one").await;
    assert_eq!(next(&mut alice).await, pair("x", "one"));
    nats.kill();
    until_ready(&node, false).await;
    nats.restart().await.unwrap();
    send(&nats, &["alice"], "x", "two").await;
    until_ready(&node, true).await;
    send(&nats, &["alice"], "x", "three").await;
    assert_eq!(next(&mut alice).await, pair("x", "two"));
    assert_eq!(next(&mut alice).await, pair("x", "three"));
    assert_eq!(metrics(&node).await.count("fantail_gaps_sent_total"), 0);
}

#[tokio::test]
async fn a_rolling_restart_of_two_nodes_loses_no_event_of_a_client_that_comes_back() {
    let nats = NatsServer::start_jetstream().await.unwrap();
    let mut nodes = [service(&nats.url(), &[], &[]).await, service(&nats.url(), &[], &[]).await];
    let (mut id, mut got, mut sent) = (String::new(), Vec::new(), Vec::new());
    for round in 0..4 {
        let here = round % 2;
        let again = request(nodes[here].public(), &token_of("alice")).keep_body();
        let again = if id.is_empty() { again } else { again.last_event_id(&id) };
        let mut alice = again.connect().await.unwrap();
        until_state(&nodes[here], alice.local_addr().unwrap(), "live").await;
        for number in 0..3 {
            let data = format!("{round} live {number}");
            send(&nats, &["alice"], "x", &data).await;
            sent.push(data);
        }
        let due = sent.len() - got.len();
        let here_first = alice.next_events(due, PATIENCE).await.unwrap();
        got.extend(here_first.iter().map(|event| event.data.clone()));
        id = kept_id(&mut alice).await;
        nodes[here].signal(Signal::TERM).unwrap();
        let (events, _) = alice.read_until_end(PATIENCE).await.unwrap();
        assert!(events.is_empty(), "{events:?}");
        nodes[here].wait(PATIENCE).await.unwrap();
        // The client is away, and the node to which it will come has never served its user.
        for number in 0..2 {
            let data = format!("{round} away {number}");
            send(&nats, &["bob"], "x", "for another").await;
            send(&nats, &["alice"], "x", &data).await;
            sent.push(data);
        }
        nodes[here] = service(&nats.url(), &[], &[]).await;
    }
    let mut alice = request(nodes[0].public(), &token_of("alice")).last_event_id(&id).connect().await.unwrap();
    send(&nats, &["alice"], "x", "end").await;
    sent.push("end".to_owned());
    while got.last().is_none_or(|last| last != "end") {
        got.push(next(&mut alice).await.1);
    }
    assert_eq!(got, sent);
}

#[tokio::test]
async fn an_event_that_is_published_here_is_one_of_owncloud() {
    let (_nats, node) = nats_and_service(&[]).await;
    let mut bob = stream_of(&node, "bob@ocis").await;
    let answer =
        publish_json(&node, r#"{"channels":["bob~40ocis"],"data":"hello","event":"userlog-notification"}"#).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(next(&mut bob).await, pair("userlog-notification", "hello"));
    let refused = publish_json(&node, r#"{"channels":["a:b"],"data":"x"}"#).await;
    assert_eq!((refused.status, refused.text().contains("no user")), (400, true), "{}", refused.text());
}
