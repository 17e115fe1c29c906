//! All keys of the log go back at once under a node that follows it, with functions in Redis and with the script, which
//! cannot remember the numbers that it gave.

use fantail_feed::RedisPublisher;
use fantail_testkit::{FaultProxy, RedisServer};
use fantail_wire::{EventFields, EventId, Publication};

use crate::log_node::{LogNode, channel};
use crate::node::settings;

/// All keys are kept in another database, from where they are put back by `SWAPDB`.
const KEEP: [&str; 3] =
    ["EVAL", "for _, key in ipairs(redis.call('KEYS', 'fantail-*')) do redis.call('COPY', key, key, 'DB', 1) end", "0"];
const PUT_BACK: [&str; 3] = ["SWAPDB", "0", "1"];

struct SetBackLog {
    server: RedisServer,
    publisher: RedisPublisher,
}

impl SetBackLog {
    async fn start(has_functions: bool) -> Self {
        let without = ["--rename-command", "FCALL", "", "--rename-command", "FUNCTION", ""];
        let server = RedisServer::start_with(if has_functions { &[] } else { &without }).await.unwrap();
        let publisher = RedisPublisher::connect(settings(&server.url())).await.unwrap();
        Self { server, publisher }
    }

    async fn publish(&mut self, data: &str, name: &str) -> EventId {
        let event = EventFields { data: data.into(), ..EventFields::default() }.validate().unwrap();
        let receipt = self.publisher.publish(&Publication::new([channel(name)], event)).await.unwrap();
        receipt.id.unwrap()
    }
}

async fn until_term(node: &mut LogNode) {
    node.wait_for("another term", |node| node.told.iter().any(|line| line == "term")).await;
}

/// 1. The node follows up to number 5. All keys go back to number 2.
/// 2. Numbers 3 to 5 are given again: events that the node would take for those that it has.
#[tokio::test]
async fn events_with_numbers_that_a_node_has_seen_of_others_are_declared() {
    for has_functions in [true, false] {
        let mut log = SetBackLog::start(has_functions).await;
        let mut node = LogNode::following(&log.server.url(), &["a", "b"]).await;
        log.publish("1", "a").await;
        log.publish("2", "b").await;
        log.server.command(&KEEP).await.unwrap();
        for data in ["3", "4", "5"] {
            log.publish(data, "a").await;
        }
        node.until_data("5").await;
        log.server.command(&PUT_BACK).await.unwrap();
        for data in ["again-3", "again-4", "again-5"] {
            log.publish(data, "a").await;
        }
        until_term(&mut node).await;
        log.publish("last", "b").await;
        node.until_data("last").await;
        assert_eq!(node.data()[..5], ["1", "2", "3", "4", "5"], "functions: {has_functions}");
        let current = node.intake.lock().terms.clone().unwrap().current;
        let newest = log.publish("newest", "a").await;
        assert_eq!(newest.term, current, "functions: {has_functions}");
    }
}

/// The same while nobody publishes: the node finds out when it asks how far Redis is.
#[tokio::test]
async fn a_numbering_that_went_back_is_found_out_without_an_event() {
    for has_functions in [true, false] {
        let mut log = SetBackLog::start(has_functions).await;
        let mut node = LogNode::following(&log.server.url(), &["a"]).await;
        log.publish("1", "a").await;
        log.server.command(&KEEP).await.unwrap();
        log.publish("2", "a").await;
        node.until_data("2").await;
        log.server.command(&PUT_BACK).await.unwrap();
        until_term(&mut node).await;
    }
}

/// 1. The node has seen number 3, and is cut off. All keys go back to number 1, and number 2 is given again.
/// 2. It comes back, and says how far it had seen.
#[tokio::test]
async fn a_node_that_was_away_when_the_numbering_went_back_is_told_of_another_term() {
    for has_functions in [true, false] {
        let mut log = SetBackLog::start(has_functions).await;
        let proxy = FaultProxy::start(log.server.addr()).unwrap();
        let mut node = LogNode::following(&format!("redis://{}", proxy.addr()), &["a"]).await;
        log.publish("1", "a").await;
        log.server.command(&KEEP).await.unwrap();
        log.publish("2", "a").await;
        log.publish("3", "a").await;
        node.until_data("3").await;
        node.cut_off(&proxy).await;
        log.server.command(&PUT_BACK).await.unwrap();
        log.publish("again-2", "a").await;
        proxy.accept().await.unwrap();
        until_term(&mut node).await;
        log.publish("last", "a").await;
        node.until_data("last").await;
    }
}
