//! Short handshakes: a ticket is good on every shard, on every node with the same key file, and for no longer than its key.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fantail_testkit::{Certificates, Fantail, PATIENCE, Signal, TlsTrust};
use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::VERSIONS;
use crate::node::{tls_node, until_said};

/// Connects, asks for something small and reads the answer, before which a ticket comes. Returns the kind of handshake and the
/// answer, or nothing if the client is refused.
async fn try_to_visit(address: SocketAddr, trust: &TlsTrust, target: &str) -> Option<(HandshakeKind, String)> {
    let socket = TcpStream::connect(address).await.unwrap();
    let mut stream = trust.handshake(socket).await.ok()?;
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    // A client of TLS 1.3 learns of its refusal when it reads.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it is answered or refused");
    if answer.is_empty() {
        return None;
    }
    read.unwrap();
    let kind = stream.get_ref().1.handshake_kind().expect("it is over");
    Some((kind, String::from_utf8(answer).unwrap()))
}

async fn visit(address: SocketAddr, trust: &TlsTrust, target: &str) -> (HandshakeKind, String) {
    try_to_visit(address, trust, target).await.expect("it is let in")
}

async fn kind(address: SocketAddr, trust: &TlsTrust) -> HandshakeKind {
    visit(address, trust, "/none").await.0
}

async fn is_let_in(address: SocketAddr, trust: &TlsTrust) -> bool {
    try_to_visit(address, trust, "/none").await.is_some()
}

/// None of its attempts is let in. It has a ticket for the first ones, and none any more for the last.
async fn assert_refused(address: SocketAddr, trust: &TlsTrust) {
    for attempt in 1..=5 {
        assert!(!is_let_in(address, trust).await, "attempt {attempt} is let in");
    }
}

fn write_key(directory: &Path, name: &str, filling: u8) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, [filling; 80]).unwrap();
    path
}

#[tokio::test]
async fn a_client_resumes_on_any_shard_of_its_node_and_on_no_other_node() {
    let certificates = Certificates::make().unwrap();
    let (_one, first) = tls_node(&certificates, &[]).await;
    let (_other, second) = tls_node(&certificates, &[]).await;
    for version in VERSIONS {
        let trust = TlsTrust::with_versions(&certificates.ca(), &[version]).unwrap();
        assert_eq!(kind(first, &trust).await, HandshakeKind::Full);
        for _ in 0..8 {
            assert_eq!(kind(first, &trust).await, HandshakeKind::Resumed, "{version:?}");
        }
        assert_eq!(kind(second, &trust).await, HandshakeKind::Full, "{version:?}");
    }
}

/// 1. Both nodes have the key `a`: a client of one resumes at the other.
/// 2. Both get `b` in front of `a`: its old ticket still opens, and the new one is sealed by `b`.
/// 3. Both lose `a`: the ticket of step 2 opens, and one that is sealed by `a` does not.
#[tokio::test]
async fn nodes_with_the_same_key_files_know_each_others_clients_until_the_key_goes() {
    let certificates = Certificates::make().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let key = write_key(directory.path(), "now", b'a');
    let old = write_key(directory.path(), "before", b'a');
    let flags = ["--tls-ticket-keys", key.to_str().unwrap(), "--tls-ticket-keys", old.to_str().unwrap()];
    let (one, first) = tls_node(&certificates, &flags).await;
    let (other, second) = tls_node(&certificates, &flags).await;
    let mut changes = 0;
    let mut read_again = async || {
        changes += 1;
        for node in [&one, &other] {
            node.signal(Signal::HUP).unwrap();
            until_said(node, "the files for TLS have changed", changes).await;
        }
    };
    let trusts = VERSIONS.map(|version| TlsTrust::with_versions(&certificates.ca(), &[version]).unwrap());
    let late = VERSIONS.map(|version| TlsTrust::with_versions(&certificates.ca(), &[version]).unwrap());
    for (trust, late) in trusts.iter().zip(&late) {
        assert_eq!(kind(first, trust).await, HandshakeKind::Full);
        assert_eq!(kind(second, trust).await, HandshakeKind::Resumed, "the key is the same");
        assert_eq!(kind(first, late).await, HandshakeKind::Full);
    }
    write_key(directory.path(), "now", b'b');
    read_again().await;
    for trust in &trusts {
        assert_eq!(kind(second, trust).await, HandshakeKind::Resumed, "the old key opens");
    }
    write_key(directory.path(), "before", b'b');
    read_again().await;
    for (trust, late) in trusts.iter().zip(&late) {
        assert_eq!(kind(first, trust).await, HandshakeKind::Resumed, "its ticket is of the new key");
        assert_eq!(kind(first, late).await, HandshakeKind::Full, "its ticket is of the old key");
    }
}

