//! Behind a real `haproxy`, `caddy`, `apache2`, `envoy` and `traefik` with the files in `deploy/proxies`.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use fantail_testkit::child::Child;
use fantail_testkit::port::free_port;
use fantail_testkit::{End, Fantail, Front, FrontProgram, PATIENCE, Signal, SseClient, http};

use crate::node::{connections, metrics, node, publish, read_to_close, until_open, until_ready};
use crate::recipe::{deploy, deployed};

/// A program with the file for it.
#[derive(Debug, Clone, Copy)]
struct Kind {
    program: FrontProgram,
    file: &'static str,
    /// The file with its answer while no node is there.
    away: Option<&'static str>,
    /// The words of the file by which it speaks HTTP/2 to the nodes. They stand there as comments.
    http2: &'static [&'static str],
    /// Whether they stand there as more than that.
    speaks_http2: bool,
}

impl Kind {
    const fn new(program: FrontProgram, file: &'static str) -> Self {
        Self { program, file, away: None, http2: &[], speaks_http2: false }
    }
}

const FRONTS: [Kind; 4] = [
    Kind {
        away: Some("haproxy-away.http"),
        http2: &["proto h2", "http-reuse always"],
        ..Kind::new(FrontProgram::Haproxy, "haproxy.cfg")
    },
    Kind::new(FrontProgram::Caddy, "Caddyfile"),
    Kind {
        http2: &[
            "typed_extension_protocol_options",
            "  envoy.extensions.upstreams.http",
            "    \"@type\": type.googleapis.com/envoy.extensions.upstreams.http",
            "    explicit_http_config",
        ],
        ..Kind::new(FrontProgram::Envoy, "envoy.yaml")
    },
    Kind { away: Some("apache-away.asis"), ..Kind::new(FrontProgram::Apache, "apache.conf") },
];

/// Traefik cuts no quiet stream, and has no answer for a browser while no node is there. It takes a quarter of an hour to build, so the test
/// of it runs only where it is installed.
const TRAEFIK: Kind = Kind::new(FrontProgram::Traefik, "traefik.yaml");

/// The longest silence of a stream as the files have it, and as a test has it.
const SILENCE: &str = "60s";

/// Short enough to see that a stream outlives it.
const SHORT_SILENCE: &str = "1s";

/// The file of a program, with the addresses of a test and this silence in place of its own.
fn configuration(
    Kind { program, file, http2, speaks_http2, .. }: Kind,
    (public, health): (SocketAddr, SocketAddr),
    silence: &str,
    (port, directory): (u16, &Path),
) -> String {
    let listen = format!("127.0.0.1:{port}");
    let (mut places, theirs) = match program {
        FrontProgram::Haproxy => (
            vec![
                ("bind :80\n", format!("bind {listen}\n")),
                ("one 127.0.0.1:8080", format!("one {public}")),
                ("check port 8082", format!("check port {}", health.port())),
                ("timeout client 60s", format!("timeout client {silence}")),
                ("timeout server 60s", format!("timeout server {silence}")),
            ],
            "/etc/haproxy",
        ),
        FrontProgram::Caddy => (
            vec![
                // Several run at a time here, and none is reloaded.
                ("grace_period 30s", "grace_period 30s\n\tadmin off".to_owned()),
                ("events.example.com {", format!("http://{listen} {{")),
                ("127.0.0.1:8080 {", format!("{public} {{")),
                ("health_port 8082", format!("health_port {}", health.port())),
                ("read_timeout 60s", format!("read_timeout {silence}")),
            ],
            "/etc/caddy",
        ),
        FrontProgram::Apache => (
            vec![
                ("*:80", listen),
                ("http://127.0.0.1:8080", format!("http://{public}")),
                ("flushpackets=on timeout=60", format!("flushpackets=on timeout={}", silence.trim_end_matches('s'))),
            ],
            "/etc/apache2",
        ),
        FrontProgram::Envoy => (
            vec![
                ("address: 0.0.0.0, port_value: 80 }", format!("address: 127.0.0.1, port_value: {port} }}")),
                ("port_value: 8080 }", format!("port_value: {} }}", public.port())),
                ("port_value: 8082 }", format!("port_value: {} }}", health.port())),
                ("stream_idle_timeout: 60s", format!("stream_idle_timeout: {silence}")),
            ],
            "/etc/envoy",
        ),
        FrontProgram::Traefik => {
            let routes = [
                ("Host(`events.example.com`) && ", String::new()),
                ("http://127.0.0.1:8080", format!("http://{public}")),
                ("port: 8082", format!("port: {}", health.port())),
            ];
            fs::write(directory.join("traefik-routes.yaml"), deployed("proxies/traefik-routes.yaml", &routes)).unwrap();
            (vec![("\":80\"", format!("\"{listen}\""))], "/etc/traefik")
        }
    };
    let comments: Vec<_> = http2.iter().map(|words| format!("# {words}")).collect();
    if speaks_http2 {
        places.extend(comments.iter().zip(http2).map(|(comment, words)| (comment.as_str(), (*words).to_owned())));
    }
    let text = deployed(&format!("proxies/{file}"), &places);
    text.replace(theirs, &directory.display().to_string())
}

