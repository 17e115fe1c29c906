//! Failovers: the Sentinels say where the master is, and a node that follows another one is brought there.

use fantail_feed::{FeedState, RedisPublisher, RedisReach, RedisSettings};
use fantail_testkit::{Certificates, FaultProxy, RedisSentinel, RedisServer, port::free_port};

use crate::feed_node::{FeedNews, FeedNode, eventually, publication, text};
use crate::log;
use crate::patience::{hellos, impatient, losses, trusting, until_failed, until_state};

const PAGE: &str = include_str!("../../../../docs/redis.md");

/// A master with a replica, and who watches them.
struct Trio {
    master: RedisServer,
    replica: RedisServer,
    sentinel: RedisSentinel,
}

impl Trio {
    async fn start() -> Self {
        let master = RedisServer::start().await.unwrap();
        let replica = RedisServer::start_replica_of(&master, &[]).await.unwrap();
        let sentinel = RedisSentinel::start(&master, 1).await.unwrap();
        Self { master, replica, sentinel }
    }

    fn reach(&self) -> RedisReach {
        reach(&[self.sentinel.addr().to_string()])
    }
}

fn reach(sentinels: &[String]) -> RedisReach {
    let sentinel_master = Some(RedisSentinel::MASTER.into());
    RedisReach { sentinels: sentinels.to_vec(), sentinel_master, ..RedisReach::default() }
}

/// Publishes to `redis` and sees each event arrive: nothing behind the return is missed.
async fn hears(node: &mut FeedNode, redis: &RedisServer, names: &[&str]) {
    let before = node.events().len();
    let mut publisher = redis.connection().await.unwrap();
    for number in 0..50 {
        for name in names {
            publisher.publish(&format!("fantail:{name}"), format!("{name}{number}").as_bytes()).await.unwrap();
        }
    }
    let expected: Vec<_> = (0..50).flat_map(|number| names.iter().map(move |name| format!("{name}{number}"))).collect();
    assert_eq!(node.data(before + expected.len()).await[before..], expected);
}

#[tokio::test]
async fn when_the_master_dies_every_channel_is_followed_on_the_new_one() {
    let mut trio = Trio::start().await;
    // The first of the Sentinels is gone, as after the loss of a machine.
    let gone = format!("127.0.0.1:{}", free_port().unwrap());
    let mut node = impatient(reach(&[gone, trio.sentinel.addr().to_string()]));
    node.follow(&["a", "b"]).await;
    hears(&mut node, &trio.master, &["a", "b"]).await;

    trio.master.kill();
    until_state(&mut node, FeedState::Connecting, 1).await;
    trio.sentinel.wait_for_master(trio.replica.addr()).await.unwrap();
    until_state(&mut node, FeedState::Connected, 2).await;
    for name in ["a", "b"] {
        assert_eq!(node.times(&FeedNews::Followed(name.into())), 2);
    }
    hears(&mut node, &trio.replica, &["a", "b"]).await;
    eventually("publishing", async || node.feed.publish(&publication(&["a"], text("mine"))).await.is_ok()).await;
    assert_eq!(node.data(201).await[200], "mine");
    assert_eq!(losses(&node), 1);
}

/// 1. The master stands still: its connections stay open, and so tell nothing.
/// 2. The Sentinel makes the replica the master.
/// 3. The node compares: the Sentinel names another server than the one it is connected to, and it goes there.
/// 4. The connection for publishing had been given up before, as dead, and is being made anew at the old master.
/// 5. The old master wakes up, believes for a moment that it still is one, and is not gone back to, for publishing
///    neither: a probe sent there would not be heard at the new master, and the subscription be given up for deaf.
#[tokio::test]
async fn a_failover_that_no_connection_tells_is_found_out_from_the_sentinel() {
    let mut trio = Trio::start().await;
    let mut node = impatient(trio.reach());
    node.follow(&["a"]).await;
    trio.master.stop_signal().unwrap();
    trio.sentinel.wait_for_master(trio.replica.addr()).await.unwrap();
    trio.replica.wait_for_subscribers("fantail:a", 1).await.unwrap();
    until_state(&mut node, FeedState::Connected, 2).await;
    assert!(log::whole().contains(&format!("the sentinels name another master, {}", trio.replica.addr())));
    trio.master.cont().unwrap();
    trio.master.wait_for_info("replication", "role:master").await.unwrap();
    let asked = hellos(&trio.replica).await;
    eventually("ten looks", async || hellos(&trio.replica).await >= asked + 10).await;
    hears(&mut node, &trio.replica, &["a"]).await;
    assert_eq!(losses(&node), 1);
    trio.master.kill();
}

