//! Every kind of id that a client may bring, at a node that has never heard of the channel: the gap that is declared,
//! and the events that follow.
//!
//! All rows share one story. Redis keeps five events of a channel. It numbers 1 to 8, is restarted with its data, and
//! begins a term in which it numbers 9 to 11.

use fantail_testkit::RedisServer;
use serde_json::json;

use crate::broker::{ask_back, come_back, logging, node_at, publish_envelope, up_to_live, words};
use crate::node::subscribe;

/// The retained events, in order.
const ALL: [&str; 9] = ["4", "5", "6", "7", "8", "gap c term-ended", "9", "10", "11"];

/// Room for ids of many kilobytes in the query.
const FLAGS: [&str; 4] = ["--uri-bytes-max", "64KiB", "--head-bytes-max", "128KiB"];

/// Plays the story. Returns the ids of its events, that of event 1 first.
async fn story() -> (RedisServer, Vec<String>) {
    let mut redis = RedisServer::start_durable().await.unwrap();
    let keeps_five = node_at(redis.addr(), &["--redis-log-events-max", "5"]).await;
    let mut ids = Vec::new();
    for number in 1..=8 {
        ids.push(publish_number(&redis, number).await);
    }
    // The node that connects last decides how much is kept: from now on nothing is trimmed.
    drop((keeps_five, logging(&redis).await));
    redis.kill();
    redis.restart().await.unwrap();
    for number in 9..=11 {
        ids.push(publish_number(&redis, number).await);
    }
    (redis, ids)
}

async fn publish_number(redis: &RedisServer, number: u32) -> String {
    let data = number.to_string();
    let envelope = match number {
        6 => json!({ "data": data, "id": "once" }),
        7 | 10 => json!({ "data": data, "id": "twice" }),
        _ => json!({ "data": data }),
    };
    publish_envelope(redis, &envelope, &["c"]).await
}

/// One row: its name, the id, the gap that is declared at once, and how much of `ALL` follows.
type IdCase = (&'static str, Vec<u8>, Option<&'static str>, usize);

fn rows(ids: &[String]) -> Vec<IdCase> {
    let id = |number: usize| Vec::from(ids[number - 1].as_str());
    let parts = |number: usize| ids[number - 1].split('.').map(str::to_owned).collect::<Vec<_>>();
    let with = |number: usize, at: usize, value: &str| {
        let mut parts = parts(number);
        value.clone_into(&mut parts[at]);
        parts.join(".").into_bytes()
    };
    // The events behind such a gap are chosen by the id's time.
    let early = |number: &str, term: Option<&str>| {
        let term = term.map_or_else(|| parts(11)[0].clone(), str::to_owned);
        format!("{term}.0.{number}").into_bytes()
    };
    let behind = |number: usize, unnumbered: u32| format!("{}.{unnumbered}", ids[number - 1]).into_bytes();
    let (unknown, beyond, trimmed) = (Some("unknown-id"), Some("beyond-end"), Some("trimmed"));
    vec![
        ("the newest", id(11), None, 0),
        ("older, of the running term", id(9), None, 2),
        ("the end of an ended term", id(8), None, 4),
        ("below the end of an ended term", id(4), None, 8),
        ("the last that was trimmed", id(3), None, 9),
        ("trimmed", id(2), trimmed, 9),
        ("the first of all", id(1), trimmed, 9),
        ("before the first of all", with(1, 2, "0"), trimmed, 9),
        ("above the end of an ended term", with(8, 2, "9"), beyond, 3),
        ("far above the end of an ended term", with(8, 2, "1000000"), beyond, 3),
        ("a number below those of its term", early("5", None), unknown, 9),
        ("of a term that nobody knows", early("9", Some("aaaaaaaaaaaa")), unknown, 9),
        ("of a term that nobody knows, from the future", format!("aaaaaaaaaaaa.{}.9", u64::MAX).into(), unknown, 0),
        ("beyond the end of the running term", early("12", None), beyond, 9),
        ("the last place that can be written", early(&u64::MAX.to_string(), None), beyond, 9),
        ("a number that is none", with(11, 2, "99999999999999999999999"), unknown, 9),
        ("another spelling", with(11, 2, "011"), unknown, 9),
        ("with the time of no event, early", with(9, 1, "0"), None, 2),
        ("with the time of no event, late", with(9, 1, &u64::MAX.to_string()), None, 2),
        ("of an ended term with an early time", with(4, 1, "0"), None, 8),
        ("of an ended term with a late time", with(4, 1, &u64::MAX.to_string()), None, 8),
        ("unnumbered, behind a number of the running term", behind(9, 3), None, 2),
        ("unnumbered, behind the newest", behind(11, 3), None, 0),
        ("unnumbered, behind the end of an ended term", behind(8, u32::MAX), None, 4),
        ("unnumbered, behind a number that was trimmed", behind(2, 1), trimmed, 9),
        ("beside a number that is to come", early("12.1", None), beyond, 9),
        ("a publisher's own", b"once".into(), None, 6),
        ("a publisher's own, given twice", b"twice".into(), unknown, 9),
        ("garbage", b"nonsense".into(), unknown, 9),
        ("ten kilobytes", vec![b'x'; 10_000], unknown, 9),
        ("ten kilobytes of digits", with(11, 2, &"1".repeat(10_000)), unknown, 9),
        ("no text", b"\xff\xfe".into(), unknown, 9),
        ("an id and no text", [&id(9)[..], b"\xff"].concat(), unknown, 9),
        ("two ids", format!("{}, {}", ids[8], ids[9]).into(), unknown, 9),
    ]
}

