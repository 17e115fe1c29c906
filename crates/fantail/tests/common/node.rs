//! A running node and the tests' words for it: publish, subscribe, read a metric, wait for a state.
//!
//! No function waits for a fixed time. Each waits for a condition, and gives up only after the kit's long patience.
#![allow(dead_code)] // each test program uses its part of this file

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use fantail_testkit::{Certificates, End, Event, Fantail, PATIENCE, Response, Signal, SseClient, http};
use serde_json::Value;

/// The program under test.
pub(crate) const FANTAIL: &str = env!("CARGO_BIN_EXE_fantail");

/// How often an awaited state is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Starts a node with two shards and the memory feed, which drains without a delay, unless the flags say otherwise.
pub(crate) async fn node(flags: &[&str]) -> Fantail {
    let mut arguments = vec!["serve"];
    for (flag, value) in [("--workers", "2"), ("--drain-delay", "0s")] {
        if !flags.contains(&flag) {
            arguments.extend([flag, value]);
        }
    }
    arguments.extend(flags);
    Fantail::start(FANTAIL, &arguments, &[]).await.unwrap()
}

/// The same with an encrypted listener, which shows the server's certificate. Returns its address too.
pub(crate) async fn tls_node(certificates: &Certificates, flags: &[&str]) -> (Fantail, SocketAddr) {
    tls_node_of(&certificates.server(), &certificates.server_key(), flags).await
}

/// The same with a certificate and a key in these files.
pub(crate) async fn tls_node_of(cert: &Path, key: &Path, flags: &[&str]) -> (Fantail, SocketAddr) {
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let listener = ["--tls-listen", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key];
    let mut node = node(&[&listener[..], flags].concat()).await;
    let address = node.tls().await.unwrap();
    (node, address)
}

/// Opens a stream, which must be accepted.
pub(crate) async fn subscribe(node: &Fantail, path_and_query: &str) -> SseClient {
    let client = SseClient::connect(node.public(), path_and_query).await.unwrap();
    assert_eq!(client.status(), 200, "{path_and_query}");
    client
}

/// Reads up to the end of the opening block of a client that keeps its body. Returns the id in the block.
pub(crate) async fn opening(client: &mut SseClient) -> String {
    let end = loop {
        match client.body().windows(2).position(|pair| pair == b"\n\n") {
            Some(end) => break end,
            None => client.read_more(PATIENCE).await.unwrap(),
        }
    };
    let text = std::str::from_utf8(&client.body()[..end]).unwrap();
    text.lines().find_map(|line| line.strip_prefix("id: ")).unwrap_or_default().to_owned()
}

/// Reads a stream to its end, which must be clean and behind a close event. Returns the events before it, and its
/// reason.
pub(crate) async fn read_to_close(client: &mut SseClient) -> (Vec<Event>, String) {
    let (mut events, end) = client.read_until_end(PATIENCE).await.unwrap();
    assert_eq!(end, End::Clean, "{events:?}");
    assert!(!client.parser().in_mid_block() && client.parser().unknown_lines() == 0);
    let last = events.pop().expect("the last words");
    assert_eq!((last.event.as_str(), last.own_id), ("fantail.close", None), "{events:?}");
    assert!(last.retry.is_some(), "when to come back");
    let told: Value = serde_json::from_str(&last.data).unwrap();
    (events, told["reason"].as_str().unwrap().to_owned())
}

/// Everything that a stream brings until it is live and has caught up with its node.
pub(crate) async fn up_to_live(node: &Fantail, mut client: SseClient) -> Vec<Event> {
    assert_eq!(client.status(), 200);
    until_state(node, client.local_addr().unwrap(), "live").await;
    client.half_close().await.unwrap();
    let (events, end) = client.read_until_end(PATIENCE).await.unwrap();
    assert_eq!(end, End::Clean);
    events
}

/// The form in which tests compare events: the data, or `gap <channel> <reason>`.
pub(crate) fn words(events: &[Event]) -> Vec<String> {
    let word = |event: &Event| match event.event.as_str() {
        "fantail.gap" => {
            let gap: Value = serde_json::from_str(&event.data).unwrap();
            format!("gap {} {}", gap["channel"].as_str().unwrap(), gap["reason"].as_str().unwrap())
        }
        _ => event.data.clone(),
    };
    events.iter().map(word).collect()
}

/// Publishes text, which must be accepted, and returns the receipt.
pub(crate) async fn publish(node: &Fantail, channel_and_query: &str, data: impl AsRef<[u8]>) -> Value {
    let path = format!("/publish/{channel_and_query}");
    let answer = http(node.internal(), "POST", &path, &[], data).await.unwrap();
    assert_eq!(answer.status, 202, "{path}: {}", answer.text());
    answer.json().unwrap()
}

/// Publishes JSON and returns the answer, whatever it is.
pub(crate) async fn publish_json(node: &Fantail, body: impl AsRef<[u8]>) -> Response {
    http(node.internal(), "POST", "/publish", &[("Content-Type", "application/json")], body).await.unwrap()
}

/// Publishes one event for several channels and returns its receipt.
pub(crate) async fn publish_to(node: &Fantail, channels: &[&str], data: &str) -> Value {
    let answer = publish_json(node, serde_json::json!({ "channels": channels, "data": data }).to_string()).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer.json().unwrap()
}

