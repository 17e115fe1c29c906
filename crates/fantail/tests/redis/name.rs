//! A Redis that is known by a name: the name is looked up slowly, means another server by now, or leads nowhere.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use fantail_testkit::port::free_port;
use fantail_testkit::proxy::Cut;
use fantail_testkit::{DnsServer, Fantail, FaultProxy, PATIENCE, RedisSentinel, RedisServer, Signal, http};

use crate::broker::{assert_gap, data};
use crate::node::{FANTAIL, ask, metrics, publish, subscribe, until, until_ready};

const NAME: &str = "redis.test";
const FAILURES: &str = "fantail_feed_connect_failures_total";
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Starts a node that asks `names` for the address of Redis.
async fn node_asking(names: &DnsServer, port: u16, flags: &[&str]) -> Fantail {
    let url = format!("redis://{NAME}:{port}");
    start(names, &[&["--redis-url", &url], flags].concat()).await
}

async fn start(names: &DnsServer, flags: &[&str]) -> Fantail {
    let serve = ["serve", "--workers", "1", "--follow-deadline", "100ms"];
    let (program, words) = names.command(FANTAIL, &[&serve, flags].concat());
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    Fantail::start(program, &words, &[]).await.unwrap()
}

async fn until_asked(names: &DnsServer, times: usize) {
    let asked = async {
        while names.asked() < times {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("the name is looked up");
}

/// Takes connections and answers nothing, as a stopped program does. The resolver puts this address before all others
/// of this machine, since connections to them come from it.
fn stands_still() -> (TcpListener, u16) {
    let listener = TcpListener::bind((HERE, free_port().unwrap())).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn elsewhere(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, last], port))
}

/// 1. A node serves a stream. Then its name server falls silent, and Redis goes away.
/// 2. The node tries to connect again and again, and the lookup is under way all the while.
/// 3. Neither its streams nor its operator wait for that, and all tries wait for one and the same lookup.
/// 4. The name server answers at last, without another question.
#[tokio::test]
async fn a_lookup_that_takes_longer_than_any_try_delays_nobody_and_leads_to_redis_in_the_end() {
    let mut redis = RedisServer::start().await.unwrap();
    let names = DnsServer::start().unwrap();
    names.point(NAME, &[HERE]);
    let mut node = node_asking(&names, redis.addr().port(), &["--keepalive-interval", "100ms"]).await;
    until_ready(&node, true).await;
    let mut stream = subscribe(&node, "/sse/c").await;
    publish(&node, "c", "before").await;
    // A Redis that is killed may have answered the publisher before it sent the event to the node.
    assert_eq!(data(&mut stream, 1).await, ["before"]);

    names.hold();
    let asked = names.asked();
    redis.kill();
    until_ready(&node, false).await;
    redis.restart().await.unwrap();
    let before = metrics(&node).await.count("fantail_keepalives_total");
    until(&node, "keepalives and failed tries", |metrics| {
        metrics.count("fantail_keepalives_total") >= before + 20 && metrics.count(FAILURES) >= 2
    })
    .await;
    let refused = http(node.internal(), "POST", "/publish/c", &[], "too early").await.unwrap();
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(names.asked() - asked, 1, "one lookup for all tries of both connections");
    node.wait_for_output("the name redis.test was looked up for 5s without an answer", PATIENCE).await.unwrap();

    names.release();
    until_ready(&node, true).await;
    publish(&node, "c", "after").await;
    let events = stream.next_events(2, PATIENCE).await.unwrap();
    assert_gap(&events[0], "c", "outage");
    assert_eq!(events[1].data, "after");
}

/// A connection has a time of its own, not the rest of the lookup's. At each try the name server answers just before
/// the deadline, and the way to Redis is slow.
#[tokio::test]
async fn a_lookup_that_takes_nearly_as_long_as_a_try_leaves_time_to_connect() {
    let redis = RedisServer::start().await.unwrap();
    let proxy = FaultProxy::start(redis.addr()).unwrap();
    proxy.delay(Duration::from_millis(400));
    let names = DnsServer::start().unwrap();
    names.point(NAME, &[HERE]);
    names.hold();
    let node = node_asking(&names, proxy.addr().port(), &[]).await;
    let slow_names = async {
        for asked in 1.. {
            until_asked(&names, asked).await;
            tokio::time::sleep(Duration::from_millis(4_500)).await;
            names.release();
            names.hold();
        }
    };
    tokio::select! {
        () = until_ready(&node, true) => {}
        () = slow_names => {}
    }
}

/// The system's resolver cannot be interrupted, so the node must not wait for the thread that is in it.
#[tokio::test]
async fn a_node_ends_when_it_is_told_to_though_a_name_is_being_looked_up() {
    let names = DnsServer::start().unwrap();
    names.hold();
    let mut node = node_asking(&names, 6379, &[]).await;
    until_asked(&names, 1).await;
    node.signal(Signal::TERM).unwrap();
    assert!(node.wait(PATIENCE).await.unwrap().success());
}

