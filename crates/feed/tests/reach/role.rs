//! Only a master is followed, as long as it is one.

use fantail_feed::{FeedState, RedisReach};
use fantail_testkit::{PATIENCE, RedisCluster, RedisSentinel, RedisServer};

use crate::feed_node::{FeedNews, channel, eventually, publication, text};
use crate::log;
use crate::patience::{hellos, impatient, losses, rarely_looking, until_failed, until_state};

fn reach(redis: &RedisServer) -> RedisReach {
    RedisReach { url: redis.url(), ..RedisReach::default() }
}

#[tokio::test]
async fn a_replica_is_refused_until_it_is_promoted() {
    let master = RedisServer::start().await.unwrap();
    let replica = RedisServer::start_replica_of(&master, &[]).await.unwrap();
    let mut node = impatient(reach(&replica));
    node.feed.follow(&channel("a"));
    until_failed(&node, &replica.addr().to_string(), "is a replica, which can miss messages unnoticed").await;
    assert_eq!(node.times(&FeedNews::Followed("a".into())), 0);
    replica.command(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    until_state(&mut node, FeedState::Connected, 1).await;
    replica.publish("fantail:a", "x").await.unwrap();
    assert_eq!(node.data(1).await, ["x"]);
}

/// Redis keeps the connections of a master that becomes a replica: nothing tells but the server, if asked.
#[tokio::test]
async fn a_master_that_becomes_a_replica_is_left_though_its_connections_stand() {
    let master = RedisServer::start().await.unwrap();
    let other = RedisServer::start().await.unwrap();
    let mut node = impatient(reach(&master));
    node.follow(&["a"]).await;
    master.command(&["REPLICAOF", "127.0.0.1", &other.addr().port().to_string()]).await.unwrap();
    until_state(&mut node, FeedState::Connecting, 1).await;
    assert_eq!(losses(&node), 1);
    master.wait_for_subscribers("fantail:a", 0).await.unwrap();
    until_failed(&node, &master.addr().to_string(), "this server is a replica now").await;
    master.command(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    until_state(&mut node, FeedState::Connected, 2).await;
    master.publish("fantail:a", "x").await.unwrap();
    assert_eq!(node.data(1).await, ["x"]);
}

/// 1. A node follows a master, which has just said that it is one.
/// 2. The master becomes a replica of another server. Events are published there.
/// 3. It is promoted again before it is asked the next time. Its connections stood all the while.
#[tokio::test]
async fn a_master_that_was_a_replica_between_two_looks_is_left_for_what_it_did_not_send() {
    let master = RedisServer::start().await.unwrap();
    let other = RedisServer::start().await.unwrap();
    let mut node = rarely_looking(reach(&master));
    node.follow(&["a"]).await;
    let before = hellos(&master).await;
    eventually("a look", async || hellos(&master).await > before).await;
    master.command(&["REPLICAOF", "127.0.0.1", &other.addr().port().to_string()]).await.unwrap();
    other.publish("fantail:a", "missed").await.unwrap();
    master.command(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    until_state(&mut node, FeedState::Connected, 2).await;
    assert_eq!(losses(&node), 1);
    master.publish("fantail:a", "x").await.unwrap();
    assert_eq!(node.data(1).await, ["x"]);
    let told = log::lines_with(&master.addr().to_string());
    // A machine that was busy for long may have looked in between.
    let is_told = ["this server was a replica for a while", "this server is a replica now"];
    assert!(is_told.iter().any(|words| told.contains(words)), "{told}");
}

#[tokio::test]
async fn a_master_that_stays_one_is_left_alone_however_often_it_is_asked() {
    let redis = RedisServer::start().await.unwrap();
    let mut node = impatient(reach(&redis));
    node.follow(&["a"]).await;
    let before = hellos(&redis).await;
    eventually("ten looks", async || hellos(&redis).await >= before + 10).await;
    assert_eq!(losses(&node), 0);
    assert!(!log::lines_with(&redis.addr().to_string()).contains("WARN"), "nothing is wrong");
}

#[tokio::test]
async fn a_sentinel_in_the_place_of_redis_is_told_as_such() {
    let master = RedisServer::start().await.unwrap();
    let sentinel = RedisSentinel::start(&master, 0).await.unwrap();
    let address = sentinel.addr().to_string();
    let node = impatient(RedisReach { url: format!("redis://{address}"), ..RedisReach::default() });
    until_failed(&node, &address, "is a sentinel; name it in redis_sentinels").await;
}

/// 1. A node follows a durable Redis that holds much.
/// 2. Redis is killed and started again. While it loads what it holds it refuses most commands.
/// 3. The node is back at the latest when it has loaded, and has every channel.
#[tokio::test]
async fn a_redis_that_loads_its_data_is_waited_for() {
    let slow_load =
        ["--appendonly", "yes", "--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"];
    let mut redis = RedisServer::start_with(&slow_load).await.unwrap();
    let fill = ["EVAL", "for n = 1, 2000 do redis.call('SET', 'k' .. n, string.rep('x', 100)) end", "0"];
    redis.command(&fill).await.unwrap();
    let mut node = impatient(reach(&redis));
    node.follow(&["a"]).await;
    redis.kill();
    until_state(&mut node, FeedState::Connecting, 1).await;
    let addr = redis.addr();
    let seen_loading = async {
        loop {
            let info = async { fantail_testkit::RespConnection::connect(addr).await?.command(&["INFO"]).await }.await;
            let info = info.ok().and_then(|reply| reply.text()).unwrap_or_default();
            if info.contains("\nloading:1") {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let (restarted, seen) = tokio::join!(redis.restart(), tokio::time::timeout(PATIENCE, seen_loading));
    restarted.unwrap();
    seen.expect("redis was seen while it loaded");
    until_state(&mut node, FeedState::Connected, 2).await;
    redis.publish("fantail:a", "x").await.unwrap();
    assert_eq!(node.data(1).await, ["x"]);
}

/// A Cluster carries plain pub/sub from one node to all, and does not promise that
/// it arrives. The node says so.
#[tokio::test]
async fn a_node_of_a_cluster_is_followed_with_a_warning() {
    let cluster = RedisCluster::start().await.unwrap();
    let [here, there, _] = cluster.nodes() else { panic!("three nodes") };
    let mut node = impatient(reach(here));
    node.follow(&["a"]).await;
    there.publish("fantail:a", "over the bus").await.unwrap();
    assert_eq!(node.data(1).await, ["over the bus"]);
    node.feed.publish(&publication(&["a", "b"], text("two channels"))).await.unwrap();
    assert_eq!(node.data(2).await[1], "two channels");
    let told = log::lines_with(&here.addr().to_string());
    assert!(told.contains("redis is a node of a cluster"), "{told}");
}
