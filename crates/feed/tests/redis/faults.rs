//! Redis dies, freezes, refuses, or answers without delivering: the node learns it and comes back by itself.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use fantail_feed::{FeedState, PublishError, RedisSettings};
use fantail_testkit::proxy::Cut;
use fantail_testkit::{Direction, FaultProxy, RedisServer};
use parking_lot::Mutex;

use crate::feed_node::{FeedNews, FeedNode, channel, eventually, publication, text};

const CONNECTED: FeedNews = FeedNews::State(FeedState::Connected);
const CONNECTING: FeedNews = FeedNews::State(FeedState::Connecting);

/// Settings for faults that show only as silence, so that the test need not be as patient as production.
fn impatient(url: &str) -> RedisSettings {
    let mut settings = RedisSettings::parse(url).unwrap();
    settings.probe_interval = Duration::from_millis(200);
    settings.response_deadline = Duration::from_millis(500);
    settings.connect_deadline = Duration::from_millis(500);
    settings
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

/// Waits for the `times`-th loss and the confirmations of all `names` after it.
async fn back_after_loss(node: &mut FeedNode, times: usize, names: &[String]) {
    node.wait_for("the loss and the return of all channels", |told| {
        let losses: Vec<_> = (0..told.len()).filter(|at| told[*at] == FeedNews::Lost).collect();
        losses.get(times - 1).is_some_and(|loss| {
            let since: std::collections::HashSet<_> = told[*loss..]
                .iter()
                .filter_map(|told| match told {
                    FeedNews::Followed(name) => Some(name.as_str()),
                    _ => None,
                })
                .collect();
            names.iter().all(|name| since.contains(name.as_str()))
        })
    })
    .await;
    node.wait_for("the state", |told| {
        told.iter().rev().find(|told| matches!(told, FeedNews::State(_))) == Some(&CONNECTED)
    })
    .await;
}

#[tokio::test]
async fn after_a_kill_of_redis_every_channel_is_confirmed_anew_and_delivers() {
    let mut server = RedisServer::start().await.unwrap();
    let names: Vec<_> = (0..2_000).map(|number| format!("c{number}")).collect();
    let mut node = FeedNode::following(&server.url(), &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(node.feed.state(), FeedState::Connected);
    server.kill();
    node.wait_for("the loss", |told| told.contains(&FeedNews::Lost)).await;
    assert_eq!(node.feed.state(), FeedState::Connecting);
    // Wishes while there is no Redis count when it is back.
    node.feed.unfollow(&channel("c0"));
    node.feed.follow(&channel("new"));
    server.restart().await.unwrap();

    let wanted: Vec<_> = names[1..].iter().cloned().chain(["new".to_string()]).collect();
    back_after_loss(&mut node, 1, &wanted).await;
    for name in ["c0", "c1", "c1999", "new"] {
        server.publish(&format!("fantail:{name}"), name).await.unwrap();
    }
    assert_eq!(node.data(3).await, ["c1", "c1999", "new"]);
    let counters = node.feed.counters();
    assert_eq!((count(&counters.outages), count(&counters.reconnects)), (1, 1));
    assert_eq!((node.times(&FeedNews::Lost), node.times(&CONNECTING), node.times(&CONNECTED)), (1, 1, 2));
}

#[tokio::test]
async fn a_subscription_that_is_cut_again_and_again_comes_back_each_time() {
    let server = RedisServer::start().await.unwrap();
    let names = ["a".to_string(), "b".to_string()];
    let mut node = FeedNode::following(&server.url(), &["a", "b"]).await;
    for times in 1..=5 {
        server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.unwrap();
        back_after_loss(&mut node, times, &names).await;
        let receipt = node.feed.publish(&publication(&["a", "b"], text(times.to_string()))).await.unwrap();
        assert_eq!(receipt.subscribers, Some(1));
        assert_eq!(node.data(times).await.len(), times);
    }
    assert_eq!(node.data(5).await, ["1", "2", "3", "4", "5"]);
}

#[tokio::test]
async fn a_connection_cut_in_the_middle_of_a_message_delivers_nothing_of_it() {
    let server = RedisServer::start().await.unwrap();
    let proxy = FaultProxy::start(server.addr()).unwrap();
    let mut node = FeedNode::following(&format!("redis://{}", proxy.addr()), &["a"]).await;
    proxy.slice(100, Duration::from_millis(1));
    server.publish("fantail:a", "whole").await.unwrap();
    assert_eq!(node.data(1).await, ["whole"]);
    server.publish("fantail:a", "x".repeat(1 << 20)).await.unwrap();
    proxy.cut(Cut::Reset).await.unwrap();
    proxy.pass();
    back_after_loss(&mut node, 1, &["a".into()]).await;
    server.publish("fantail:a", "next").await.unwrap();
    assert_eq!(node.data(2).await, ["whole", "next"]);
}

/// 1. A node subscribes on server A.
/// 2. A failover: the address leads to B now, the connection that publishes moves there, the subscription does not
///    notice and stays on A, open and silent.
/// 3. The probe, sent to B, does not come back: the subscription is given up and made anew on B.
#[tokio::test]
async fn a_subscription_that_stays_open_but_hears_nothing_is_found_out() {
    let old = RedisServer::start().await.unwrap();
    let new = RedisServer::start().await.unwrap();
    let proxy = FaultProxy::start(old.addr()).unwrap();
    let mut node = FeedNode::start_with(impatient(&format!("redis://{}", proxy.addr())));
    node.follow(&["a"]).await;
    proxy.retarget(new.addr());
    old.command(&["CLIENT", "KILL", "TYPE", "normal"]).await.unwrap();
    back_after_loss(&mut node, 1, &["a".into()]).await;
    new.publish("fantail:a", "x").await.unwrap();
    assert_eq!(node.data(1).await, ["x"]);
    assert!(count(&node.feed.counters().probes_lost) >= 1);
    assert_eq!(old.pubsub_numsub("fantail:a").await.unwrap(), 0);
}

#[tokio::test]
async fn a_subscription_that_hears_its_probes_is_left_alone() {
    let server = RedisServer::start().await.unwrap();
    let mut settings = RedisSettings::parse(&server.url()).unwrap();
    settings.probe_interval = Duration::from_millis(20);
    let mut node = FeedNode::start_with(settings);
    node.follow(&["a"]).await;
    let publishes = async || {
        let stats = server.command(&["INFO", "commandstats"]).await.unwrap().text().unwrap();
        let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_publish:calls="));
        calls.and_then(|rest| rest.split(',').next()).map_or(0, |calls| calls.parse().unwrap())
    };
    eventually("twenty probes", async || publishes().await >= 20_u64).await;
    assert_eq!((node.times(&FeedNews::Lost), count(&node.feed.counters().probes_lost)), (0, 0));
}

#[tokio::test]
async fn a_confirmation_that_does_not_come_is_a_loss() {
    let server = RedisServer::start().await.unwrap();
    let proxy = FaultProxy::start(server.addr()).unwrap();
    let mut settings = impatient(&format!("redis://{}", proxy.addr()));
    // Not the probe shall find it.
    settings.probe_interval = Duration::from_mins(10);
    let mut node = FeedNode::start_with(settings);
    node.follow(&["a"]).await;
    proxy.pause_direction(Direction::FromTarget);
    node.feed.follow(&channel("b"));
    node.wait_for("the loss", |told| told.contains(&FeedNews::Lost)).await;
    assert_eq!(node.times(&FeedNews::Followed("b".into())), 0);
    proxy.pass();
    back_after_loss(&mut node, 1, &["a".into(), "b".into()]).await;
}

#[tokio::test]
async fn without_redis_publishing_fails_soon_and_works_again_when_it_is_back() {
    let mut server = RedisServer::start().await.unwrap();
    let mut node = FeedNode::following(&server.url(), &["a"]).await;
    server.kill();
    let failed = node.feed.publish(&publication(&["a"], text("lost"))).await;
    assert!(matches!(failed, Err(PublishError::Unavailable(_))), "{failed:?}");
    server.restart().await.unwrap();
    back_after_loss(&mut node, 1, &["a".into()]).await;
    eventually("publishing", async || node.feed.publish(&publication(&["a"], text("x"))).await.is_ok()).await;
    assert_eq!(node.data(1).await, ["x"]);
}

#[tokio::test]
async fn a_frozen_redis_lets_no_publisher_wait_for_ever() {
    let server = RedisServer::start().await.unwrap();
    let mut settings = RedisSettings::parse(&server.url()).unwrap();
    settings.response_deadline = Duration::from_millis(300);
    let mut node = FeedNode::start_with(settings);
    node.follow(&["a"]).await;
    eventually("the first event", async || node.feed.publish(&publication(&["a"], text("1"))).await.is_ok()).await;
    server.stop_signal().unwrap();
    let failed = node.feed.publish(&publication(&["a"], text("2"))).await;
    assert!(matches!(&failed, Err(PublishError::Unavailable(why)) if why.contains("in time")), "{failed:?}");
    server.cont().unwrap();
    eventually("publishing", async || node.feed.publish(&publication(&["a"], text("3"))).await.is_ok()).await;
    // The unanswered one may have been taken, and was not repeated.
    node.wait_for("the last event", |told| matches!(told.last(), Some(FeedNews::Event(_, event)) if event.data == "3"))
        .await;
    assert!(node.events().len() <= 3);
    assert_eq!(node.times(&FeedNews::Lost), 0, "a pause is no loss");
}

#[tokio::test]
async fn a_wrong_password_is_logged_without_being_shown_and_tried_again_until_it_is_right() {
    let server = RedisServer::start_with(&["--requirepass", "right"]).await.unwrap();
    // For the whole process, since a subscriber for one thread misses call sites that other tests reach first.
    let log = Arc::new(Mutex::new(Vec::new()));
    let writer = Arc::clone(&log);
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || LogLines(Arc::clone(&writer))).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let ours = || {
        let text = String::from_utf8(log.lock().clone()).unwrap();
        assert!(!text.contains("hunter2"), "{text}");
        let address = server.addr().to_string();
        text.lines().filter(|line| line.contains(&address)).collect::<Vec<_>>().join("\n")
    };

    let mut node = FeedNode::start(&format!("redis://:hunter2@{}", server.addr()));
    node.feed.follow(&channel("a"));
    eventually("three failures", async || count(&node.feed.counters().connect_failures) >= 3).await;
    assert_eq!(node.feed.state(), FeedState::Connecting);
    assert_eq!(node.times(&FeedNews::Lost), 0, "nothing was had that could be lost");
    let lines = ours();
    assert!(lines.contains("ERROR") && lines.contains("cannot connect to redis"), "{lines}");
    assert!(lines.contains("WRONGPASS") || lines.contains("uthentication"), "{lines}");

    server.command(&["CONFIG", "SET", "requirepass", "hunter2"]).await.unwrap();
    node.wait_for("the connection", |told| told.contains(&CONNECTED)).await;
    assert_eq!(node.times(&FeedNews::Followed("a".into())), 1);
    assert!(ours().contains("connected to redis"), "{}", ours());
}

#[tokio::test]
async fn a_dropped_feed_leaves_no_connection_behind() {
    let server = RedisServer::start().await.unwrap();
    let node = FeedNode::following(&server.url(), &["a"]).await;
    drop(node);
    server.wait_for_subscribers("fantail:a", 0).await.unwrap();
    eventually("the end of both connections", async || {
        let clients = server.command(&["CLIENT", "LIST"]).await.unwrap().text().unwrap();
        clients.lines().count() == 1
    })
    .await;
}

/// A writer for log lines.
struct LogLines(Arc<Mutex<Vec<u8>>>);

impl Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
