//! Certificates of clients: which are let in, and which channels they read.

use std::net::SocketAddr;

use fantail_testkit::{Certificates, End, Fantail, PATIENCE, Signal, SseClient, TlsTrust, http};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::node::{ask, node, publish, read_to_close, tls_node, until_open, until_said};
use crate::origin::{TestOrigin, answer};

/// A node that asks its clients for certificates of the same authority.
async fn asking_node(certificates: &Certificates, flags: &[&str]) -> (Fantail, SocketAddr) {
    let ca = certificates.ca();
    tls_node(certificates, &[&["--tls-client-ca", ca.to_str().unwrap()], flags].concat()).await
}

const BY_CERTIFICATE: [&str; 4] = ["--access", "certificate", "--channel-templates", "user:{sub},site:{dns}"];

fn with_certificate(server: &Certificates, client: &Certificates) -> TlsTrust {
    TlsTrust::with_certificate(&server.ca(), rustls::ALL_VERSIONS, &client.client(), &client.client_key()).unwrap()
}

fn without_certificate(server: &Certificates) -> TlsTrust {
    TlsTrust::new(&server.ca()).unwrap()
}

async fn open(address: SocketAddr, trust: &TlsTrust, target: &str) -> SseClient {
    SseClient::request(address, target).over_tls(trust).connect().await.unwrap()
}

#[tokio::test]
async fn a_client_reads_the_channels_of_its_certificate_and_no_others() {
    let certificates = Certificates::make().unwrap();
    let (node, address) = asking_node(&certificates, &BY_CERTIFICATE).await;
    let trust = with_certificate(&certificates, &certificates);
    let mut stream = open(address, &trust, "/sse").await;
    assert_eq!(stream.status(), 200);
    until_open(&node, 1).await;
    for channel in ["user:client.example", "site:client.example"] {
        publish(&node, channel, channel).await;
        assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, channel);
    }
    assert_eq!(open(address, &trust, "/sse/user:other.example").await.status(), 403);
    // The plain port knows no certificates.
    let plain = http(node.public(), "GET", "/sse", &[], "").await.unwrap();
    assert_eq!(plain.status, 401);
    assert!(plain.text().contains("show a certificate"), "{}", plain.text());
}

#[tokio::test]
async fn a_client_of_an_unknown_authority_or_without_a_certificate_gets_no_handshake() {
    let (certificates, others) = (Certificates::make().unwrap(), Certificates::make().unwrap());
    let (node, address) = asking_node(&certificates, &BY_CERTIFICATE).await;
    for trust in [without_certificate(&certificates), with_certificate(&certificates, &others)] {
        assert!(SseClient::request(address, "/sse").over_tls(&trust).connect().await.is_err());
    }
    let (optional, address) =
        asking_node(&certificates, &[&BY_CERTIFICATE[..], &["--tls-client-auth", "optional"]].concat()).await;
    assert_eq!(open(address, &without_certificate(&certificates), "/sse").await.status(), 401);
    assert_eq!(open(address, &with_certificate(&certificates, &certificates), "/sse").await.status(), 200);
    let stranger = with_certificate(&certificates, &others);
    assert!(SseClient::request(address, "/sse").over_tls(&stranger).connect().await.is_err());
    drop((node, optional));
}

#[tokio::test]
async fn the_streams_of_a_certificates_subject_can_be_revoked() {
    let certificates = Certificates::make().unwrap();
    let (node, address) = asking_node(&certificates, &BY_CERTIFICATE).await;
    let trust = with_certificate(&certificates, &certificates);
    let mut stream = open(address, &trust, "/sse").await;
    until_open(&node, 1).await;
    let body = r#"{"sub":"client.example"}"#;
    let answer = http(node.internal(), "POST", "/revoke", &[("Content-Type", "application/json")], body).await.unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "{\"ended\":1}\n"));
    assert_eq!(read_to_close(&mut stream).await.1, "revoked");
    assert_eq!(open(address, &trust, "/sse").await.status(), 403);
}