/// 1. The master stands still. The Sentinel still names it.
/// 2. A publisher asks the Sentinel and connects there. The kernel accepts; nobody answers.
/// 3. The Sentinel makes the replica the master.
/// 4. The old master goes on. It answers that it is a master, and would take events that nobody hears.
/// 5. The publisher asks the Sentinel again, now that it is connected, and goes to the new master.
#[tokio::test]
async fn a_master_that_is_replaced_while_it_is_connected_to_is_not_used() {
    let trio = Trio::start().await;
    let to_sentinel = FaultProxy::start(trio.sentinel.addr()).unwrap();
    trio.master.stop_signal().unwrap();
    let settings = trusting(reach(&[to_sentinel.addr().to_string()]));
    let connecting = tokio::spawn(RedisPublisher::connect(settings));
    // The question is answered when its connection has come and gone.
    to_sentinel.wait_for_accepted(1).await.unwrap();
    eventually("the answer", async || to_sentinel.connections() == 0).await;
    trio.sentinel.wait_for_master(trio.replica.addr()).await.unwrap();
    let mut node = FeedNode::following(&trio.replica.url(), &["a"]).await;
    trio.master.cont().unwrap();
    let mut publisher = connecting.await.unwrap().unwrap();
    assert_eq!(publisher.publish(&publication(&["a"], text("x"))).await.unwrap().subscribers, Some(1));
    assert_eq!(node.data(1).await, ["x"]);
}

/// 1. The master stands still, and the Sentinel makes the replica the master. The old one goes on.
/// 2. The node's subscription ends, and is made anew where the Sentinel says. Nothing has ended the connection over
///    which the node publishes: it still leads to the old master, which takes what comes.
/// 3. An event that is published through the node arrives all the same.
#[tokio::test]
async fn events_are_published_where_the_subscription_is() {
    let trio = Trio::start().await;
    let mut node = FeedNode::start_with(trusting(trio.reach()));
    node.follow(&["a"]).await;
    node.feed.publish(&publication(&["a"], text("before"))).await.unwrap();
    trio.master.stop_signal().unwrap();
    trio.sentinel.wait_for_master(trio.replica.addr()).await.unwrap();
    trio.master.cont().unwrap();
    trio.master.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.unwrap();
    trio.replica.wait_for_subscribers("fantail:a", 1).await.unwrap();
    until_state(&mut node, FeedState::Connected, 2).await;
    let receipt = node.feed.publish(&publication(&["a"], text("after"))).await.unwrap();
    assert_eq!(receipt.subscribers, Some(1));
    assert_eq!(node.data(2).await, ["before", "after"]);
}

#[tokio::test]
async fn a_failover_by_hand_is_followed() {
    let trio = Trio::start().await;
    let mut node = impatient(trio.reach());
    node.follow(&["a"]).await;
    trio.sentinel.failover().await.unwrap();
    trio.replica.wait_for_info("replication", "role:master").await.unwrap();
    trio.replica.wait_for_subscribers("fantail:a", 1).await.unwrap();
    until_state(&mut node, FeedState::Connected, 2).await;
    hears(&mut node, &trio.replica, &["a"]).await;
}

/// An operator moves to another server by hand: the Sentinel forgets the master and is told of a new one, whose
/// configuration is older than that of the last failover. The old server goes on as if nothing had happened.
#[tokio::test]
async fn a_sentinel_that_is_told_of_another_server_is_believed_though_it_begins_anew() {
    let trio = Trio::start().await;
    trio.sentinel.failover().await.unwrap();
    trio.replica.wait_for_info("replication", "role:master").await.unwrap();
    trio.sentinel.wait_for_master(trio.replica.addr()).await.unwrap();
    let mut node = impatient(trio.reach());
    node.follow(&["a"]).await;
    let other = RedisServer::start().await.unwrap();
    trio.sentinel.command(&["SENTINEL", "REMOVE", RedisSentinel::MASTER]).await.unwrap();
    let port = other.addr().port().to_string();
    trio.sentinel.command(&["SENTINEL", "MONITOR", RedisSentinel::MASTER, "127.0.0.1", &port, "1"]).await.unwrap();
    other.wait_for_subscribers("fantail:a", 1).await.unwrap();
    hears(&mut node, &other, &["a"]).await;
    trio.replica.wait_for_info("replication", "role:master").await.unwrap();
}

