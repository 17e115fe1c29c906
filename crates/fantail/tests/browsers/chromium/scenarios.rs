//! The scenario of each source while the browser runs, driven from here and watched through the nodes' own listings.

use std::collections::BTreeMap;

use fantail_testkit::port::free_port;
use fantail_testkit::{Fantail, FaultProxy, Nginx, PATIENCE, Page, RedisServer, Signal};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::WAYS;
use super::away::{Away, ENDS};
use super::page::{self, BrowserEvent, SourceLog, Sources};
use crate::node::{FANTAIL, ask, connections, metrics, node, publish, subscribe, until};

/// How often a stream is ended among its events.
pub(crate) const KICKS: usize = 5;
/// How often a source with a short reconnection time comes back while the other stays away.
pub(crate) const RETURNS: usize = 3;
/// How often a source is turned away before it is let in.
pub(crate) const SHEDS: usize = 3;

/// The browser's report, and the expected one.
pub(crate) struct Report {
    logs: BTreeMap<String, SourceLog>,
    owed: BTreeMap<String, Vec<BrowserEvent>>,
}

impl Report {
    pub(crate) fn log(&self, source: &str) -> &SourceLog {
        &self.logs[source]
    }

    pub(crate) fn owed(&self, source: &str) -> Vec<BrowserEvent> {
        self.owed[source].clone()
    }
}

/// The one run of the browser that all tests of this program share.
pub(crate) async fn told() -> &'static Report {
    static REPORT: OnceCell<Report> = OnceCell::const_new();
    REPORT.get_or_init(|| Box::pin(run())).await
}

/// The servers that the page talks to.
struct ScenarioServers {
    node: Fantail,
    nginx: Nginx,
    /// In front of the node and of nginx, shut while a source is away.
    doors: [FaultProxy; 2],
    slow: Fantail,
    forbidding: Fantail,
    redis: RedisServer,
    shedding: Fantail,
    shedding_nginx: Nginx,
    full: Fantail,
    full_nginx: Nginx,
}

async fn run() -> Report {
    let page = Page::bind().await.unwrap();
    let origin = page.origin();
    let servers = ScenarioServers::set(&origin).await;
    // A port that the system gives to no client's connection, so that the node can have it again.
    let address = format!("127.0.0.1:{}", free_port().unwrap());
    let restarted_flags = ["--listen", &address, "--cors-origin", &origin, "--retry", "50ms", "--drain-window", "0s"];
    let restarted = node(&restarted_flags).await;

    let logging = RedisServer::start().await.unwrap();
    let [killed, terminated] = ENDS.map(|end| Away::set(end, &logging, &origin));
    let (killed, terminated) = tokio::join!(killed, terminated);

    let mut sources = servers.sources(&restarted);
    for away in [&killed, &terminated] {
        let [recipe, bare] = away.sources();
        sources.ending.push(recipe);
        sources.giving_up.push(bare);
        sources.answering.push(away.answer());
    }
    let html = page::html(&sources);
    let ScenarioServers { node, doors, slow, shedding, redis, full, .. } = &servers;
    let (report, direct, nginx, killed, terminated, ..) = tokio::join!(
        page.run(&html, PATIENCE * 3),
        serve_scenarios(node, &doors[0], WAYS[0]),
        serve_scenarios(node, &doors[1], WAYS[1]),
        killed.play(),
        terminated.play(),
        end_two_together(node, slow),
        restart(restarted, &restarted_flags),
        shed_then_serve(shedding, redis),
        fill_then_serve(full),
    );
    let owed = direct.into_iter().chain(nginx).chain([killed, terminated]).collect();
    Report { logs: page::logs(report.unwrap()), owed }
}

