//! Streams that share connections of HTTP/2 are checked like others.

use crate::http2_front::Http2Front;
use crate::program::{FinishedRun, loadgen};
use crate::toy_server::{Lie, ToyServer};

const BROKEN: i32 = 3;

/// Runs against a toy server behind HTTP/2, and tells how many connections that took.
fn run_counting(lie: Lie, more: &[&str]) -> (FinishedRun, u32) {
    let server = ToyServer::start(lie);
    let front = Http2Front::before(&server.address);
    let subscribe = format!("http://{}/sse/{{channel}}", front.address);
    let publish = format!("http://{}/publish/{{channel}}", server.address);
    let all = ["run", "--subscribe-url-template", &subscribe, "--publish-url-template", &publish];
    (loadgen(&[&all[..], more].concat()), front.connections())
}

fn run(lie: Lie, more: &[&str]) -> FinishedRun {
    run_counting(lie, more).0
}

/// Five streams in two connections, ten events published together, one server with one fault.
fn run_against(lie: Lie, more: &[&str]) -> FinishedRun {
    let all = ["--http2", "3", "--streams", "5", "--events", "10", "--in-flight", "10", "--deadline", "5"];
    run(lie, &[&all[..], more].concat())
}

#[test]
fn streams_share_connections_and_get_every_event() {
    let more = ["--http2", "100", "--streams", "250", "--events", "40", "--in-flight", "5"];
    let (outcome, connections) = run_counting(Lie::None, &more);
    outcome.assert_clean(250 * 40);
    assert_eq!((outcome.number("/opening/streams"), connections), (250, 3));
    assert_eq!(outcome.number("/opening/time_to_head_us/count"), 250);
}

#[test]
fn tabs_of_one_connection_may_have_channels_of_their_own() {
    let more = ["--http2", "10", "--streams", "30", "--channels", "per-stream", "--events", "90", "--workers", "2"];
    run(Lie::None, &[&more[..], &["--rate", "2000"]].concat()).assert_clean(90);
}

#[test]
fn events_that_are_larger_than_windows_arrive_whole() {
    for window in ["300", "10", "2147483647"] {
        let more = ["--http2", "3", "--streams", "4", "--events", "5", "--payload", "1000", "--http2-window", window];
        run(Lie::None, &more).assert_clean(20);
    }
}

#[test]
fn broken_promises_are_told_as_over_http1() {
    let told = |lie, more: &[&str]| {
        let outcome = run_against(lie, more);
        (outcome.code, outcome.faults())
    };
    assert_eq!(told(Lie::None, &[]), (0, [0; 5]));
    assert_eq!(told(Lie::Drop, &[]), (BROKEN, [5, 0, 0, 0, 0]));
    assert_eq!(told(Lie::Double, &[]), (BROKEN, [0, 5, 0, 0, 0]));
    assert_eq!(told(Lie::Swap, &[]), (BROKEN, [0, 0, 5, 0, 0]));
    assert_eq!(told(Lie::Cut, &[]), (BROKEN, [5, 0, 0, 5, 0]));
    assert_eq!(told(Lie::Misdirect, &["--channels", "2"]), (BROKEN, [0, 0, 0, 0, 5]));
}

#[test]
fn ended_streams_lose_what_they_do_not_get() {
    let outcome = run_against(Lie::Close, &[]);
    assert_eq!((outcome.code, outcome.faults()), (BROKEN, [40, 0, 0, 0, 0]));
    assert_eq!(outcome.number("/round/ended_streams"), 5);
}

#[test]
fn refused_streams_end_the_run_with_their_status() {
    let outcome = run_against(Lie::Refuse, &[]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("5 of 5 streams did not open: answered with status 503 (5)"), "{}", outcome.stderr);
}

/// An event of 300,000 bytes is many frames and many records, and one read of the client ends in the middle of one of them.
#[test]
fn streams_over_tls_choose_http2_in_their_handshake() {
    for (version, payload) in [("1.3", "300000"), ("1.2", "128")] {
        let server = ToyServer::start(Lie::None);
        let front = Http2Front::encrypted_before(&server.address);
        let subscribe = format!("https://{}/sse/{{channel}}", front.address);
        let publish = format!("http://{}/publish/{{channel}}", server.address);
        let ca = front.ca();
        let urls = ["run", "--subscribe-url-template", &subscribe, "--publish-url-template", &publish];
        let tls = ["--tls-ca", ca.to_str().unwrap(), "--tls-version", version];
        let load = ["--http2", "50", "--streams", "120", "--events", "3", "--payload", payload];
        let outcome = loadgen(&[&urls[..], &tls, &load].concat());
        outcome.assert_clean(360);
        assert_eq!(outcome.number("/opening/handshakes/full"), 3, "one for each connection");
    }
}

#[test]
fn a_server_of_http1_is_an_error_of_the_run() {
    let server = ToyServer::start(Lie::None);
    let words = server.words();
    let mut all = vec!["run", "--http2", "2", "--streams", "2"];
    all.extend(words.iter().map(String::as_str));
    let outcome = loadgen(&all);
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.stderr.contains("2 of 2 streams did not open: the server does not speak HTTP/2"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_comparison_tells_each_server_its_own_protocol() {
    let server = ToyServer::start(Lie::None);
    let front = Http2Front::before(&server.address);
    let publish = format!("publish=http://{}/publish/{{channel}}", server.address);
    let pid = format!("pid={}", std::process::id());
    let (shared, own) = (format!("subscribe=http://{}/sse/{{channel}}", front.address), &server.words()[1]);
    let own = format!("subscribe={own}");
    let mut all = vec!["compare", "--rounds", "1", "--rest", "0", "--streams", "20", "--events", "500"];
    all.extend(["--a", "name=shared", &shared, &publish, &pid, "http2=10", "--b", "name=own", &own, &publish, &pid]);
    let outcome = loadgen(&all);
    assert_eq!(outcome.code, 0, "{}{}", outcome.stdout, outcome.stderr);
    assert_eq!(front.connections(), 2);
    for side in ["a", "b"] {
        assert_eq!(outcome.number(&format!("/{side}/rounds/1/deliveries")), 20 * 500);
    }
}

#[test]
fn events_for_one_stream_are_measured_over_http1_alone() {
    let outcome = loadgen(&["unicast", "--http2", "2", "--streams", "2"]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("leave out --http2"), "{}", outcome.stderr);
}
