//! Payloads that any publisher of Redis can send: the streams go on, and refused ones are counted and reported.

use fantail_testkit::{Fantail, PATIENCE, RedisServer};

use crate::node::{metrics, node, subscribe, until_ready, whole_log};

const PLAIN: &str = "fantail:c";
const EVENT: &str = "fantail-event:c";

/// One payload: its attack, its channel, its bytes, and the data that arrives if it is an event.
pub(super) type RedisPayload = (String, &'static str, Vec<u8>, Option<String>);

pub(super) fn payloads() -> Vec<RedisPayload> {
    let mut payloads = Vec::new();
    let plain: [(&str, &[u8], Option<&str>); 16] = [
        ("a lone byte of a longer character", b"\x80", None),
        ("an overlong NUL", b"\xc0\x80", None),
        ("an overlong slash", b"\xe0\x80\xaf", None),
        ("half a pair of surrogates", b"\xed\xa0\x80", None),
        ("a character beyond all", b"\xf4\x90\x80\x80", None),
        ("a byte that no text has", b"ok\xffok", None),
        ("text of another encoding", b"\xff\xfeh\0i\0", None),
        ("a comment that looks like a keepalive", b": keepalive", Some(": keepalive")),
        ("an id that is data", b"id: abcdefghijkl.1.2", Some("id: abcdefghijkl.1.2")),
        ("our own last words", b"event: fantail.close\ndata: {}\n\n", Some("event: fantail.close\ndata: {}\n\n")),
        ("a line break at the end", b"x\n", Some("x\n")),
        ("a carriage return at the end", b"x\r", Some("x\n")),
        ("a break of two bytes, cut", b"\r\n\r", Some("\n\n")),
        (
            "breaks of Unicode that are none here",
            "a\u{85}b\u{2028}c\u{2029}d".as_bytes(),
            Some("a\u{85}b\u{2028}c\u{2029}d"),
        ),
        ("an escape of a terminal", b"\x1b]0;title\x07", Some("\x1b]0;title\x07")),
        ("blanks that are part of the text", b"  x ", Some("  x ")),
    ];
    for (attack, payload, arrives) in plain {
        payloads.push((format!("plain text with {attack}"), PLAIN, payload.to_vec(), arrives.map(str::to_owned)));
    }
    let refused: [(&str, &[u8]); 38] = [
        ("nothing", b""),
        ("a blank", b" "),
        ("null", b"null"),
        ("true", b"true"),
        ("a number", b"1"),
        ("a text", b"\"x\""),
        ("a list of its members", b"[\"x\",null,null,null]"),
        ("an empty object", b"{}"),
        ("a byte order mark", b"\xef\xbb\xbf{\"data\":\"x\"}"),
        ("two objects", b"{\"data\":\"x\"}{\"data\":\"y\"}"),
        ("a NUL behind it", b"{\"data\":\"x\"}\0"),
        ("a comma too many", b"{\"data\":\"x\",}"),
        ("single quotes", b"{'data':'x'}"),
        ("a line break in a text", b"{\"data\":\"a\nb\"}"),
        ("half a character", b"{\"data\":\"\\udc00\"}"),
        ("data that is null", b"{\"data\":null}"),
        ("data that is a number", b"{\"data\":1}"),
        ("data that is a list", b"{\"data\":[\"x\"]}"),
        ("data that is an object", b"{\"data\":{}}"),
        ("data given twice", b"{\"data\":\"x\",\"data\":\"y\"}"),
        ("an id given twice by an escape", b"{\"data\":\"x\",\"id\":\"a\",\"\\u0069d\":\"b\"}"),
        ("a type that is a number", b"{\"data\":\"x\",\"event\":1}"),
        ("a type with a NUL", b"{\"data\":\"x\",\"event\":\"a\\u0000\"}"),
        ("our own type", b"{\"data\":\"x\",\"event\":\"fantail.live\"}"),
        ("an id that is a list", b"{\"data\":\"x\",\"id\":[\"a\"]}"),
        ("an id without letters", b"{\"data\":\"x\",\"id\":\"\"}"),
        ("an id that ends in a blank", b"{\"data\":\"x\",\"id\":\"a \"}"),
        ("an id in our form", b"{\"data\":\"x\",\"id\":\"abcdefghijkl.9.9\"}"),
        ("a negative time to wait", b"{\"data\":\"x\",\"retry\":-1}"),
        ("a time to wait that is a text", b"{\"data\":\"x\",\"retry\":\"1\"}"),
        ("a time to wait beyond floats", b"{\"data\":\"x\",\"retry\":1e999}"),
        ("channels that are a text", b"{\"data\":\"x\",\"channels\":\"c\",\"uid\":\"u\"}"),
        ("channels with a number", b"{\"data\":\"x\",\"channels\":[\"c\",1],\"uid\":\"u\"}"),
        ("channels without a name among copies", b"{\"data\":\"x\",\"channels\":[\"c\",\"d\"]}"),
        ("an empty name among copies", b"{\"data\":\"x\",\"channels\":[\"c\"],\"uid\":\"\"}"),
        ("a name among copies that is a number", b"{\"data\":\"x\",\"channels\":[\"c\"],\"uid\":7}"),
        ("channels that leave out the one it came by", b"{\"data\":\"x\",\"channels\":[\"d\",\"e\"],\"uid\":\"u1\"}"),
        ("bytes that are no text in a name", b"{\"data\":\"x\",\"\xff\":1}"),
    ];
    for (attack, payload) in refused {
        payloads.push((format!("an envelope of {attack}"), EVENT, payload.to_vec(), None));
    }
    let long = format!("{{\"data\":\"x\",\"channels\":[\"c\"],\"uid\":\"{}\"}}", "u".repeat(65));
    payloads.push(("an envelope whose name among copies is too long".into(), EVENT, long.into(), None));
    let arriving: [(&str, &[u8], &str); 5] = [
        ("a member of a prototype", b"{\"data\":\"p\",\"__proto__\":{\"a\":1}}", "p"),
        ("a channel that it did not come by, which is not read", b"{\"data\":\"q\",\"channel\":\"secret\"}", "q"),
        ("data with forged fields", b"{\"data\":\"a\\r\\rid: 1\\n\\ndata: b\"}", "a\n\nid: 1\n\ndata: b"),
        ("lists nested 100 deep", b"{\"data\":\"r\",\"x\":[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]}", "r"),
        ("no time to wait at all", b"{\"data\":\"s\",\"retry\":0}", "s"),
    ];
    for (attack, payload, arrives) in arriving {
        payloads.push((format!("an envelope with {attack}"), EVENT, payload.to_vec(), Some(arrives.to_owned())));
    }
    payloads
}

/// Publishes each, and checks the events of the stream.
pub(super) async fn try_all() {
    let redis = RedisServer::start().await.unwrap();
    let url = redis.url();
    let node: Fantail = node(&["--redis-url", &url]).await;
    until_ready(&node, true).await;
    let mut stream = subscribe(&node, "/sse/c").await;
    redis.wait_for_subscribers(PLAIN, 1).await.unwrap();
    redis.wait_for_subscribers(EVENT, 1).await.unwrap();
    let mut publisher = redis.connection().await.unwrap();
    let mut refused = 0;
    let before = metrics(&node).await.sum("fantail_events_rejected_total");
    for (attack, channel, payload, arrives) in payloads() {
        publisher.publish(channel, &payload).await.unwrap();
        publisher.publish(PLAIN, b"and on").await.unwrap();
        let first = stream.next_event(PATIENCE).await.unwrap();
        if let Some(data) = arrives {
            assert_eq!((&*first.event, first.data), ("message", data), "{attack}");
        } else {
            assert_eq!(first.event, "fantail.gap", "{attack}: {first:?}");
            refused += 1;
        }
        let next = stream.next_event(PATIENCE).await.unwrap();
        assert_eq!((&*next.event, &*next.data), ("message", "and on"), "{attack}");
    }
    assert_eq!(metrics(&node).await.sum("fantail_events_rejected_total") - before, refused);
    assert!(!whole_log(&node).await.contains("panicked"));
}
