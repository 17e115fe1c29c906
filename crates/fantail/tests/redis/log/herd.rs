//! A node is gone and all its clients come to another one: together they cost Redis one read.

use fantail_testkit::{Direction, PATIENCE, RedisServer};
use tokio::task::JoinSet;

use crate::broker::{ask_back, behind_proxy, calls, come_back, logging, publish_all, texts, up_to_live, words};
use crate::node::{metrics, subscribe, until_open};

const CLIENTS: u64 = 500;

#[tokio::test]
async fn many_clients_that_come_to_a_fresh_node_with_one_id_cost_one_read_of_the_stream() {
    let redis = RedisServer::start().await.unwrap();
    let _gone = logging(&redis).await;
    let all = texts("event", 1..=50);
    let ids = publish_all(&redis, "c", &all).await;
    let node = logging(&redis).await;
    let before = calls(&redis, "xrevrange").await;

    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (request, owed) = (ask_back(&node, "/sse/c", &ids[9]), all[10..].to_vec());
        clients.spawn(async move {
            let mut client = request.connect().await.unwrap();
            assert_eq!(client.status(), 200);
            assert_eq!(words(&client.next_events(owed.len(), PATIENCE).await.unwrap()), owed);
            client
        });
    }
    let streams: Vec<_> = clients.join_all().await;
    until_open(&node, streams.len() as u64).await;
    let told = metrics(&node).await;
    assert_eq!(told.count("fantail_feed_recalls_total"), 1);
    assert_eq!(told.count("fantail_recalled_total"), 40, "each event is fetched once");
    assert_eq!(calls(&redis, "xrevrange").await, before + 1);
    assert_eq!(told.count("fantail_encodes_total"), 40, "and encoded once");
}

/// 1. A client asks for the past. Redis answers, and the answer is held up.
/// 2. Many more clients come with the same id.
/// 3. The one answer serves them all.
#[tokio::test]
async fn clients_that_come_while_the_question_is_under_way_wait_for_its_answer() {
    let redis = RedisServer::start().await.unwrap();
    let (node, proxy) = behind_proxy(&redis, &[]).await;
    let all = texts("event", 1..=20);
    let ids = publish_all(&redis, "c", &all).await;
    let _followed = subscribe(&node, "/sse/c").await;
    let before = calls(&redis, "xrevrange").await;
    proxy.pause_direction(Direction::FromTarget);
    let mut clients = vec![ask_back(&node, "/sse/c", &ids[4]).send().await.unwrap()];
    while calls(&redis, "xrevrange").await == before {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        clients.push(ask_back(&node, "/sse/c", &ids[4]).send().await.unwrap());
    }
    until_open(&node, clients.len() as u64 + 1).await;
    proxy.resume();
    for client in &mut clients {
        client.wait_for_head(PATIENCE).await.unwrap();
        assert_eq!(words(&client.next_events(15, PATIENCE).await.unwrap()), all[5..]);
    }
    assert_eq!(calls(&redis, "xrevrange").await, before + 1);
    assert_eq!(metrics(&node).await.count("fantail_feed_recalls_total"), 1);
}

#[tokio::test]
async fn ids_that_nobody_knows_are_not_looked_for_again_by_each_client() {
    let redis = RedisServer::start().await.unwrap();
    let node = logging(&redis).await;
    let all = texts("event", 1..=5);
    publish_all(&redis, "c", &all).await;
    for number in 0..20 {
        let back = come_back(&node, "/sse/c", format!("nobody's {number}")).await;
        assert_eq!(words(&up_to_live(&node, back).await)[1..], all);
    }
    assert_eq!(metrics(&node).await.count("fantail_feed_recalls_total"), 1);
}

#[tokio::test]
async fn clients_with_different_ids_share_what_was_read_for_the_one_that_reached_furthest_back() {
    let redis = RedisServer::start().await.unwrap();
    let node = logging(&redis).await;
    let all = texts("event", 1..=50);
    let ids = publish_all(&redis, "c", &all).await;
    for seen in [0, 10, 25, 48] {
        let mut client = ask_back(&node, "/sse/c", &ids[seen]).connect().await.unwrap();
        assert_eq!(words(&client.next_events(49 - seen, PATIENCE).await.unwrap()), all[seen + 1..]);
    }
    assert_eq!(metrics(&node).await.count("fantail_feed_recalls_total"), 1);
}