async fn start_at(front: Kind, nodes: (SocketAddr, SocketAddr), silence: &str) -> Front {
    let files: Vec<_> = front.away.iter().map(|file| deploy().join("proxies").join(file)).collect();
    let configuration = |port, directory: &Path| configuration(front, nodes, silence, (port, directory));
    let started = Front::start(front.program, &files, configuration).await.unwrap();
    // Traefik takes connections before it has read its routes.
    let has_routes = async {
        while http(started.addr(), "GET", "/sse", &[], "").await.unwrap().status == 404 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, has_routes).await.unwrap_or_else(|_| panic!("{} has routes", front.file));
    started
}

/// A proxy with its own silence in front of a node.
async fn start(front: Kind, node: &Fantail) -> Front {
    start_at(front, (node.public(), node.internal()), SILENCE).await
}

#[tokio::test]
async fn behind_each_proxy_each_event_passes_before_the_next_is_published() {
    let node = node(&[]).await;
    for program in FRONTS {
        assert_passes_each_event(program, &node).await;
    }
}

async fn assert_passes_each_event(program: Kind, node: &Fantail) {
    let front = start(program, node).await;
    let mut stream = SseClient::connect(front.addr(), "/sse?channel=a&channel=b").await.unwrap();
    for number in 0..50 {
        let data = format!("event {number}");
        publish(node, ["a", "b"][number % 2], &data).await;
        assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, data, "{program:?}");
    }
    assert_eq!(stream.header("content-encoding"), None);
}

#[tokio::test]
async fn behind_each_proxy_a_stream_resumes_by_its_id_and_ends_cleanly() {
    // Apache notices by a keepalive that a client has gone.
    let node = node(&["--keepalive-interval", "50ms"]).await;
    for program in FRONTS {
        assert_resumes_and_ends_cleanly(program, &node).await;
    }
}

async fn assert_resumes_and_ends_cleanly(program: Kind, node: &Fantail) {
    let front = start(program, node).await;
    let mut stream = SseClient::connect(front.addr(), "/sse/a").await.unwrap();
    publish(node, "a", "seen").await;
    let id = stream.next_event(PATIENCE).await.unwrap().id;
    drop(stream);
    until_open(node, 0).await;
    publish(node, "a", "missed").await;
    let request = SseClient::request(front.addr(), "/sse/a?limit=1").last_event_id(&id);
    let (events, end) = request.connect().await.unwrap().read_until_end(PATIENCE).await.unwrap();
    assert_eq!((events[0].data.as_str(), events.len(), end), ("missed", 1, End::Clean), "{program:?}");

    let mut stream = SseClient::connect(front.addr(), "/sse/a").await.unwrap();
    until_open(node, 1).await;
    let listing = connections(node).await;
    let path = format!("/connections/{}", listing[0]["id"].as_str().unwrap());
    assert_eq!(http(node.internal(), "DELETE", &path, &[], "").await.unwrap().status, 200);
    assert_eq!(read_to_close(&mut stream).await, (vec![], "kicked".to_owned()), "{program:?}");
}

#[tokio::test]
async fn behind_each_proxy_keepalives_carry_an_idle_stream_over_the_longest_silence_and_none_is_cut() {
    let talking = node(&["--keepalive-interval", "250ms"]).await;
    let silent = node(&["--keepalive-interval", "1h"]).await;
    for program in FRONTS {
        let nodes = |node: &Fantail| (node.public(), node.internal());
        let front = start_at(program, nodes(&talking), SHORT_SILENCE).await;
        let mute = start_at(program, nodes(&silent), SHORT_SILENCE).await;
        let mut stream = SseClient::connect(front.addr(), "/sse/a").await.unwrap();
        // The opening comment, and more than twice the silence in keepalives.
        let carried = async {
            while stream.parser().comments() < 10 {
                stream.read_more(PATIENCE).await.unwrap();
            }
        };
        // Without them the silence ends a stream, so it is the one that was outlived.
        let cut = async {
            let mut stream = SseClient::connect(mute.addr(), "/sse/a").await.unwrap();
            stream.read_until_end(PATIENCE).await.unwrap()
        };
        let ((), (events, _)) = tokio::join!(carried, cut);
        assert!(events.is_empty(), "{program:?}");
        publish(&talking, "a", "after it").await;
        assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, "after it", "{program:?}");
    }
}

#[tokio::test]
async fn behind_each_proxy_a_node_that_trusts_it_knows_its_clients_by_their_address() {
    let node = node(&["--trusted-proxies", "127.0.0.1", "--keepalive-interval", "50ms"]).await;
    for program in FRONTS {
        assert_forwards_the_address(program, &node).await;
    }
}

async fn assert_forwards_the_address(program: Kind, node: &Fantail) {
    let front = start(program, node).await;
    let mut command = Command::new("curl");
    command.args(["--silent", "--no-buffer", "--noproxy", "*", "--interface", "127.0.0.2"]);
    command.args(["--header", "X-Forwarded-For: 6.6.6.6"]).arg(format!("http://{}/sse/a", front.addr()));
    let curl = Child::spawn("curl", &mut command).unwrap();
    until_open(node, 1).await;
    let listing = connections(node).await;
    assert_eq!(listing[0]["forwarded"], "127.0.0.2", "{program:?}: what the client itself claims is not believed");
    drop(curl);
    until_open(node, 0).await;
}

