//! Certificates that are replaced under open streams, also under thousands of them.

use std::fs;

use fantail_testkit::{Certificates, PATIENCE, Signal, SseClient, TlsTrust};
use tokio::task::JoinSet;

use super::{TlsClient, VERSIONS, handshake};
use crate::node::{metrics, publish, tls_node_of, until, until_said};

/// Streams that are open. Each takes a descriptor of this process, and one of the node.
const STREAMS: usize = 5_000;
/// Handshakes at a time.
const AT_A_TIME: usize = 32;

#[tokio::test]
async fn certificates_are_rotated_under_open_streams_and_a_faulty_pair_changes_nothing() {
    let (old, new) = (Certificates::make().unwrap(), Certificates::make().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let (cert, key) = (directory.path().join("tls.crt"), directory.path().join("tls.key"));
    let install = |from: &Certificates| {
        fs::copy(from.server(), &cert).unwrap();
        fs::copy(from.server_key(), &key).unwrap();
    };
    install(&old);
    let (node, address) = tls_node_of(&cert, &key, &[]).await;
    let expiry = metrics(&node).await.count("fantail_tls_certificate_expiry_timestamp_seconds");
    assert!(expiry > 1_800_000_000, "in seconds since 1970: {expiry}");
    let mut open = TlsClient::open(address, &old.ca(), VERSIONS[0], None).await;
    open.read_to("\n\n").await;
    // The certificate is replaced, and the key not yet.
    fs::copy(new.server(), &cert).unwrap();
    node.signal(Signal::HUP).unwrap();
    until_said(&node, "files for TLS cannot be read again", 1).await;
    handshake(address, &old.ca(), VERSIONS[0], None).await.unwrap();
    install(&new);
    node.signal(Signal::HUP).unwrap();
    until_said(&node, "the files for TLS have changed", 1).await;
    handshake(address, &new.ca(), VERSIONS[0], None).await.unwrap();
    assert!(handshake(address, &old.ca(), VERSIONS[0], None).await.is_err());
    publish(&node, "a", "still here").await;
    open.read_to("still here\n\n").await;
}

#[tokio::test]
async fn certificates_are_rotated_under_thousands_of_streams_and_none_of_them_notices() {
    allow_many_descriptors();
    let (old, new) = (Certificates::make().unwrap(), Certificates::make().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let (cert, key) = (directory.path().join("tls.crt"), directory.path().join("tls.key"));
    fs::copy(old.server(), &cert).unwrap();
    fs::copy(old.server_key(), &key).unwrap();
    let (node, address) = tls_node_of(&cert, &key, &["--connections-max", "9000"]).await;
    let trust = TlsTrust::new(&old.ca()).unwrap();
    let (mut opening, mut streams) = (JoinSet::new(), Vec::new());
    for _ in 0..STREAMS {
        if opening.len() == AT_A_TIME {
            streams.push(opening.join_next().await.unwrap().unwrap());
        }
        let request = SseClient::request(address, "/sse/a").over_tls(&trust);
        opening.spawn(async move { request.connect().await.unwrap() });
    }
    streams.extend(opening.join_all().await);
    until(&node, "all are open", |m| m.count("fantail_streams_open") == STREAMS as u64).await;

    fs::copy(new.server(), &cert).unwrap();
    fs::copy(new.server_key(), &key).unwrap();
    node.signal(Signal::HUP).unwrap();
    until_said(&node, "the files for TLS have changed", 1).await;
    handshake(address, &new.ca(), VERSIONS[0], None).await.unwrap();
    assert!(handshake(address, &old.ca(), VERSIONS[0], None).await.is_err(), "the old certificate is still shown");

    publish(&node, "a", "still here").await;
    for stream in &mut streams {
        assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, "still here");
    }
    let after = metrics(&node).await;
    assert_eq!((after.sum("fantail_streams_closed_total"), streams.len()), (0, STREAMS));
}

/// Many systems allow only a thousand at first.
fn allow_many_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}
