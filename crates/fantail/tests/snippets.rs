//! The programs in `examples/` run unchanged: against a real Redis, nodes that it feeds, and a real browser.
//!
//! Those in Python, for Node.js and in Go need packages, which are fetched once into the target directory.
#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

#[path = "common/node.rs"]
mod node;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fantail_testkit::child::Child;
use fantail_testkit::{Fantail, PATIENCE, Page, RedisServer, SseClient};
use tokio::time::timeout;

use node::{ask, live_stream, node, publish, subscribe, until, until_ready, until_state};

/// A registry may be slow.
const FETCH_PATIENCE: Duration = Duration::from_mins(5);

/// The events that the programs publish on `demo`, and on `demo` and `news`. Programs for the log publish the second
/// alone.
const BOTH: [(&str, &str); 2] = [("message", "hello"), ("greeting", "hello")];
const LOGGED: [(&str, &str); 1] = [("greeting", "hello")];

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

/// The place of the packages, as far as they were fetched.
fn packages() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("snippets");
    fs::create_dir_all(&directory).unwrap();
    directory
}

async fn run(what: &str, command: &mut Command, limit: Duration) -> String {
    let mut child = Child::spawn(what, command).unwrap();
    let status = child.wait(limit).await.unwrap();
    let output =
        child.find_in_output(PATIENCE, "it ended", |output| output.exited.then(|| output.clone())).await.unwrap();
    assert!(status.success(), "{what}: {output:?}");
    output.stdout
}

/// The command that runs this program, with its packages in place.
async fn command(name: &str) -> Command {
    let packages = packages();
    let is_for_redis = !name.starts_with("publish_http");
    match Path::new(name).extension().and_then(|it| it.to_str()) {
        Some("py") => {
            if is_for_redis && !packages.join("redis").exists() {
                let mut pip = Command::new("python3");
                pip.args(["-m", "pip", "install", "--quiet", "--target"]).arg(&packages).arg("redis");
                run("pip", &mut pip, FETCH_PATIENCE).await;
            }
            let mut python = Command::new("python3");
            python.env("PYTHONPATH", &packages).arg(example(name));
            python
        }
        Some("mjs") => {
            if is_for_redis && !packages.join("node_modules/redis").exists() {
                let mut npm = Command::new("npm");
                npm.args(["install", "--no-audit", "--no-fund", "--prefix"]).arg(&packages).arg("redis");
                run("npm", &mut npm, FETCH_PATIENCE).await;
            }
            // Node.js looks for packages in the folder of the program.
            let copy = packages.join(name);
            fs::copy(example(name), &copy).unwrap();
            let mut node = Command::new("node");
            node.arg(copy);
            node
        }
        Some("sh") => {
            let mut shell = Command::new("sh");
            shell.arg(example(name));
            shell
        }
        _ => {
            let program = packages.join(name);
            let mut build = Command::new("go");
            build.current_dir(example(name)).args(["build", "-o"]).arg(&program);
            run("go", &mut build, FETCH_PATIENCE).await;
            Command::new(program)
        }
    }
}

/// The program publishes these events, once each, and prints its receipts.
async fn assert_publishes(name: &str, flags: &[&str], owed: &[(&str, &str)]) -> String {
    let redis = RedisServer::start().await.unwrap();
    let node = node(&[&["--redis-url", &redis.url()], flags].concat()).await;
    until_ready(&node, true).await;
    let mut stream = subscribe(&node, "/sse?channel=demo&channel=news").await;
    until_state(&node, stream.local_addr().unwrap(), "live").await;
    let mut command = command(name).await;
    command.env("REDIS_URL", redis.url()).env("FANTAIL_URL", format!("http://{}", node.internal()));
    let printed = run(name, &mut command, PATIENCE).await;
    let events = events_before_the_end(&node, &mut stream, owed.len()).await;
    let events: Vec<_> = events.iter().map(|(kind, data)| (kind.as_str(), data.as_str())).collect();
    assert_eq!(events, owed);
    printed
}

/// Publishes one more event, which shows that nothing came twice.
async fn events_before_the_end(node: &Fantail, stream: &mut SseClient, count: usize) -> Vec<(String, String)> {
    publish(node, "demo", "the end").await;
    let mut events = stream.next_events(count + 1, PATIENCE).await.unwrap();
    assert_eq!(events.pop().map(|event| event.data).as_deref(), Some("the end"), "{events:?}");
    events.into_iter().map(|event| (event.event, event.data)).collect()
}

