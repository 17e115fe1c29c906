//! The promises of web-platform-tests' `eventsource` folder, held by what is published over HTTP and read by the
//! `EventSource` of Chromium, of Firefox and of WebKit: directly, over TLS, and through nginx with nothing but `proxy_pass`, the last two over
//! HTTP/1.1 and over HTTP/2.
//!
//! Each browser runs once. It plays each case in each of the five ways and reports what it got. The way over TLS with HTTP/1.1 leads to a
//! node of its own, which got the same from the same publishers.

mod cases;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use cases::{Address, Body, Case, Published, Read, cases};
use fantail_testkit::{Certificates, Fantail, Nginx, PATIENCE, Page, http};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::node::{connections, metrics, publish, publish_json, tls_node};

/// The type of the last event of each channel, by which a page knows that nothing else comes.
const LAST: &str = "conformance-last";

/// The channel by which the page is told to report.
const FINISH: &str = "finish";

/// Held for all rows together.
const WITHOUT_A_ROW: [&str; 4] = ["eventsource-close", "eventsource-onopen", "request-accept", "request-cache-control"];

/// The state of a source that has given up for ever.
const CLOSED: u64 = 2;

/// A page's report of one case in one way.
#[derive(Debug, Deserialize)]
struct Told {
    /// Type, data and id of each event.
    events: Vec<(String, String, String)>,
    opened: usize,
    /// The source's state at each error.
    errors: Vec<u64>,
    /// From each error to the next opening, in ms.
    pauses: Vec<f64>,
}

/// The nodes, and the ways to them by name: each an origin.
struct Ways {
    /// The second one speaks HTTP/1.1 alone.
    nodes: [Fantail; 2],
    origins: BTreeMap<&'static str, String>,
    proxies: [Nginx; 2],
}

impl Ways {
    async fn start(origin: &str, certificates: &Certificates) -> Self {
        let flags = ["--cors-origin", origin, "--cors-credentials", "--retry", "20ms"];
        let (node, encrypted) = tls_node(certificates, &flags).await;
        let (old, encrypted_old) = tls_node(certificates, &[&flags[..], &["--http2=false"]].concat()).await;
        let (cert, key) = (certificates.server(), certificates.server_key());
        let tls = format!("ssl http2; ssl_certificate {}; ssl_certificate_key {}", cert.display(), key.display());
        let upstream = node.public();
        let plain = Nginx::start_site(|port| site(&format!("listen 127.0.0.1:{port}"), upstream)).await.unwrap();
        let http2 = Nginx::start_site(|port| site(&format!("listen 127.0.0.1:{port} {tls}"), upstream)).await.unwrap();
        let origins = BTreeMap::from([
            ("direct", format!("http://{}", node.public())),
            ("TLS", format!("https://{encrypted_old}")),
            ("TLS with HTTP/2", format!("https://{encrypted}")),
            ("nginx", format!("http://{}", plain.addr())),
            ("nginx with HTTP/2", format!("https://{}", http2.addr())),
        ]);
        Self { nodes: [node, old], origins, proxies: [plain, http2] }
    }
}