#[tokio::test]
async fn a_name_that_leads_nowhere_is_told_and_followed_when_it_leads_to_redis() {
    let redis = RedisServer::start().await.unwrap();
    let names = DnsServer::start().unwrap();
    let mut node = node_asking(&names, redis.addr().port(), &[]).await;
    let told = "the name redis.test leads nowhere: ";
    node.wait_for_output(told, PATIENCE).await.unwrap();
    until(&node, "further tries", |metrics| metrics.count(FAILURES) >= 3).await;
    let answer = ask(&node, "GET", "/readyz").await;
    assert_eq!(answer.status, 503);
    let reason = answer.json().unwrap()["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains(told) && reason.contains("; check how it is written"), "{reason}");

    names.point(NAME, &[HERE]);
    until_ready(&node, true).await;
    assert!(ask(&node, "GET", "/readyz").await.json().unwrap().get("reason").is_none());
    let mut stream = subscribe(&node, "/sse/c").await;
    publish(&node, "c", "at last").await;
    assert_eq!(data(&mut stream, 1).await, ["at last"]);
}

/// The name of one Sentinel may have several addresses; a stopped program has the first here.
#[tokio::test]
async fn a_sentinel_whose_name_leads_nowhere_is_told_and_each_of_its_addresses_asked_when_it_leads_there() {
    let master = RedisServer::start().await.unwrap();
    let sentinel = RedisSentinel::start(&master, 0).await.unwrap();
    let names = DnsServer::start().unwrap();
    let (_still, port) = stands_still();
    let _sentinel = FaultProxy::start_at(elsewhere(4, port), sentinel.addr()).unwrap();
    let sentinels = format!("--redis-sentinels=sentinel.test:{port}");
    let mut node = start(&names, &[&sentinels, "--redis-sentinel-master", RedisSentinel::MASTER]).await;
    node.wait_for_output("the name sentinel.test leads nowhere: ", PATIENCE).await.unwrap();
    names.point("sentinel.test", &[HERE, Ipv4Addr::new(127, 0, 0, 4)]);
    until_ready(&node, true).await;
    assert!(names.asked() > 1);
}

/// 1. A node is connected to the server that its name means.
/// 2. The name comes to mean another one. The first still answers and is still a master, so the node stays.
/// 3. The connections to the first are cut. Both of the node's go to the other one, and streams get a gap.
#[tokio::test]
async fn a_name_that_comes_to_mean_another_server_leads_there_at_the_next_connection() {
    let (old, new) = (RedisServer::start().await.unwrap(), RedisServer::start().await.unwrap());
    let to_old = FaultProxy::start(old.addr()).unwrap();
    let port = to_old.addr().port();
    let to_new = FaultProxy::start_at(elsewhere(2, port), new.addr()).unwrap();
    let names = DnsServer::start().unwrap();
    names.point(NAME, &[HERE]);
    let node = node_asking(&names, port, &[]).await;
    until_ready(&node, true).await;
    let mut stream = subscribe(&node, "/sse/c").await;

    names.point(NAME, &[Ipv4Addr::new(127, 0, 0, 2)]);
    old.publish("fantail:c", "of the old").await.unwrap();
    assert_eq!(data(&mut stream, 1).await, ["of the old"]);
    assert_eq!(to_new.accepted(), 0, "a server that answers is stayed with");

    to_old.cut(Cut::Reset).await.unwrap();
    new.wait_for_subscribers("fantail:c", 1).await.unwrap();
    until_ready(&node, true).await;
    publish(&node, "c", "through the new").await;
    let events = stream.next_events(2, PATIENCE).await.unwrap();
    assert_gap(&events[0], "c", "outage");
    assert_eq!(events[1].data, "through the new");
    assert_eq!((to_old.connections(), to_new.connections()), (0, 2));
}

/// The first server is stopped, the second refuses, the third is a replica.
#[tokio::test]
async fn of_several_addresses_each_is_tried_until_one_is_that_of_a_master() {
    let master = RedisServer::start().await.unwrap();
    let replica = RedisServer::start_replica_of(&master, &[]).await.unwrap();
    let (_still, port) = stands_still();
    let _replica = FaultProxy::start_at(elsewhere(3, port), replica.addr()).unwrap();
    let _master = FaultProxy::start_at(elsewhere(4, port), master.addr()).unwrap();
    let names = DnsServer::start().unwrap();
    let all = [1, 2, 3, 4].map(|last| Ipv4Addr::new(127, 0, 0, last));
    names.point(NAME, &all[..3]);
    let mut node = node_asking(&names, port, &[]).await;
    for told in [
        "127.0.0.1: there was no connection within its share of 5s",
        "127.0.0.2: Connection refused",
        &format!("127.0.0.3: {NAME}:{port} is a replica"),
    ] {
        node.wait_for_output(told, PATIENCE).await.unwrap();
    }

    names.point(NAME, &all);
    until_ready(&node, true).await;
    let mut stream = subscribe(&node, "/sse/c").await;
    publish(&node, "c", "of the master").await;
    assert_eq!(data(&mut stream, 1).await, ["of the master"]);
}
