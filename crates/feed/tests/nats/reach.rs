//! Logging in, TLS, several servers, and what a node is told that may not come in.

use std::path::PathBuf;

use fantail_feed::{NatsPublisher, NatsReach, PublishError};
use fantail_testkit::{Certificates, NatsServer};

use crate::feed_node::{FeedNode, publication, text};
use crate::node::{reach, settings_of};

/// The seed of a user's NKey, and its public key.
const NKEY: (&str, &str) = (
    "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY",
    "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4",
);

struct SecretFile(tempfile::TempPath);

impl SecretFile {
    fn holding(secret: &str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{secret}\n")).unwrap();
        Self(file.into_temp_path())
    }

    fn path(&self) -> PathBuf {
        self.0.to_path_buf()
    }
}

async fn works(reach: NatsReach) {
    let mut node = FeedNode::start_with(settings_of(reach.clone()));
    node.follow(&["a"]).await;
    let mut publisher = NatsPublisher::connect(settings_of(reach)).await.unwrap();
    publisher.publish(&publication(&["a"], text("hello"))).await.unwrap();
    node.until("a hello").await;
}

/// The trouble of a node that is not let in.
async fn trouble_with(reach: NatsReach) -> String {
    let refused = NatsPublisher::connect(settings_of(reach.clone())).await.unwrap_err().to_string();
    let node = FeedNode::start_with(settings_of(reach));
    let looking = async {
        loop {
            if let Some(trouble) = node.feed.trouble() {
                return trouble;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let trouble = tokio::time::timeout(fantail_testkit::PATIENCE, looking).await.unwrap();
    for told in [&refused, &trouble] {
        assert!(!told.contains("secret"), "{told}");
    }
    trouble
}

#[tokio::test]
async fn a_user_logs_in_with_a_password_or_the_file_that_holds_it() {
    let server = NatsServer::start_with(&["--user", "fantail", "--pass", "secret"]).await.unwrap();
    let file = SecretFile::holding("secret");
    let username = Some("fantail".to_owned());
    works(NatsReach { username: username.clone(), password: Some("secret".into()), ..reach(&server.url()) }).await;
    works(NatsReach { username: username.clone(), password_file: Some(file.path()), ..reach(&server.url()) }).await;
    let wrong = NatsReach { username, password: Some("secret of others".into()), ..reach(&server.url()) };
    let trouble = trouble_with(wrong).await;
    assert!(trouble.contains("cannot connect to nats") && trouble.contains("nats_username"), "{trouble}");
}

#[tokio::test]
async fn a_token_is_read_again_for_each_connection() {
    let server = NatsServer::start_with(&["--auth", "secret"]).await.unwrap();
    let file = SecretFile::holding("old secret");
    let mut node =
        FeedNode::start_with(settings_of(NatsReach { token_file: Some(file.path()), ..reach(&server.url()) }));
    node.feed.follow(&crate::feed_node::channel("a"));
    std::fs::write(&file.0, "secret").unwrap();
    node.until("followed a").await;
    works(NatsReach { token_file: Some(file.path()), ..reach(&server.url()) }).await;
}

#[tokio::test]
async fn an_nkey_signs_and_never_travels() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("nats.conf");
    std::fs::write(&config, format!("authorization {{ users: [ {{ nkey: {} }} ] }}", NKEY.1)).unwrap();
    let server = NatsServer::start_with(&["--config", config.to_str().unwrap()]).await.unwrap();
    let file = SecretFile::holding(NKEY.0);
    let reach = NatsReach { nkey_file: Some(file.path()), ..reach(&server.url()) };
    settings_of(reach.clone()).check_files().unwrap();
    works(reach).await;
}

/// 1. A node is connected, and its user may subscribe to `fantail.>`.
/// 2. The servers' configuration takes that right away and is read again. The server ends the subscription, and keeps the
///    connection.
#[tokio::test]
async fn a_right_that_is_taken_away_is_an_outage_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("nats.conf");
    let allow = |subjects: &str, more: &str| {
        let user = format!("user: fantail, password: secret, permissions: {{ subscribe: [{subjects}] }}");
        std::fs::write(&config, format!("{more}\nauthorization {{ users: [ {{ {user} }} ] }}")).unwrap();
    };
    allow("\"fantail.>\", \"fantail-service.>\", \"_INBOX.>\"", "");
    let server = NatsServer::start_with(&["--config", config.to_str().unwrap()]).await.unwrap();
    let (username, password) = (Some("fantail".into()), Some("secret".into()));
    let mut node = FeedNode::start_with(settings_of(NatsReach { username, password, ..reach(&server.url()) }));
    node.follow(&["a"]).await;
    // Settings of its command line must stay as they are.
    allow("\"fantail-service.>\", \"_INBOX.>\"", &format!("server_name: {}", server.name()));
    server.reload().unwrap();
    node.until("lost").await;
    let trouble = node.feed.trouble().unwrap();
    assert!(trouble.contains("fantail.>"), "{trouble}");
}

#[tokio::test]
async fn tls_proves_the_server_and_the_client_to_each_other() {
    let certificates = Certificates::make().unwrap();
    let files = [certificates.ca(), certificates.server(), certificates.server_key()];
    let [ca, server_cert, server_key] = files.map(|path| path.display().to_string());
    let tls = ["--tlsverify", "--tlscacert", &ca, "--tlscert", &server_cert, "--tlskey", &server_key];
    let server = NatsServer::start_with(&tls).await.unwrap();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let url = format!("tls://{}", server.addr());
    let whole = NatsReach {
        tls_ca: Some(certificates.ca()),
        tls_cert: Some(certificates.client()),
        tls_key: Some(certificates.client_key()),
        ..reach(&url)
    };
    works(whole.clone()).await;
    // The files alone ask for TLS, whatever the scheme.
    works(NatsReach { servers: vec![server.url()], ..whole.clone() }).await;
    let trouble = trouble_with(NatsReach { tls_ca: None, ..whole.clone() }).await;
    assert!(trouble.contains("certificate"), "{trouble}");
    trouble_with(NatsReach { tls_cert: None, tls_key: None, ..whole }).await;
}

#[tokio::test]
async fn without_a_check_tls_is_spoken_with_whoever_answers() {
    let certificates = Certificates::make().unwrap();
    let [server_cert, server_key] =
        [certificates.server(), certificates.server_key()].map(|path| path.display().to_string());
    let server = NatsServer::start_with(&["--tls", "--tlscert", &server_cert, "--tlskey", &server_key]).await.unwrap();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let checked = reach(&format!("tls://{}", server.addr()));
    let trouble = trouble_with(checked.clone()).await;
    assert!(trouble.contains("nats_tls_ca"), "{trouble}");
    works(NatsReach { tls_insecure: true, ..checked }).await;
    // It asks for TLS by itself.
    works(NatsReach { tls_insecure: true, ..reach(&server.url()) }).await;
    let plain = NatsServer::start().await.unwrap();
    trouble_with(NatsReach { tls_insecure: true, ..reach(&plain.url()) }).await;
}

#[tokio::test]
async fn of_several_servers_one_that_answers_is_enough() {
    let server = NatsServer::start().await.unwrap();
    let gone = fantail_testkit::port::free_port().unwrap();
    works(NatsReach { servers: vec![format!("nats://127.0.0.1:{gone}"), server.url()], ..NatsReach::default() }).await;
}

#[tokio::test]
async fn a_missing_right_is_told_with_the_subject() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("nats.conf");
    let users = r#"authorization { users: [
        { user: deaf, password: secret, permissions: { subscribe: ["fantail-service.>"], publish: [">"] } },
        { user: reader, password: secret, permissions: { subscribe: [">"], publish: ["fantail-service.>", "fantail.b"] } }
    ] }"#;
    std::fs::write(&config, users).unwrap();
    let server = NatsServer::start_with(&["--config", config.to_str().unwrap()]).await.unwrap();
    let user =
        |name: &str| NatsReach { username: Some(name.into()), password: Some("secret".into()), ..reach(&server.url()) };
    let node = FeedNode::start_with(settings_of(user("deaf")));
    let looking = async {
        while !node.feed.trouble().is_some_and(|trouble| trouble.contains("\"fantail.>\"")) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(fantail_testkit::PATIENCE, looking).await.expect("the right is named");

    let mut node = FeedNode::start_with(settings_of(user("reader")));
    node.follow(&["a", "b"]).await;
    for _ in 0..50 {
        let refused = node.feed.publish(&publication(&["a"], text("x"))).await;
        let Err(PublishError::Unavailable(told)) = refused else { panic!("{refused:?}") };
        assert!(told.contains("fantail.a"), "{told}");
    }
    node.feed.publish(&publication(&["b"], text("x"))).await.unwrap();
    node.until("b x").await;
}
