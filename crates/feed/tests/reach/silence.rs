//! A Redis that does not answer, under an address that leads somewhere or nowhere: nobody waits for ever.

use std::time::Duration;

use fantail_feed::{FeedState, RedisReach, RedisSettings};
use fantail_testkit::{RedisSentinel, RedisServer};

use crate::log;
use crate::node::{Node, eventually};
use crate::patience::{count, impatient, until_failed, until_state};

/// Starts a node that gives a connection so much time.
fn with_deadline(reach: RedisReach, connect_deadline: Duration) -> Node {
    log::listen();
    let mut settings = RedisSettings::new(reach).unwrap();
    settings.connect_deadline = connect_deadline;
    Node::start_with(settings)
}

#[tokio::test]
async fn a_redis_that_stands_still_is_given_up_at_the_deadline_and_found_when_it_goes_on() {
    let redis = RedisServer::start().await.unwrap();
    redis.stop_signal().unwrap();
    let reach = RedisReach { url: redis.url(), ..RedisReach::default() };
    let mut node = with_deadline(reach, Duration::from_millis(200));
    until_failed(&node, &redis.addr().to_string(), "there was no connection within 200ms").await;
    redis.cont().unwrap();
    until_state(&mut node, FeedState::Connected, 1).await;
}

#[tokio::test]
async fn a_sentinel_that_stands_still_is_given_up_at_the_deadline() {
    let master = RedisServer::start().await.unwrap();
    let sentinel = RedisSentinel::start(&master, 0).await.unwrap();
    sentinel.stop_signal().unwrap();
    let sentinels = vec![sentinel.addr().to_string()];
    let sentinel_master = Some(RedisSentinel::MASTER.into());
    let reach = RedisReach { sentinels: sentinels.clone(), sentinel_master, ..RedisReach::default() };
    let node = with_deadline(reach, Duration::from_millis(200));
    until_failed(&node, &sentinels[0], "there was no connection within 200ms").await;
}

/// What the name server says, and how fast, is nobody's business here: a name without an address is tried again.
#[tokio::test]
async fn a_name_that_leads_nowhere_is_asked_for_again_and_again() {
    let node = impatient(RedisReach { url: "redis://redis.invalid:6399".into(), ..RedisReach::default() });
    until_failed(&node, "redis.invalid:6399", "cannot connect to redis").await;
    eventually("further tries", async || count(&node.feed.counters().connect_failures) >= 4).await;
}
