//! Redis goes away and comes back: what was missed comes first, in order, and what cannot be had is declared.

use fantail_testkit::proxy::Cut;
use fantail_testkit::{FaultProxy, RedisServer};

use crate::log_node::{LogNode, channel};
use crate::node::publish;

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn events_published_while_the_connection_was_cut_come_when_it_is_back() {
    let server = RedisServer::start().await.unwrap();
    let proxy = FaultProxy::start(server.addr()).unwrap();
    let names = ["a", "b", "c"];
    let mut node = LogNode::following(&format!("redis://{}", proxy.addr()), &names).await;
    for number in 0..300 {
        if number % 50 == 20 {
            proxy.cut(Cut::Reset).await.unwrap();
        }
        publish(&server, &number.to_string(), &[names[number % 3]]).await;
    }
    node.until_data("299").await;
    assert_eq!(node.data(), numbers(0..300));
    assert_eq!(node.told().len(), 300, "nothing else was told: {:?}", node.told());
}

#[tokio::test]
async fn a_restart_with_its_data_begins_a_term_and_loses_nothing_that_redis_kept() {
    let mut server = RedisServer::start_durable().await.unwrap();
    let mut node = LogNode::following(&server.url(), &["a"]).await;
    publish(&server, "1", &["a"]).await;
    node.until_data("1").await;
    server.kill();
    server.restart().await.unwrap();
    publish(&server, "2", &["a"]).await;
    node.until_data("2").await;
    assert_eq!(node.data(), ["1", "2"]);
    assert_eq!(node.told().iter().filter(|line| *line == "term").count(), 1);
}

#[tokio::test]
async fn an_empty_restart_begins_a_term_of_its_own() {
    let mut server = RedisServer::start().await.unwrap();
    let mut node = LogNode::following(&server.url(), &["a"]).await;
    for number in 0..5 {
        publish(&server, &number.to_string(), &["a"]).await;
    }
    node.until_data("4").await;
    server.kill();
    server.restart().await.unwrap();
    node.wait_for("the new term", |node| node.told.iter().any(|line| line == "term")).await;
    publish(&server, "again", &["a"]).await;
    node.until_data("again").await;
    assert_eq!(node.told().last().unwrap().split(' ').nth(2), Some("again"));
}

#[tokio::test]
async fn everything_that_redis_forgets_while_the_node_is_connected_is_noticed() {
    for forget in [
        &["FLUSHALL"][..],
        &["DEL", "fantail-log:{0}"],
        &["DEL", "fantail-tops:{0}"],
        &["DEL", "fantail-stream:{0}:a"],
        &["HSET", "fantail-log:{0}", "number", "2"],
    ] {
        let server = RedisServer::start().await.unwrap();
        let mut node = LogNode::following(&server.url(), &["a", "b"]).await;
        for number in 0..5 {
            publish(&server, &number.to_string(), &["a"]).await;
        }
        node.until_data("4").await;
        server.command(forget).await.unwrap();
        // The library went with FLUSHALL on no server; the node loads it anew if it did.
        publish(&server, "after", &["a"]).await;
        publish(&server, "last", &["b"]).await;
        node.until_data("last").await;
        let data = node.data();
        assert!(data.starts_with(&numbers(0..5)), "{forget:?}: {data:?}");
        let told = node.told();
        let is_told = told.contains(&"term".to_owned()) || told.iter().any(|line| line.starts_with("gap a"));
        assert!(data.contains(&"after".to_owned()) || is_told, "{forget:?}: {told:?}");
    }
}

/// As when a slot's move is given up, and a key comes back that was gone already:
/// 1. While the node is away, the newest numbers of all channels are lost, and an event is published to each of a and
///    c.
/// 2. The numbers are set back to what they were, by which a has nothing new.
#[tokio::test]
async fn newest_numbers_that_were_set_back_hide_nothing() {
    let server = RedisServer::start().await.unwrap();
    let proxy = FaultProxy::start(server.addr()).unwrap();
    let mut node = LogNode::following(&format!("redis://{}", proxy.addr()), &["a", "b"]).await;
    for (data, name) in [("1", "a"), ("2", "b"), ("3", "a")] {
        publish(&server, data, &[name]).await;
    }
    node.until_data("3").await;
    node.cut_off(&proxy).await;
    let tops = "fantail-tops:{0}";
    server.command(&["RENAME", tops, "aside"]).await.unwrap();
    publish(&server, "4", &["a"]).await;
    publish(&server, "5", &["c"]).await;
    server.command(&["RENAME", "aside", tops]).await.unwrap();
    proxy.accept().await.unwrap();
    node.until_data("4").await;
    for (data, name) in [("6", "b"), ("7", "a"), ("8", "a")] {
        publish(&server, data, &[name]).await;
    }
    node.until_data("8").await;
    assert_eq!(node.data(), ["1", "2", "3", "4", "6", "7", "8"]);
}