fn expected(gap: Option<&str>, follows: usize) -> Vec<String> {
    let gap = gap.map(|reason| format!("gap c {reason}"));
    gap.into_iter().chain(ALL[ALL.len() - follows..].iter().map(ToString::to_string)).collect()
}

fn by_query(id: &[u8]) -> String {
    let encoded: Vec<_> = id.iter().map(|byte| format!("%{byte:02x}")).collect();
    format!("/sse/c?last_event_id={}", encoded.concat())
}

#[tokio::test]
async fn each_kind_of_id_is_honoured_or_declared_at_a_node_that_never_followed_the_channel() {
    let (redis, ids) = story().await;
    for (what, id, gap, follows) in rows(&ids) {
        let node = node_at(redis.addr(), &FLAGS).await;
        let events = up_to_live(&node, come_back(&node, "/sse/c", &id).await).await;
        assert_eq!(words(&events), expected(gap, follows), "{what}");
        let asked = subscribe(&node, &by_query(&id)).await;
        assert_eq!(up_to_live(&node, asked).await, events, "{what}, by query");
        // A client with the id of the gap is not told of it again.
        if gap.is_some() {
            let rest = up_to_live(&node, come_back(&node, "/sse/c", &events[0].id).await).await;
            assert_eq!(rest, events[1..], "{what}");
        }
    }
}

/// The same rows at one node, so that each finds what the ones before it had fetched.
#[tokio::test]
async fn each_kind_of_id_is_honoured_or_declared_whatever_was_asked_for_before() {
    let (redis, ids) = story().await;
    let node = node_at(redis.addr(), &FLAGS).await;
    for round in 0..2 {
        for (what, id, gap, follows) in rows(&ids) {
            let events = up_to_live(&node, come_back(&node, "/sse/c", &id).await).await;
            assert_eq!(words(&events), expected(gap, follows), "{what}, round {round}");
        }
    }
}

#[tokio::test]
async fn a_nul_is_refused_in_the_header_and_unknown_in_the_query() {
    let (redis, ids) = story().await;
    let node = node_at(redis.addr(), &FLAGS).await;
    for id in [&b"\0"[..], &[ids[8].as_bytes(), b"\0"].concat()] {
        assert_eq!(ask_back(&node, "/sse/c", id).connect().await.unwrap().status(), 400);
        let asked = subscribe(&node, &by_query(id)).await;
        assert_eq!(words(&up_to_live(&node, asked).await), expected(Some("unknown-id"), 9));
    }
}

#[tokio::test]
async fn an_empty_header_is_no_id_and_leaves_the_query_to_speak() {
    let (redis, ids) = story().await;
    let node = node_at(redis.addr(), &FLAGS).await;
    for (path, follows) in [
        ("/sse/c".to_owned(), 0),
        ("/sse/c?last_event_id=".to_owned(), 0),
        (format!("/sse/c?last_event_id={}", ids[8]), 2),
        ("/sse/c?replay=2".to_owned(), 2),
    ] {
        let events = up_to_live(&node, come_back(&node, &path, "").await).await;
        assert_eq!(words(&events), expected(None, follows), "{path}");
    }
}

/// A browser keeps the id of its last event, and that may be a publisher's.
#[tokio::test]
async fn an_id_of_a_publisher_is_looked_for_in_the_channels_of_the_stream_alone() {
    let (redis, _) = story().await;
    let node = node_at(redis.addr(), &FLAGS).await;
    let other = up_to_live(&node, come_back(&node, "/sse/other", "once").await).await;
    assert_eq!(words(&other), ["gap other unknown-id"]);
    let both = up_to_live(&node, come_back(&node, "/sse?channel=c&channel=other", "once").await).await;
    let owed = ["7", "8", "gap c term-ended", "gap other term-ended", "9", "10", "11"];
    assert_eq!(words(&both), owed);
}

/// A node that was there would say the same: the end of the term may be lost, and nothing else, since Redis knows that
/// the channel has had no event since.
#[tokio::test]
async fn in_a_quiet_channel_an_id_of_an_ended_term_is_told_of_the_end_alone() {
    let mut redis = RedisServer::start_durable().await.unwrap();
    let first = logging(&redis).await;
    let mut ids = vec![publish_envelope(&redis, &json!({ "data": "q" }), &["q"]).await];
    ids.push(publish_envelope(&redis, &json!({ "data": "other" }), &["other"]).await);
    drop(first);
    redis.kill();
    redis.restart().await.unwrap();
    for round in 0..2 {
        for id in &ids {
            let node = logging(&redis).await;
            let events = up_to_live(&node, come_back(&node, "/sse/q", id).await).await;
            assert_eq!(words(&events), ["gap q term-ended"], "round {round}");
            let rest = up_to_live(&node, come_back(&node, "/sse/q", &events[0].id).await).await;
            assert_eq!(words(&rest), [""; 0], "round {round}");
        }
        // Now the new term has numbers, of another channel.
        publish_envelope(&redis, &json!({ "data": "other" }), &["other"]).await;
    }
}
