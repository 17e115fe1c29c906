//! Older events are read from the stream, and the answer says from where on it is whole.

use fantail_feed::Recalled;
use fantail_testkit::NatsServer;
use fantail_wire::{Event, EventId, Publication};

use crate::log_node::{LogNode, channel};
use crate::node::{publish, server_with_stream};

/// Asks for `a` up to the newest number, and returns the data and the number above which it is whole.
pub(crate) async fn recall(node: &mut LogNode, above: Option<u64>, events_max: usize) -> (Vec<String>, Option<u64>) {
    let up_to = {
        let mut intake = node.intake.lock();
        intake.recalled.clear();
        let terms = intake.terms.clone().unwrap();
        EventId::new(terms.current, terms.ms, terms.number)
    };
    let above = above.map(|number| EventId::new(up_to.term, 0, number));
    node.feed.recall(&channel("a"), above, up_to, events_max);
    node.wait_for("the answer", |node| node.recalled.contains_key("a")).await;
    let Recalled { entries, from } = node.intake.lock().recalled["a"].clone();
    assert!(entries.iter().all(|(id, _)| id.term == up_to.term && id.ms > 1_700_000_000_000));
    (entries.into_iter().map(|(_, event)| event.data).collect(), from.map(|from| from.number))
}

/// A node that has come to number 10: 2, 4, 6, 8 and 10 are of `a`, 9 is of `a` and others.
async fn node_at_ten(server: &NatsServer) -> LogNode {
    let node = LogNode::following(&server.url(), &["x"]).await;
    for number in 1..=8 {
        publish(server, &number.to_string(), if number % 2 == 0 { "a" } else { "b" }).await;
    }
    let both = Publication::new([channel("b"), channel("a")], Event::text("9"));
    node.feed.publish(&both).await.unwrap();
    publish(server, "10", "a").await;
    let mut node = LogNode::following(&server.url(), &["x"]).await;
    node.follow(&["y"]).await;
    node
}

#[tokio::test]
async fn a_recall_brings_the_newest_events_above_a_place_in_order() {
    let server = server_with_stream().await;
    let mut node = node_at_ten(&server).await;
    assert_eq!(recall(&mut node, Some(4), 100).await, (["6", "8", "9", "10"].map(str::to_owned).to_vec(), Some(4)));
    assert_eq!(recall(&mut node, None, 100).await.0.len(), 6);
    assert_eq!(recall(&mut node, None, 2).await, (["9", "10"].map(str::to_owned).to_vec(), Some(8)));
    assert_eq!(recall(&mut node, Some(10), 100).await, (Vec::new(), Some(10)));
}

#[tokio::test]
async fn messages_that_are_gone_from_the_stream_are_told_by_the_place_from_which_an_answer_is_whole() {
    let server = server_with_stream().await;
    let mut node = node_at_ten(&server).await;
    server.ask("$JS.API.STREAM.PURGE.EVENTS", "{\"seq\":5}").await.unwrap();
    assert_eq!(recall(&mut node, Some(2), 100).await, (["6", "8", "9", "10"].map(str::to_owned).to_vec(), Some(4)));
    server.ask("$JS.API.STREAM.MSG.DELETE.EVENTS", "{\"seq\":7}").await.unwrap();
    assert_eq!(recall(&mut node, Some(2), 100).await, (["8", "9", "10"].map(str::to_owned).to_vec(), Some(7)));
    server.ask("$JS.API.STREAM.PURGE.EVENTS", "").await.unwrap();
    assert_eq!(recall(&mut node, Some(2), 100).await, (Vec::new(), Some(10)));
}

