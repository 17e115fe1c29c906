//! The table of docs/access.md, tried in a real browser: behind which answers an `EventSource` comes back by itself, and behind
//! which it gives up for ever.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use fantail_testkit::proxy::Cut;
use fantail_testkit::{Fantail, FaultProxy, PATIENCE, Page, SseClient, http};
use serde_json::json;

use crate::chromium::page::{self, SourceLog, Sources};
use crate::chromium::scenarios::{kick_streams, until_streams};
use crate::keys::{KeyDirectory, SECRET, now, signed};
use crate::node::{node, publish, subscribe, until};
use crate::origin::{TestOrigin, answer};

/// How a source names that it is between two connections, and that it has given up for ever.
const CONNECTING: u64 = 0;
const CLOSED: u64 = 2;

/// How often a source is turned away before it is let in.
const AWAY: usize = 3;

/// Rows that name no status and no reason.
const NO_CORS: &str = "no CORS headers";
const CUT: &str = "the connection breaks";

/// The reaction of an `EventSource`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    GivesUp,
    ComesBack,
    /// Once, and then it meets an answer behind which it gives up.
    ComesBackAndGivesUp,
}

impl Outcome {
    /// By what the source told. `None` if it did neither.
    fn of(log: &SourceLog) -> Option<Self> {
        let (errors, opened) = (log.errors(), log.opened());
        let last = *errors.last()?;
        match (opened, errors.iter().filter(|state| **state == CLOSED).count()) {
            (0, 1) if errors.len() == 1 => Some(Self::GivesUp),
            (1.., 1) if errors.len() > 1 && last == CLOSED => Some(Self::ComesBackAndGivesUp),
            (2.., 0) if errors.iter().all(|state| *state == CONNECTING) => Some(Self::ComesBack),
            _ => None,
        }
    }

    fn of_words(words: &str) -> Self {
        if words.starts_with("gives up") {
            Self::GivesUp
        } else if words.contains("then gives up") {
            Self::ComesBackAndGivesUp
        } else {
            assert!(words.starts_with("comes back"), "{words}");
            Self::ComesBack
        }
    }
}

/// The rows of the page's table: the answers in backticks in the first cell, and the outcome of the last.
fn told_by_the_page() -> BTreeMap<String, Outcome> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/access.md");
    let text = fs::read_to_string(path).unwrap();
    let table = text.split_once("\n## What a browser does\n").expect("the section").1;
    let rows = table.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let mut told = BTreeMap::new();
    for row in rows.take_while(|line| line.starts_with('|')) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let outcome = Outcome::of_words(cells.last().unwrap());
        let quoted: Vec<_> = cells[0].split('`').skip(1).step_by(2).collect();
        let names = if quoted.is_empty() { vec![cells[0]] } else { quoted };
        told.extend(names.into_iter().map(|name| (name.to_owned(), outcome)));
    }
    told
}

/// Everything that a page is shown.
struct BrowserServers {
    tokens: Fantail,
    elsewhere: Fantail,
    lifetime: Fantail,
    unavailable: Fantail,
    full: Fantail,
    plain: Fantail,
    door: FaultProxy,
    _service: TestOrigin,
    gateway: TestOrigin,
    _files: KeyDirectory,
}

impl BrowserServers {
    async fn start(origin: &str) -> Self {
        let files = KeyDirectory::new();
        let key = files.key("HS256", SECRET);
        let base = ["--cors-origin", origin, "--retry", "50ms"];
        let start = async |flags: &[&str]| node(&[&base[..], flags].concat()).await;
        let refusals = std::sync::atomic::AtomicUsize::new(0);
        let service = TestOrigin::start(move |_| {
            let is_away = refusals.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < AWAY;
            answer(if is_away { "500 Internal Server Error" } else { "204 No Content" }, "", "")
        })
        .await;
        let url = service.url("/");
        let tokens = ["--access", "token", "--token-keys", &key, "--token-query", "token", "--token-leeway", "0s"];
        let plain = start(&[]).await;
        let cors = format!("Access-Control-Allow-Origin: {origin}\r\n");
        Self {
            tokens: start(&tokens).await,
            elsewhere: node(&["--cors-origin", "https://another.example"]).await,
            lifetime: start(&["--stream-lifetime-max", "1s"]).await,
            unavailable: start(&["--access", "origin", "--origin-url", &url, "--origin-cache", "0s"]).await,
            full: start(&["--connections-max", "1"]).await,
            door: FaultProxy::start(plain.public()).unwrap(),
            plain,
            gateway: TestOrigin::start(move |_| answer("502 Bad Gateway", &cors, "")).await,
            _service: service,
            _files: files,
        }
    }