/// 1. A client without a certificate gets a ticket from a node where certificates are optional.
/// 2. Another node with the same authorities and ticket keys demands a certificate. The ticket is of no use there.
#[tokio::test]
async fn a_ticket_of_a_node_without_the_demand_for_certificates_opens_no_door_of_one_with_it() {
    let certificates = Certificates::make().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let key = write_key(directory.path(), "key", b'k');
    let ca = certificates.ca();
    let base = ["--tls-client-ca", ca.to_str().unwrap(), "--tls-ticket-keys", key.to_str().unwrap()];
    let (_lenient, first) = tls_node(&certificates, &[&base[..], &["--tls-client-auth", "optional"]].concat()).await;
    let (_strict, second) = tls_node(&certificates, &base).await;
    for version in VERSIONS {
        let trust = TlsTrust::with_versions(&certificates.ca(), &[version]).unwrap();
        assert_eq!(kind(first, &trust).await, HandshakeKind::Full);
        assert_eq!(kind(first, &trust).await, HandshakeKind::Resumed);
        assert_refused(second, &trust).await;
    }
}

/// rustls does not look again at the certificate in a session, however old it is.
#[tokio::test]
async fn a_client_resumes_no_longer_than_its_certificate_is_valid() {
    for seconds in [2, 4, 8, 16, 32] {
        if resumes_while_valid(Duration::from_secs(seconds)).await {
            return;
        }
        println!("a life of {seconds} seconds is too short for this machine");
    }
    panic!("no certificate lived long enough for two handshakes of each version");
}

/// A client with a certificate of so short a life resumes until its end, and never behind it. False if the end came before the
/// client had resumed at all.
async fn resumes_while_valid(life: Duration) -> bool {
    // Certificates count in seconds, and are valid up to the end of their last one.
    let second = Duration::from_secs(1);
    let valid_until = SystemTime::now() + life - second;
    let certificates = Certificates::make_with_client_for(life).unwrap();
    let expired_from = SystemTime::now() + life + second;
    let ca = certificates.ca();
    let (_node, address) = tls_node(&certificates, &["--tls-client-ca", ca.to_str().unwrap()]).await;
    let (certificate, key) = (certificates.client(), certificates.client_key());
    let trusts = VERSIONS.map(|version| TlsTrust::with_certificate(&ca, &[version], &certificate, &key).unwrap());
    for trust in &trusts {
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let visit = try_to_visit(address, trust, "/none").await;
            if visit.is_none() && SystemTime::now() >= valid_until {
                return false;
            }
            assert_eq!(visit.expect("its certificate is valid").0, expected);
        }
    }
    for trust in &trusts {
        loop {
            let began = SystemTime::now();
            if !is_let_in(address, trust).await {
                break;
            }
            assert!(began < expired_from, "it is let in behind the end of its certificate");
        }
        assert!(SystemTime::now() >= valid_until, "it is refused while its certificate is valid");
        assert_refused(address, trust).await;
    }
    true
}

/// A session holds the certificate that its client has shown. When the operator withdraws its authority, a ticket must not let it
/// in again.
#[tokio::test]
async fn a_ticket_does_not_outlive_the_authority_of_its_clients_certificate() {
    let (certificates, others) = (Certificates::make().unwrap(), Certificates::make().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let key = write_key(directory.path(), "key", b'k');
    for flags in [&[][..], &["--tls-ticket-keys", key.to_str().unwrap()]] {
        let authorities = directory.path().join("clients.pem");
        fs::copy(certificates.ca(), &authorities).unwrap();
        let base = ["--access", "certificate", "--channel-templates", "user:{sub}", "--tls-client-ca"];
        let optional = ["--tls-client-auth", "optional"];
        let flags = [&base[..], &[authorities.to_str().unwrap()], &optional, flags].concat();
        let (node, address) = tls_node(&certificates, &flags).await;
        let trusts = VERSIONS.map(|version| {
            let (certificate, key) = (certificates.client(), certificates.client_key());
            TlsTrust::with_certificate(&certificates.ca(), &[version], &certificate, &key).unwrap()
        });
        let target = "/sse/user:client.example?limit=0";
        for trust in &trusts {
            visit(address, trust, target).await;
            let (kind, answer) = visit(address, trust, target).await;
            assert_eq!(kind, HandshakeKind::Resumed);
            assert!(answer.starts_with("HTTP/1.1 400"), "it is past the judge: {answer}");
        }
        fs::copy(others.ca(), &authorities).unwrap();
        node.signal(Signal::HUP).unwrap();
        until_said(&node, "the files for TLS have changed", 1).await;
        for trust in &trusts {
            assert_refused(address, trust).await;
        }
    }
}

#[tokio::test]
async fn a_key_file_of_the_wrong_size_is_refused_at_start_with_the_way_to_make_one() {
    let certificates = Certificates::make().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    fs::write(&key, [1; 47]).unwrap();
    let (cert, server_key) = (certificates.server(), certificates.server_key());
    let arguments = [
        "serve",
        "--tls-listen",
        "127.0.0.1:0",
        "--tls-cert",
        cert.to_str().unwrap(),
        "--tls-key",
        server_key.to_str().unwrap(),
        "--tls-ticket-keys",
        key.to_str().unwrap(),
    ];
    let (status, output) = Fantail::run_to_end(crate::node::FANTAIL, &arguments, &[]).await.unwrap();
    assert_eq!(status.code(), Some(2));
    assert!(
        output.stderr.contains("has 47 bytes and not 48 to 80; make one with: openssl rand 80"),
        "{}",
        output.stderr
    );
}
