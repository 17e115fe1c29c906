//! Nodes that are less patient than in production, or do not look at all, and what is waited for with them.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use fantail_feed::{FeedState, RedisReach, RedisSettings};
use fantail_testkit::{PATIENCE, RedisServer};

use crate::feed_node::{FeedNews, FeedNode, eventually};
use crate::log;

/// Starts a node that looks after its connections often.
pub(crate) fn impatient(reach: RedisReach) -> FeedNode {
    FeedNode::start_with(often_looking(reach))
}

/// Starts a node that looks after its connections so rarely that something can happen in between.
pub(crate) fn rarely_looking(reach: RedisReach) -> FeedNode {
    let mut settings = often_looking(reach);
    settings.probe_interval = Duration::from_secs(3);
    FeedNode::start_with(settings)
}

/// For connections that wait for as long as it takes, and are not looked after while they stand.
pub(crate) fn trusting(reach: RedisReach) -> RedisSettings {
    let mut settings = settings(reach);
    settings.probe_interval = PATIENCE * 10;
    settings.connect_deadline = PATIENCE;
    settings.response_deadline = PATIENCE;
    settings
}

fn often_looking(reach: RedisReach) -> RedisSettings {
    let mut settings = settings(reach);
    settings.probe_interval = Duration::from_millis(200);
    settings.response_deadline = Duration::from_secs(2);
    settings
}

fn settings(reach: RedisReach) -> RedisSettings {
    log::listen();
    // Where the program does it: the TLS of the Redis client asks for the process's default provider.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let settings = RedisSettings::new(reach).unwrap();
    settings.check_files().unwrap();
    settings
}

/// Waits for so many failures to connect, and for a log line about `address` that holds `text`.
pub(crate) async fn until_failed(node: &FeedNode, address: &str, text: &str) {
    eventually("failures to connect", async || count(&node.feed.counters().connect_failures) >= 2).await;
    let told = log::lines_with(address);
    assert!(told.contains(text), "{text:?} is not told:\n{told}");
    assert_eq!(node.feed.state(), FeedState::Connecting);
}

/// Waits until the state has become this one for the `times`-th time.
pub(crate) async fn until_state(node: &mut FeedNode, state: FeedState, times: usize) {
    let is_it = |told: &&FeedNews| **told == FeedNews::State(state);
    node.wait_for("the state", |told| told.iter().filter(is_it).count() >= times).await;
}

/// How often Redis was asked what it is.
pub(crate) async fn hellos(redis: &RedisServer) -> u64 {
    let stats = redis.command(&["INFO", "commandstats"]).await.unwrap().text().unwrap();
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_hello:calls="));
    calls.and_then(|rest| rest.split(',').next()).map_or(0, |calls| calls.parse().unwrap())
}

/// How often the node was told of a loss.
pub(crate) fn losses(node: &FeedNode) -> usize {
    node.times(&FeedNews::Lost)
}

pub(crate) fn count(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}