#[tokio::test]
async fn a_program_that_only_publishes_asks_the_sentinel_as_well() {
    let trio = Trio::start().await;
    let mut node = impatient(trio.reach());
    node.follow(&["a"]).await;
    let mut publisher = RedisPublisher::connect(RedisSettings::new(trio.reach()).unwrap()).await.unwrap();
    assert_eq!(publisher.publish(&publication(&["a"], text("x"))).await.unwrap().subscribers, Some(1));
    assert_eq!(node.data(1).await, ["x"]);
}

/// The Sentinel may be right and the servers late, or it may be wrong: what it names is asked as well.
#[tokio::test]
async fn a_server_that_the_sentinel_calls_the_master_and_that_is_none_is_not_followed() {
    let master = RedisServer::start().await.unwrap();
    let replica = RedisServer::start_replica_of(&master, &[]).await.unwrap();
    let sentinel = RedisSentinel::start(&master, 1).await.unwrap();
    let addr = master.addr().port().to_string();
    let sentinels = [sentinel.addr().to_string()];
    // Behind the Sentinel's back the two change places; it will not notice before it has looked again.
    replica.command(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    master.command(&["REPLICAOF", "127.0.0.1", &replica.addr().port().to_string()]).await.unwrap();
    let node = impatient(reach(&sentinels));
    until_failed(&node, &sentinels[0], &format!("127.0.0.1:{addr} is a replica")).await;
}

#[tokio::test]
async fn sentinels_with_a_password_are_asked_with_theirs() {
    let master = RedisServer::start().await.unwrap();
    let user = PAGE.lines().map(str::trim).find(|line| line.starts_with("ACL SETUSER sentinel-reader ")).unwrap();
    let user = user.replace("ACL SETUSER", "user").replace("change-me", "hunter2-of-the-user");
    let lines = ["requirepass hunter2-of-the-sentinel", &user];
    let sentinel = RedisSentinel::start_with(&master, 0, &lines).await.unwrap();
    let sentinels = [sentinel.addr().to_string()];
    let without = impatient(reach(&sentinels));
    until_failed(&without, &sentinels[0], "NOAUTH").await;
    let wrong = impatient(RedisReach { sentinel_password: Some("hunter2-is-wrong".into()), ..reach(&sentinels) });
    until_failed(&wrong, &sentinels[0], "uthentication failed").await;

    let directory = tempfile::tempdir().unwrap();
    let password = directory.path().join("password");
    std::fs::write(&password, "hunter2-of-the-sentinel\n").unwrap();
    let by_password = RedisReach { sentinel_password_file: Some(password), ..reach(&sentinels) };
    let by_user = RedisReach {
        sentinel_username: Some("sentinel-reader".into()),
        sentinel_password: Some("hunter2-of-the-user".into()),
        ..reach(&sentinels)
    };
    for right in [by_password, by_user] {
        let mut node = impatient(right);
        node.follow(&["a"]).await;
        hears(&mut node, &master, &["a"]).await;
    }
    assert!(!log::whole().contains("hunter2"), "{}", log::lines_with("hunter2"));
}

#[tokio::test]
async fn sentinels_are_asked_by_tls_when_redis_is_reached_by_it() {
    let certificates = Certificates::make().unwrap();
    let master = RedisServer::start_tls(&certificates, false, &[]).await.unwrap();
    let sentinel = RedisSentinel::start_tls(&master, &certificates).await.unwrap();
    let sentinels = [sentinel.tls_addr().to_string()];
    let with_tls = RedisReach { url: "rediss:///0".into(), ..reach(&sentinels) };
    let untrusted = impatient(with_tls.clone());
    until_failed(&untrusted, &sentinels[0], "UnknownIssuer").await;
    let mut node = impatient(RedisReach { tls_ca: Some(certificates.ca()), ..with_tls });
    node.follow(&["a"]).await;
    hears(&mut node, &master, &["a"]).await;
}

#[tokio::test]
async fn sentinels_that_cannot_help_are_each_told_with_their_reason() {
    let master = RedisServer::start().await.unwrap();
    let sentinel = RedisSentinel::start(&master, 0).await.unwrap();
    let gone = format!("127.0.0.1:{}", free_port().unwrap());
    let known = sentinel.addr().to_string();
    let other = RedisReach { sentinel_master: Some("other".into()), ..reach(&[gone.clone(), known.clone()]) };
    let node = impatient(other);
    until_failed(&node, &known, "no sentinel tells where the master other is").await;
    for reason in [format!("{known}: knows no such master"), format!("{gone}: Connection refused")] {
        until_failed(&node, &known, &reason).await;
    }
}