/// Asks the internal listener.
pub(crate) async fn ask(node: &Fantail, method: &str, path: &str) -> Response {
    http(node.internal(), method, path, &[], "").await.unwrap()
}

/// The open streams as the node lists them.
pub(crate) async fn connections(node: &Fantail) -> Vec<Value> {
    let listing = ask(node, "GET", "/connections?limit=10000").await.json().unwrap();
    listing["connections"].as_array().unwrap().clone()
}

/// The name of this client in the listing.
pub(crate) async fn connection_id(node: &Fantail, client: SocketAddr) -> String {
    let peer = Value::from(client.to_string());
    let listing = connections(node).await;
    let found = listing.iter().find(|connection| connection["peer"] == peer);
    found.unwrap_or_else(|| panic!("{peer} is not listed in {listing:?}"))["id"].as_str().unwrap().to_owned()
}

/// The name of a stream, once one is live that is another than `before`.
pub(crate) async fn live_stream(node: &Fantail, before: &str) -> String {
    let is_live = |connection: &&Value| connection["state"] == "live" && connection["id"] != before;
    loop {
        if let Some(connection) = connections(node).await.iter().find(is_live) {
            return connection["id"].as_str().unwrap().to_owned();
        }
        tokio::task::yield_now().await;
    }
}

/// Waits until the stream of this client is in this state.
pub(crate) async fn until_state(node: &Fantail, client: SocketAddr, state: &str) {
    let peer = Value::from(client.to_string());
    let started = tokio::time::Instant::now();
    loop {
        let listing = connections(node).await;
        if listing.iter().any(|connection| connection["peer"] == peer && connection["state"] == state) {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "the stream of {peer} was never {state}: {listing:?}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Waits until the node says that it is ready, or that it is not.
pub(crate) async fn until_ready(node: &Fantail, ready: bool) {
    let expected = if ready { 200 } else { 503 };
    let started = tokio::time::Instant::now();
    loop {
        let answer = ask(node, "GET", "/readyz").await;
        if answer.status == expected {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "/readyz stays {}: {}", answer.status, answer.text());
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// One scrape.
pub(crate) struct Metrics(pub(crate) String);

/// Scrapes once.
pub(crate) async fn metrics(node: &Fantail) -> Metrics {
    let answer = ask(node, "GET", "/metrics").await;
    assert_eq!(answer.status, 200);
    Metrics(answer.text())
}

impl Metrics {
    /// The number of one series, named as the scrape shows it, labels included.
    pub(crate) fn number(&self, series: &str) -> f64 {
        let value = self.0.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("there is no {series} in\n{}", self.0)).parse().unwrap()
    }

    /// A count.
    pub(crate) fn count(&self, series: &str) -> u64 {
        // Some series are written with a point, counts too.
        let number = self.number(series).to_string();
        number.parse().unwrap_or_else(|_| panic!("{series} is no count but {number}"))
    }

    /// Adds up all series of one name.
    pub(crate) fn sum(&self, name: &str) -> u64 {
        let labelled = format!("{name}{{");
        let own =
            |line: &&str| line.starts_with(&labelled) || line.strip_prefix(name).is_some_and(|l| l.starts_with(' '));
        let lines: Vec<_> = self.0.lines().filter(own).collect();
        assert!(!lines.is_empty(), "there is no {name} in\n{}", self.0);
        lines.iter().map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// Streams that ended for this reason.
    pub(crate) fn closed(&self, reason: &str) -> u64 {
        self.count(&format!("fantail_streams_closed_total{{reason=\"{reason}\"}}"))
    }
}

/// Scrapes until the metrics are as they must become, and returns them.
#[track_caller]
pub(crate) fn until<'a>(
    node: &'a Fantail,
    what: &'a str,
    mut reached: impl FnMut(&Metrics) -> bool + 'a,
) -> impl Future<Output = Metrics> + 'a {
    let caller = std::panic::Location::caller();
    let started = tokio::time::Instant::now();
    async move {
        loop {
            let metrics = metrics(node).await;
            if reached(&metrics) {
                return metrics;
            }
            assert!(started.elapsed() < PATIENCE, "{caller}: it never came to this: {what}\n{}", metrics.0);
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// Waits until so many streams have ended for this reason.
pub(crate) async fn until_closed(node: &Fantail, reason: &str, streams: u64) {
    until(node, &format!("{streams} streams ended, reason {reason}"), |m| m.closed(reason) == streams).await;
}

/// Waits until so many streams are open.
pub(crate) async fn until_open(node: &Fantail, streams: u64) {
    until(node, &format!("{streams} streams open"), |m| m.count("fantail_streams_open") == streams).await;
}

/// Waits until the node's log holds the text so many times.
pub(crate) async fn until_said(node: &Fantail, text: &str, times: usize) {
    let started = tokio::time::Instant::now();
    while node.output().stderr.matches(text).count() < times {
        assert!(started.elapsed() < PATIENCE, "{text:?} is not said {times} times in\n{}", node.output().stderr);
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The log up to now. Its lines come a moment after they are written, so this waits for one that is written behind all of them.
pub(crate) async fn whole_log(node: &Fantail) -> String {
    const LAST: &str = "SIGHUP: keys, tokens and certificates are read again";
    let before = node.output().stderr.matches(LAST).count();
    node.signal(Signal::HUP).unwrap();
    until_said(node, LAST, before + 1).await;
    node.output().stderr
}
