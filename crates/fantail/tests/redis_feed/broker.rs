//! What these tests say of Redis and of streams in a word.

use fantail_testkit::{Event, Fantail, PATIENCE, RedisServer, Reply, SseClient};

use crate::node::{node, until_ready};

/// Starts a node with two shards that is fed by `redis`, and waits until it is connected.
pub(crate) async fn fed_by(redis: &RedisServer, flags: &[&str]) -> Fantail {
    let url = redis.url();
    let node = node(&[&["--redis-url", &url], flags].concat()).await;
    until_ready(&node, true).await;
    node
}

/// The data of the next events, one after the other.
pub(crate) async fn data(stream: &mut SseClient, count: usize) -> Vec<String> {
    stream.next_events(count, PATIENCE).await.unwrap().into_iter().map(|event| event.data).collect()
}

/// The next event, which must be a gap of this channel for this reason; its id is where delivery goes on.
#[track_caller]
pub(crate) fn assert_gap(event: &Event, channel: &str, reason: &str) {
    let told = format!("{{\"channel\":\"{channel}\",\"reason\":\"{reason}\"}}");
    assert_eq!((event.event.as_str(), event.data.as_str()), ("fantail.gap", told.as_str()));
    assert!(event.own_id.is_some(), "a gap says where delivery goes on: {event:?}");
}

/// How many SUBSCRIBE commands Redis has carried out since it started.
pub(crate) async fn subscribe_commands(redis: &RedisServer) -> u64 {
    let info = redis.command(&["INFO", "commandstats"]).await.unwrap().text().unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_subscribe:calls="));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

/// Whether Redis accepted a command.
#[track_caller]
pub(crate) fn assert_ok(reply: &Reply) {
    assert_eq!(*reply, Reply::Simple("OK".into()));
}
