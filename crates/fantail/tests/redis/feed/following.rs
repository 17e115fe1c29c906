//! A node subscribes at Redis to each channel once, as long as a stream follows it and a little longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fantail_testkit::{Fantail, Ledger, LedgerPublisher, PATIENCE, Random, RedisServer, SseClient, Start, http};
use tokio::task::JoinSet;

use crate::broker::{assert_gap, calls, fed_by};
use crate::node::{metrics, publish, subscribe, until, until_open};

#[tokio::test]
async fn a_channel_costs_redis_one_subscription_however_many_streams_and_shards_follow_it() {
    let redis = RedisServer::start().await.unwrap();
    let node = fed_by(&redis, &["--workers", "4"]).await;
    let before = calls(&redis, "subscribe").await;
    let mut streams = Vec::new();
    for _ in 0..200 {
        streams.push(subscribe(&node, "/sse/c").await);
    }
    assert_eq!(redis.pubsub_numsub("fantail:c").await.unwrap(), 1);
    assert_eq!(redis.pubsub_numsub("fantail-event:c").await.unwrap(), 1);
    assert_eq!(calls(&redis, "subscribe").await, before + 1);
    let shards = (0..4).map(|shard| format!("fantail_shard_streams_open{{shard=\"{shard}\"}}"));
    let figures = metrics(&node).await;
    assert!(shards.into_iter().all(|series| figures.count(&series) > 0), "one shard got nothing: {}", figures.0);
    redis.publish("fantail:c", "to all").await.unwrap();
    for stream in &mut streams {
        assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, "to all");
    }
}

#[tokio::test]
async fn a_channel_without_streams_stays_followed_for_the_linger_time_and_no_longer() {
    let redis = RedisServer::start().await.unwrap();
    for (linger, subscribers) in [("1h", 1), ("0s", 0)] {
        let node = fed_by(&redis, &["--linger", linger]).await;
        drop(subscribe(&node, "/sse/c").await);
        until_open(&node, 0).await;
        if subscribers == 0 {
            redis.wait_for_subscribers("fantail:c", 0).await.unwrap();
            redis.wait_for_subscribers("fantail-event:c", 0).await.unwrap();
            until(&node, "nothing is followed", |metrics| metrics.count("fantail_followed_channels") == 0).await;
        } else {
            // The answer about another channel comes behind anything that the node would have sent for this one.
            let before = calls(&redis, "subscribe").await;
            drop(subscribe(&node, "/sse/other").await);
            assert_eq!(redis.pubsub_numsub("fantail:c").await.unwrap(), 1);
            assert_eq!(metrics(&node).await.count("fantail_followed_channels"), 2);
            drop(subscribe(&node, "/sse/c").await);
            assert_eq!(calls(&redis, "subscribe").await, before + 1, "a page reload costs Redis nothing");
        }
        drop(node);
        redis.wait_for_subscribers("fantail:c", 0).await.unwrap();
    }
}

#[tokio::test]
async fn events_missed_while_a_channel_was_unfollowed_are_a_gap() {
    let redis = RedisServer::start().await.unwrap();
    let node = fed_by(&redis, &["--linger", "0s"]).await;
    let mut stream = subscribe(&node, "/sse?channel=a&channel=b").await;
    publish(&node, "a", "seen").await;
    let id = stream.next_event(PATIENCE).await.unwrap().id;
    // Channel b stays followed by another stream, and so has no gap.
    let _other = subscribe(&node, "/sse/b").await;
    drop(stream);
    redis.wait_for_subscribers("fantail:a", 0).await.unwrap();
    publish(&node, "a", "missed").await;
    publish(&node, "b", "kept").await;
    until(&node, "b is in its log", |metrics| metrics.count("fantail_events_in_total") == 2).await;

    let request = SseClient::request(node.public(), "/sse?channel=a&channel=b").last_event_id(&id);
    let mut stream = request.connect().await.unwrap();
    publish(&node, "a", "next").await;
    let events = stream.next_events(3, PATIENCE).await.unwrap();
    assert_eq!(events[0].data, "kept");
    assert_gap(&events[1], "a", "not-followed");
    assert_eq!(events[2].data, "next");

    // The gap has been told: a client that comes back with its id, or a later one, gets none.
    for event in &events[1..] {
        let request = SseClient::request(node.public(), "/sse?channel=a&channel=b").last_event_id(&event.id);
        let mut stream = request.connect().await.unwrap();
        publish(&node, "b", "and on").await;
        let next = if event.data == "next" { "and on" } else { "next" };
        assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, next);
    }
}

