//! The three recipes of docs/access.md, each with a real nginx in front, and the service of `examples/authorize.py` where the
//! recipe has one.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use fantail_testkit::child::{Child, ProgramOutput};
use fantail_testkit::{End, Fantail, Nginx, PATIENCE, Page, SseClient, http};
use serde_json::{Value, json};

use crate::keys::{EC_PRIVATE, EC_PUBLIC, KeyDirectory, SECRET, now, signed};
use crate::node::{connections, node, publish, until, until_open};
use crate::origin::{TestOrigin, answer};
use crate::recipe::{recipe, site};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// The service that knows the users.
async fn service() -> (Child, SocketAddr) {
    let mut command = Command::new("python3");
    command.arg(repository("examples/authorize.py")).arg("0");
    let mut service = Child::spawn("the service", &mut command).unwrap();
    let told = |output: &ProgramOutput| output.stdout.trim_end().rsplit_once("http://")?.1.parse().ok();
    let address = service.find_in_output(PATIENCE, "it told its address", told).await.unwrap();
    (service, address)
}

async fn open(nginx: &Nginx, path: &str, headers: &[(&str, &str)]) -> SseClient {
    let mut request = SseClient::request(nginx.addr(), path).header("Accept", "text/event-stream");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.connect().await.unwrap()
}

/// Whether an event that is published on the channel reaches the stream.
async fn assert_follows(node: &Fantail, stream: &mut SseClient, channel: &str) {
    assert_eq!(stream.status(), 200, "{channel}");
    until(node, "a stream follows", |metrics| metrics.count("fantail_streams_open") >= 1).await;
    publish(node, channel, format!("for {channel}")).await;
    assert_eq!(stream.next_event(PATIENCE).await.unwrap().data, format!("for {channel}"));
}

#[tokio::test]
async fn with_tokens_of_your_own_a_bare_address_gives_each_user_their_channels() {
    let files = KeyDirectory::new();
    let claims = json!({ "sub": "ann", "channels": ["news"], "exp": now() + 600 });
    for (algorithm, private, public) in [("HS256", SECRET, SECRET), ("ES256", EC_PRIVATE, EC_PUBLIC)] {
        let key = files.key(algorithm, public);
        let flags = ["--access", "token", "--token-keys", &key, "--channel-templates", "user:{sub}"];
        let node = node(&[&flags[..], &["--token-cookie", "session", "--token-query", "token"]].concat()).await;
        let nginx = Nginx::start_site(|port| recipe(port, node.public(), "https://app.example")).await.unwrap();
        let token = signed(algorithm, private, claims.clone());
        let (cookie, bearer) = (format!("a=b; session={token}"), format!("Bearer {token}"));
        for (path, header) in [
            ("/sse".to_owned(), Some(("Cookie", &*cookie))),
            ("/sse".to_owned(), Some(("Authorization", &*bearer))),
            (format!("/sse?token={token}"), None),
        ] {
            let mut stream = open(&nginx, &path, header.as_slice()).await;
            assert_follows(&node, &mut stream, "user:ann").await;
            assert_follows(&node, &mut stream, "news").await;
            drop(stream);
            until_open(&node, 0).await;
        }
        let foreign = [("Cookie", &*cookie), ("Origin", "https://evil.example")];
        for (path, headers, status) in
            [("/sse", &[][..], 401), ("/sse/user:bob", &[("Cookie", &*cookie)], 403), ("/sse", &foreign, 403)]
        {
            assert_eq!(open(&nginx, path, headers).await.status(), status, "{path} {headers:?}");
        }
    }
}

/// The token of the first stream ends; by then the page has another cookie. Nothing else is to be done.
#[tokio::test]
async fn a_page_that_renews_its_cookie_goes_on_by_itself_when_a_token_ends() {
    let files = KeyDirectory::new();
    let key = files.key("HS256", SECRET);
    let flags = ["--access", "token", "--token-keys", &key, "--channel-templates", "user:{sub}"];
    let more = ["--token-cookie", "session", "--token-leeway", "0s", "--retry", "50ms"];
    let node = node(&[&flags[..], &more].concat()).await;
    let page = Page::bind().await.unwrap();
    let behind = format!("location / {{ proxy_pass {}; }}\n    location @fantail_away", page.origin());
    let site = |port| recipe(port, node.public(), "https://app.example").replace("location @fantail_away", &behind);
    let nginx = Nginx::start_site(site).await.unwrap();
    let token = |seconds: u64| signed("HS256", SECRET, json!({ "sub": "ann", "exp": now() + seconds }));
    // Long enough for a browser to start.
    let script = RENEWING
        .replace("NGINX", &nginx.addr().to_string())
        .replace("FIRST", &token(20))
        .replace("SECOND", &token(600));
    let (told, ()) = tokio::join!(page.run(&script, PATIENCE * 3), async {
        until(&node, "the token has ended", |metrics| metrics.closed("token_expired") >= 1).await;
        publish(&node, "user:ann", "end").await;
    });
    let told = told.unwrap();
    let words: Vec<_> = told.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(words, ["open", "token-expired", "error 0", "open", "end"]);
}

