//! Handshakes that fail, and plain HTTP in place of one: each is counted by its cause and told, and does no harm.

use std::path::Path;
use std::process::Command;

use fantail_testkit::{Certificates, Fantail, PATIENCE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{VERSIONS, handshake, tls_node};
use crate::node::{metrics, node, publish, until, until_open, until_said};

const PLAIN_REQUEST: &[u8] = b"GET /sse/a HTTP/1.1\r\nHost: x\r\n\r\n";

async fn until_failed(node: &Fantail, reason: &str, handshakes: u64) {
    let series = format!("fantail_tls_handshakes_failed_total{{reason=\"{reason}\"}}");
    until(node, &series, |metrics| metrics.count(&series) == handshakes).await;
}

/// Everything that the node answers to these bytes until it closes.
async fn answer(socket: &mut TcpStream, bytes: &[u8]) -> String {
    socket.write_all(bytes).await.unwrap();
    let mut read = Vec::new();
    timeout(PATIENCE, socket.read_to_end(&mut read)).await.expect("it closes").unwrap();
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn a_failed_handshake_is_counted_by_its_cause_and_told_with_its_client() {
    let certificates = Certificates::make().unwrap();
    let (node, address) = tls_node(&certificates, &[]).await;

    let mut garbage = TcpStream::connect(address).await.unwrap();
    let client = garbage.local_addr().unwrap();
    garbage.write_all(b"\x16\x03\x01\x00\x05hello").await.unwrap();
    until_failed(&node, "malformed", 1).await;
    until_said(&node, &format!("a TLS handshake failed listener=\"public\" peer={client} reason=\"malformed\""), 1)
        .await;

    let others = Certificates::make().unwrap();
    for version in VERSIONS {
        handshake(address, &others.ca(), version, None).await.unwrap_err();
    }
    until_failed(&node, "refused", 2).await;
    until_said(&node, "the client refuses the handshake (UnknownCA)", 1).await;

    let mut gone = TcpStream::connect(address).await.unwrap();
    gone.write_all(b"\x16\x03").await.unwrap();
    drop(gone);
    until_failed(&node, "gone", 1).await;
}

/// A balancer's probe connects and closes, some thousand times a day.
#[tokio::test]
async fn a_connection_that_says_nothing_is_no_failed_handshake() {
    let certificates = Certificates::make().unwrap();
    let (node, address) = tls_node(&certificates, &["--request-deadline", "1s"]).await;
    drop(TcpStream::connect(address).await.unwrap());
    let mut silent = TcpStream::connect(address).await.unwrap();
    assert_eq!(answer(&mut silent, b"").await, "");
    until(&node, "both are over", |metrics| metrics.count("fantail_connections_open") == 0).await;
    let mut late = TcpStream::connect(address).await.unwrap();
    assert_eq!(answer(&mut late, b"\x16\x03").await, "", "it began, and did not go on");
    until_failed(&node, "late", 1).await;
    assert_eq!(metrics(&node).await.sum("fantail_tls_handshakes_failed_total"), 1);
}

#[tokio::test]
async fn a_handshake_that_makes_room_for_a_newer_one_is_no_failure_and_no_sign_of_a_full_node() {
    let certificates = Certificates::make().unwrap();
    let (node, address) = tls_node(&certificates, &["--workers", "1", "--tls-handshakes-max", "1"]).await;
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(b"\x16\x03\x01").await.unwrap();
    let ended = "fantail_connections_turned_away_total{how=\"handshake\"}";
    // The node may take up the second before the first.
    let mut second = TcpStream::connect(address).await.unwrap();
    second.write_all(b"\x16\x03\x01").await.unwrap();
    until(&node, "one made room", |metrics| metrics.count(ended) == 1).await;
    until(&node, "it is closed", |metrics| metrics.count("fantail_connections_open") == 1).await;
    let seen = metrics(&node).await;
    assert_eq!(seen.sum("fantail_connections_turned_away_total"), 1);
    assert_eq!(seen.sum("fantail_tls_handshakes_failed_total"), 0);
}

/// As nginx does. The answer holds nothing of the request.
#[tokio::test]
async fn plain_http_to_an_encrypted_port_is_told_to_say_https() {
    let certificates = Certificates::make().unwrap();
    let (cert, key) = (certificates.server(), certificates.server_key());
    let internal = ["--internal-tls-cert", cert.to_str().unwrap(), "--internal-tls-key", key.to_str().unwrap()];
    let (node, public) = tls_node(&certificates, &internal).await;
    let post = b"POST /publish/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
    for (address, request) in [(public, PLAIN_REQUEST), (node.internal(), &post[..])] {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let answer = answer(&mut socket, request).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.contains("connection: close") && answer.contains("was sent to an HTTPS port"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    }
    until_said(&node, "reason=\"plain_http\" cause=\"plain HTTP was sent to an encrypted port\"", 2).await;
}

/// 1. Clients begin a plain request on an encrypted port and stop.
/// 2. They take no place for a handshake, and are closed at the request deadline.
/// 3. Two requests in one write get one answer, since the connection closes behind it.
#[tokio::test]
async fn plain_http_to_an_encrypted_port_takes_no_more_than_on_a_plain_one() {
    let certificates = Certificates::make().unwrap();
    let flags = ["--workers", "1", "--tls-handshakes-max", "1", "--request-deadline", "2s"];
    let (node, address) = tls_node(&certificates, &flags).await;
    let mut stopped = Vec::new();
    for _ in 0..8 {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(&PLAIN_REQUEST[..10]).await.unwrap();
        stopped.push(socket);
    }
    handshake(address, &certificates.ca(), VERSIONS[0], None).await.unwrap();
    assert_eq!(metrics(&node).await.sum("fantail_connections_turned_away_total"), 0);
    for socket in &mut stopped {
        let rest = answer(socket, b"").await;
        assert!(!rest.contains("200 OK"), "{rest}");
    }
    until(&node, "all are closed", |metrics| metrics.count("fantail_connections_open") == 0).await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    let answer = answer(&mut socket, &PLAIN_REQUEST.repeat(2)).await;
    assert_eq!(answer.matches("HTTP/1.1 400").count(), 1, "{answer}");
    until_open(&node, 0).await;
}

#[tokio::test]
async fn a_handshake_that_comes_to_a_plain_port_is_told_in_the_log() {
    let certificates = Certificates::make().unwrap();
    let node = node(&["--log-level", "info,fantail=debug"]).await;
    for address in [node.public(), node.internal()] {
        handshake(address, &certificates.ca(), VERSIONS[0], None).await.unwrap_err();
    }
    until_said(&node, "a TLS handshake was sent to a port for plain HTTP", 2).await;
}

/// The block of the page that makes certificates with openssl, run in this directory.
fn follow_page(directory: &Path) {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/access.md");
    let page = std::fs::read_to_string(page).unwrap();
    let lines = page.lines().skip_while(|line| !line.starts_with("    openssl req -x509"));
    let block: Vec<_> = lines.take_while(|line| line.starts_with("    ")).collect();
    run(directory, &block.join("\n"));
}

fn run(directory: &Path, script: &str) {
    let output = Command::new("sh").args(["-ec", script]).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{script}\n{output:?}");
}

/// 1. An authority and a client are made as docs/access.md shows. The client is let in.
/// 2. The same authority signs a certificate of version 1, as `openssl x509 -req` does. The log names the remedy.
#[tokio::test]
async fn clients_of_the_pages_own_authority_are_let_in_and_an_old_certificate_is_told_with_its_remedy() {
    let directory = tempfile::tempdir().unwrap();
    follow_page(directory.path());
    run(
        directory.path(),
        "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=old -keyout old.key -out old.csr
         openssl x509 -req -in old.csr -CA devices-ca.crt -CAkey devices-ca.key -CAcreateserial -out old.crt",
    );
    let certificates = Certificates::make().unwrap();
    let authority = directory.path().join("devices-ca.crt");
    let flags = ["--access", "certificate", "--channel-templates", "device:{sub}"];
    let flags = [&flags[..], &["--tls-client-ca", authority.to_str().unwrap()]].concat();
    let (node, address) = tls_node(&certificates, &flags).await;
    let ask = |name: &str| {
        let mut curl = tokio::process::Command::new("curl");
        curl.args(["-sN", "--max-time", "60", "--cacert"]).arg(certificates.ca());
        curl.args(["--cert", &format!("{name}.crt"), "--key", &format!("{name}.key")]);
        curl.arg(format!("https://localhost:{}/sse?replay=1&limit=1", address.port())).current_dir(directory.path());
        curl.output()
    };
    publish(&node, "device:meter-7", "let in").await;
    let told = ask("meter-7").await.unwrap();
    assert!(String::from_utf8_lossy(&told.stdout).contains("data: let in"), "{told:?}");
    assert!(!ask("old").await.unwrap().status.success());
    until_failed(&node, "client_certificate", 1).await;
    until_said(&node, "the certificate has version 1 of X.509 and only version 3 is taken", 1).await;
}