/// 1. Redis keeps an event of a quiet channel, and its message does not come.
/// 2. The newest number of the channel is lost as well, so that the tops do not tell of it.
#[tokio::test]
async fn a_lost_last_event_is_found_though_its_number_was_lost_too() {
    let server = RedisServer::start().await.unwrap();
    let mut node = LogNode::following(&server.url(), &["a", "b"]).await;
    publish(&server, "1", &["a"]).await;
    let id = publish(&server, "2", &["b"]).await;
    node.until_data("2").await;
    let (entry, term) = (format!("{}-3", id.ms), id.term.to_string());
    let add = ["XADD", "fantail-stream:{0}:a", &entry, "t", &term, "p", "1", "e", "{\"data\":\"3\"}"];
    server.command(&add).await.unwrap();
    server.command(&["HSET", "fantail-log:{0}", "number", "3", "last", "3"]).await.unwrap();
    node.until_data("3").await;
}

/// The entries themselves then tell the number before theirs, for who reads them later.
#[tokio::test]
async fn newest_numbers_that_were_set_back_are_not_told_as_the_numbers_before() {
    let server = RedisServer::start().await.unwrap();
    let mut node = LogNode::following(&server.url(), &["a"]).await;
    publish(&server, "1", &["a"]).await;
    let tops = "fantail-tops:{0}";
    server.command(&["RENAME", tops, "aside"]).await.unwrap();
    publish(&server, "2", &["a"]).await;
    server.command(&["RENAME", "aside", tops]).await.unwrap();
    publish(&server, "3", &["b"]).await;
    publish(&server, "4", &["a"]).await;
    node.until_data("4").await;
    let newest = server.command(&["XREVRANGE", "fantail-stream:{0}:a", "+", "-", "COUNT", "1"]).await.unwrap();
    let fields = newest.array().unwrap()[0].array().unwrap()[1].array().unwrap();
    let previous: u64 = fields[3].text().unwrap().parse().unwrap();
    assert!(previous >= 2, "4 says that {previous} was before it");
}

#[tokio::test]
async fn a_stream_that_is_gone_when_the_node_comes_back_is_a_gap() {
    let server = RedisServer::start().await.unwrap();
    let proxy = FaultProxy::start(server.addr()).unwrap();
    let mut node = LogNode::following(&format!("redis://{}", proxy.addr()), &["a", "b"]).await;
    publish(&server, "1", &["a"]).await;
    node.until_data("1").await;
    node.cut_off(&proxy).await;
    publish(&server, "2", &["a"]).await;
    publish(&server, "3", &["b"]).await;
    server.command(&["DEL", "fantail-stream:{0}:a"]).await.unwrap();
    proxy.accept().await.unwrap();
    node.until_data("3").await;
    publish(&server, "4", &["a"]).await;
    node.until_data("4").await;
    assert_eq!(node.told(), ["1 a 1", "gap a 1 trimmed", "gap a 2 trimmed", "3 b 3", "4 a 4"]);
}

/// 1. The node's master becomes a replica of another server. An event is accepted there.
/// 2. It is promoted again before it has heard of the other one, whose event is lost. The node's connections stood.
#[tokio::test]
async fn events_that_another_master_accepted_are_declared_though_the_old_one_numbers_on() {
    let [server, other] = [RedisServer::start().await.unwrap(), RedisServer::start().await.unwrap()];
    let _elsewhere = LogNode::following(&other.url(), &["a"]).await;
    let mut node = LogNode::following(&server.url(), &["a"]).await;
    publish(&server, "1", &["a"]).await;
    node.until_data("1").await;
    server.command(&["REPLICAOF", "127.0.0.1", "1"]).await.unwrap();
    publish(&other, "lost", &["a"]).await;
    server.command(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    node.wait_for("another term", |node| node.told.iter().any(|line| line == "term")).await;
    publish(&server, "2", &["a"]).await;
    node.until_data("2").await;
}

#[tokio::test]
async fn channels_come_and_go_while_redis_is_away() {
    let server = RedisServer::start().await.unwrap();
    let proxy = FaultProxy::start(server.addr()).unwrap();
    let mut node = LogNode::following(&format!("redis://{}", proxy.addr()), &["stays", "leaves"]).await;
    node.cut_off(&proxy).await;
    node.feed.unfollow(&channel("leaves"));
    node.feed.follow(&channel("joins"));
    publish(&server, "1", &["stays", "leaves", "joins"]).await;
    proxy.accept().await.unwrap();
    node.wait_for("the channel", |node| node.told.iter().any(|line| line == "followed joins")).await;
    publish(&server, "2", &["joins", "leaves"]).await;
    node.until_data("2").await;
    assert_eq!(node.told(), ["1 stays 1", "2 joins 2"]);
}

#[tokio::test]
async fn a_channel_of_which_redis_forgot_everything_while_the_node_was_away_is_a_gap() {
    let server = RedisServer::start().await.unwrap();
    let proxy = FaultProxy::start(server.addr()).unwrap();
    let mut node = LogNode::following(&format!("redis://{}", proxy.addr()), &["a", "b"]).await;
    publish(&server, "1", &["a"]).await;
    node.until_data("1").await;
    node.cut_off(&proxy).await;
    publish(&server, "2", &["a"]).await;
    // The effect of eviction, and of the age of events on a channel that is quiet while the node is away for long.
    server.command(&["DEL", "fantail-stream:{0}:a", "fantail-tops:{0}"]).await.unwrap();
    publish(&server, "3", &["b"]).await;
    proxy.accept().await.unwrap();
    node.until_data("3").await;
    publish(&server, "4", &["a"]).await;
    node.until_data("4").await;
    assert!(node.told().iter().any(|line| line.starts_with("gap a")), "2 is missing silently: {:?}", node.told());
}
