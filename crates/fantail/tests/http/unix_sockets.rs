//! Several listeners, on addresses and on unix sockets: streams, publishing and health through each of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fantail_testkit::child::Child;
use fantail_testkit::port::free_port;
use fantail_testkit::{Fantail, PATIENCE, Signal, SseClient};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::node::{FANTAIL, ask, connections, metrics, node, publish, until_open};

/// A directory with names for sockets.
fn names() -> (TempDir, [String; 3]) {
    let directory = tempfile::tempdir().unwrap();
    let name = |name: &str| format!("unix:{}", directory.path().join(name).display());
    let names = [name("public"), name("internal"), name("health")];
    (directory, names)
}

fn path(name: &str) -> PathBuf {
    name.strip_prefix("unix:").unwrap().into()
}

/// Sends a request over a unix socket and reads until the answer holds the text.
async fn ask_unix(socket: &Path, request: &str, until: &str) -> (UnixStream, String) {
    let mut connection = UnixStream::connect(socket).await.unwrap();
    connection.write_all(request.replace('\n', "\r\n").as_bytes()).await.unwrap();
    let answer = read_unix(&mut connection, until).await;
    (connection, answer)
}

async fn read_unix(connection: &mut UnixStream, until: &str) -> String {
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains(until) {
        let mut bytes = [0; 4096];
        let read = timeout(PATIENCE, connection.read(&mut bytes)).await.expect("it comes").unwrap();
        assert!(read > 0, "it ended before {until:?}: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&bytes[..read]);
    }
    String::from_utf8(answer).unwrap()
}

const SUBSCRIBE: &str = "GET /sse/a HTTP/1.1\nHost: x\n\n";

#[tokio::test]
async fn every_address_of_a_node_brings_the_same_events() {
    let (_directory, [public, ..]) = names();
    let node = node(&["--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--listen", &public]).await;
    let told = node.output().stdout;
    let addresses: Vec<_> = told.lines().filter_map(|line| line.strip_prefix("public ")).map(str::trim).collect();
    assert_eq!(addresses.len(), 3, "{told}");
    assert_eq!(addresses[2], format!("http+{public}/sse"));
    let second = addresses[1].trim_start_matches("http://").trim_end_matches("/sse").parse().unwrap();
    let mut one = SseClient::connect(node.public(), "/sse/a").await.unwrap();
    let mut two = SseClient::connect(second, "/sse/a").await.unwrap();
    let (mut three, head) = ask_unix(&path(&public), SUBSCRIBE, "\n\n").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    until_open(&node, 3).await;
    publish(&node, "a", "for all").await;
    for stream in [&mut one, &mut two] {
        assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, "for all");
    }
    read_unix(&mut three, "data: for all\n\n").await;
    drop(three);
    until_open(&node, 2).await;
}

/// `[::]` alone would take the connections of IPv4 as well, and leave nothing to `0.0.0.0`.
#[tokio::test]
async fn all_interfaces_of_both_families_share_a_port() {
    let port = free_port().unwrap();
    let (four, six) = (format!("0.0.0.0:{port}"), format!("[::]:{port}"));
    for order in [[&four, &six], [&six, &four]] {
        let node = node(&["--access", "open", "--listen", order[0], "--listen", order[1]]).await;
        for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
            let stream = SseClient::connect(address.parse().unwrap(), "/sse/a").await.unwrap();
            assert_eq!(stream.status(), 200, "{address}");
        }
        assert_eq!(ask(&node, "GET", "/livez").await.status, 200);
    }
    let twice = ["serve", "--listen", "127.0.0.1:1", "--listen", "127.0.0.1:1"];
    let (status, output) = Fantail::run_to_end(FANTAIL, &twice, &[]).await.unwrap();
    assert!(status.code() == Some(2) && output.stderr.contains("must not name an address twice"), "{}", output.stderr);
}

/// A proxy on this machine speaks for its clients.
#[tokio::test]
async fn a_client_of_a_unix_socket_counts_as_this_machine_and_may_be_a_trusted_proxy() {
    let (_directory, [public, ..]) = names();
    let flags = ["--listen", "127.0.0.1:0", "--listen", &public, "--trusted-proxies", "127.0.0.1"];
    let node = node(&flags).await;
    let request = SUBSCRIBE.replace("Host: x", "Host: x\nX-Forwarded-For: 203.0.113.9");
    let (_stream, head) = ask_unix(&path(&public), &request, "\n\n").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    until_open(&node, 1).await;
    let listed = connections(&node).await;
    assert_eq!((listed[0]["peer"].as_str(), listed[0]["forwarded"].as_str()), (None, Some("203.0.113.9")));
}

