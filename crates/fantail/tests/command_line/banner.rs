//! The lines for the person who starts a node: the feed's mode, and commands that work when they are pasted.

use fantail_testkit::child::Child;
use fantail_testkit::{Fantail, PATIENCE, RedisServer};

use crate::node::{node, subscribe, until_ready, until_state};

/// The rest of the line that begins with this word.
fn told(node: &Fantail, word: &str) -> Option<String> {
    let output = node.output().stdout;
    let mut lines = output.lines();
    lines.find_map(|line| Some(line.strip_prefix(word)?.strip_prefix(' ')?.trim_start().to_owned()))
}

/// A node that has printed everything up to the line that begins with `last`.
async fn told_node(flags: &[&str], last: &str) -> Fantail {
    let mut node = node(flags).await;
    node.wait_for_output(&format!("\n{last} "), PATIENCE).await.unwrap();
    node
}

/// Runs a line as a shell does.
async fn paste(line: &str) {
    let mut command = std::process::Command::new("sh");
    let mut child = Child::spawn("a pasted line", command.args(["-c", line])).unwrap();
    let status = child.wait(PATIENCE).await.unwrap();
    assert!(status.success(), "{line}: {:?}", child.output());
}

/// Each of the lines that publish reaches a stream at the address of the line that subscribes.
async fn assert_lines_work(node: &Fantail) {
    until_ready(node, true).await;
    let line = told(node, "subscribe").unwrap();
    assert_eq!(line, format!("curl -N http://{}/sse/demo", node.public()));
    let mut stream = subscribe(node, "/sse/demo").await;
    until_state(node, stream.local_addr().unwrap(), "live").await;
    for word in ["publish", "or"] {
        let Some(line) = told(node, word) else { continue };
        paste(&line).await;
        assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, "hello", "{line}");
    }
}

#[tokio::test]
async fn the_memory_feed_is_named_and_its_line_publishes() {
    let node = told_node(&[], "publish").await;
    assert!(told(&node, "feed").unwrap().starts_with("memory"));
    assert_eq!(told(&node, "or"), None);
    assert_lines_work(&node).await;
}

#[tokio::test]
async fn redis_pub_sub_is_named_and_its_lines_publish() {
    let redis = RedisServer::start().await.unwrap();
    let node = told_node(&["--redis-url", &redis.url()], "or").await;
    assert_eq!(told(&node, "feed").unwrap(), format!("redis pub/sub at {}", redis.addr()));
    let expected = format!("redis-cli -p {} PUBLISH fantail:demo hello", redis.addr().port());
    assert_eq!(told(&node, "or").unwrap(), expected);
    assert_lines_work(&node).await;
}

#[tokio::test]
async fn the_log_is_named_with_its_lanes_and_its_lines_publish() {
    let redis = RedisServer::start().await.unwrap();
    let flags = ["--redis-url", &redis.url(), "--redis-log", "--redis-log-lanes", "orders,users"];
    let node = told_node(&flags, "or").await;
    let expected = format!("the log in redis at {}, lanes 0, orders, users", redis.addr());
    assert_eq!(told(&node, "feed").unwrap(), expected);
    assert!(told(&node, "or").unwrap().contains(" FCALL fantail_publish 1 'fantail-log:{0}' "));
    assert_lines_work(&node).await;
}

#[tokio::test]
async fn a_node_that_everyone_can_reach_says_that_everyone_reads() {
    let warning = "everyone who reaches this address reads every channel";
    for (listen, warned) in [("0.0.0.0:0", 1), ("127.0.0.1:0", 0), ("127.0.0.2:0", 0)] {
        let mut node = node(&["--listen", listen, "--access", "open"]).await;
        node.wait_for_output("serving", PATIENCE).await.unwrap();
        // The warning stands before the line that was waited for.
        let log = node.output().stderr;
        assert_eq!(log.matches(warning).count(), warned, "{listen}: {log}");
    }
}
