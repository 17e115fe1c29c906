//! Bounds on what one address, one subject, one token and one publisher may have, and how each is given back.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fantail_access::{KeyAlgorithm, mint_token};
use fantail_testkit::{Fantail, PATIENCE, Response, SseClient, http};
use serde_json::{Map, Value, json};

use crate::node::{
    Metrics, ask, connection_id, metrics, node, publish, read_to_close, subscribe, until, until_closed, until_open,
    whole_log,
};
use crate::wire::Wire;

const SECRET: &str = "a-secret-of-thirty-two-bytes-abc";
const REQUEST: &str = "GET /sse/a HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Connections and streams that this bound has refused.
fn refused(metrics: &Metrics, bound: &str) -> u64 {
    metrics.count(&format!("fantail_refused_total{{bound=\"{bound}\"}}"))
}

async fn subscribe_from(node: &Fantail, source: &str) -> Result<SseClient, fantail_testkit::Error> {
    SseClient::request(node.public(), "/sse/a").from(source.parse().unwrap()).connect().await
}

/// Looks again and again until a stream is let in: a connection that is gone is noticed a moment later.
async fn until_let_in(node: &Fantail, source: &str) -> SseClient {
    let looking = async {
        loop {
            match subscribe_from(node, source).await {
                Ok(client) => return client,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("there is room again")
}

#[tokio::test]
async fn one_address_has_so_many_connections_open_streams_included_and_others_have_theirs() {
    let node = node(&["--connections-per-address-max", "3"]).await;
    let mut streams = vec![subscribe(&node, "/sse/a").await, subscribe(&node, "/sse/a").await];
    let silent = Wire::connect(node.public()).await;
    until(&node, "all are there", |m| m.count("fantail_connections_open") == 3).await;
    let mut fourth = Wire::connect(node.public()).await;
    fourth.send(REQUEST).await;
    assert_eq!(fourth.rest().await.0, b"", "it is closed without an answer");
    assert_eq!(refused(&metrics(&node).await, "connections_per_address_max"), 1);
    let mut other = subscribe_from(&node, "127.0.0.2").await.unwrap();
    assert_eq!(other.status(), 200);
    let log = whole_log(&node).await;
    assert!(log.contains("bound=\"connections_per_address_max\" address=127.0.0.1"), "{log}");
    // One that was no stream, and one that was.
    drop(silent);
    streams.push(until_let_in(&node, "127.0.0.1").await);
    drop(streams.remove(0));
    streams.push(until_let_in(&node, "127.0.0.1").await);
    publish(&node, "a", "for all").await;
    for stream in streams.iter_mut().chain([&mut other]) {
        assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, "for all");
    }
}

#[tokio::test]
async fn a_client_behind_a_trusted_proxy_is_counted_and_the_proxy_is_not() {
    let node = node(&["--connections-per-address-max", "2", "--trusted-proxies", "127.0.0.1"]).await;
    let open = async |client: &str| {
        let request = SseClient::request(node.public(), "/sse/a").header("X-Forwarded-For", client);
        request.connect().await.unwrap()
    };
    let mut streams = Vec::new();
    for number in 0..6 {
        streams.push(open(&format!("2001:db8:0:{}::{number}", number / 2)).await);
        assert_eq!(streams[number].status(), 200);
    }
    let mut third = open("2001:db8:0:1::ffff").await;
    assert_eq!((third.status(), read_to_close(&mut third).await.1.as_str()), (200, "too-many-streams"));
    let forwarded = [("X-Forwarded-For", "2001:db8:0:1::9")];
    let answer = http(node.public(), "GET", "/sse/a", &forwarded, "").await.unwrap();
    assert_eq!((answer.status, answer.header("retry-after").is_some()), (429, true), "{}", answer.text());
    assert_eq!(refused(&metrics(&node).await, "connections_per_address_max"), 2);
    streams.truncate(3);
    until_open(&node, 3).await;
    assert_eq!(open("2001:db8:0:1::9").await.status(), 200);
}

#[tokio::test]
async fn one_address_opens_no_more_connections_in_a_second_than_it_may_and_then_it_may_again() {
    let node = node(&["--connections-per-second-per-address", "1"]).await;
    let mut wires = Vec::new();
    for _ in 0..100 {
        wires.push(Wire::connect(node.public()).await);
    }
    let all = until(&node, "all are looked at", |m| m.count("fantail_connections_accepted_total") == 100).await;
    let (open, refused) = (all.count("fantail_connections_open"), refused(&all, "connections_per_second_per_address"));
    assert!(open >= 1 && refused >= 1 && open + refused == 100, "{open} open, {refused} refused");
    assert_eq!(subscribe_from(&node, "127.0.0.2").await.unwrap().status(), 200, "another address has its own");
    assert_eq!(until_let_in(&node, "127.0.0.1").await.status(), 200);
}

/// A token for ten minutes.
fn token(claims: Value) -> String {
    let mut claims: Map<String, Value> = serde_json::from_value(claims).unwrap();
    claims.insert("exp".into(), (SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 600).into());
    claims.insert("channels".into(), json!(["*"]));
    let algorithm: KeyAlgorithm = "HS256".parse().unwrap();
    mint_token(algorithm, None, SECRET.as_bytes(), &claims).unwrap()
}

async fn open_with(node: &Fantail, path: &str, token: &str) -> SseClient {
    let request = SseClient::request(node.public(), path).header("Authorization", &format!("Bearer {token}"));
    request.connect().await.unwrap()
}

async fn status_with(node: &Fantail, token: &str) -> Response {
    http(node.public(), "GET", "/sse/a", &[("Authorization", &*format!("Bearer {token}"))], "").await.unwrap()
}

#[tokio::test]
async fn a_subject_and_a_token_have_so_many_streams_and_the_newest_is_told_to_come_back() {
    let flags = ["--access", "token", "--token-secret", SECRET];
    let bounds = ["--streams-per-subject-max", "3", "--streams-per-token-max", "2"];
    let node = node(&[&flags[..], &bounds].concat()).await;
    let ann = |jti: &str| token(json!({ "sub": "ann", "jti": jti }));
    let mut streams = vec![open_with(&node, "/sse/a", &ann("1")).await, open_with(&node, "/sse/a", &ann("1")).await];
    let mut third = open_with(&node, "/sse/a", &ann("1")).await;
    assert_eq!((third.status(), read_to_close(&mut third).await.1.as_str()), (200, "too-many-streams"));
    streams.push(open_with(&node, "/sse/a", &ann("2")).await);
    let answer = status_with(&node, &ann("3")).await;
    assert_eq!((answer.status, answer.header("retry-after").is_some()), (429, true), "{}", answer.text());
    streams.push(open_with(&node, "/sse/a", &token(json!({ "sub": "bob", "jti": "4" }))).await);
    let now = metrics(&node).await;
    let refusals = [refused(&now, "streams_per_token_max"), refused(&now, "streams_per_subject_max")];
    assert_eq!((refusals, now.count("fantail_streams_open")), ([1, 1], 4));
    publish(&node, "a", "for all").await;
    for stream in &mut streams {
        assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, "for all");
    }
}

/// One stream of a subject is all that it may have, so a place that is not given back shuts it out for ever.
#[tokio::test]
async fn every_end_of_a_stream_gives_the_place_of_its_subject_back() {
    let flags = ["--access", "token", "--token-secret", SECRET, "--streams-per-subject-max", "1"];
    let node =
        node(&[&flags[..], &["--streams-per-token-max", "1", "--connections-per-address-max", "2"]].concat()).await;
    let token = token(json!({ "sub": "ann", "jti": "1", "sid": "s" }));
    for end in ["closed", "reset", "half-closed", "kicked", "deleted", "limit", "flood"] {
        let path = if end == "limit" { "/sse/a?limit=1" } else { "/sse/a" };
        let mut stream = open_with(&node, path, &token).await;
        assert_eq!(stream.status(), 200, "{end}: the place of the one before is free");
        until_open(&node, 1).await;
        assert_eq!(status_with(&node, &token).await.status, 429, "{end}: it has its stream");
        match end {
            "closed" => drop(stream),
            "reset" => stream.reset().unwrap(),
            "half-closed" => stream.half_close().await.unwrap(),
            "kicked" => {
                let id = connection_id(&node, stream.local_addr().unwrap()).await;
                assert_eq!(ask(&node, "DELETE", &format!("/connections/{id}")).await.status, 200);
                assert_eq!(read_to_close(&mut stream).await.1, "kicked");
            }
            "deleted" => {
                assert_eq!(ask(&node, "DELETE", "/channels/a").await.status, 200);
                assert_eq!(read_to_close(&mut stream).await.1, "channel-deleted");
            }
            "limit" => {
                publish(&node, "a", "the only one").await;
                stream.read_until_end(PATIENCE).await.unwrap();
            }
            _ => {
                stream.send_raw(&vec![b'x'; 100_000]).await.unwrap();
                until_closed(&node, "input_flood", 1).await;
            }
        }
        until_open(&node, 0).await;
    }
    assert_eq!(metrics(&node).await.count("fantail_connections_open"), 0);
}

#[tokio::test]
async fn a_token_publishes_no_more_events_in_a_second_than_it_may_and_another_has_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let mut flags = vec!["--publish-rate-max".to_owned(), "2".to_owned()];
    for name in ["one", "two"] {
        let path = directory.path().join(name);
        fs::write(&path, format!("{name}-0123456789abcdef0123456789abcdef")).unwrap();
        flags.extend(["--internal-tokens".to_owned(), format!("{}=publish+read", path.display())]);
    }
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let node = node(&flags).await;
    let post = async |name: &str, body: String| {
        let authorization = format!("Bearer {name}-0123456789abcdef0123456789abcdef");
        let headers = [("Authorization", &*authorization), ("Content-Type", "application/json")];
        http(node.internal(), "POST", "/publish", &headers, body).await.unwrap()
    };
    let event = |number: usize| json!({ "channel": "a", "data": number.to_string() });
    let batch = post("one", Value::Array((0..100).map(event).collect()).to_string()).await;
    assert_eq!(batch.status, 207, "some are accepted");
    let results = batch.json().unwrap();
    let of = |status: u64| results.as_array().unwrap().iter().filter(|result| result["status"] == status).count();
    assert!(of(202) >= 2 && of(429) >= 1 && of(202) + of(429) == 100, "{results}");
    let mut answers = Vec::new();
    for number in 0..20 {
        answers.push(post("one", event(number).to_string()).await);
    }
    let too_often = answers.iter().find(|answer| answer.status == 429).expect("one comes too soon");
    assert_eq!(too_often.header("retry-after"), Some("1"), "{}", too_often.text());
    assert!(too_often.text().contains("publish_rate_max"), "{}", too_often.text());
    assert_eq!(post("two", event(0).to_string()).await.status, 202);
    let authorization = "Bearer one-0123456789abcdef0123456789abcdef";
    let scrape = http(node.internal(), "GET", "/metrics", &[("Authorization", authorization)], "").await.unwrap();
    let refused = answers.iter().filter(|answer| answer.status == 429).count() + of(429);
    assert_eq!(Metrics(scrape.text()).count("fantail_publishes_refused_total"), refused as u64);
}
