//! The lines for the person who starts a node: the feed's mode, and commands that work when they are pasted.

use std::path::Path;

use fantail_testkit::child::Child;
use fantail_testkit::{Certificates, Fantail, PATIENCE, RedisServer};

use crate::keys::{KeyDirectory, SECRET};
use crate::node::{node, publish, subscribe, until_ready, until_state};
use crate::running::run;

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
async fn paste(line: &str) -> String {
    paste_with(line, &[]).await
}

/// The same with these variables. Returns what it prints.
async fn paste_with(line: &str, variables: &[(&str, &Path)]) -> String {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", line]).envs(variables.iter().copied());
    let mut child = Child::spawn("a pasted line", &mut command).unwrap();
    let status = child.wait(PATIENCE).await.unwrap();
    assert!(status.success(), "{line}: {:?}", child.output());
    child.output().stdout
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

/// The words in capitals are replaced, and nothing else but for the end of the stream.
#[tokio::test]
async fn with_tokens_the_lines_show_where_a_token_goes_and_work_with_one() {
    let keys = KeyDirectory::new();
    let (publisher, shown) = ("f".repeat(32), "put your own in place of TOKEN\n");
    let may_publish = format!("{}=publish:*", keys.file("publisher", &publisher));
    let flags = ["--access", "token", "--token-keys", &keys.key("HS256", SECRET), "--internal-tokens", &may_publish];
    let mut node = told_node(&flags, "publish").await;
    node.wait_for_output(shown, PATIENCE).await.unwrap();

    let line = told(&node, "publish").unwrap();
    assert_eq!(line.matches("TOKEN").count(), 1, "{line}");
    paste(&line.replace("TOKEN", &publisher)).await;

    let key = keys.file("mint.key", SECRET);
    let minted = run(&["token", "mint", "--key-file", &key, "--algorithm", "HS256", "--channels", "demo"]).await;
    let line = told(&node, "subscribe").unwrap();
    assert!(line.ends_with("/sse"), "{line}");
    let line = line.replace("TOKEN", minted.stdout.trim());
    assert!(paste(&format!("{line}?replay=1\\&limit=1")).await.contains("data: hello"), "{line}");
}

/// The plain listener lets nobody in, so the line is for the encrypted one.
#[tokio::test]
async fn with_certificates_the_line_shows_where_one_goes_and_is_for_the_encrypted_listener() {
    let certificates = Certificates::make().unwrap();
    let paths = [certificates.server(), certificates.server_key(), certificates.ca()];
    let [cert, key, ca] = paths.each_ref().map(|path| path.to_str().unwrap());
    let tls = ["--tls-listen", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key, "--tls-client-ca", ca];
    let flags = [&["--access", "certificate", "--channel-templates", "of-{dns}"], &tls[..]].concat();
    let mut node = told_node(&flags, "publish").await;
    node.wait_for_output("put your own in place of CLIENT.crt, CLIENT.key\n", PATIENCE).await.unwrap();
    publish(&node, "of-client.example", "hello").await;
    let line = told(&node, "subscribe").unwrap();
    assert!(line.contains(" https://127.0.0.1:"), "{line}");
    let (client, client_key) = (certificates.client(), certificates.client_key());
    let line = line.replace("CLIENT.crt", client.to_str().unwrap()).replace("CLIENT.key", client_key.to_str().unwrap());
    let ca = [("CURL_CA_BUNDLE", paths[2].as_path())];
    assert!(paste_with(&format!("{line}?replay=1\\&limit=1"), &ca).await.contains("data: hello"), "{line}");
}
