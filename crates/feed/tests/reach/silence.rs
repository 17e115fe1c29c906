//! A Redis that does not answer: nobody waits for ever. Names that lead nowhere are tried with the whole program.

use std::time::Duration;

use fantail_feed::{FeedState, RedisReach, RedisSettings};
use fantail_testkit::{RedisSentinel, RedisServer};

use crate::feed_node::FeedNode;
use crate::log;
use crate::patience::{until_failed, until_state};

/// Starts a node that gives a connection so much time.
fn with_deadline(reach: RedisReach, connect_deadline: Duration) -> FeedNode {
    log::listen();
    let mut settings = RedisSettings::new(reach).unwrap();
    settings.connect_deadline = connect_deadline;
    FeedNode::start_with(settings)
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