impl ScenarioServers {
    async fn set(origin: &str) -> Self {
        let redis = RedisServer::start().await.unwrap();
        let allow = ["--cors-origin", origin];
        let with =
            |flags: &[&'static str]| [&allow[..], flags].concat().into_iter().map(String::from).collect::<Vec<_>>();
        let start = async |flags: Vec<String>| node(&flags.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let node = start(with(&["--retry", "50ms"])).await;
        let nginx = Nginx::start(node.public()).await.unwrap();
        let doors = [node.public(), nginx.addr()].map(|address| FaultProxy::start(address).unwrap());
        let mut shed_flags = with(&["--retry", "50ms", "--follow-deadline", "100ms"]);
        shed_flags.extend(["--redis-url".into(), redis.url()]);
        let shedding = start(shed_flags).await;
        redis.stop_signal().unwrap();
        let full = start(with(&["--retry", "50ms", "--connections-max", "2"])).await;
        Self {
            node,
            nginx,
            doors,
            slow: start(with(&["--retry", "1h"])).await,
            forbidding: start(vec!["--cors-origin".into(), "https://another.example".into()]).await,
            shedding_nginx: Nginx::start(shedding.public()).await.unwrap(),
            shedding,
            full_nginx: Nginx::start(full.public()).await.unwrap(),
            full,
            redis,
        }
    }

    /// The sources of all scenarios but those in which a node is away. A browser opens six connections to one address at most.
    fn sources(&self, restarted: &Fantail) -> Sources {
        let source = |name: &str, address, query| (name.to_owned(), format!("http://{address}/sse/{name}{query}"));
        let mut ending = vec![
            source("quick", self.node.public(), ""),
            source("restarted", restarted.public(), ""),
            source("direct-shed", self.shedding.public(), ""),
            source("nginx-shed", self.shedding_nginx.addr(), ""),
            source("direct-full", self.full.public(), ""),
            source("nginx-full", self.full_nginx.addr(), ""),
        ];
        let ways = WAYS.into_iter().zip([self.node.public(), self.nginx.addr()]).zip(&self.doors);
        for ((way, address), door) in ways {
            for (scenario, query) in [("named", ""), ("limited", "?limit=2"), ("kicked", "")] {
                ending.push(source(&format!("{way}-{scenario}"), address, query));
            }
            ending.push(source(&format!("{way}-quiet"), door.addr(), ""));
        }
        let failing = vec![source("slow", self.slow.public(), ""), source("forbidden", self.forbidding.public(), "")];
        Sources { ending, failing, ..Sources::default() }
    }
}

async fn serve_scenarios(node: &Fantail, door: &FaultProxy, way: &str) -> Vec<(String, Vec<BrowserEvent>)> {
    let channel = |scenario: &str| format!("{way}-{scenario}");
    let channels = ["named", "limited", "kicked", "quiet"].map(channel);
    let (named, limited, kicked, quiet) = tokio::join!(
        show_fields(node, &channels[0]),
        publish_at_once(node, &channels[1]),
        end_among_events(node, &channels[2]),
        end_before_the_first_event(node, door, &channels[3]),
    );
    channels.into_iter().zip([named, limited, kicked, quiet]).collect()
}

async fn show_fields(node: &Fantail, channel: &str) -> Vec<BrowserEvent> {
    until_streams(node, channel, 1).await;
    let mut owed = Vec::new();
    for (query, kind, data, id) in [
        ("?event=tick", "tick", "one\ntwo\n\n  three: 3\n", None),
        ("", "message", "\u{feff}\u{1f600}\u{2028}", None),
        ("?event=message&id=mine%2F1", "message", "", Some("mine/1")),
        ("?retry=200", "message", "data: x", None),
        ("", "message", "end", None),
    ] {
        let receipt = publish(node, &format!("{channel}{query}"), data).await;
        let id = id.map_or_else(|| receipt["id"].as_str().unwrap().to_owned(), String::from);
        owed.push(BrowserEvent { kind: kind.into(), data: data.into(), id });
    }
    owed
}

async fn publish_at_once(node: &Fantail, channel: &str) -> Vec<BrowserEvent> {
    until_streams(node, channel, 1).await;
    let mut owed = Vec::new();
    for number in 0..7 {
        owed.push(publish_told(node, channel, &format!("event {number}")).await.0);
    }
    owed.push(publish_told(node, channel, "end").await.0);
    owed
}

async fn end_among_events(node: &Fantail, channel: &str) -> Vec<BrowserEvent> {
    let mut owed = Vec::new();
    for kick in 0..KICKS {
        until_streams(node, channel, 1).await;
        for number in 0..30 {
            owed.push(publish_told(node, channel, &format!("event {kick} {number}")).await.0);
            if number == 10 {
                kick_streams(node, channel).await;
            }
        }
    }
    until_streams(node, channel, 1).await;
    owed.push(publish_told(node, channel, "end").await.0);
    owed
}

/// The first event is published while the source is away and cannot come back.
async fn end_before_the_first_event(node: &Fantail, door: &FaultProxy, channel: &str) -> Vec<BrowserEvent> {
    until_streams(node, channel, 1).await;
    door.refuse().await.unwrap();
    kick_streams(node, channel).await;
    until_streams(node, channel, 0).await;
    let (missed, receipt) = publish_told(node, channel, "missed").await;
    assert_eq!(receipt["subscribers"], 0, "nobody can be there");
    door.accept().await.unwrap();
    until_streams(node, channel, 1).await;
    vec![missed, publish_told(node, channel, "end").await.0]
}

/// Ends a stream with a long and one with a short reconnection time, then the latter again whenever it is back.
async fn end_two_together(node: &Fantail, slow: &Fantail) {
    until_streams(slow, "slow", 1).await;
    until_streams(node, "quick", 1).await;
    kick_streams(slow, "slow").await;
    for _ in 0..RETURNS {
        kick_streams(node, "quick").await;
        until_streams(node, "quick", 0).await;
        until_streams(node, "quick", 1).await;
    }
    publish(node, "quick", "end").await;
}

async fn restart(mut old: Fantail, flags: &[&str]) {
    until_streams(&old, "restarted", 1).await;
    publish(&old, "restarted", "before").await;
    old.signal(Signal::TERM).unwrap();
    assert!(old.wait(PATIENCE).await.unwrap().success());
    let new = Fantail::start(FANTAIL, &[&["serve", "--workers", "2"], flags].concat(), &[]).await.unwrap();
    until_streams(&new, "restarted", 1).await;
    publish(&new, "restarted", "after").await;
    publish(&new, "restarted", "end").await;
    // It stays until its stream has taken everything and the page has reported; otherwise the browser would report an
    // error.
    until(&new, "it is told to come back no more", |metrics| metrics.count("fantail_streams_open") == 0).await;
}

/// Other clients have all the places when the browser comes, until each source was turned away a few times.
async fn fill_then_serve(node: &Fantail) {
    let inside = [subscribe(node, "/sse/a").await, subscribe(node, "/sse/a").await];
    let told = "fantail_connections_turned_away_total{how=\"told\"}";
    let enough = 2 * SHEDS as u64 + 2;
    look_until("sources were turned away", async || metrics(node).await.count(told) >= enough).await;
    drop(inside);
    for channel in ["direct-full", "nginx-full"] {
        until_live(node, channel).await;
        publish(node, channel, "end").await;
    }
}

/// Redis is stopped when the browser comes, and goes on when each source was turned away a few times.
async fn shed_then_serve(node: &Fantail, redis: &RedisServer) {
    let enough = 2 * SHEDS as u64 + 2;
    until(node, "sources were turned away", |metrics| metrics.closed("follow_timeout") >= enough).await;
    redis.cont().unwrap();
    for channel in ["direct-shed", "nginx-shed"] {
        until_live(node, channel).await;
        publish(node, channel, "end").await;
    }
}

pub(crate) async fn publish_told(node: &Fantail, channel: &str, data: &str) -> (BrowserEvent, Value) {
    let receipt = publish(node, channel, data).await;
    let id = receipt["id"].as_str().unwrap().to_owned();
    (BrowserEvent { kind: "message".into(), data: data.into(), id }, receipt)
}

pub(crate) async fn kick_streams(node: &Fantail, channel: &str) {
    for connection in connections(node).await {
        if connection["channels"][0] == channel {
            let path = format!("/connections/{}", connection["id"].as_str().unwrap());
            assert_eq!(ask(node, "DELETE", &path).await.status, 200);
        }
    }
}

/// Waits until so many streams follow a channel. A stream that was ended follows nothing any more.
pub(crate) async fn until_streams(node: &Fantail, channel: &str, streams: u64) {
    let path = format!("/channels/{channel}");
    look_until(&format!("{channel} has {streams} streams"), async || {
        let answer = ask(node, "GET", &path).await;
        let found = if answer.status == 404 { 0 } else { answer.json().unwrap()["streams"].as_u64().unwrap() };
        found == streams
    })
    .await;
}

pub(crate) async fn until_live(node: &Fantail, channel: &str) {
    look_until(&format!("{channel} has a live stream"), async || {
        let is_it = |connection: &Value| connection["channels"][0] == channel && connection["state"] == "live";
        connections(node).await.iter().any(is_it)
    })
    .await;
}

pub(crate) async fn look_until(what: &str, mut reached: impl AsyncFnMut() -> bool) {
    let started = tokio::time::Instant::now();
    while !reached().await {
        // A browser's start is part of it.
        assert!(started.elapsed() < PATIENCE * 2, "it never came to this: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