const RENEWING: &str = "<!doctype html><script>
// The page is served by nginx, as an application would be.
if (location.host != 'NGINX') location.host = 'NGINX';
else {
    const told = [];
    document.cookie = 'session=FIRST; path=/; SameSite=Lax';
    const source = new EventSource('/sse');
    source.onopen = () => told.push('open');
    source.onerror = () => told.push('error ' + source.readyState);
    source.addEventListener('fantail.close', event => {
        document.cookie = 'session=SECOND; path=/; SameSite=Lax';
        told.push(JSON.parse(event.data).reason);
    });
    source.onmessage = event => {
        told.push(event.data);
        source.close();
        fetch('/result', {method: 'POST', body: JSON.stringify(told)});
    };
}
</script>";

#[tokio::test]
async fn with_a_session_cookie_the_service_that_fantail_asks_decides() {
    let (mut service, address) = service().await;
    for (path, is_last) in [("/authorize.json", false), ("/authorize", true)] {
        let url = format!("http://{address}{path}");
        let node = node(&["--access", "origin", "--origin-url", &url, "--origin-cache", "0s"]).await;
        let nginx = Nginx::start_site(|port| recipe(port, node.public(), "https://app.example")).await.unwrap();
        assert_gives_ann_her_channels(&node, &nginx, "/sse").await;
        if is_last {
            service.kill();
            assert_is_told_that_nobody_can_be_asked(&nginx).await;
        }
    }
}

async fn assert_is_told_that_nobody_can_be_asked(nginx: &Nginx) {
    let ann = [("Cookie", "session=session-of-ann")];
    let (events, end) = open(nginx, "/sse", &ann).await.read_until_end(PATIENCE).await.unwrap();
    let reason: Value = serde_json::from_str(&events[0].data).unwrap();
    assert_eq!((&reason["reason"], end), (&json!("access-unavailable"), End::Clean));
    let program = http(nginx.addr(), "GET", "/sse", &[ann[0], ("Accept", "*/*")], "").await.unwrap();
    assert_eq!((program.status, program.header("retry-after").is_some()), (503, true));
}

/// The service gets the fields of the question as the page describes them.
#[tokio::test]
async fn the_service_is_asked_with_the_fields_that_the_page_names_and_no_others() {
    let origin = TestOrigin::start(|_| answer("200 OK", "Fantail-Channels: a\r\n", "")).await;
    let url = origin.url("/fantail/authorize");
    let node = node(&["--access", "origin", "--origin-url", &url, "--trusted-proxies", "127.0.0.1"]).await;
    let nginx = Nginx::start_site(|port| recipe(port, node.public(), "https://app.example")).await.unwrap();
    let sent =
        [("Cookie", "session=s"), ("Authorization", "Basic eDp5"), ("X-Other", "o"), ("Fantail-Subject", "root")];
    let mut stream = open(&nginx, "/sse?channel=a&_=1", &sent).await;
    assert_follows(&node, &mut stream, "a").await;
    let asked = origin.asked();
    let mut lines: Vec<_> = asked[0].lines().filter(|line| !line.starts_with("host: ")).collect();
    lines[1..].sort_unstable();
    let agent = format!("user-agent: fantail/{}", env!("CARGO_PKG_VERSION"));
    let expected = [
        "get /fantail/authorize http/1.1",
        "authorization: basic edp5",
        "cookie: session=s",
        "fantail-channels: a",
        &*agent,
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-method: get",
        "x-forwarded-uri: /sse?channel=a&_=1",
    ];
    assert_eq!(lines, expected);
    let page = fs::read_to_string(repository("docs/access.md")).unwrap();
    for line in &expected[1..] {
        let name = line.split(':').next().unwrap();
        let is_row = |row: &str| row.starts_with("| `") && row.to_lowercase().contains(&format!("`{name}`"));
        assert!(page.lines().any(is_row), "the page has a row for {name}");
    }
}

