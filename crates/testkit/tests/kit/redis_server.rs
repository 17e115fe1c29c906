//! The kit's Redis against the real redis-server.

use std::time::Duration;

use fantail_testkit::{Error, PATIENCE, RedisServer, Reply};
use tokio::net::TcpStream;

#[tokio::test]
async fn commands_get_their_replies() {
    let redis = RedisServer::start().await.unwrap();
    assert_eq!(redis.command(&["PING"]).await.unwrap(), Reply::Simple("PONG".into()));
    assert_eq!(redis.command(&["SET", "key", "value\r\n"]).await.unwrap(), Reply::Simple("OK".into()));
    assert_eq!(redis.command(&["GET", "key"]).await.unwrap(), Reply::Bulk(b"value\r\n".to_vec()));
    assert_eq!(redis.command(&["GET", "none"]).await.unwrap(), Reply::Nil);
    assert_eq!(redis.command(&["INCR", "n"]).await.unwrap().integer(), Some(1));
    assert!(matches!(redis.command(&["NONSENSE"]).await.unwrap(), Reply::Error(_)));
    let both = redis.command(&["MGET", "key", "none"]).await.unwrap();
    assert_eq!(both.array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_gets_what_is_published_byte_for_byte() {
    let redis = RedisServer::start().await.unwrap();
    assert_eq!(redis.publish("news", b"nobody hears").await.unwrap(), 0);
    let mut subscriber = redis.connection().await.unwrap();
    subscriber.command(&["SUBSCRIBE", "news"]).await.unwrap();
    redis.wait_for_subscribers("news", 1).await.unwrap();
    assert_eq!(redis.publish("news", b"\x00\xff\r\n").await.unwrap(), 1);
    let message = subscriber.reply().await.unwrap();
    assert_eq!(message.array().unwrap()[2], Reply::Bulk(b"\x00\xff\r\n".to_vec()));
    drop(subscriber);
    redis.wait_for_subscribers("news", 0).await.unwrap();
    assert_eq!(redis.pubsub_numsub("news").await.unwrap(), 0);
}

#[tokio::test]
async fn a_killed_server_refuses_and_comes_back_empty_on_its_port() {
    let mut redis = RedisServer::start().await.unwrap();
    redis.command(&["SET", "key", "1"]).await.unwrap();
    let (url, pid) = (redis.url(), redis.pid());
    redis.kill();
    let refused = TcpStream::connect(redis.addr()).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    redis.restart().await.unwrap();
    assert_eq!(redis.url(), url);
    assert_ne!(redis.pid(), pid);
    assert_eq!(redis.command(&["GET", "key"]).await.unwrap(), Reply::Nil);
}

#[tokio::test]
async fn a_durable_server_remembers_through_a_kill() {
    let mut redis = RedisServer::start_durable().await.unwrap();
    redis.command(&["SET", "key", "1"]).await.unwrap();
    redis.kill();
    redis.restart().await.unwrap();
    assert_eq!(redis.command(&["GET", "key"]).await.unwrap(), Reply::Bulk(b"1".to_vec()));
}

#[tokio::test]
async fn a_frozen_server_answers_only_after_it_goes_on() {
    let redis = RedisServer::start().await.unwrap();
    let mut connection = redis.connection().await.unwrap();
    redis.stop_signal().unwrap();
    let ping = connection.command(&["PING"]);
    tokio::pin!(ping);
    let early = tokio::time::timeout(Duration::from_millis(50), &mut ping).await;
    assert!(early.is_err(), "a frozen server answered");
    redis.cont().unwrap();
    assert_eq!(ping.await.unwrap(), Reply::Simple("PONG".into()));
}

#[tokio::test]
async fn a_password_is_in_the_url_and_needed() {
    let redis = RedisServer::start_with(&["--requirepass", "secret"]).await.unwrap();
    assert_eq!(redis.url(), format!("redis://:secret@{}", redis.addr()));
    assert_eq!(redis.command(&["PING"]).await.unwrap(), Reply::Simple("PONG".into()));
    let mut stranger = fantail_testkit::RespConnection::connect(redis.addr()).await.unwrap();
    let refused = stranger.command(&["PING"]).await.unwrap().text().unwrap();
    assert!(refused.starts_with("NOAUTH"), "{refused}");
}

#[tokio::test]
async fn a_bad_option_is_told_in_the_servers_own_words() {
    let error = RedisServer::start_with(&["--no-such-option", "1"]).await.unwrap_err();
    assert!(matches!(error, Error::Program { .. }));
    assert!(error.to_string().contains("no-such-option"), "{error}");
}

#[tokio::test]
async fn many_servers_start_at_once_on_ports_of_their_own() {
    let starts: Vec<_> = (0..6).map(|_| tokio::spawn(RedisServer::start())).collect();
    let mut ports = std::collections::BTreeSet::new();
    let mut servers = Vec::new();
    for start in starts {
        let server = start.await.unwrap().unwrap();
        ports.insert(server.addr().port());
        servers.push(server);
    }
    assert_eq!(ports.len(), 6);
}

#[tokio::test]
async fn no_server_outlives_its_test_even_when_it_panics() {
    let test = tokio::spawn(async {
        let redis = RedisServer::start().await.unwrap();
        // The panic is the scenario: it must take the server along.
        std::panic::panic_any(redis.pid());
    });
    let panic = tokio::time::timeout(PATIENCE, test).await.unwrap().unwrap_err().into_panic();
    let pid = panic.downcast_ref::<u32>().unwrap();
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}
