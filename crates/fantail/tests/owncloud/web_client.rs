//! The library of ownCloud Web in a real browser, `@microsoft/fetch-event-source`, on a page of another origin, through nginx.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use fantail_testkit::child::Child;
use fantail_testkit::proxy::Cut;
use fantail_testkit::{Fantail, FaultProxy, NatsServer, Nginx, PATIENCE, Page};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep, timeout};

use crate::node::{ask, live_stream, metrics, until, until_ready};
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

/// It sends the headers of ownCloud Web, but comes back sooner, and with the library's own `Last-Event-ID`.
const STREAM: &str = r"
const stream = (url, language, onmessage, signal) => fetchEventSource(url, {
  headers: {
    Authorization: 'Bearer of-the-identity-provider',
    'Accept-Language': language,
    'X-Request-ID': crypto.randomUUID?.() ?? 'x',
    'X-Requested-With': 'XMLHttpRequest',
  },
  openWhenHidden: true,
  signal,
  async onopen(response) {
    if (!response.ok || response.headers.get('content-type') !== 'text/event-stream') throw new Error('no stream');
  },
  onmessage,
  onclose() { throw new Error('it ended'); },
  onerror() { return 100; },
});
const report = (told) => fetch('/result', { method: 'POST', body: JSON.stringify(told) });
";

/// It tells every call of `onmessage`, also those with nothing in them. A change of the language ends the stream and opens another
/// one.
const ONE_STREAM: &str = r"
const told = [];
const open = (language) => {
  const controller = new AbortController();
  stream('URL', language, ({ event, data }) => {
    told.push([event, data]);
    if (data === 'language') { controller.abort(); open('en'); }
    if (data === 'end') report(told);
  }, controller.signal);
};
open('de');
";

/// It tells every call of `onmessage` on each of its streams, with the id that the library had before it.
const SEVERAL_STREAMS: &str = r"
const ends = URLS.map((url) => new Promise((end) => {
  const told = [];
  stream(url, 'de', ({ id, event, data }) => {
    told.push([event, data, id]);
    if (data === 'end') end(told);
  });
}));
Promise.all(ends).then(report);
";

async fn html(script: &str) -> String {
    format!("<!doctype html><script>{}\n{STREAM}{script}</script>", library().await)
}

/// The front proxy takes the identity provider's token and passes its own on.
async fn front_of(node: SocketAddr, user: &str) -> Nginx {
    Nginx::start_with(node, &format!("proxy_set_header X-Access-Token {};", token_of(user))).await.unwrap()
}

fn url_at(front: &Nginx) -> String {
    format!("http://{}{PATH}", front.addr())
}

#[tokio::test]
#[ignore = "fetches a package; scripts/test runs it"]
async fn the_library_of_the_web_client_gets_each_event_once_and_nothing_else_over_cuts_of_all_kinds() {
    let mut nats = NatsServer::start_jetstream().await.unwrap();
    let page = Page::bind().await.unwrap();
    let variables = [("OCIS_CORS_ALLOW_ORIGINS", page.origin()), ("SSE_KEEPALIVE_INTERVAL", "100ms".to_owned())];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    let node = service(&nats.url(), &variables, &[]).await;
    let front = front_of(node.public(), "alice").await;
    let html = html(&ONE_STREAM.replace("URL", &url_at(&front))).await;
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

/// Nginx ends an answer of which nothing comes for so long.
const NGINX_PATIENCE: Duration = Duration::from_mins(1);

/// The lengths of the cuts. The service itself is deaf for good once its link to NATS is broken for 12 s. The last is longer than the patience of nginx, and
/// than the 90 s for which a node keeps the events of a channel that nobody follows.
const LENGTHS: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(12), Duration::from_mins(3)];

/// How often an event is published within a cut.
const EVENTS_IN_CUT: u32 = 4;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Link {
    /// Between the node and NATS.
    Nats,
    /// Between nginx, which the page asks, and the node.
    Page,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    /// Nothing passes, and neither side is told: a cable is out.
    Silent,
    /// Both sides see a reset, and nobody can connect: a machine between them restarts.
    Told,
}

/// The way of the events to one stream of the page, with a link that can be cut.
struct Route {
    link: Link,
    manner: Manner,
    user: String,
    node: Fantail,
    front: Nginx,
    cuttable: FaultProxy,
}

/// An event as it was published, with its number in `main-queue`.
type Sent = (u64, String);

