//! Certificates that are replaced under open streams, under thousands of them, and while clients come.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use fantail_testkit::{Certificates, PATIENCE, Signal, SseClient, TlsTrust};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{TlsClient, VERSIONS, handshake};
use crate::node::{metrics, publish, tls_node_of, until, until_open, until_said};

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

/// 1. Clients come all the time, each with a whole handshake, so that each is shown a certificate.
/// 2. The operator replaces the files ten times. After each signal the new certificate is shown, and the old one is not.
/// 3. No client was refused, and the streams that were open all the time have every event.
#[tokio::test]
async fn certificates_are_rotated_under_load_and_no_handshake_fails_and_no_event_is_missing() {
    const ROTATIONS: usize = 10;
    const VISITORS: usize = 4;
    let pairs = [Certificates::make().unwrap(), Certificates::make().unwrap()];
    let directory = tempfile::tempdir().unwrap();
    let (cert, key, both) =
        (directory.path().join("tls.crt"), directory.path().join("tls.key"), directory.path().join("both.pem"));
    let authorities = pairs.each_ref().map(|pair| fs::read(pair.ca()).unwrap());
    fs::write(&both, authorities.concat()).unwrap();
    let install = |pair: &Certificates| {
        fs::copy(pair.server(), &cert).unwrap();
        fs::copy(pair.server_key(), &key).unwrap();
    };
    install(&pairs[0]);
    let (node, address) = tls_node_of(&cert, &key, &[]).await;
    let mut open = Vec::new();
    for version in VERSIONS {
        open.push(TlsClient::open(address, &both, version, None).await);
    }
    until_open(&node, 2).await;

    let (visits, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut visitors = JoinSet::new();
    for number in 0..VISITORS {
        let (visits, is_over, both) = (Arc::clone(&visits), Arc::clone(&is_over), both.clone());
        visitors.spawn(async move {
            while !is_over.load(Ordering::SeqCst) {
                // One that was there before would have a ticket, and be shown no certificate.
                let newcomer = TlsTrust::with_versions(&both, &[VERSIONS[number % 2]]).unwrap();
                let stream = SseClient::request(address, "/sse/b").over_tls(&newcomer).connect().await.unwrap();
                assert_eq!(stream.status(), 200);
                visits.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    for rotation in 1..=ROTATIONS {
        let (new, old) = (&pairs[rotation % 2], &pairs[(rotation + 1) % 2]);
        let before = visits.load(Ordering::SeqCst);
        install(new);
        node.signal(Signal::HUP).unwrap();
        until_said(&node, "the files for TLS have changed", rotation).await;
        handshake(address, &new.ca(), VERSIONS[rotation % 2], None).await.unwrap();
        assert!(handshake(address, &old.ca(), VERSIONS[rotation % 2], None).await.is_err(), "rotation {rotation}");
        publish(&node, "a", format!("rotation {rotation}")).await;
        let visited = async {
            while visits.load(Ordering::SeqCst) < before + 2 * VISITORS && visitors.try_join_next().is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, visited).await.expect("clients go on coming");
    }
    is_over.store(true, Ordering::SeqCst);
    while let Some(visitor) = visitors.join_next().await {
        visitor.expect("no client is refused");
    }
    for client in &mut open {
        client.read_to("rotation 10\n\n").await;
        let text = String::from_utf8_lossy(&client.body).into_owned();
        let events: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("data: rotation ")).collect();
        assert_eq!(events, (1..=ROTATIONS).map(|rotation| rotation.to_string()).collect::<Vec<_>>());
    }
}

/// Many systems allow only a thousand at first.
fn allow_many_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}
