//! The kit's other kinds of Redis: with TLS, as a replica, under a Sentinel, as a Cluster.

use fantail_testkit::{Certificates, RedisCluster, RedisSentinel, RedisServer, Reply};

#[tokio::test]
async fn a_tls_server_serves_plainly_for_the_judge_and_with_tls_for_the_tested() {
    let certificates = Certificates::make().unwrap();
    let redis = RedisServer::start_tls(&certificates, true, &[]).await.unwrap();
    assert_eq!(redis.command(&["PING"]).await.unwrap(), Reply::Simple("PONG".into()));
    assert_ne!(redis.tls_addr().port(), redis.addr().port());
    tokio::net::TcpStream::connect(redis.tls_addr()).await.unwrap();
    for path in [certificates.client(), certificates.client_key()] {
        assert!(std::fs::read_to_string(path).unwrap().starts_with("-----BEGIN "));
    }
}

#[tokio::test]
async fn a_replica_has_what_its_master_has_and_hears_what_it_publishes() {
    let master = RedisServer::start().await.unwrap();
    master.command(&["SET", "key", "1"]).await.unwrap();
    let replica = RedisServer::start_replica_of(&master, &[]).await.unwrap();
    assert_eq!(replica.command(&["GET", "key"]).await.unwrap(), Reply::Bulk(b"1".to_vec()));
    let mut subscriber = replica.connection().await.unwrap();
    subscriber.command(&["SUBSCRIBE", "news"]).await.unwrap();
    master.publish("news", "x").await.unwrap();
    assert_eq!(subscriber.reply().await.unwrap().array().unwrap()[2], Reply::Bulk(b"x".to_vec()));
}

#[tokio::test]
async fn a_sentinel_makes_the_replica_the_master_when_the_master_dies() {
    let mut master = RedisServer::start().await.unwrap();
    let replica = RedisServer::start_replica_of(&master, &[]).await.unwrap();
    let sentinel = RedisSentinel::start(&master, 1).await.unwrap();
    assert_eq!(sentinel.master().await.unwrap(), master.addr());
    master.kill();
    sentinel.wait_for_master(replica.addr()).await.unwrap();
    replica.wait_for_info("replication", "role:master").await.unwrap();
}

#[tokio::test]
async fn a_cluster_serves_every_slot_and_lets_one_be_moved() {
    let cluster = RedisCluster::start().await.unwrap();
    let [first, _, third] = cluster.nodes() else { panic!("three nodes") };
    // Slot 12182, of the last third.
    assert_eq!(third.command(&["SET", "foo", "1"]).await.unwrap(), Reply::Simple("OK".into()));
    let moved = first.command(&["GET", "foo"]).await.unwrap().text().unwrap();
    assert_eq!(moved, format!("MOVED 12182 {}", third.addr()));
    cluster.move_slot(12_182, 2, 0).await.unwrap();
    assert_eq!(first.command(&["GET", "foo"]).await.unwrap(), Reply::Bulk(b"1".to_vec()));
}