#[tokio::test]
#[ignore = "fetches a package and takes 190 s; scripts/test runs it"]
async fn the_library_of_the_web_client_gets_each_event_once_after_a_cut_of_2_12_or_180_seconds_at_each_link() {
    let nats = Arc::new(NatsServer::start_jetstream().await.unwrap());
    let page = Page::bind().await.unwrap();
    let (mut routes, mut urls) = (Vec::new(), Vec::new());
    for link in [Link::Nats, Link::Page] {
        for manner in [Manner::Silent, Manner::Told] {
            for length in LENGTHS {
                let route = route(link, manner, format!("user{}", routes.len()), &nats, &page.origin()).await;
                urls.push(url_at(&route.front));
                routes.push((route, length));
            }
        }
    }
    let html = html(&SEVERAL_STREAMS.replace("URLS", &json!(urls).to_string())).await;
    let mut cuts = JoinSet::new();
    for (number, (route, length)) in routes.into_iter().enumerate() {
        let nats = Arc::clone(&nats);
        cuts.spawn(async move { (number, cut(&route, &nats, length).await, route) });
    }
    let (told, cut) = tokio::join!(page.run(&html, LENGTHS[2] + PATIENCE * 4), cuts.join_all());
    let told = told.unwrap();
    for (number, sent, route) in &cut {
        assert_told(&told[number], sent, route).await;
    }
}

async fn route(link: Link, manner: Manner, user: String, nats: &NatsServer, origin: &str) -> Route {
    let variables = [("OCIS_CORS_ALLOW_ORIGINS", origin)];
    let (node, front, cuttable) = match link {
        Link::Nats => {
            let cuttable = FaultProxy::start(nats.addr()).unwrap();
            let node = service(&format!("nats://{}", cuttable.addr()), &variables, &[]).await;
            let front = front_of(node.public(), &user).await;
            (node, front, cuttable)
        }
        Link::Page => {
            let node = service(&nats.url(), &variables, &[]).await;
            let cuttable = FaultProxy::start(node.public()).unwrap();
            let front = front_of(cuttable.addr(), &user).await;
            (node, front, cuttable)
        }
    };
    Route { link, manner, user, node, front, cuttable }
}

/// Cuts the link for so long. Returns what was published before the cut, in it and behind it.
async fn cut(route: &Route, nats: &NatsServer, length: Duration) -> Vec<Sent> {
    let mut sent = Vec::new();
    let mut publish = async |data: String| sent.push((send(nats, &[&route.user], "folder-created", &data).await, data));
    live_stream(&route.node, "").await;
    publish("before".to_owned()).await;
    until(&route.node, "it was sent", |metrics| metrics.sum("fantail_deliveries_total") >= 1).await;
    route.take_link_away().await;
    for number in 0..EVENTS_IN_CUT {
        publish(format!("{number} in a cut of {length:?}")).await;
        sleep(length / EVENTS_IN_CUT).await;
    }
    route.assert_cut(length).await;
    route.give_link_back().await;
    publish("end".to_owned()).await;
    sent
}

impl Route {
    async fn take_link_away(&self) {
        match self.manner {
            Manner::Silent => self.cuttable.pause(),
            Manner::Told => {
                self.cuttable.refuse().await.unwrap();
                self.cuttable.cut(Cut::Reset).await.unwrap();
            }
        }
    }

    async fn give_link_back(&self) {
        match self.manner {
            Manner::Silent => self.cuttable.resume(),
            Manner::Told => self.cuttable.accept().await.unwrap(),
        }
    }

    /// Nothing came to the node, or the page had to come back.
    async fn assert_cut(&self, length: Duration) {
        match (self.link, self.manner) {
            (Link::Nats, _) => assert_eq!(metrics(&self.node).await.sum("fantail_deliveries_total"), 1),
            (Link::Page, Manner::Told) => assert!(self.front.error_log().contains("reset by peer")),
            (Link::Page, Manner::Silent) if length > NGINX_PATIENCE => {
                assert!(self.front.error_log().contains("upstream timed out"));
            }
            // The bytes come late, on the same connection.
            (Link::Page, Manner::Silent) => {}
        }
    }
}

/// Each event came once and in order, and the ids tell the same: before an event with number 7, whose predecessor has number 4, the
/// library had an id of 4, 5 or 6. A client that came back with it would get event 7, and not event 4 again. No gap was told.
async fn assert_told(told: &Value, sent: &[Sent], route: &Route) {
    let what = format!("{:?} {:?} {}: {told}\nof {sent:?}", route.link, route.manner, route.user);
    let told = told.as_array().unwrap();
    let words: Vec<_> = told.iter().map(|told| (told[0].as_str().unwrap(), told[1].as_str().unwrap())).collect();
    let expected: Vec<_> = sent.iter().map(|(_, data)| ("folder-created", data.as_str())).collect();
    assert_eq!(words, expected, "{what}");
    let mut before = 0;
    for (told, (number, _)) in told.iter().zip(sent) {
        let id = told[2].as_str().unwrap().split('.').nth(2).and_then(|id| id.parse::<u64>().ok());
        assert!(id.is_some_and(|id| (before..*number).contains(&id)), "{what}");
        before = *number;
    }
    let metrics = metrics(&route.node).await;
    for counter in ["fantail_gaps_sent_total", "fantail_ids_unknown_total"] {
        assert_eq!(metrics.count(counter), 0, "{counter}, {what}");
    }
}