/// 1. A stream is open, and another connection is kept for a second request.
/// 2. The operator replaces the authorities. The stream ends, and the kept connection opens no other.
#[tokio::test]
async fn streams_and_connections_end_with_the_authorities_of_their_certificate() {
    let (certificates, others) = (Certificates::make().unwrap(), Certificates::make().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("clients.pem");
    std::fs::copy(certificates.ca(), &ca).unwrap();
    let flags = [&["--tls-client-ca", ca.to_str().unwrap()], &BY_CERTIFICATE[..]].concat();
    let (node, address) = tls_node(&certificates, &flags).await;
    let trust = with_certificate(&certificates, &certificates);
    let mut stream = open(address, &trust, "/sse").await;
    until_open(&node, 1).await;
    let mut kept = trust.handshake(TcpStream::connect(address).await.unwrap()).await.unwrap();
    std::fs::copy(others.ca(), &ca).unwrap();
    node.signal(Signal::HUP).unwrap();
    assert_eq!(read_to_close(&mut stream).await.1, "revoked");
    kept.write_all(b"GET /sse HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    timeout(PATIENCE, kept.read_exact(&mut answer)).await.expect("it comes").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401");
}

/// A client's own field of that name must not make it another client, with or without a certificate.
#[tokio::test]
async fn the_operators_service_is_told_the_subject_and_no_client_can_claim_one() {
    let certificates = Certificates::make().unwrap();
    let service = TestOrigin::start(|_| answer("200 OK", "", "")).await;
    let flags = ["--access", "origin", "--origin-url", &service.url("/ask"), "--tls-client-auth", "optional"];
    let flags = [&flags[..], &["--origin-headers", "fantail-client-subject"]].concat();
    let (_node, address) = asking_node(&certificates, &flags).await;
    for (trust, told) in [
        (with_certificate(&certificates, &certificates), Some("fantail-client-subject: client.example")),
        (without_certificate(&certificates), None),
    ] {
        let request = SseClient::request(address, "/sse/a").header("Fantail-Client-Subject", "admin");
        assert_eq!(request.over_tls(&trust).connect().await.unwrap().status(), 200);
        let question = service.asked().pop().expect("it was asked");
        assert_eq!(question.lines().find(|line| line.starts_with("fantail-client-subject")), told);
    }
}

#[tokio::test]
async fn the_internal_listener_speaks_tls_alone_and_asks_for_certificates() {
    let (certificates, others) = (Certificates::make().unwrap(), Certificates::make().unwrap());
    let paths = [certificates.server(), certificates.server_key(), certificates.ca()];
    let [cert, key, ca] = paths.each_ref().map(|path| path.to_str().unwrap());
    let flags = ["--internal-tls-cert", cert, "--internal-tls-key", key, "--internal-tls-client-ca", ca];
    let node = node(&flags).await;
    let ask = async |trust: &TlsTrust| {
        let mut answer = SseClient::request(node.internal(), "/livez").over_tls(trust).connect().await?;
        let (_, end) = answer.read_until_end(PATIENCE).await?;
        Ok::<_, fantail_testkit::Error>((answer.status(), end))
    };
    assert_eq!(ask(&with_certificate(&certificates, &certificates)).await.unwrap(), (200, End::Clean));
    assert!(ask(&with_certificate(&certificates, &others)).await.is_err());
    assert!(ask(&without_certificate(&certificates)).await.is_err());
    let plain = http(node.internal(), "GET", "/livez", &[], "").await.unwrap();
    assert_eq!(plain.status, 400, "without TLS no route is reached");
}

#[tokio::test]
async fn tokens_of_the_internal_listener_count_behind_its_tls_as_well() {
    let certificates = Certificates::make().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "0123456789abcdef0123456789abcdef").unwrap();
    let paths = [certificates.server(), certificates.server_key()];
    let [cert, key] = paths.each_ref().map(|path| path.to_str().unwrap());
    let rights = format!("{}=publish", token.display());
    let node = node(&["--internal-tls-cert", cert, "--internal-tls-key", key, "--internal-tokens", &rights]).await;
    let trust = without_certificate(&certificates);
    let ask = async |bearer: &str| {
        let request = SseClient::request(node.internal(), "/channels").header("Authorization", bearer);
        request.over_tls(&trust).connect().await.unwrap().status()
    };
    assert_eq!(ask("Bearer nonsense").await, 401);
    assert_eq!(ask("Bearer 0123456789abcdef0123456789abcdef").await, 403, "known, and without the right to read");
}

#[tokio::test]
async fn certificates_of_a_directory_come_and_go() {
    let (one, two) = (Certificates::make_for(&["one.example"]).unwrap(), Certificates::make().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let install = |name: &str, from: &Certificates| {
        let folder = directory.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(from.server_key(), folder.join("tls.key")).unwrap();
        std::fs::copy(from.server(), folder.join("tls.crt")).unwrap();
    };
    install("a", &one);
    let mut node = node(&["--tls-listen", "127.0.0.1:0", "--tls-directory", directory.path().to_str().unwrap()]).await;
    let address = node.tls().await.unwrap();
    let trust = without_certificate(&two);
    assert!(SseClient::request(address, "/sse/a").over_tls(&trust).connect().await.is_err(), "it has no such name");
    install("b", &two);
    node.signal(Signal::HUP).unwrap();
    until_said(&node, "the files for TLS have changed", 1).await;
    assert_eq!(open(address, &trust, "/sse/a").await.status(), 200);
    // A key that is being replaced takes no certificate away.
    std::fs::remove_file(directory.path().join("b/tls.key")).unwrap();
    node.signal(Signal::HUP).unwrap();
    until_said(&node, "b/tls.crt is gone", 1).await;
    assert_eq!(open(address, &trust, "/sse/a").await.status(), 200);
    std::fs::remove_dir_all(directory.path().join("b")).unwrap();
    node.signal(Signal::HUP).unwrap();
    until_said(&node, "the files for TLS have changed", 2).await;
    // One that never came before, and so has no ticket.
    let newcomer = without_certificate(&two);
    assert!(SseClient::request(address, "/sse/a").over_tls(&newcomer).connect().await.is_err(), "now it is gone");
    assert_eq!(ask(&node, "GET", "/livez").await.status, 200);
}
