//! The program reaches Redis with TLS, as an ACL user, and through a Sentinel, and shows no secret on the way.

use std::fs;
use std::path::{Path, PathBuf};

use fantail_testkit::{Certificates, End, Fantail, PATIENCE, RedisSentinel, RedisServer, SseClient};

use crate::broker::{assert_gap, assert_ok, data};
use crate::node::{FANTAIL, ask, metrics, node, publish, subscribe, until_ready};

/// Every secret of these tests begins with this, and no output may show it.
const CANARY: &str = "hunter2";
const USER: &str = "ACL SETUSER edge on >hunter2-of-edge resetchannels -@all +subscribe +unsubscribe +publish \
    &fantail:* &fantail-event:* &fantail-service:*";

fn file_with(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    path
}

async fn make_user(redis: &RedisServer) {
    let words: Vec<_> = USER.split_whitespace().collect();
    assert_ok(&redis.command(&words).await.unwrap());
}

/// Checks everything that this node prints, logs or answers.
async fn assert_no_secret(node: &Fantail) {
    let (config, metrics) = (ask(node, "GET", "/config").await.text(), metrics(node).await.0);
    assert!(config.contains("redis_password_file"), "{config}");
    let output = node.output();
    for shown in [config, metrics, output.stdout, output.stderr] {
        assert!(!shown.contains(CANARY), "a secret is shown:\n{shown}");
    }
}

/// An event from another publisher and one through the node itself.
async fn assert_served(node: &Fantail, redis: &RedisServer) {
    until_ready(node, true).await;
    let mut stream = subscribe(node, "/sse/c").await;
    assert_eq!(redis.publish("fantail:c", "one").await.unwrap(), 1);
    publish(node, "c", "two").await;
    assert_eq!(data(&mut stream, 2).await, ["one", "two"]);
}

#[tokio::test]
async fn events_come_through_tls_with_a_client_certificate_and_a_password_from_a_file() {
    let certificates = Certificates::make().unwrap();
    let redis = RedisServer::start_tls(&certificates, true, &[]).await.unwrap();
    make_user(&redis).await;
    let directory = tempfile::tempdir().unwrap();
    let password = file_with(directory.path(), "password", "hunter2-of-edge\n");
    let url = format!("rediss://localhost:{}", redis.tls_addr().port());
    let files = [password, certificates.ca(), certificates.client(), certificates.client_key()];
    let [password, ca, certificate, key] = files.map(|path| path.display().to_string());
    let flags = ["--redis-url", &url, "--redis-username", "edge", "--redis-password-file", &password];
    let tls = ["--redis-tls-ca", &ca, "--redis-tls-cert", &certificate, "--redis-tls-key", &key];
    let node = node(&[&flags[..], &tls, &["--log-level", "trace"]].concat()).await;
    assert_served(&node, &redis).await;
    assert_no_secret(&node).await;
}

/// 1. A node finds its Redis by a Sentinel with a password; a stream gets an event.
/// 2. The master dies. The Sentinel makes the replica the master.
/// 3. The stream gets a gap, in its place, and then the events of the new master.
#[tokio::test]
async fn a_failover_is_a_gap_and_later_events_arrive() {
    let mut master = RedisServer::start().await.unwrap();
    let replica = RedisServer::start_replica_of(&master, &[]).await.unwrap();
    let sentinel = RedisSentinel::start_with(&master, 1, &["requirepass hunter2-of-the-sentinel"]).await.unwrap();
    for redis in [&master, &replica] {
        make_user(redis).await;
    }
    let addr = sentinel.addr().to_string();
    let flags = ["serve", "--workers", "2", "--log-level", "trace", "--redis-sentinels", &addr];
    let flags = [&flags[..], &["--redis-sentinel-master", RedisSentinel::MASTER, "--redis-username", "edge"]].concat();
    let secrets =
        [("FANTAIL_REDIS_PASSWORD", "hunter2-of-edge"), ("FANTAIL_REDIS_SENTINEL_PASSWORD", "hunter2-of-the-sentinel")];
    let node = Fantail::start(FANTAIL, &flags, &secrets).await.unwrap();
    assert_served(&node, &master).await;
    let mut stream = subscribe(&node, "/sse/c").await;

    master.kill();
    sentinel.wait_for_master(replica.addr()).await.unwrap();
    replica.wait_for_subscribers("fantail:c", 1).await.unwrap();
    replica.publish("fantail:c", "after").await.unwrap();
    let events = stream.next_events(2, PATIENCE).await.unwrap();
    assert_gap(&events[0], "c", "outage");
    assert_eq!(events[1].data, "after");
    until_ready(&node, true).await;
    assert_no_secret(&node).await;
}

