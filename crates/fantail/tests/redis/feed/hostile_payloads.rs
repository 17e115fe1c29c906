//! Anyone who may publish to Redis may publish anything: the stream goes on, and refused events are counted.

use fantail_testkit::{PATIENCE, RedisServer};
use serde_json::json;

use crate::broker::{assert_gap, fed_by};
use crate::node::{metrics, subscribe, until, up_to_live, whole_log, words};

const PLAIN: &str = "fantail:c";
const EVENT: &str = "fantail-event:c";

/// One hostile payload: its attack, its channel, its bytes, and the data that the stream gets or the reason for the
/// refusal.
type Attack = (&'static str, &'static str, Vec<u8>, Result<&'static str, &'static str>);

fn attacks() -> Vec<Attack> {
    let envelope = |fields: serde_json::Value| fields.to_string().into_bytes();
    let deep = |open: &str| [br#"{"data":"x","deep":"#, open.repeat(2_000_000).as_bytes()].concat();
    vec![
        ("bytes that are no text would reach clients as other text", PLAIN, b"\xff\xfe\x80".to_vec(), Err("not_utf8")),
        ("a character cut in the middle", PLAIN, "\u{1f600}".as_bytes()[..3].to_vec(), Err("not_utf8")),
        (
            "line breaks that forge fields and events",
            PLAIN,
            b"a\r\rid: 1\n\ndata: forged\revent: x".to_vec(),
            Ok("a\n\nid: 1\n\ndata: forged\nevent: x"),
        ),
        ("a NUL", PLAIN, b"nul\0here".to_vec(), Ok("nul\0here")),
        ("a byte order mark", PLAIN, "\u{feff}data: x".as_bytes().to_vec(), Ok("\u{feff}data: x")),
        ("nothing at all", PLAIN, vec![], Ok("")),
        (
            "an end of chunked coding",
            PLAIN,
            b"\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n".to_vec(),
            Ok("\n0\n\nHTTP/1.1 200 OK\n\n"),
        ),
        ("ten megabytes", PLAIN, vec![b'x'; 10 << 20], Err("too_large")),
        ("line breaks that grow sevenfold", PLAIN, vec![b'\n'; 200 << 10], Err("too_large")),
        ("ten megabytes in an envelope", EVENT, envelope(json!({ "data": "x".repeat(10 << 20) })), Err("too_large")),
        ("no JSON", EVENT, b"hello".to_vec(), Err("malformed")),
        ("JSON that ends too early", EVENT, br#"{"data":"x""#.to_vec(), Err("malformed")),
        ("JSON that is no envelope", EVENT, br#"["data"]"#.to_vec(), Err("malformed")),
        ("an envelope that is no text", EVENT, b"{\"data\":\"\xff\"}".to_vec(), Err("malformed")),
        ("half a character", EVENT, br#"{"data":"\ud800"}"#.to_vec(), Err("malformed")),
        ("deep arrays that overflow a stack", EVENT, deep("["), Err("malformed")),
        ("deep objects that overflow a stack", EVENT, deep(r#"{"a":"#), Err("malformed")),
        (
            "more channels than an event may have",
            EVENT,
            envelope(json!({ "data": "x", "uid": "u", "channels": vec!["c"; 100_000] })),
            Err("malformed"),
        ),
        (
            "an event for channels it did not come by",
            EVENT,
            envelope(json!({ "data": "x", "uid": "u", "channels": ["d"] })),
            Err("malformed"),
        ),
        (
            "a type with a line break forges fields",
            EVENT,
            envelope(json!({ "data": "x", "event": "a\ndata: forged" })),
            Err("bad_field"),
        ),
        ("a type with a CR", EVENT, envelope(json!({ "data": "x", "event": "a\rb" })), Err("bad_field")),
        ("a type of our own", EVENT, envelope(json!({ "data": "x", "event": "fantail.gap" })), Err("bad_field")),
        (
            "an id with a line break",
            EVENT,
            envelope(json!({ "data": "x", "id": "1\n\ndata: forged" })),
            Err("bad_field"),
        ),
        (
            "an id with a NUL, which browsers ignore",
            EVENT,
            envelope(json!({ "data": "x", "id": "a\0b" })),
            Err("bad_field"),
        ),
        ("an id in our own form", EVENT, envelope(json!({ "data": "x", "id": "abcdefghijkl.1.2" })), Err("bad_field")),
        (
            "an id too long for a request head",
            EVENT,
            envelope(json!({ "data": "x", "id": "i".repeat(100_000) })),
            Err("bad_field"),
        ),
        (
            "a reconnection time of a century",
            EVENT,
            envelope(json!({ "data": "x", "retry": u64::MAX })),
            Err("bad_field"),
        ),
    ]
}

#[tokio::test]
async fn no_payload_breaks_the_stream_and_every_refusal_is_counted_and_told() {
    let redis = RedisServer::start().await.unwrap();
    let node = fed_by(&redis, &[]).await;
    let mut stream = subscribe(&node, "/sse?channel=c&channel=d").await;
    let series = |reason: &str| format!("fantail_events_rejected_total{{reason=\"{reason}\"}}");
    let mut publisher = redis.connection().await.unwrap();
    let mut refused_at = Vec::new();
    for (attack, channel, payload, expected) in attacks() {
        let before = metrics(&node).await;
        assert_eq!(publisher.publish(channel, &payload).await.unwrap(), 1, "{attack}");
        publisher.publish(PLAIN, b"and on").await.unwrap();
        let first = stream.next_event(PATIENCE).await.unwrap();
        if let Ok(arrives) = expected {
            assert_eq!(first.data, arrives, "{attack}");
        } else {
            assert_gap(&first, "c", "lost");
            refused_at.push(first.id);
        }
        assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, "and on", "{attack}");
        let after = metrics(&node).await;
        let refused = after.sum("fantail_events_rejected_total") - before.sum("fantail_events_rejected_total");
        assert_eq!(refused, u64::from(expected.is_err()), "{attack}");
        if let Err(reason) = expected {
            assert_eq!(after.count(&series(reason)), before.count(&series(reason)) + 1, "{attack}");
        }
    }
    // A client that comes back from before one of them is told as well.
    let last_but_one = &refused_at[refused_at.len() - 2];
    let path = format!("/sse/c?last_event_id={last_but_one}");
    let told = up_to_live(&node, subscribe(&node, &path).await).await;
    assert_eq!(words(&told), ["and on", "gap c lost", "and on"]);
    // None of them was an outage, and no log line holds a refused payload as it came.
    until(&node, "one stream is open", |metrics| metrics.count("fantail_streams_open") == 1).await;
    assert_eq!(metrics(&node).await.count("fantail_outages_total"), 0);
    let log = whole_log(&node).await;
    assert!(log.contains("a message from redis was refused"));
    let longest = log.lines().map(str::len).max().unwrap();
    assert!(longest < 2_000, "a log line of {longest} bytes");
}
