//! A node starts though Redis refuses it or is away. It says so, and is ready as soon as it can be.

use fantail_testkit::{Fantail, PATIENCE, RedisServer, SseClient};

use crate::broker::assert_ok;
use crate::node::{ask, node, publish, read_to_close, subscribe, until_ready};

const NOT_THE_PASSWORD: &str = "hunter2-is-wrong";

/// The node serves, but no streams: a browser is told to come back.
async fn assert_unready(node: &Fantail) {
    until_ready(node, false).await;
    assert_eq!(ask(node, "GET", "/livez").await.status, 200);
    assert_eq!(ask(node, "GET", "/readyz").await.json().unwrap()["feed"], "connecting");
    let mut browser = SseClient::connect(node.public(), "/sse/c").await.unwrap();
    assert_eq!((browser.status(), read_to_close(&mut browser).await), (200, (vec![], "follow-timeout".to_owned())));
}

async fn assert_served(node: &Fantail) {
    until_ready(node, true).await;
    let mut stream = subscribe(node, "/sse/c").await;
    publish(node, "c", "at last").await;
    assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, "at last");
}

#[tokio::test]
async fn a_wrong_password_is_told_but_not_shown_and_the_right_one_is_found_out() {
    let redis = RedisServer::start_with(&["--requirepass", "the-right-one"]).await.unwrap();
    let url = format!("redis://:{NOT_THE_PASSWORD}@{}", redis.addr());
    let mut node = node(&["--redis-url", &url, "--follow-deadline", "100ms", "--log-level", "trace"]).await;
    node.wait_for_output("cannot connect to redis", PATIENCE).await.unwrap();
    assert_unready(&node).await;

    let settings = ask(&node, "GET", "/config").await.text();
    assert!(settings.contains(&redis.addr().to_string()), "{settings}");
    let command = ["CONFIG", "SET", "requirepass", NOT_THE_PASSWORD];
    assert_ok(&redis.command(&command).await.unwrap());
    assert_served(&node).await;
    let output = node.output();
    assert!(output.stdout.contains("serves with"), "{}", output.stdout);
    for shown in [settings, output.stdout, output.stderr] {
        assert!(!shown.contains(NOT_THE_PASSWORD), "the password is shown:\n{shown}");
    }
}

#[tokio::test]
async fn a_redis_that_appears_later_is_found() {
    let mut redis = RedisServer::start().await.unwrap();
    redis.kill();
    let mut node = node(&["--redis-url", &redis.url(), "--follow-deadline", "100ms"]).await;
    node.wait_for_output("cannot connect to redis", PATIENCE).await.unwrap();
    assert_unready(&node).await;
    redis.restart().await.unwrap();
    assert_served(&node).await;
    assert_eq!(
        crate::node::metrics(&node).await.count("fantail_outages_total"),
        0,
        "nothing was lost: it never was there"
    );
}