#[tokio::test]
async fn a_channel_that_the_user_may_not_read_is_shed_told_and_counted_and_others_are_served() {
    let redis = RedisServer::start().await.unwrap();
    make_user(&redis).await;
    let few = ["ACL", "SETUSER", "edge", "resetchannels", "&fantail-service:*", "&fantail:c", "&fantail-event:c"];
    assert_ok(&redis.command(&few).await.unwrap());
    let url = format!("redis://edge:hunter2-of-edge@{}", redis.addr());
    let mut node = node(&["--redis-url", &url, "--follow-deadline", "200ms"]).await;
    until_ready(&node, true).await;
    let mut closed = SseClient::connect(node.public(), "/sse/closed").await.unwrap();
    let (told, end) = closed.read_until_end(PATIENCE).await.unwrap();
    assert_eq!((told[0].event.as_str(), told.len(), end), ("fantail.close", 1, End::Clean));
    node.wait_for_output("redis does not permit this node to follow the channel", PATIENCE).await.unwrap();
    assert_eq!(metrics(&node).await.count("fantail_follows_refused_total"), 1);
    assert_served(&node, &redis).await;
    assert_eq!(metrics(&node).await.count("fantail_feed_connect_failures_total"), 0);
}

#[tokio::test]
async fn an_event_is_published_from_the_shell_through_tls_and_through_a_sentinel() {
    let certificates = Certificates::make().unwrap();
    let redis = RedisServer::start_tls(&certificates, false, &["--requirepass", "hunter2-of-all"]).await.unwrap();
    let auth = format!("sentinel auth-pass {} hunter2-of-all", RedisSentinel::MASTER);
    let sentinel = RedisSentinel::start_with(&redis, 0, &[&auth]).await.unwrap();
    let mut spy = redis.connection().await.unwrap();
    spy.command(&["SUBSCRIBE", "fantail:c"]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let password = file_with(directory.path(), "password", "hunter2-of-all\n").display().to_string();
    let (ca, url) = (certificates.ca().display().to_string(), format!("rediss://{}", redis.tls_addr()));
    let sentinel = sentinel.addr().to_string();
    for flags in [
        ["--redis-url", &url, "--redis-tls-ca", &ca],
        ["--redis-sentinels", &sentinel, "--redis-sentinel-master", RedisSentinel::MASTER],
    ] {
        let arguments = [&["publish", "--redis-password-file", &password][..], &flags, &["c", "x"]].concat();
        let (status, output) = Fantail::run_to_end(FANTAIL, &arguments, &[]).await.unwrap();
        assert_eq!((status.code(), output.stdout.as_str()), (Some(0), "{\"subscribers\":1}\n"), "{output:?}");
        assert_eq!(spy.reply().await.unwrap().array().unwrap()[2].text().unwrap(), "x");
    }
}

#[tokio::test]
async fn contradictory_or_unreadable_redis_settings_end_the_start_with_every_reason() {
    let directory = tempfile::tempdir().unwrap();
    let empty = file_with(directory.path(), "empty", "").display().to_string();
    let url = "rediss://:hunter2@127.0.0.1";
    let table: [(&[&str], &[&str]); 4] = [
        (
            &["--redis-url", url, "--redis-password", "hunter2-again", "--redis-tls-cert", "/x"],
            &["beside a password in redis_url", "redis_tls_cert (/x, --redis-tls-cert) must be given together with"],
        ),
        (&["--redis-url", url, "--redis-tls-ca", "/no/such/ca.pem"], &["redis_tls_ca /no/such/ca.pem: cannot be read"]),
        (&["--redis-url", "redis://db", "--redis-password-file", &empty], &["redis_password_file", "is empty"]),
        (&["--redis-url", "rediss://db#insecure"], &["certificates are always checked"]),
    ];
    for (flags, reasons) in table {
        let (status, output) = Fantail::run_to_end(FANTAIL, &[&["serve"], flags].concat(), &[]).await.unwrap();
        assert_eq!(status.code(), Some(2), "{output:?}");
        for reason in reasons {
            assert!(output.stderr.contains(reason), "{reason:?} in\n{}", output.stderr);
        }
        assert!(!output.stderr.contains(CANARY), "{}", output.stderr);
    }
}
