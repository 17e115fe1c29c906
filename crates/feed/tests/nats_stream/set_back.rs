//! The stream is another one than before, or an older one: a new term is declared, and no number means two events.

use fantail_feed::FeedState;
use fantail_testkit::FaultProxy;

use crate::log_node::LogNode;
use crate::node::{publish, server_with_stream};

fn terms(node: &LogNode) -> usize {
    node.told().iter().filter(|line| *line == "term").count()
}

#[tokio::test]
async fn a_stream_that_is_made_anew_begins_a_term_and_its_events_come() {
    // Under a connected node, with fewer messages than before, and with more.
    for count in [1, 30] {
        let server = server_with_stream().await;
        let mut node = LogNode::following(&server.url(), &["a"]).await;
        for number in 0..10 {
            publish(&server, &format!("old{number}"), "a").await;
        }
        node.until_data("old9").await;
        server.ask("$JS.API.STREAM.DELETE.EVENTS", "").await.unwrap();
        server.make_stream("EVENTS", "").await.unwrap();
        for number in 0..count {
            publish(&server, &format!("new{number}"), "a").await;
        }
        node.until_data(&format!("new{}", count - 1)).await;
        assert_eq!(terms(&node), 1);
        assert_eq!(node.data().len(), 10 + count, "{:?}", node.told());
        assert_eq!(node.feed.state(), FeedState::Connected);
    }
}

#[tokio::test]
async fn a_stream_that_is_made_anew_while_the_node_is_away_begins_a_term() {
    let server = server_with_stream().await;
    let proxy = FaultProxy::start(server.addr()).unwrap();
    let mut node = LogNode::following(&format!("nats://{}", proxy.addr()), &["a"]).await;
    publish(&server, "old", "a").await;
    node.until_data("old").await;
    node.cut_off(&proxy).await;
    server.ask("$JS.API.STREAM.DELETE.EVENTS", "").await.unwrap();
    server.make_stream("EVENTS", "").await.unwrap();
    for number in 0..5 {
        publish(&server, &format!("new{number}"), "a").await;
    }
    proxy.accept().await.unwrap();
    node.until_data("new4").await;
    assert_eq!(terms(&node), 1);
    assert_eq!(node.data().len(), 6);
}

#[tokio::test]
async fn a_server_that_comes_back_empty_is_waited_for_until_its_stream_is_made() {
    let mut server = server_with_stream().await;
    let mut node = LogNode::following(&server.url(), &["a"]).await;
    publish(&server, "old", "a").await;
    node.until_data("old").await;
    server.restart_empty().await.unwrap();
    node.wait_for("the loss", |node| node.told.iter().any(|line| line == "lost")).await;
    server.make_stream("EVENTS", "").await.unwrap();
    publish(&server, "new", "a").await;
    node.until_data("new").await;
    assert_eq!(node.told(), ["1 a old", "term", "1 a new"]);
}

/// 1. A backup of the server ends at 3, and two nodes come to 6.
/// 2. The server is killed and comes back with the backup.
/// 3. Nothing, or more than was lost, is published before the nodes are back.
#[tokio::test]
async fn a_server_that_comes_back_with_an_older_backup_begins_a_term_that_nodes_agree_on() {
    for published in [0, 5] {
        let mut server = server_with_stream().await;
        for number in 1..=3 {
            publish(&server, &format!("kept{number}"), "a").await;
        }
        server.kill();
        let backup = server.backup().unwrap();
        server.restart().await.unwrap();
        let proxy = FaultProxy::start(server.addr()).unwrap();
        let url = format!("nats://{}", proxy.addr());
        let (mut here, mut there) = (LogNode::following(&url, &["a"]).await, LogNode::following(&url, &["a"]).await);
        for number in 4..=6 {
            publish(&server, &format!("lost{number}"), "a").await;
        }
        here.until_data("lost6").await;
        there.until_data("lost6").await;
        here.cut_off(&proxy).await;
        server.restart_from(&backup).await.unwrap();
        for number in 0..published {
            publish(&server, &format!("between{number}"), "a").await;
        }
        proxy.accept().await.unwrap();
        for node in [&mut here, &mut there] {
            node.wait_for("the term", |node| node.told.iter().any(|line| line == "term")).await;
        }
        publish(&server, "after", "a").await;
        here.until_data("after").await;
        there.until_data("after").await;
        assert_eq!((terms(&here), terms(&there)), (1, 1), "{:?}", here.told());
        let last = |node: &LogNode| *node.intake.lock().ids.last().unwrap();
        assert_eq!(last(&here), last(&there));
    }
}