#[tokio::test]
async fn with_auth_request_nginx_passes_on_what_the_service_grants() {
    let (mut service, address) = service().await;
    let node = node(&["--access", "proxy", "--trusted-proxies", "127.0.0.1"]).await;
    let file = "fantail-auth-request.conf";
    let nginx = Nginx::start_site(|port| site(file, port, node.public(), address)).await.unwrap();
    assert_gives_ann_her_channels(&node, &nginx, "/sse").await;
    assert_eq!(open(&nginx, "/fantail-authorize", &[]).await.status(), 404);
    service.kill();
    assert_tells_to_come_back(&nginx, "/sse").await;
}

#[tokio::test]
async fn with_x_accel_redirect_the_service_sends_a_stream_to_fantail() {
    let (mut service, address) = service().await;
    let node = node(&["--access", "proxy", "--trusted-proxies", "127.0.0.1"]).await;
    let nginx = Nginx::start_site(|port| site("fantail-accel.conf", port, node.public(), address)).await.unwrap();
    let ann = [("Cookie", "session=session-of-ann")];
    let mut stream = open(&nginx, "/events", &ann).await;
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    let names: Vec<_> = stream.head().headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    assert!(!names.iter().any(|name| name.starts_with("fantail-") || name.starts_with("x-accel")), "{names:?}");
    assert_follows(&node, &mut stream, "user:ann").await;
    drop(stream);
    until_open(&node, 0).await;
    assert_gives_ann_her_channels(&node, &nginx, "/events").await;
    for path in ["/fantail-stream", "/fantail-stream/user:bob", "/sse", "/sse/user:bob"] {
        assert_eq!(open(&nginx, path, &ann).await.status(), 404, "{path} is nobody's to ask");
    }
    service.kill();
    assert_tells_to_come_back(&nginx, "/events").await;
}

/// Behind all recipes with a service the same is true of `path`, which is the client's address of its streams.
async fn assert_gives_ann_her_channels(node: &Fantail, nginx: &Nginx, path: &str) {
    let cookie = ("Cookie", "session=session-of-ann");
    // Fields that a client writes itself must not count.
    let greedy = [
        ("Fantail-Channels", "user:bob"),
        ("Fantail-Channels", "*"),
        ("Fantail-Subject", "bob"),
        ("Fantail-Session", "another"),
        ("Fantail-Expires-In", "999999"),
    ];
    let mut stream = open(nginx, path, &[&[cookie], &greedy[..]].concat()).await;
    assert_follows(node, &mut stream, "user:ann").await;
    let listed = connections(node).await;
    let mut channels: Vec<_> =
        listed[0]["channels"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    channels.sort_unstable();
    assert_eq!((listed.len(), channels), (1, vec!["news", "user:ann"]));

    let asked = format!("{path}?channel=user:bob");
    for (path, headers, status) in [
        (path, &[][..], 401),
        (path, &greedy, 401),
        (path, &[("Cookie", "session=unknown")], 401),
        (&*asked, &[&[cookie], &greedy[..]].concat(), 403),
    ] {
        // A service that sends streams on chooses the channels alone, so the query does not reach Fantail there.
        if path.starts_with("/events?") {
            continue;
        }
        assert_eq!(open(nginx, path, headers).await.status(), status, "{path} {headers:?}");
    }
    // The service's names end the stream again.
    for (name, body) in [("subject", r#"{"sub":"bob"}"#), ("session", r#"{"sid":"session-of-ann"}"#)] {
        let answer = http(node.internal(), "POST", "/revoke", &[], body).await.unwrap();
        let ended = u64::from(name == "session");
        assert_eq!(answer.json().unwrap(), json!({ "ended": ended }), "{name}");
    }
    until_open(node, 0).await;
}

async fn assert_tells_to_come_back(nginx: &Nginx, path: &str) {
    let mut browser = open(nginx, path, &[("Cookie", "session=session-of-ann")]).await;
    assert_eq!((browser.status(), browser.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(browser.read_until_end(PATIENCE).await.unwrap(), (vec![], End::Clean));
    assert!((2000..=4000).contains(&browser.parser().retry().unwrap()));
    assert_eq!(http(nginx.addr(), "GET", path, &[("Accept", "*/*")], "").await.unwrap().status, 503);
}
