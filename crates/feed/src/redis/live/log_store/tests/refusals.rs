//! Refusals: with words that help, and with nothing half done.

use fantail_testkit::Reply;
use redis::RedisError;

use super::lane::{STATE, TOPS, TestLane, open, said, stream};
use super::{FORMS, LibraryForm};
use crate::redis::live::log_store::Previous;

/// Publishes as any program does.
async fn raw(lane: &mut TestLane, envelope: impl AsRef<[u8]>, channels: &[&[u8]]) -> Result<(String, u64), RedisError> {
    let arguments = [&[envelope.as_ref()], channels].concat();
    lane.store.library().call(&mut lane.connection(), STATE, "publish", &arguments).await
}

#[tokio::test]
async fn an_event_that_no_node_could_read_is_refused_and_leaves_no_trace() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        let before = lane.dump().await;
        let of_bytes = |count: usize| "x".repeat(count);
        for (envelope, reason) in [
            ("", "not JSON"),
            ("x", "not JSON"),
            (r#"{"data":"x""#, "not JSON"),
            (r#"{"data":"x"} x"#, "not JSON"),
            (r#"{"data":"\ud800"}"#, "not JSON"),
            (&"[".repeat(100_000), "not JSON"),
            ("null", "object"),
            ("7", "object"),
            (r#""data""#, "object"),
            ("[]", "object"),
            ("{}", "object"),
            (r#"{"data":null}"#, "object"),
            (r#"{"data":1}"#, "object"),
            (r#"{"data":{}}"#, "object"),
            (r#"{"data":"x","event":1}"#, "event must be a string"),
            (r#"{"data":"x","event":"fantail.gap"}"#, "reserved"),
            (r#"{"data":"x","event":"a\r\ndata: forged"}"#, "event must not hold control"),
            (r#"{"data":"x","event":"a\u0085"}"#, "event must not hold control"),
            (r#"{"data":"x","event":"a\u007f"}"#, "event must not hold control"),
            (&format!(r#"{{"data":"x","event":"{}"}}"#, of_bytes(256)), "event has at most 255 bytes"),
            (r#"{"data":"x","id":""}"#, "id must not be empty"),
            (r#"{"data":"x","id":" a"}"#, "space"),
            (r#"{"data":"x","id":"a "}"#, "space"),
            (r#"{"data":"x","id":"a\u0000"}"#, "id must not hold control"),
            (r#"{"data":"x","id":"abcdefghijkl.1.2"}"#, "fantail's own ids"),
            (r#"{"data":"x","id":"abcdefghijkl.01.2.999"}"#, "fantail's own ids"),
            (&format!(r#"{{"data":"x","id":"{}"}}"#, of_bytes(129)), "id has at most 128 bytes"),
            (r#"{"data":"x","retry":-1}"#, "retry"),
            (r#"{"data":"x","retry":1.5}"#, "retry"),
            (r#"{"data":"x","retry":"1"}"#, "retry"),
            (r#"{"data":"x","retry":86400001}"#, "retry"),
            (r#"{"data":"x","retry":nan}"#, "retry"),
        ] {
            let error = raw(&mut lane, envelope, &[b"a"]).await.unwrap_err();
            assert!(
                said(&error).starts_with("fantail: ") && said(&error).contains(reason),
                "{form:?} {reason}: {error}"
            );
        }
        for text in [&b"\xff"[..], b"\xe2\x82", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"a\xe2\xc2\x80\x82"]
        {
            for field in ["data", "event", "id"] {
                let start =
                    if field == "data" { "{\"data\":\"".to_owned() } else { format!("{{\"data\":\"\",\"{field}\":\"") };
                let envelope = [start.as_bytes(), text, b"\"}"].concat();
                let error = raw(&mut lane, envelope, &[b"a"]).await.unwrap_err();
                assert!(said(&error).contains(&format!("{field} is not valid UTF-8")), "{form:?} {text:?}: {error}");
            }
        }
        let long = "a".repeat(256);
        for (name, reason) in [
            (&b""[..], "empty"),
            (long.as_bytes(), "at most 255 bytes"),
            (b"a*", "is made of"),
            (b"a,b", "is made of"),
            (b"a b", "is made of"),
            (b"a\0", "is made of"),
            (b"{0}", "is made of"),
            (b"\xc3\xa9", "is made of"),
            (b"/a", "segment"),
            (b"a//b", "segment"),
            (b"a/..", "segment"),
            (b".", "segment"),
        ] {
            let error = raw(&mut lane, r#"{"data":"x"}"#, &[b"good", name]).await.unwrap_err();
            assert!(said(&error).contains(reason), "{form:?} {name:?}: {error}");
        }
        let names: Vec<_> = (0..129).map(|number| format!("c{number}")).collect();
        let names: Vec<_> = names.iter().map(String::as_bytes).collect();
        for (names, reason) in [(&names[..], "at most 128 channels"), (&[], "at least one channel")] {
            let error = raw(&mut lane, r#"{"data":"x"}"#, names).await.unwrap_err();
            assert!(said(&error).contains(reason), "{form:?}: {error}");
        }
        assert_eq!(lane.dump().await, before, "{form:?}");
    }
}

/// JSON that only some readers take is written anew in the form that all take.
#[tokio::test]
async fn unusual_json_is_kept_in_the_usual_form() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        for (envelope, data) in [
            ("{\"data\":\"l1\nl2\t\"}", "l1\nl2\t"),
            (r#"{"data":"x","data":"y","later":[{}],"channels":["b"],"uid":"u"}"#, "y"),
            (r#"{"data":"x","event":null,"id":null,"retry":null}"#, "x"),
            (r#" {"data" : "\u00e9\ud83d\ude00", "retry" : 1e3, "event":""} "#, "é😀"),
        ] {
            raw(&mut lane, envelope, &[b"a", b"a"]).await.unwrap();
            let entry = lane.entries("a").await.pop().unwrap();
            assert_eq!((entry.event.data.as_str(), lane.list("a").await), (data, None), "{form:?}");
        }
        assert_eq!(lane.entries("a").await.pop().unwrap().event.retry_ms, Some(1000));
    }
}

#[tokio::test]
async fn keys_that_hold_something_else_are_named_and_nothing_changes() {
    for form in FORMS {
        for (key, is_stream) in [(STATE.to_owned(), false), (TOPS.to_owned(), false), (stream("b"), true)] {
            let mut lane = TestLane::start(form).await;
            lane.publish(&["a"], "x").await;
            lane.redis(&["SET", &key, "foreign"]).await;
            let before = lane.dump().await;
            let error = lane.try_publish(&["a", "b"], "x").await.unwrap_err();
            let expected = format!("fantail: the key {key} holds something else; delete or rename it");
            assert_eq!(said(&error), expected, "{form:?}");
            if !is_stream {
                let error = lane.store.state(&mut lane.connection(), None).await.unwrap_err();
                assert_eq!(said(&error), expected, "{form:?}");
            }
            assert_eq!(lane.dump().await, before, "{form:?} {key}");
        }
    }
}

#[tokio::test]
async fn without_memory_nothing_is_published_or_half_done_but_the_log_is_read() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        let old = lane.publish(&["a"], "x").await;
        let state = lane.state().await;
        lane.redis(&["CONFIG", "SET", "maxmemory", "1"]).await;
        let before = lane.dump().await;
        for channels in [&["a"][..], &["a", "b"]] {
            let error = lane.try_publish(channels, "x").await.unwrap_err();
            assert_eq!(error.code(), Some("OOM"), "{form:?}: {error}");
        }
        assert_eq!(lane.dump().await, before, "{form:?}");
        assert_eq!(lane.state().await, state, "{form:?}");
        assert_eq!(lane.entries("a").await.len(), 1);
        lane.store.configure(&mut lane.connection(), crate::LogRetention::default()).await.unwrap();
        lane.redis(&["CONFIG", "SET", "maxmemory", "0"]).await;
        let next = lane.publish(&["a"], "x").await;
        assert_eq!((next.term, next.number), (old.term, 2), "{form:?}");
    }
}

/// The rights that docs/publishing.md grants to a publisher, for the channels named.
const COMMANDS: &str = "+fcall +evalsha +eval +info +time +hmget +hgetall +hset +hdel +zrevrange +zrange +zscore \
    +zcard +zcount +zadd +zremrangebyrank +xlen +xinfo +xadd +xdel +xtrim +pexpire +publish";

async fn user(lane: &mut TestLane, rules: &str) -> String {
    let grant = format!("ACL SETUSER edge reset resetchannels on >secret {COMMANDS} {rules}");
    let reply = lane.redis(&grant.split_whitespace().collect::<Vec<_>>()).await;
    assert_eq!(reply, Reply::Simple("OK".into()));
    format!("redis://edge:secret@{}", lane.server.addr())
}

#[tokio::test]
async fn a_user_of_one_channel_publishes_to_that_one_only() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        lane.publish(&["b"], "x").await;
        let url = user(&mut lane, &format!("~{STATE} ~{TOPS} ~{} &{STATE}:a", stream("a"))).await;
        let (link, store) = open(&url, form).await.unwrap();
        let publish = async |channels: &[&str]| {
            let event = fantail_wire::Event::text("x");
            store.publish(&mut link.connection.clone(), &super::lane::publication(channels, event)).await
        };
        for _ in 0..40 {
            publish(&["a"]).await.unwrap();
        }
        let before = lane.dump().await;
        for channels in [&["b"][..], &["a", "b"], &["b", "a"]] {
            let error = publish(channels).await.unwrap_err();
            let expected = format!("fantail: this user may not XLEN {}; extend its ACL", stream("b"));
            assert_eq!(said(&error), expected, "{form:?}");
        }
        assert_eq!(lane.dump().await, before, "{form:?}");
    }
}

/// The rights that docs/publishing.md grants to a node besides a publisher's.
#[tokio::test]
async fn a_node_s_user_loads_publishes_and_reads() {
    let mut lane = TestLane::start(LibraryForm::Functions).await;
    lane.redis(&["FUNCTION", "FLUSH"]).await;
    let rules =
        format!("+function|load +zmscore +zrangebyscore +xrange +xrevrange ~{STATE} ~{TOPS} ~{} &*", stream("*"));
    let url = user(&mut lane, &rules).await;
    let (link, store) = open(&url, LibraryForm::Functions).await.unwrap();
    let mut connection = link.connection.clone();
    store.configure(&mut connection, crate::LogRetention::default()).await.unwrap();
    let publication = super::lane::publication(&["a"], fantail_wire::Event::text("x"));
    store.publish(&mut connection, &publication).await.unwrap();
    assert_eq!(store.state(&mut connection, None).await.unwrap().terms.number, 1);
    let channel = super::lane::channel("a");
    assert_eq!(store.tops(&mut connection, std::slice::from_ref(&channel)).await.unwrap(), [Some(1)]);
    assert_eq!(store.changed_since(&mut connection, 0).await.unwrap(), [("a".into(), 1)]);
    assert_eq!(store.entries(&mut connection, &channel, None, None, 9).await.unwrap().entries.len(), 1);
    let term = store.state(&mut connection, None).await.unwrap().terms.current;
    let previous = store.previous_above(&mut connection, &channel, (u64::MAX, 0), term).await.unwrap();
    assert_eq!(previous, Previous::Number(1));
}

/// 1. A user may write to all keys, but publish to `a` only.
/// 2. The entries in the others are taken out again; a number is left out, and no chain shows a hole.
#[tokio::test]
async fn an_event_that_may_not_be_published_is_not_kept() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        let url = user(&mut lane, &format!("~* &{STATE}:a")).await;
        let (link, store) = open(&url, form).await.unwrap();
        let publish = async |channels: &[&str]| {
            let event = fantail_wire::Event::text("x");
            store.publish(&mut link.connection.clone(), &super::lane::publication(channels, event)).await
        };
        publish(&["a"]).await.unwrap();
        let error = publish(&["b", "c"]).await.unwrap_err();
        assert!(said(&error).starts_with("fantail: this user may not PUBLISH"), "{form:?} {error}");
        assert_eq!(lane.redis(&["KEYS", "fantail-stream*"]).await, Reply::Array(vec![Reply::Bulk(stream("a").into())]));
        let state = lane.state().await;
        assert_eq!((state.terms.number, state.horizon), (2, 0), "{form:?}");
        assert_eq!(lane.tops(&["a", "b", "c"]).await, [Some(1), None, None]);

        let error = publish(&["b", "a"]).await.unwrap_err();
        let id = lane.entries("a").await.pop().unwrap().id;
        assert_eq!(id.number, 3);
        assert!(said(&error).ends_with(&format!("(other channels of the event have it as {id})")), "{form:?} {error}");
        lane.publish(&["a", "b"], "x").await;
        let chain = |entries: Vec<(u64, u64, String)>| entries.into_iter().map(|(n, p, _)| (n, p)).collect::<Vec<_>>();
        assert_eq!(chain(lane.chain("a").await), [(1, 0), (3, 1), (4, 3)], "{form:?}");
        assert_eq!(chain(lane.chain("b").await), [(4, 0)], "{form:?}");
        assert_eq!(lane.state().await.horizon, 0, "{form:?}");
    }
}

/// 1. A user may read the Stream of `b`, so nothing is wrong until it is to be written.
/// 2. The entry in `a` is taken out again.
#[tokio::test]
async fn an_event_that_not_all_channels_can_keep_is_kept_by_none() {
    for form in FORMS {
        let mut lane = TestLane::start(form).await;
        lane.publish(&["a"], "x").await;
        let rules = format!("~{STATE} ~{TOPS} ~{} ~{} %R~{} &*", stream("a"), stream("c"), stream("b"));
        let url = user(&mut lane, &rules).await;
        let (link, store) = open(&url, form).await.unwrap();
        let publication = super::lane::publication(&["a", "c", "b"], fantail_wire::Event::text("x"));
        let error = store.publish(&mut link.connection.clone(), &publication).await.unwrap_err();
        let expected = format!("fantail: this user may not XADD {}; extend its ACL", stream("b"));
        assert_eq!(said(&error), expected, "{form:?}");
        assert_eq!(lane.redis(&["KEYS", "fantail-stream*"]).await, Reply::Array(vec![Reply::Bulk(stream("a").into())]));
        let id = lane.publish(&["a", "c"], "y").await;
        assert_eq!(id.number, 3, "{form:?}: a Stream has seen the number that was tried");
        assert_eq!(lane.chain("a").await, [(1, 0, "x".into()), (id.number, 1, "y".into())], "{form:?}");
        assert_eq!(lane.chain("c").await, [(id.number, 0, "y".into())], "{form:?}");
    }
}

/// A user that lacks a command is told which one.
#[tokio::test]
async fn a_missing_permission_is_named() {
    let mut lane = TestLane::start(LibraryForm::Functions).await;
    lane.publish(&["a"], "x").await;
    for command in ["hmget", "zrevrange", "zscore", "xlen", "time", "hset", "xadd", "publish", "zadd", "pexpire"] {
        let url = user(&mut lane, &format!("~* &* -{command}")).await;
        let (link, store) = open(&url, LibraryForm::Functions).await.unwrap();
        let publication = super::lane::publication(&["a"], fantail_wire::Event::text("x"));
        let error = store.publish(&mut link.connection.clone(), &publication).await.unwrap_err();
        let expected = format!("this user may not {}", command.to_uppercase());
        assert!(said(&error).contains(&expected), "{command}: {error}");
        // The chain of the channel is true, with or without an entry.
        lane.publish(&["a"], "x").await;
        let chain = lane.chain("a").await;
        let [.., before, last] = &chain[..] else { panic!("{chain:?}") };
        assert!(last.1 >= before.0, "{command}: {chain:?}");
    }
}

#[tokio::test]
async fn the_functions_need_the_one_key_of_the_log() {
    let mut lane = TestLane::start(LibraryForm::Functions).await;
    for call in [
        &["FCALL", "fantail_publish", "0", r#"{"data":"x"}"#, "a"][..],
        &["FCALL", "fantail_publish", "1", "fantail-log", r#"{"data":"x"}"#, "a"],
        &["FCALL", "fantail_publish", "2", STATE, "a", r#"{"data":"x"}"#, "a"],
        &["FCALL", "fantail_state", "0"],
        &["FCALL", "fantail_configure", "1", "x", "1", "1"],
    ] {
        let reply = lane.redis(call).await;
        assert_eq!(reply, Reply::Error("ERR fantail: call it with one key, fantail-log:{0}".into()), "{call:?}");
    }
}