const CHURNED: [&str; 8] = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"];

/// Channels are left and joined again just as their linger time ends, while publishers go on. A stream of the channel,
/// new or resumed, gets every event or a gap.
#[tokio::test]
async fn churn_at_the_end_of_the_linger_time_loses_nothing_silently() {
    const CLIENTS: u64 = 6;
    const JOINS: usize = 100;
    let redis = Arc::new(RedisServer::start().await.unwrap());
    let node = fed_by(&redis, &["--linger", "10ms", "--workers", "3"]).await;
    let seed = Random::from_entropy().next_u64();
    println!("seed {seed}");
    let ledger = Ledger::new();
    let over = Arc::new(AtomicBool::new(false));

    let mut publishers = JoinSet::new();
    for number in 0..3 {
        let random = Random::from_seed(seed ^ number);
        let publisher = ledger.publisher(random.clone());
        publishers.spawn(publish_until(Arc::clone(&over), Arc::clone(&redis), node.internal(), publisher, random));
    }
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let client = Churner {
            name: format!("client {number}"),
            public: node.public(),
            ledger: ledger.clone(),
            random: Random::from_seed(seed.wrapping_add(number)),
        };
        clients.spawn(client.join_and_leave(JOINS));
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    over.store(true, Ordering::Relaxed);
    while let Some(ended) = publishers.join_next().await {
        ended.unwrap();
    }
    let verdict = ledger.judge();
    println!("{verdict}");
    verdict.assert_clean();
    assert!(calls(&redis, "subscribe").await > 100, "channels were hardly ever unfollowed, so nothing was tried");
    assert_alive(&node).await;
}

async fn assert_alive(node: &Fantail) {
    let mut stream = subscribe(node, "/sse/last").await;
    publish(node, "last", "alive").await;
    assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, "alive");
}

/// Publishes without a pause, alternately over HTTP, as plain text and as an envelope.
async fn publish_until(
    over: Arc<AtomicBool>,
    redis: Arc<RedisServer>,
    internal: std::net::SocketAddr,
    mut publisher: LedgerPublisher,
    mut random: Random,
) {
    let mut connection = redis.connection().await.unwrap();
    while !over.load(Ordering::Relaxed) {
        let channel = *random.pick(&CHURNED).unwrap();
        let event = publisher.compose(channel, 100);
        match random.below(8) {
            0 => {
                let path = format!("/publish/{channel}");
                assert_eq!(http(internal, "POST", &path, &[], &event.text).await.unwrap().status, 202);
            }
            1..4 => {
                let payload = serde_json::json!({ "data": event.text }).to_string();
                connection.publish(&format!("fantail-event:{channel}"), payload.as_bytes()).await.unwrap();
            }
            _ => {
                connection.publish(&format!("fantail:{channel}"), event.text.as_bytes()).await.unwrap();
            }
        }
        publisher.confirm(&event);
    }
}

struct Churner {
    name: String,
    public: std::net::SocketAddr,
    ledger: Ledger,
    random: Random,
}

impl Churner {
    /// Joins one or two channels, reads a few events, and leaves. Mostly it comes back with its last id, at about the
    /// end of the linger time.
    async fn join_and_leave(mut self, joins: usize) {
        let mut left = joins;
        while left > 0 {
            let first = self.random.below(8) as usize;
            let channels = [CHURNED[first], CHURNED[(first + 1) % 8]];
            let channels = &channels[self.random.below(2) as usize..];
            let path = format!("/sse?channel={}", channels.join("&channel="));
            let mut stream = SseClient::connect(self.public, &path).await.unwrap();
            let reader =
                self.ledger.reader(format!("{}, {left} left", self.name), channels, Start::Live(self.ledger.mark()));
            loop {
                left -= 1;
                let events = stream.next_events(1 + self.random.below(4) as usize, PATIENCE).await.unwrap();
                for event in &events {
                    reader.record(event);
                }
                // The stream's own last id may be further: more may have been read than this test has looked at.
                let id = events.last().map_or_else(String::new, |event| event.id.clone());
                drop(stream);
                if left == 0 || self.random.chance(1, 3) {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(self.random.below(25))).await;
                let request = SseClient::request(self.public, &path).last_event_id(&id);
                stream = request.connect().await.unwrap();
            }
            reader.left();
        }
    }
}
