//! Redis behind TLS: whom the node trusts, what it shows, and what it tells when that does not fit.

use std::fs;

use fantail_feed::{FeedState, RedisReach, RedisSettings};
use fantail_testkit::{Certificates, RedisServer};

use crate::feed_node::channel;
use crate::patience::{impatient, until_failed, until_state};

fn reach(redis: &RedisServer, certificates: &Certificates) -> RedisReach {
    let url = format!("rediss://127.0.0.1:{}", redis.tls_addr().port());
    RedisReach { url, tls_ca: Some(certificates.ca()), ..RedisReach::default() }
}

fn with_client(reach: RedisReach, certificates: &Certificates) -> RedisReach {
    RedisReach { tls_cert: Some(certificates.client()), tls_key: Some(certificates.client_key()), ..reach }
}

#[tokio::test]
async fn a_server_whose_authority_is_named_is_reached_by_address_and_by_name() {
    let certificates = Certificates::make().unwrap();
    let redis = RedisServer::start_tls(&certificates, false, &[]).await.unwrap();
    let by_address = reach(&redis, &certificates);
    let by_name = RedisReach { url: by_address.url.replace("127.0.0.1", "localhost"), ..by_address.clone() };
    for reach in [by_address, by_name] {
        let mut node = impatient(reach);
        node.follow(&["a"]).await;
        redis.publish("fantail:a", "x").await.unwrap();
        assert_eq!(node.data(1).await, ["x"]);
    }
}

#[tokio::test]
async fn a_server_that_signed_its_own_certificate_is_trusted_by_that_unless_it_is_an_authoritys() {
    let certificates = Certificates::make_self_signed(false).unwrap();
    let redis = RedisServer::start_tls(&certificates, false, &[]).await.unwrap();
    let mut node = impatient(reach(&redis, &certificates));
    node.follow(&["a"]).await;
    let certificates = Certificates::make_self_signed(true).unwrap();
    let redis = RedisServer::start_tls(&certificates, false, &[]).await.unwrap();
    let node = impatient(reach(&redis, &certificates));
    until_failed(&node, &redis.tls_addr().to_string(), "make one for a server, with CA:FALSE").await;
}

#[tokio::test]
async fn a_server_that_nobody_trusted_signed_is_refused_until_its_authority_is_named() {
    let (certificates, others) = (Certificates::make().unwrap(), Certificates::make().unwrap());
    let redis = RedisServer::start_tls(&certificates, false, &[]).await.unwrap();
    let ca = others.ca();
    let mut node = impatient(RedisReach { tls_ca: Some(ca.clone()), ..reach(&redis, &certificates) });
    node.feed.follow(&channel("a"));
    let address = redis.tls_addr().to_string();
    until_failed(&node, &address, "UnknownIssuer").await;
    until_failed(&node, &address, "name the authority that signed the server's certificate in redis_tls_ca").await;
    // The file is corrected while the node runs.
    fs::copy(certificates.ca(), ca).unwrap();
    until_state(&mut node, FeedState::Connected, 1).await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let certificates = Certificates::make_for(&["redis.example"]).unwrap();
    let redis = RedisServer::start_tls(&certificates, false, &[]).await.unwrap();
    let node = impatient(reach(&redis, &certificates));
    until_failed(&node, &redis.tls_addr().to_string(), "the server's certificate is for another name").await;
}

#[tokio::test]
async fn without_a_named_authority_those_of_the_system_count() {
    let certificates = Certificates::make().unwrap();
    let redis = RedisServer::start_tls(&certificates, false, &[]).await.unwrap();
    let node = impatient(RedisReach { tls_ca: None, ..reach(&redis, &certificates) });
    until_failed(&node, &redis.tls_addr().to_string(), "UnknownIssuer").await;
}

#[tokio::test]
async fn a_client_certificate_is_shown_when_redis_demands_one() {
    let certificates = Certificates::make().unwrap();
    let redis = RedisServer::start_tls(&certificates, true, &[]).await.unwrap();
    let without = impatient(reach(&redis, &certificates));
    until_failed(&without, &redis.tls_addr().to_string(), "redis asks for a client certificate").await;
    let mut with = impatient(with_client(reach(&redis, &certificates), &certificates));
    with.follow(&["a"]).await;
    redis.publish("fantail:a", "x").await.unwrap();
    assert_eq!(with.data(1).await, ["x"]);
}

#[tokio::test]
async fn a_client_certificate_that_redis_does_not_trust_is_told_as_such() {
    let (certificates, others) = (Certificates::make().unwrap(), Certificates::make().unwrap());
    let redis = RedisServer::start_tls(&certificates, true, &[]).await.unwrap();
    let node = impatient(with_client(reach(&redis, &certificates), &others));
    until_failed(&node, &redis.tls_addr().to_string(), "redis does not trust redis_tls_cert").await;
}

#[test]
fn files_that_cannot_be_used_are_told_at_start_with_their_setting() {
    let certificates = Certificates::make().unwrap();
    let base = || RedisReach { url: "rediss://db".into(), ..RedisReach::default() };
    let nowhere = || Some("/no/such/file".into());
    let (certificate, key) = (Some(certificates.client()), Some(certificates.client_key()));
    let broken = certificates.ca().with_file_name("broken.pem");
    fs::write(&broken, "-----BEGIN CERTIFICATE-----\nhunter2!\n-----END CERTIFICATE-----\n").unwrap();
    let table = [
        (RedisReach { tls_ca: nowhere(), ..base() }, "redis_tls_ca /no/such/file: cannot be read"),
        (RedisReach { tls_ca: key.clone(), ..base() }, "holds no PEM block of a CERTIFICATE"),
        (RedisReach { tls_ca: Some(broken), ..base() }, "the certificates for redis cannot be used"),
        (RedisReach { tls_cert: nowhere(), tls_key: key, ..base() }, "redis_tls_cert /no/such/file"),
        (RedisReach { tls_cert: certificate.clone(), tls_key: nowhere(), ..base() }, "redis_tls_key /no/such/file"),
        (
            RedisReach { tls_cert: certificate.clone(), tls_key: certificate, ..base() },
            "holds no PEM block of a PRIVATE KEY",
        ),
        (RedisReach { password_file: nowhere(), ..base() }, "redis_password_file /no/such/file"),
    ];
    for (reach, reason) in table {
        let error = RedisSettings::new(reach).unwrap().check_files().unwrap_err().to_string();
        assert!(error.contains(reason) && !error.contains("hunter2"), "{error}");
    }
}
