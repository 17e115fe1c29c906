//! Streams over TLS are checked like others, and their handshakes are counted.

use serde_json::{Value, json};

use crate::hold::Worker;
use crate::program::{FinishedRun, loadgen};
use crate::tls_front::TlsFront;
use crate::toy_server::{Lie, ToyServer};

/// Runs against a toy server behind TLS that a given authority vouches for; `None` is its own one.
fn run_trusting(ca: Option<&str>, lie: Lie, more: &[&str]) -> FinishedRun {
    let server = ToyServer::start(lie);
    let front = TlsFront::before(&server.address);
    let subscribe = format!("https://{}/sse/{{channel}}", front.address);
    let publish = format!("http://{}/publish/{{channel}}", server.address);
    let own = front.ca();
    let ca = ca.unwrap_or(own.to_str().unwrap());
    let all = ["run", "--subscribe-url-template", &subscribe, "--publish-url-template", &publish, "--tls-ca", ca];
    loadgen(&[&all[..], more].concat())
}

fn run(lie: Lie, more: &[&str]) -> FinishedRun {
    run_trusting(None, lie, more)
}

#[test]
fn streams_get_every_event_over_either_version_of_tls() {
    for version in ["1.3", "1.2"] {
        let outcome = run(Lie::None, &["--streams", "20", "--events", "30", "--tls-version", version]);
        outcome.assert_clean(20 * 30);
        let handshakes = ["full", "resumed"].map(|kind| outcome.number(&format!("/opening/handshakes/{kind}")));
        assert_eq!(handshakes, [20, 0], "TLS {version}");
        assert!(outcome.stdout.contains("20 full, 0 resumed"), "{}", outcome.stdout);
    }
}

#[test]
fn streams_may_offer_a_post_quantum_key_exchange() {
    run(Lie::None, &["--streams", "3", "--events", "5", "--tls-key-exchange", "x25519mlkem768"]).assert_clean(15);
}

/// An event of 300,000 bytes is 19 records, and one read of the client ends in the middle of one of them.
#[test]
fn large_events_arrive_whole_over_tls() {
    run(Lie::None, &["--streams", "3", "--events", "5", "--payload", "300000"]).assert_clean(15);
}

#[test]
fn faults_behind_tls_are_found() {
    for (lie, faults) in [(Lie::Drop, [5, 0, 0, 0, 0]), (Lie::Swap, [0, 0, 5, 0, 0]), (Lie::Cut, [5, 0, 0, 5, 0])] {
        let outcome = run(lie, &["--streams", "5", "--events", "10", "--in-flight", "10", "--deadline", "5"]);
        assert_eq!((outcome.code, outcome.faults()), (3, faults), "{}", outcome.stderr);
    }
}

#[test]
fn streams_that_end_behind_tls_are_told() {
    let outcome = run(Lie::Close, &["--streams", "5", "--events", "10", "--in-flight", "10", "--deadline", "5"]);
    assert_eq!((outcome.code, outcome.number("/round/ended_streams")), (3, 5));
}

#[test]
fn certificate_of_another_authority_ends_the_run() {
    let other = TlsFront::before("127.0.0.1:1");
    let outcome = run_trusting(Some(other.ca().to_str().unwrap()), Lie::None, &["--streams", "2"]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("2 of 2 streams did not open: invalid peer certificate"), "{}", outcome.stderr);
}

#[test]
fn streams_over_tls_need_an_authority() {
    let outcome = loadgen(&["run", "--subscribe-url-template", "https://127.0.0.1:1/sse/{channel}"]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("--tls-ca"), "{}", outcome.stderr);
}

/// 1. Three streams open with full handshakes, and each gets a ticket. Three more open, and have no tickets of their own yet.
/// 2. All are reset, and all come back. A worker that keeps tickets resumes each of the six sessions.
#[test]
fn streams_that_come_back_resume_their_sessions_if_tickets_are_kept() {
    for (version, keeps, back) in [("V1_3", true, [0, 6]), ("V1_3", false, [6, 0]), ("V1_2", true, [0, 6])] {
        let server = ToyServer::start(Lie::None);
        let front = TlsFront::before(&server.address);
        let mut worker = Worker::start();
        for first_stream in [0, 3] {
            worker.tell(&open_command(&front, version, keeps, (first_stream, 3, false)));
            assert_eq!(handshakes(&mut worker), [3, 0], "{version}");
        }
        worker.tell(&json!({ "command": "reset" }));
        assert_eq!(worker.hear("done")["streams"], 6);
        worker.tell(&open_command(&front, version, keeps, (0, 6, true)));
        assert_eq!(handshakes(&mut worker), back, "{version}");
    }
}

/// Full and resumed ones of the streams that were opened last.
fn handshakes(worker: &mut Worker) -> [u64; 2] {
    let opened = worker.hear("opened");
    ["full", "resumed"].map(|kind| opened["handshakes"][kind].as_u64().unwrap())
}

/// The order to open streams: the number of the first, how many, and whether they come back.
fn open_command(front: &TlsFront, version: &str, keeps_tickets: bool, streams: (u32, u32, bool)) -> Value {
    let address = &front.address;
    let (first_stream, streams, returning) = streams;
    json!({
        "command": "open",
        "subscribe": { "address": address, "host": address, "path": "/sse/{channel}", "scheme": "Https" },
        "tls": { "authority": front.ca(), "version": version, "key_exchange": "X25519" },
        "channel_prefix": "news", "channels": 1, "first_stream": first_stream, "streams": streams, "published": 0,
        "connects_per_second": 1000, "sources": [], "deadline_seconds": 30,
        "remember_ids": false, "keep_tickets": keeps_tickets, "returning": returning,
    })
}