#[tokio::test]
async fn the_programs_for_a_shell_publish() {
    assert_publishes("publish_http.sh", &[], &BOTH).await;
    assert_publishes("publish_http.sh", &["--redis-log"], &BOTH).await;
    let printed = assert_publishes("publish_pubsub.sh", &[], &BOTH).await;
    assert_eq!(printed.split_whitespace().collect::<Vec<_>>(), ["1", "OK", "QUEUED", "QUEUED", "1", "1"]);
    let printed = assert_publishes("publish_log.sh", &["--redis-log"], &LOGGED).await;
    assert!(printed.ends_with(".1\n1\n"), "{printed}");
}

#[tokio::test]
#[ignore = "fetches a package; scripts/test runs it"]
async fn the_programs_in_python_publish() {
    assert_publishes("publish_http.py", &["--redis-log"], &LOGGED).await;
    assert_eq!(assert_publishes("publish_pubsub.py", &[], &BOTH).await, "1\n1\n");
    let printed = assert_publishes("publish_log.py", &["--redis-log"], &LOGGED).await;
    assert!(printed.ends_with(".1 1\n"), "{printed}");
}

#[tokio::test]
#[ignore = "fetches a package; scripts/test runs it"]
async fn the_programs_in_node_publish() {
    assert_publishes("publish_http.mjs", &["--redis-log"], &LOGGED).await;
    assert_eq!(assert_publishes("publish_pubsub.mjs", &[], &BOTH).await, "1\n1\n");
    let printed = assert_publishes("publish_log.mjs", &["--redis-log"], &LOGGED).await;
    assert!(printed.ends_with(".1 1\n"), "{printed}");
}

#[tokio::test]
#[ignore = "needs Go and fetches a package; scripts/test runs it where Go is there"]
async fn the_program_in_go_publishes() {
    let printed = assert_publishes("publish_log_go", &["--redis-log"], &LOGGED).await;
    assert!(printed.ends_with(".1 1\n"), "{printed}");
}

/// The first `EventSource` gets 404, and the last one gives up after the event behind the gap, as a browser does on any
/// status but 200. Reports the page's lines when one of them ends in "the end".
const REPORT: &str = "<script>
const Given = EventSource;
const sources = [];
window.EventSource = class extends Given {
  constructor(url) {
    super(sources.length ? url : url.replace('/sse', '/nothing'));
    sources.push(this);
  }
};
const lines = () => [...document.querySelectorAll('#log li')].map((line) => line.textContent);
new MutationObserver(() => {
  if (lines().at(-1)?.endsWith('after the gap')) {
    sources.at(-1).close();
    sources.at(-1).onerror();
  }
  if (lines().at(-1)?.endsWith('the end')) fetch('/result', { method: 'POST', body: JSON.stringify(lines()) });
}).observe(document.getElementById('log'), { childList: true });
</script>";

#[tokio::test]
async fn the_page_misses_nothing_though_the_browser_gives_up_and_fetches_its_state_after_a_gap() {
    let page = Page::bind().await.unwrap();
    let node = node(&["--cors-origin", &page.origin(), "--retry", "50ms"]).await;
    let html = fs::read_to_string(example("page.html")).unwrap();
    let html = html.replace("http://localhost:8080", &format!("http://{}", node.public()));
    // A module's script runs after the others.
    let html = html.replace("_MS = 5_000", "_MS = 500") + REPORT;
    let (report, played) = tokio::join!(page.run(&html, PATIENCE), timeout(PATIENCE, play(&node)));
    played.expect("the page's stream was live three times");
    let lines: Vec<String> = serde_json::from_value(report.unwrap()).unwrap();
    assert_eq!(lines, LINES);
}

const LINES: [&str; 9] = [
    "state fetched: first connection",
    "message: one",
    "closed by the node: kicked",
    "greeting: while it was away",
    "closed by the node: channel-deleted",
    "state fetched: gap in demo, deleted",
    "message: after the gap",
    "message: while it had given up",
    "message: the end",
];

/// The life of the page's stream: it is ended, its channel is deleted, and the end comes.
async fn play(node: &Fantail) {
    let first = live_stream(node, "").await;
    publish(node, "demo", "one").await;
    until(node, "the first event was sent", |metrics| metrics.sum("fantail_deliveries_total") >= 1).await;
    ask(node, "DELETE", &format!("/connections/{first}")).await;
    publish(node, "news?event=greeting", "while it was away").await;
    let second = live_stream(node, &first).await;
    until(node, "the greeting was sent", |metrics| metrics.sum("fantail_deliveries_total") >= 2).await;
    ask(node, "DELETE", "/channels/demo").await;
    live_stream(node, &second).await;
    publish(node, "demo", "after the gap").await;
    until(node, "the page gave up", |metrics| metrics.count("fantail_streams_open") == 0).await;
    publish(node, "demo", "while it had given up").await;
    publish(node, "demo", "the end").await;
}