    /// The sources, by the name of their row. A browser opens six connections to one address at most.
    fn sources(&self) -> Sources {
        let token = |channel: &str, seconds: u64| {
            let claims = json!({ "sub": channel, "channels": [channel], "exp": now() + seconds });
            signed("HS256", SECRET, claims)
        };
        let of =
            |name: &str, node: &Fantail, target: &str| (name.to_owned(), format!("http://{}{target}", node.public()));
        let with_token =
            |name: &str, target: &str, token: String| of(name, &self.tokens, &format!("{target}?token={token}"));
        Sources {
            giving_up: vec![
                of("401", &self.tokens, "/sse"),
                with_token("403", "/sse/b", token("a", 600)),
                with_token("400", "/sse/a*", token("a", 600)),
                with_token("404", "/elsewhere", token("a", 600)),
                of(NO_CORS, &self.elsewhere, "/sse/a"),
                ("502".to_owned(), self.gateway.url("/sse/a")),
                // Long enough for a browser to start.
                with_token("token-expired", "/sse/e", token("e", 20)),
                with_token("revoked", "/sse/r", token("r", 600)),
            ],
            ending: vec![
                of("lifetime", &self.lifetime, "/sse/a"),
                of("access-unavailable", &self.unavailable, "/sse/a"),
                of("overloaded", &self.full, "/sse/a"),
                of("kicked", &self.plain, "/sse/kicked"),
                (CUT.to_owned(), format!("http://{}/sse/cut", self.door.addr())),
            ],
            ..Sources::default()
        }
    }

    /// The scenario while the browser runs. `inside` has the only place of the full node.
    async fn play(&self, inside: SseClient) {
        let Self { tokens, lifetime, unavailable, full, plain, door, .. } = self;
        let revoked = async {
            until_streams(tokens, "r", 1).await;
            let answer = http(tokens.internal(), "POST", "/revoke", &[], r#"{"sub":"r"}"#).await.unwrap();
            assert_eq!(answer.json().unwrap(), json!({ "ended": 1 }));
        };
        let lived = async {
            until(lifetime, "a stream has lived", |metrics| metrics.closed("lifetime") >= 1).await;
            publish(lifetime, "a", "end").await;
        };
        let asked = async {
            until_streams(unavailable, "a", 1).await;
            publish(unavailable, "a", "end").await;
        };
        let made_room = async {
            let told = "fantail_connections_turned_away_total{how=\"told\"}";
            until(full, "it is turned away", |metrics| metrics.count(told) >= AWAY as u64).await;
            drop(inside);
            until_streams(full, "a", 1).await;
            publish(full, "a", "end").await;
        };
        let kicked = async {
            until_streams(plain, "kicked", 1).await;
            kick_streams(plain, "kicked").await;
            publish(plain, "kicked", "end").await;
        };
        let cut = async {
            until_streams(plain, "cut", 1).await;
            door.cut(Cut::Reset).await.unwrap();
            publish(plain, "cut", "end").await;
        };
        tokio::join!(revoked, lived, asked, made_room, kicked, cut);
    }
}

#[tokio::test]
async fn behind_each_answer_a_browser_does_what_the_page_about_access_says() {
    let page = Page::bind().await.unwrap();
    let servers = BrowserServers::start(&page.origin()).await;
    let inside = subscribe(&servers.full, "/sse/b").await;
    let html = page::html(&servers.sources());
    let (report, ()) = tokio::join!(page.run(&html, PATIENCE * 3), servers.play(inside));
    let logs = page::logs(report.unwrap());
    let seen: BTreeMap<_, _> = logs.iter().map(|(row, log)| (row.clone(), Outcome::of(log))).collect();
    let told: BTreeMap<_, _> = told_by_the_page().into_iter().map(|(row, outcome)| (row, Some(outcome))).collect();
    assert_eq!(seen, told, "{logs:#?}");
}