#[tokio::test]
async fn behind_each_proxy_a_browser_is_told_when_to_come_back_though_no_node_answers_and_others_get_503() {
    let nobody = || SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    for program in FRONTS {
        let front = start_at(program, (nobody(), nobody()), SILENCE).await;
        // At first it may not know yet that nobody is there.
        assert_tells_a_browser(&front, program.file).await;
        until_503(&front, program.file).await;
        assert_tells_a_browser(&front, program.file).await;
    }
}

#[tokio::test]
async fn over_http_2_streams_share_the_connections_of_a_proxy_and_all_else_is_the_same() {
    let flags = ["--http2-plain", "--keepalive-interval", "50ms", "--trusted-proxies", "127.0.0.1"];
    let node = node(&flags).await;
    for program in FRONTS.into_iter().filter(|program| !program.http2.is_empty()) {
        let program = Kind { speaks_http2: true, ..program };
        assert_passes_each_event(program, &node).await;
        until_open(&node, 0).await;
        assert_resumes_and_ends_cleanly(program, &node).await;
        until_open(&node, 0).await;
        assert_forwards_the_address(program, &node).await;
        assert_shares_connections(program, &node).await;
    }
}

/// A connection has a hundred streams at most, so there are at least two.
async fn assert_shares_connections(program: Kind, node: &Fantail) {
    let front = start(program, node).await;
    let mut streams = Vec::new();
    for _ in 0..150 {
        streams.push(SseClient::connect(front.addr(), "/sse/a").await.unwrap());
    }
    until_open(node, 150).await;
    let open = metrics(node).await;
    let (all, http2) = (open.count("fantail_connections_open"), open.count("fantail_http2_connections"));
    assert!((2..=20).contains(&http2) && all == http2, "{program:?}: {http2} connections of {all}");
    publish(node, "a", "for all").await;
    for stream in &mut streams {
        assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, "for all", "{program:?}");
    }
    drop(streams);
    until_open(node, 0).await;
    assert_eq!(metrics(node).await.sum("fantail_http2_faults_total"), 0, "{program:?}");
}

/// Apache has no such question in its file.
#[tokio::test]
async fn behind_haproxy_caddy_and_envoy_a_node_that_is_not_ready_gets_no_new_streams() {
    let node = node(&["--drain-delay", "1h"]).await;
    for program in &FRONTS[..3] {
        let front = start(*program, &node).await;
        publish(&node, "a", "kept").await;
        let mut open = SseClient::connect(front.addr(), "/sse/a?replay=1").await.unwrap();
        assert_eq!(open.next_event(PATIENCE).await.unwrap().data, "kept", "{program:?}");
    }
    node.signal(Signal::TERM).unwrap();
    until_ready(&node, false).await;
    for program in &FRONTS[..3] {
        let front = start(*program, &node).await;
        until_503(&front, program.file).await;
        assert_tells_a_browser(&front, program.file).await;
    }
}

#[tokio::test]
#[ignore = "needs traefik, which is in no package here and takes a quarter of an hour to build"]
async fn behind_traefik_events_pass_one_by_one_and_a_node_that_is_not_ready_gets_no_new_streams() {
    let node = node(&["--trusted-proxies", "127.0.0.1", "--keepalive-interval", "50ms", "--drain-delay", "1h"]).await;
    assert_passes_each_event(TRAEFIK, &node).await;
    until_open(&node, 0).await;
    assert_resumes_and_ends_cleanly(TRAEFIK, &node).await;
    until_open(&node, 0).await;
    assert_forwards_the_address(TRAEFIK, &node).await;
    node.signal(Signal::TERM).unwrap();
    until_ready(&node, false).await;
    until_503(&start(TRAEFIK, &node).await, TRAEFIK.file).await;
}

async fn until_503(front: &Front, file: &str) {
    let others = async {
        while ask(front).await != 503 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, others).await.unwrap_or_else(|_| panic!("{file}: others get 503"));
}

/// The status of a program that asks for one event and not for a stream.
async fn ask(front: &Front) -> u16 {
    http(front.addr(), "GET", "/sse/a?replay=1&limit=1", &[("Accept", "*/*")], "").await.unwrap().status
}

async fn assert_tells_a_browser(front: &Front, file: &str) {
    let request = SseClient::request(front.addr(), "/sse/a").header("Accept", "text/event-stream");
    let mut browser = request.header("Origin", "https://app.example.com").connect().await.unwrap();
    assert_eq!((browser.status(), browser.header("content-type")), (200, Some("text/event-stream")), "{file}");
    assert_eq!(browser.header("access-control-allow-origin"), Some("https://app.example.com"), "{file}");
    assert_eq!(browser.read_until_end(PATIENCE).await.unwrap(), (vec![], End::Clean), "{file}");
    assert!((2000..=4000).contains(&browser.parser().retry().unwrap()), "{file}");
}