/// 1. The node has come to 10, and 9 is of `a` and others.
/// 2. More events for several channels come than one recall reads.
/// 3. A client asks for what `a` had up to 10.
#[tokio::test]
async fn however_much_stands_behind_it_a_recall_reads_what_is_asked_for() {
    let server = server_with_stream().await;
    let mut node = node_at_ten(&server).await;
    let terms = node.intake.lock().terms.clone().unwrap();
    let mut publisher = server.connection().await.unwrap();
    for _ in 0..(1 << 16) + 10 {
        publisher.send_with_headers("fantail.%several", &["Fantail-Channels: b,c"], b"").await.unwrap();
    }
    publisher.settle().await.unwrap();
    let up_to = EventId::new(terms.current, terms.ms, 10);
    node.feed.recall(&channel("a"), Some(EventId::new(terms.current, 0, 4)), up_to, 100);
    node.wait_for("the answer", |node| node.recalled.contains_key("a")).await;
    let Recalled { entries, from } = node.intake.lock().recalled["a"].clone();
    let data: Vec<_> = entries.into_iter().map(|(_, event)| event.data).collect();
    assert_eq!((data, from.map(|from| from.number)), (["6", "8", "9", "10"].map(str::to_owned).to_vec(), Some(4)));
}

/// The headers of an older event of `a` end every connection that brings it.
#[tokio::test]
async fn a_recall_that_ends_every_connection_is_answered_as_missing() {
    let server = server_with_stream().await;
    publish(&server, "1", "a").await;
    let mut publisher = server.connection().await.unwrap();
    publisher.send(b"HPUB fantail.a 22 23\r\nNATS/1.0\r\nno colon\r\n\r\nx\r\n").await.unwrap();
    publisher.settle().await.unwrap();
    publish(&server, "3", "a").await;
    let mut node = LogNode::following(&server.url(), &["b"]).await;
    assert_eq!(recall(&mut node, None, 100).await, (Vec::new(), Some(3)));
    publish(&server, "4", "b").await;
    node.until_data("4").await;
}

/// 1. The node has come to 10 of the stream.
/// 2. The stream is deleted and made anew, and as many messages come as it had. The node's consumer is gone, which it has
///    not noticed yet.
/// 3. A client comes back with 4, for a channel that the node does not follow.
#[tokio::test]
async fn a_recall_brings_nothing_of_a_stream_that_has_taken_the_place_of_the_one_it_was_asked_of() {
    let server = server_with_stream().await;
    let mut node = node_at_ten(&server).await;
    server.ask("$JS.API.STREAM.DELETE.EVENTS", "").await.unwrap();
    server.make_stream("EVENTS", "").await.unwrap();
    for number in 1..=12 {
        publish(&server, &format!("new{number}"), "a").await;
    }
    assert_eq!(recall(&mut node, Some(4), 100).await, (Vec::new(), Some(10)));
    let told = node.told();
    assert!(told.iter().any(|line| line == "term"), "the other stream was not noticed: {told:?}");
}

#[tokio::test]
async fn a_recall_over_an_outage_is_answered_once_nats_is_back() {
    let mut server = server_with_stream().await;
    let mut node = node_at_ten(&server).await;
    server.kill();
    node.wait_for("the loss", |node| node.told.iter().any(|line| line == "lost")).await;
    let terms = node.intake.lock().terms.clone().unwrap();
    let up_to = EventId::new(terms.current, terms.ms, 10);
    node.feed.recall(&channel("a"), None, up_to, 100);
    server.restart().await.unwrap();
    node.wait_for("the answer", |node| node.recalled.contains_key("a")).await;
    assert_eq!(node.intake.lock().recalled["a"].entries.len(), 6);
}

#[tokio::test]
async fn a_consumer_of_a_recall_is_gone_when_it_is_answered() {
    let server = server_with_stream().await;
    let mut node = node_at_ten(&server).await;
    for _ in 0..5 {
        recall(&mut node, None, 100).await;
    }
    let looking = async {
        loop {
            let names = server.ask("$JS.API.CONSUMER.NAMES.EVENTS", "").await.unwrap();
            if names.contains("\"total\":1,") {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(fantail_testkit::PATIENCE, looking).await.expect("the node's own consumer alone is left");
}