/// A header is believed from this machine alone if it is a trusted proxy, and demanded either way.
#[tokio::test]
async fn on_a_unix_socket_the_proxy_protocol_tells_the_client_of_a_trusted_proxy() {
    const HEADER: &str = "PROXY TCP4 198.51.100.7 127.0.0.1 4711 8080\n";
    let (_directory, [public, ..]) = names();
    let flags = ["--listen", "127.0.0.1:0", "--listen", &public, "--proxy-protocol", "--trusted-proxies"];
    let trusting = node(&[&flags[..], &["127.0.0.1"]].concat()).await;
    let (_stream, head) = ask_unix(&path(&public), &format!("{HEADER}{SUBSCRIBE}"), "\n\n").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    until_open(&trusting, 1).await;
    assert_eq!(connections(&trusting).await[0]["forwarded"].as_str(), Some("198.51.100.7"));
    assert_eq!(unanswered(&path(&public), SUBSCRIBE).await, "", "the header is missing");
    assert_eq!(metrics(&trusting).await.count("fantail_proxy_headers_missing_total"), 1);
    drop(trusting);

    let distrusting = node(&[&flags[..], &["192.0.2.1"]].concat()).await;
    assert_eq!(unanswered(&path(&public), &format!("{HEADER}{SUBSCRIBE}")).await, "", "nobody trusts it");
    assert_eq!(metrics(&distrusting).await.count("fantail_proxy_headers_missing_total"), 1);
}

/// Everything that comes behind the request, up to the end of the connection.
async fn unanswered(socket: &Path, request: &str) -> String {
    let mut connection = UnixStream::connect(socket).await.unwrap();
    // It may be closed before all is sent.
    let _ = connection.write_all(request.replace('\n', "\r\n").as_bytes()).await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, connection.read_to_end(&mut answer)).await.expect("it is closed");
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn publishers_and_probes_are_served_over_unix_sockets_and_the_names_go_with_the_node() {
    let (_directory, [public, internal, health]) = names();
    let listeners = ["--listen", &public, "--internal-listen", &internal, "--health-listen", &health];
    let others = ["--drain-delay", "0s", "--unix-socket-mode", "600"];
    let mut command = Fantail::command(FANTAIL, &[&["serve"], &listeners[..], &others].concat());
    let mut child = Child::spawn("fantail", &mut command).unwrap();
    child.find_in_output(PATIENCE, "it serves", |it| it.stdout.contains("publish    ").then_some(())).await.unwrap();
    for name in [&public, &internal, &health] {
        assert_eq!(fs::metadata(path(name)).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let told = child.output().stdout;
    let curl =
        format!("publish    curl -d hello --unix-socket {} http://localhost/publish/demo", path(&internal).display());
    assert!(told.contains(&curl), "{told}");
    let (mut stream, _) = ask_unix(&path(&public), SUBSCRIBE, "\n\n").await;
    let event = "POST /publish/a HTTP/1.1\nHost: localhost\nContent-Length: 5\n\nhello";
    ask_unix(&path(&internal), event, "202 Accepted").await;
    read_unix(&mut stream, "data: hello\n\n").await;
    ask_unix(&path(&health), "GET /livez HTTP/1.1\nHost: x\n\n", "200 OK").await;
    child.signal(Signal::TERM).unwrap();
    assert!(child.wait(PATIENCE).await.unwrap().success());
    assert!([&public, &internal, &health].into_iter().all(|name| !path(name).exists()));
}

/// 1. A node is killed, and its socket stays: the next node replaces it.
/// 2. A second node is told that another process listens there, and changes nothing.
/// 3. A node that may share takes the name over. The first one ends, and leaves the name to the other.
#[tokio::test]
async fn a_socket_changes_hands_only_where_that_is_meant() {
    let (_directory, [public, ..]) = names();
    let flags = ["--listen", "127.0.0.1:0", "--listen", &public];
    let mut killed = node(&flags).await;
    killed.kill();
    let mut first = node(&[&flags[..], &["--listen-shared"]].concat()).await;
    let arguments = ["serve", "--internal-listen", "127.0.0.1:0", "--listen", &public];
    let (status, output) = Fantail::run_to_end(FANTAIL, &arguments, &[]).await.unwrap();
    assert!(!status.success() && output.stderr.contains("another process listens there"), "{}", output.stderr);
    ask_unix(&path(&public), SUBSCRIBE, "\n\n").await;
    let second = node(&[&flags[..], &["--listen-shared"]].concat()).await;
    first.signal(Signal::TERM).unwrap();
    assert!(first.wait(PATIENCE).await.unwrap().success());
    let (_stream, _) = ask_unix(&path(&public), SUBSCRIBE, "\n\n").await;
    until_open(&second, 1).await;
    assert_eq!(ask(&second, "GET", "/livez").await.status, 200);
}
