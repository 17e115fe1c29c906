//! The library of ownCloud Web in a real browser, `@microsoft/fetch-event-source`, on a page of another origin, through nginx.

use std::fs;
use std::path::Path;
use std::process::Command;

use fantail_testkit::child::Child;
use fantail_testkit::{Fantail, NatsServer, Nginx, PATIENCE, Page};
use serde_json::{Value, json};
use tokio::time::{Duration, timeout};

use crate::node::{ask, live_stream, until, until_ready};
use crate::service::{PATH, send, service, token_of};

const PACKAGE: &str = "@microsoft/fetch-event-source";
const VERSION: &str = "2.0.1";

/// A registry may be slow.
const FETCH_PATIENCE: Duration = Duration::from_mins(5);

/// The two files of the package as one script.
async fn library() -> String {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("snippets");
    let installed = directory.join("node_modules").join(PACKAGE);
    if !installed.exists() {
        fs::create_dir_all(&directory).unwrap();
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--prefix"])
            .arg(&directory)
            .arg(format!("{PACKAGE}@{VERSION}"));
        let mut npm = Child::spawn("npm", &mut npm).unwrap();
        assert!(npm.wait(FETCH_PATIENCE).await.unwrap().success(), "{:?}", npm.output());
    }
    let manifest: Value = serde_json::from_slice(&fs::read(installed.join("package.json")).unwrap()).unwrap();
    assert_eq!(manifest["version"], VERSION);
    let scripts =
        ["parse.js", "fetch.js"].map(|name| fs::read_to_string(installed.join("lib/esm").join(name)).unwrap());
    let lines = scripts.iter().flat_map(|script| script.lines());
    let lines = lines.filter(|line| !line.starts_with("import ") && !line.starts_with("//# "));
    lines.map(|line| line.trim_start_matches("export ")).collect::<Vec<_>>().join("\n")
}

/// It sends the headers of ownCloud Web, but comes back sooner, and with the library's own `Last-Event-ID`. It tells every call of
/// `onmessage`, also those with nothing in them. A change of the language ends the stream and opens another one.
const SCRIPT: &str = r"
const told = [];
let language = 'de';
let controller;
const open = () => {
  controller = new AbortController();
  fetchEventSource('URL', {
    headers: {
      Authorization: 'Bearer of-the-identity-provider',
      'Accept-Language': language,
      'X-Request-ID': crypto.randomUUID?.() ?? 'x',
      'X-Requested-With': 'XMLHttpRequest',
    },
    openWhenHidden: true,
    signal: controller.signal,
    async onopen(response) {
      if (!response.ok || response.headers.get('content-type') !== 'text/event-stream') throw new Error('no stream');
    },
    onmessage(message) {
      told.push([message.event, message.data]);
      if (message.data === 'language') { controller.abort(); language = 'en'; open(); }
      if (message.data === 'end') fetch('/result', { method: 'POST', body: JSON.stringify(told) });
    },
    onclose() { throw new Error('it ended'); },
    onerror() { return 100; },
  });
};
open();
";

#[tokio::test]
#[ignore = "fetches a package; scripts/test runs it"]
async fn the_library_of_the_web_client_gets_each_event_once_and_nothing_else_over_cuts_of_all_kinds() {
    let mut nats = NatsServer::start_jetstream().await.unwrap();
    let page = Page::bind().await.unwrap();
    let variables = [("OCIS_CORS_ALLOW_ORIGINS", page.origin()), ("SSE_KEEPALIVE_INTERVAL", "100ms".to_owned())];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    let node = service(&nats.url(), &variables, &[]).await;
    // The front proxy takes the identity provider's token and passes its own on.
    let site = format!("proxy_set_header X-Access-Token {};", token_of("alice"));
    let nginx = Nginx::start_with(node.public(), &site).await.unwrap();
    let script = SCRIPT.replace("URL", &format!("http://{}{PATH}", nginx.addr()));
    let html = format!("<!doctype html><script>{}\n{script}</script>", library().await);
    let (told, played) = tokio::join!(page.run(&html, PATIENCE * 2), timeout(PATIENCE * 2, play(&node, &mut nats)));
    let told = told.unwrap();
    played.expect("the page's stream was open each time");
    let expected = ["one", "while it was away", "while nats was away", "language", "in another language", "end"];
    let expected: Vec<_> = expected.iter().map(|data| json!(["folder-created", data])).collect();
    assert_eq!(told, Value::from(expected));
}

async fn play(node: &Fantail, nats: &mut NatsServer) {
    let first = live_stream(node, "").await;
    until(node, "keepalives were sent", |metrics| metrics.count("fantail_keepalives_total") >= 3).await;
    send(nats, &["alice"], "folder-created", "one").await;
    until(node, "it was sent", |metrics| metrics.sum("fantail_deliveries_total") >= 1).await;
    ask(node, "DELETE", &format!("/connections/{first}")).await;
    send(nats, &["alice"], "folder-created", "while it was away").await;
    let second = live_stream(node, &first).await;
    until(node, "it was sent", |metrics| metrics.sum("fantail_deliveries_total") >= 2).await;
    nats.kill();
    until_ready(node, false).await;
    nats.restart().await.unwrap();
    send(nats, &["alice"], "folder-created", "while nats was away").await;
    until_ready(node, true).await;
    send(nats, &["alice"], "folder-created", "language").await;
    live_stream(node, &second).await;
    send(nats, &["alice"], "folder-created", "in another language").await;
    send(nats, &["alice"], "folder-created", "end").await;
}
