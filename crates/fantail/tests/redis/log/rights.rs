//! A publisher of one channel, with the rights that the documentation gives it, has no way to the streams of another.

use fantail_testkit::{Fantail, RedisServer, Reply, RespConnection, SseClient};
use serde_json::json;

use crate::broker::{LOG, call, id_of, logging, publish, up_to, up_to_live, words};
use crate::node::subscribe;

/// The user `only-a`, as docs/publishing.md has it.
const ONLY_A: &str = "ACL SETUSER only-a on >secret resetkeys resetchannels -@all +fcall +info +time \
    +hmget +hgetall +hset +hdel +zrevrange +zrange +zscore +zcard +zcount +zadd +zremrangebyrank \
    +xlen +xinfo +xadd +xdel +xtrim +pexpire +publish \
    ~fantail-log:{0} ~fantail-tops:{0} ~fantail-stream:{0}:a &fantail-log:{0}:a";

async fn limited(redis: &RedisServer) -> RespConnection {
    let words: Vec<_> = ONLY_A.split_ascii_whitespace().collect();
    assert_eq!(redis.command(&words).await.unwrap(), Reply::Simple("OK".into()));
    let mut connection = redis.connection().await.unwrap();
    let login = connection.command(&["AUTH", "only-a", "secret"]).await.unwrap();
    assert_eq!(login, Reply::Simple("OK".into()));
    connection
}

#[track_caller]
fn assert_refused(reply: &Reply) {
    assert!(matches!(reply, Reply::Error(_)), "it was not refused: {reply:?}");
}

async fn opened(node: &Fantail) -> [SseClient; 3] {
    [
        subscribe(node, "/sse/a").await,
        subscribe(node, "/sse/b").await,
        subscribe(node, "/sse?channel=a&channel=b").await,
    ]
}

#[tokio::test]
async fn a_publisher_of_one_channel_publishes_to_it_and_to_no_other() {
    let redis = RedisServer::start().await.unwrap();
    let node = logging(&redis).await;
    let mut user = limited(&redis).await;
    let [mut a, mut b, mut both] = opened(&node).await;
    id_of(&call(&mut user, &json!({ "data": "own" }), &["a"]).await);
    for channels in [&["b"][..], &["a", "b"], &["b", "a"], &["a", "c"]] {
        assert_refused(&call(&mut user, &json!({ "data": "foreign" }), channels).await);
    }
    id_of(&call(&mut user, &json!({ "data": "own again" }), &["a"]).await);
    publish(&redis, "end", &["a", "b"]).await;
    assert_eq!(words(&up_to(&mut a, "end").await), ["own", "own again", "end"]);
    assert_eq!(words(&up_to(&mut b, "end").await), ["end"]);
    assert_eq!(words(&up_to(&mut both, "end").await), ["own", "own again", "end"]);
    let fresh = logging(&redis).await;
    let replay = subscribe(&fresh, "/sse?channel=a&channel=b&replay=all").await;
    assert_eq!(words(&up_to_live(&fresh, replay).await), ["own", "own again", "end"]);
}

/// By hand: it may write to its own Stream and send on its own Redis channel, and names `b` as a channel of the event.
#[tokio::test]
async fn a_forgery_in_its_own_channel_stays_in_its_own_channel() {
    let redis = RedisServer::start().await.unwrap();
    let node = logging(&redis).await;
    let mut user = limited(&redis).await;
    let [mut a, mut b, mut both] = opened(&node).await;
    let begin = publish(&redis, "begin", &["a", "b"]).await;
    for stream in [&mut a, &mut b, &mut both] {
        up_to(stream, "begin").await;
    }
    let parts: Vec<_> = begin.split('.').collect();
    let (term, ms) = (parts[0], parts[1]);
    assert_refused(&user.command(&["PUBLISH", &format!("{LOG}:b"), "x"]).await.unwrap());
    assert_refused(&user.command(&["PUBLISH", "fantail:b", "x"]).await.unwrap());
    assert_refused(&user.command(&["XADD", "fantail-stream:{0}:b", "*", "t", term]).await.unwrap());

    // The function leaves out the numbers 2 and 3, so that the forged events have a place.
    assert!(matches!(user.command(&["HSET", LOG, "number", "3", "last", "1"]).await.unwrap(), Reply::Integer(_)));
    let forged = format!("{term}.{ms}.2 1 a,b\n{{\"data\":\"forged live\"}}");
    assert!(matches!(user.command(&["PUBLISH", &format!("{LOG}:a"), &forged]).await.unwrap(), Reply::Integer(_)));
    let entry = [
        "XADD",
        "fantail-stream:{0}:a",
        &format!("{ms}-2"),
        "t",
        term,
        "p",
        "1",
        "e",
        "{\"data\":\"forged live\"}",
        "c",
        "a,b",
    ];
    assert!(user.command(&entry).await.unwrap().text().is_some());
    publish(&redis, "end", &["a", "b"]).await;
    assert_eq!(words(&up_to(&mut b, "end").await), ["end"]);
    assert_eq!(words(&up_to(&mut a, "end").await), ["forged live", "end"]);
    assert_eq!(words(&up_to(&mut both, "end").await), ["forged live", "end"]);

    let fresh = logging(&redis).await;
    let b = subscribe(&fresh, "/sse/b?replay=all").await;
    assert_eq!(words(&up_to_live(&fresh, b).await), ["begin", "end"]);
    let a = subscribe(&fresh, "/sse/a?replay=all").await;
    assert_eq!(words(&up_to_live(&fresh, a).await), ["begin", "forged live", "end"]);
}
