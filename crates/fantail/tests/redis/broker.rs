//! The words of the tests for Redis, its log and streams.

use std::net::SocketAddr;

use fantail_testkit::proxy::Cut;
use fantail_testkit::{Event, Fantail, FaultProxy, PATIENCE, RedisServer, Reply, RespConnection, SseClient};
use serde_json::{Value, json};

use crate::node::{node, until_ready};
pub(crate) use crate::node::{up_to_live, words};

/// The key that publishers name for channels without a lane.
pub(crate) const LOG: &str = "fantail-log:{0}";

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

/// The next event, which must be a gap of this channel for this reason. Delivery goes on at its id.
#[track_caller]
pub(crate) fn assert_gap(event: &Event, channel: &str, reason: &str) {
    let told = format!("{{\"channel\":\"{channel}\",\"reason\":\"{reason}\"}}");
    assert_eq!((event.event.as_str(), event.data.as_str()), ("fantail.gap", told.as_str()));
    assert!(event.own_id.is_some(), "a gap says where delivery goes on: {event:?}");
}

/// Whether Redis accepted a command.
#[track_caller]
pub(crate) fn assert_ok(reply: &Reply) {
    assert_eq!(*reply, Reply::Simple("OK".into()));
}

/// Starts a node that follows the log of the Redis at `addr`, and waits until it is connected.
pub(crate) async fn node_at(addr: SocketAddr, flags: &[&str]) -> Fantail {
    let url = format!("redis://{addr}");
    let node = node(&[&["--redis-url", &url, "--redis-log"], flags].concat()).await;
    until_ready(&node, true).await;
    node
}

/// The same, of this Redis.
pub(crate) async fn logging(redis: &RedisServer) -> Fantail {
    node_at(redis.addr(), &[]).await
}

/// A node whose connections to Redis run through a proxy.
pub(crate) async fn behind_proxy(redis: &RedisServer, flags: &[&str]) -> (Fantail, FaultProxy) {
    let proxy = FaultProxy::start(redis.addr()).unwrap();
    (node_at(proxy.addr(), flags).await, proxy)
}

/// Cuts a node off from Redis until the proxy accepts again, and waits until it has noticed.
pub(crate) async fn cut_off(node: &Fantail, proxy: &FaultProxy) {
    proxy.refuse().await.unwrap();
    proxy.cut(Cut::Reset).await.unwrap();
    until_ready(node, false).await;
}

/// Calls the function that publishes, as any program would.
pub(crate) async fn call(connection: &mut RespConnection, envelope: &Value, channels: &[&str]) -> Reply {
    let named = channels.first().and_then(|name| name.strip_prefix('@')?.split_once('/'));
    let lane = named.map_or("0", |(lane, _)| lane);
    let (key, envelope) = (format!("fantail-log:{{{lane}}}"), envelope.to_string());
    let mut command = vec!["FCALL", "fantail_publish", "1", &key, &envelope];
    command.extend(channels);
    connection.command(&command).await.unwrap()
}

/// The id that an answer of the function holds; it must be one.
#[track_caller]
pub(crate) fn id_of(reply: &Reply) -> String {
    let id = reply.array().and_then(|parts| parts.first()?.text());
    id.unwrap_or_else(|| panic!("the event was not published: {reply:?}"))
}

/// Publishes an envelope and returns the event's id.
pub(crate) async fn publish_envelope(redis: &RedisServer, envelope: &Value, channels: &[&str]) -> String {
    id_of(&call(&mut redis.connection().await.unwrap(), envelope, channels).await)
}

/// Publishes text and returns the event's id.
pub(crate) async fn publish(redis: &RedisServer, data: &str, channels: &[&str]) -> String {
    publish_envelope(redis, &json!({ "data": data }), channels).await
}

/// Publishes each text to one channel and returns the ids.
pub(crate) async fn publish_all(redis: &RedisServer, channel: &str, texts: &[String]) -> Vec<String> {
    let mut connection = redis.connection().await.unwrap();
    let mut ids = Vec::new();
    for text in texts {
        ids.push(id_of(&call(&mut connection, &json!({ "data": text }), &[channel]).await));
    }
    ids
}

/// The texts `<name> <number>` for a range of numbers.
pub(crate) fn texts(name: &str, numbers: std::ops::RangeInclusive<usize>) -> Vec<String> {
    numbers.map(|number| format!("{name} {number}")).collect()
}

/// Opens a stream as a client that comes back with this id, whatever its bytes are.
pub(crate) async fn come_back(node: &Fantail, path: &str, id: impl AsRef<[u8]>) -> SseClient {
    let client = ask_back(node, path, id).connect().await.unwrap();
    assert_eq!(client.status(), 200, "{path}");
    client
}

/// The request with which a client comes back.
pub(crate) fn ask_back(node: &Fantail, path: &str, id: impl AsRef<[u8]>) -> fantail_testkit::client::SubscribeRequest {
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nLast-Event-ID: ");
    let request = [head.as_bytes(), id.as_ref(), b"\r\n\r\n"].concat();
    SseClient::request(node.public(), "").raw(request)
}

/// Everything up to the event with this data.
pub(crate) async fn up_to(stream: &mut SseClient, last: &str) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    while events.last().is_none_or(|event| event.data != last) {
        match stream.next_event(PATIENCE).await {
            Ok(event) => events.push(event),
            Err(error) => panic!("{last} does not come: {error}; there were {:?}", words(&events)),
        }
    }
    events
}

/// How often Redis has carried out a command since it started.
pub(crate) async fn calls(redis: &RedisServer, command: &str) -> u64 {
    let info = redis.command(&["INFO", "commandstats"]).await.unwrap().text().unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}