/// A site with `proxy_pass` alone. It notes three headers of each request.
fn site(listen: &str, upstream: SocketAddr) -> String {
    format!(
        "log_format sent '$server_protocol $http_accept; $http_cache_control; $http_last_event_id;';
    server {{
        {listen};
        access_log /dev/stderr sent;
        location / {{ proxy_pass http://{upstream}; }}
    }}"
    )
}

#[tokio::test]
async fn chromium_reads_what_was_published_as_web_platform_tests_demand_directly_and_through_nginx() {
    let page = Page::bind().await.unwrap().argument("--ignore-certificate-errors");
    assert_conforms(page, &Certificates::make().unwrap(), str::to_owned).await;
}

/// Firefox drops NUL out of data, against the standard.
#[tokio::test]
async fn firefox_reads_what_was_published_as_web_platform_tests_demand_directly_and_through_nginx() {
    let certificates = Certificates::make().unwrap();
    let page = Page::bind().await.unwrap().in_firefox(certificates.ca());
    assert_conforms(page, &certificates, |data| data.replace('\0', "")).await;
}

#[tokio::test]
async fn webkit_reads_what_was_published_as_web_platform_tests_demand_directly_and_through_nginx() {
    let page = Page::bind().await.unwrap().in_webkit();
    assert_conforms(page, &Certificates::make().unwrap(), str::to_owned).await;
}

/// Plays all cases. The browser reads data as `read` says.
async fn assert_conforms(page: Page, certificates: &Certificates, read: fn(&str) -> String) {
    let mut ways = Ways::start(&page.origin(), certificates).await;
    let mut cases = cases();
    for (number, case) in cases.iter().enumerate() {
        for node in &ways.nodes {
            publish_case(node, number, case).await;
        }
    }
    for read_as in cases.iter_mut().flat_map(|case| &mut case.published).filter_map(|it| it.outcome.as_mut().ok()) {
        read_as.data = read(&read_as.data);
    }
    let html = html(&cases, &ways.origins);
    let (report, ()) = tokio::join!(page.run(&html, PATIENCE), until_the_page_has_closed_all(&ways.nodes));
    let mut told: BTreeMap<String, Vec<Told>> = serde_json::from_value(report.unwrap()).unwrap();
    for way in ways.origins.keys() {
        let told = told.remove(*way).unwrap();
        assert_eq!(told.len(), cases.len());
        for (case, told) in cases.iter().zip(told) {
            assert_told(case, &told, way);
        }
    }
    // Each reads the same headers from the browser, by whatever version of HTTP they came.
    for (proxy, version) in ways.proxies.iter_mut().zip(["HTTP/1.1", "HTTP/2.0"]) {
        for (cases, headers) in [
            ("request-accept and request-cache-control", "text/event-stream; no-cache; -;"),
            ("format-field-id", "text/event-stream; no-cache; \\xE2\\x80\\xA6;"),
        ] {
            let line = format!("{version} {headers}");
            proxy.wait_for_error_log(&line, PATIENCE).await.unwrap_or_else(|error| panic!("{cases}: {error}"));
        }
    }
}

#[test]
fn the_page_about_conformance_names_the_cases() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/conformance.md");
    let text = fs::read_to_string(path).unwrap();
    let names = |line: &str| Some(line.strip_prefix("| `")?.split_once("` | conformance |")?.0.to_owned());
    let told: BTreeSet<String> = text.lines().filter_map(names).collect();
    let held = cases().into_iter().map(|case| case.name.split(',').next().unwrap().to_owned());
    assert_eq!(told, held.chain(WITHOUT_A_ROW.map(String::from)).collect());
}

async fn publish_case(node: &Fantail, number: usize, case: &Case) {
    for Published { body, outcome } in &case.published {
        let answer = match body {
            Body::Json(fields) => {
                let mut fields = fields.clone();
                fields["channel"] = channel(number).into();
                publish_json(node, fields.to_string()).await
            }
            Body::Bytes(data) => {
                http(node.internal(), "POST", &format!("/publish/{}", channel(number)), &[], data).await.unwrap()
            }
        };
        let told = answer.json().unwrap();
        let owed = outcome.as_ref().map_or_else(|field| (400, Some(*field)), |_| (202, None));
        assert_eq!((answer.status, told["field"].as_str()), owed, "{}: {told}", case.name);
    }
    publish(node, &format!("{}?event={LAST}", channel(number)), "").await;
}

fn channel(number: usize) -> String {
    format!("case-{number}")
}

/// A source that its page closes leaves the node at once, and does not come back. This is `eventsource-close`.
async fn until_the_page_has_closed_all([node, old]: &[Fantail; 2]) {
    let only_one = async {
        loop {
            let listing = connections(node).await;
            let is_last = listing.len() == 1 && listing[0]["channels"] == json!([FINISH]);
            if is_last && listing[0]["state"] == "live" && connections(old).await.is_empty() {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, only_one).await.expect("the page has closed all of its streams but the last");
    // A browser keeps a connection for the next stream.
    let (newer, older) = (metrics(node).await, metrics(old).await);
    assert!(newer.count("fantail_http2_connections") > 0 && older.count("fantail_http2_connections") == 0);
    publish(node, FINISH, "").await;
}

fn assert_told(case: &Case, told: &Told, way: &str) {
    let Case { name, published, address, pause_ms_min } = case;
    let owed: Vec<&Read> = published.iter().filter_map(|it| it.outcome.as_ref().ok()).collect();
    let got: Vec<_> = told.events.iter().map(|(kind, data, _)| (kind.as_str(), data.as_str())).collect();
    let owed_texts: Vec<_> = owed.iter().map(|read| (read.kind.as_str(), read.data.as_str())).collect();
    assert!(got == owed_texts, "{way}, {name}: {:.2000}", format!("{got:?} in place of {owed_texts:?}"));
    for ((.., got), read) in told.events.iter().zip(&owed) {
        match &read.id {
            Some(id) => assert_eq!(got, id, "{way}, {name}"),
            None => assert_eq!(got.split('.').count(), 3, "{way}, {name}: {got:?} is an id of Fantail's"),
        }
    }
    let errors_are = |state| told.errors.iter().all(|error| *error == state);
    match address {
        Address::NoStream(_) => assert!(told.opened == 0 && told.errors == [CLOSED], "{way}, {name}: {told:?}"),
        Address::ChannelOneByOne => {
            // One connection for each event, and one for the last.
            assert_eq!((told.opened, told.errors.len()), (owed.len() + 1, owed.len()), "{way}, {name}: {told:?}");
            assert!(errors_are(0), "{way}, {name}: {told:?}");
        }
        Address::Channel | Address::ChannelWithCredentials => {
            assert_eq!((told.opened, &told.errors[..]), (1, &[][..]), "{way}, {name}");
        }
    }
    let pause = told.pauses.first().copied().unwrap_or(f64::INFINITY);
    #[allow(clippy::cast_precision_loss)] // a few hundred
    let enough = pause >= *pause_ms_min as f64;
    assert!(enough, "{way}, {name}: it came back after {pause} ms");
}

fn html(cases: &[Case], origins: &BTreeMap<&str, String>) -> String {
    let target = |number: usize, case: &Case| match case.address {
        Address::NoStream(path) => path.to_owned(),
        Address::ChannelOneByOne => format!("/sse/{}?replay=all&limit=1", channel(number)),
        Address::Channel | Address::ChannelWithCredentials => format!("/sse/{}?replay=all", channel(number)),
    };
    let row = |(number, case): (usize, &Case)| {
        let reads = case.published.iter().filter_map(|published| published.outcome.as_ref().ok());
        let mut kinds: Vec<_> = reads.map(|read| &read.kind).collect();
        kinds.sort();
        kinds.dedup();
        let with_credentials = matches!(case.address, Address::ChannelWithCredentials);
        json!({ "target": target(number, case), "kinds": kinds, "withCredentials": with_credentials })
    };
    let rows: Vec<Value> = cases.iter().enumerate().map(row).collect();
    let finish = format!("{}/sse/{FINISH}", origins["direct"]);
    let page = SCRIPT.replace("LAST", LAST).replace("FINISH", &finish);
    page.replace("WAYS", &json!(origins).to_string()).replace("ROWS", &json!(rows).to_string())
}

/// A browser opens six connections to one address at most, and one of them may be a question before a request.
const SCRIPT: &str = "<!doctype html><meta charset=utf-8><script>
const AT_ONCE = 4;
const ways = WAYS;
const rows = ROWS;

function play(origin, row) {
  const told = {events: [], opened: 0, errors: [], pauses: []};
  return new Promise(done => {
    const source = new EventSource(origin + row.target, {withCredentials: row.withCredentials});
    let failed;
    const end = () => { source.close(); done(told); };
    source.addEventListener('open', event => {
      if (event instanceof MessageEvent) return;
      told.opened += 1;
      if (failed) told.pauses.push(performance.now() - failed);
    });
    source.addEventListener('error', event => {
      if (event instanceof MessageEvent) return;
      told.errors.push(source.readyState);
      failed = performance.now();
      if (source.readyState == EventSource.CLOSED) end();
    });
    for (const kind of new Set(['message', 'fantail.gap', ...row.kinds])) {
      source.addEventListener(kind, event => {
        if (event instanceof MessageEvent) told.events.push([event.type, event.data, event.lastEventId]);
      });
    }
    source.addEventListener('LAST', end);
  });
}

async function playAll(origin) {
  const told = [];
  let next = 0;
  const work = async () => {
    while (next < rows.length) {
      const number = next++;
      told[number] = await play(origin, rows[number]);
    }
  };
  await Promise.all(Array.from({length: AT_ONCE}, work));
  return told;
}

const names = Object.keys(ways);
Promise.all(names.map(name => playAll(ways[name]))).then(all => {
  const report = Object.fromEntries(names.map((name, number) => [name, all[number]]));
  new EventSource('FINISH').onmessage = () => fetch('/result', {method: 'POST', body: JSON.stringify(report)});
});
</script>";
