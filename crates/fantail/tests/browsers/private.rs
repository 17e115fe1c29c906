//! Behind the file with TLS, HTTP/2 and a question to a service about each stream, which here is the one in `examples`.

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use fantail_testkit::child::{Child, ProgramOutput};
use fantail_testkit::{Certificates, Fantail, Nginx, PATIENCE};

use crate::node::{connections, node, publish, until_open};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// The nginx file in `deploy`, with the addresses and certificates of a test in place of its own.
fn site(port: u16, node: SocketAddr, gate: SocketAddr, certificates: &Certificates) -> String {
    let mut text = fs::read_to_string(repository("deploy/nginx/fantail-private.conf")).unwrap();
    for (theirs, ours) in [
        ("listen 443 ssl http2;", format!("listen 127.0.0.1:{port} ssl http2;")),
        ("server 127.0.0.1:8080;", format!("server {node};")),
        ("server 127.0.0.1:3000;", format!("server {gate};")),
        ("/etc/ssl/events.example.com.pem", certificates.server().display().to_string()),
        ("/etc/ssl/events.example.com.key", certificates.server_key().display().to_string()),
    ] {
        assert_eq!(text.matches(theirs).count(), 1, "{theirs} stands once in the file");
        text = text.replace(theirs, &ours);
    }
    text
}

/// A node, nginx before it, and the service that nginx asks.
struct Private {
    node: Fantail,
    nginx: Nginx,
    gate: Child,
    certificates: Certificates,
}

impl Private {
    async fn start(flags: &[&str]) -> Self {
        let node = node(flags).await;
        let mut gate =
            Child::spawn("the gate", Command::new("python3").arg(repository("examples/gate.py")).arg("0")).unwrap();
        let told = |output: &ProgramOutput| output.stdout.trim_end().rsplit_once("http://")?.1.parse().ok();
        let gate_addr = gate.find_in_output(PATIENCE, "it told its address", told).await.unwrap();
        let certificates = Certificates::make().unwrap();
        let nginx = Nginx::start_site(|port| site(port, node.public(), gate_addr, &certificates)).await.unwrap();
        Self { node, nginx, gate, certificates }
    }

    /// `curl` at these targets, with this session's cookie and these options.
    fn curl(&self, session: &str, options: &[&str], targets: &[&str]) -> Child {
        let mut command = Command::new("curl");
        command.args(["--silent", "--no-buffer", "--noproxy", "*", "--cacert"]).arg(self.certificates.ca());
        command.args(["--cookie", &format!("session={session}")]).args(options);
        command.args(targets.iter().map(|target| format!("https://{}{target}", self.nginx.addr())));
        Child::spawn("curl", &mut command).unwrap()
    }

    /// The output of `curl`.
    async fn curled(&self, session: &str, options: &[&str], targets: &[&str]) -> String {
        let mut curl = self.curl(session, options, targets);
        curl.wait(PATIENCE).await.unwrap();
        let ended = |output: &ProgramOutput| output.exited.then(|| output.stdout.clone());
        curl.find_in_output(PATIENCE, "it ended", ended).await.unwrap()
    }

    async fn status(&self, session: &str, accept: &str, target: &str) -> String {
        let accept = format!("Accept: {accept}");
        let options = ["--path-as-is", "--output", "/dev/null", "--write-out", "%{http_code}", "--header", &accept];
        self.curled(session, &options, &[target]).await
    }
}

async fn has_printed(curl: &mut Child, text: &str) {
    let what = format!("it printed {text:?}");
    curl.find_in_output(PATIENCE, &what, |output| output.stdout.contains(text).then_some(())).await.unwrap();
}

#[tokio::test]
async fn with_the_private_file_only_a_session_with_the_right_reads() {
    let private = Private::start(&[]).await;
    for target in ["/sse/news", "/sse/user%3aann", "/sse?channel=news&channel=user%3Aann"] {
        let mut curl = private.curl("session-of-ann", &[], &[target]);
        until_open(&private.node, 1).await;
        publish(&private.node, if target.contains("ann") { "user:ann" } else { "news" }, "for ann").await;
        has_printed(&mut curl, "data: for ann\n").await;
        drop(curl);
        until_open(&private.node, 0).await;
    }
    for (session, target, status) in [
        ("nobody", "/sse/news", "401"),
        ("session-of-ann", "/sse/user:bob", "403"),
        ("session-of-ann", "/sse/user%3Abob", "403"),
        ("session-of-ann", "/sse?channel=news&channel=user:bob", "403"),
        ("session-of-ann", "/sse?channel=news&%63hannel=user:bob", "403"),
        ("session-of-ann", "/sse/news?channel=user:bob", "403"),
        ("session-of-ann", "/sse", "403"),
        // The service and the node read this path in different ways, so it is no stream at all.
        ("session-of-ann", "//sse/news", "404"),
        ("session-of-ann", "/sse/../sse/news", "403"),
        ("session-of-ann", "/fantail-may-read", "404"),
    ] {
        assert_eq!(private.status(session, "text/event-stream", target).await, status, "{session} {target}");
    }
}

#[tokio::test]
async fn with_the_private_file_a_browser_comes_back_when_the_service_that_knows_does_not_answer() {
    let mut private = Private::start(&[]).await;
    private.gate.kill();
    let told = private.curled("session-of-ann", &["--header", "Accept: text/event-stream"], &["/sse/news"]).await;
    assert!(told.starts_with(": no node answers\nretry: "), "{told}");
    // Otherwise a page of another origin that sends cookies could not read it, and would give up.
    let options = ["--include", "--header", "Accept: text/event-stream", "--header", "Origin: https://app.example.com"];
    let told = private.curled("session-of-ann", &options, &["/sse/news"]).await;
    for header in ["origin: https://app.example.com", "credentials: true"] {
        assert!(told.contains(&format!("access-control-allow-{header}\r\n")), "{header} in {told}");
    }
    assert_eq!(private.status("session-of-ann", "text/event-stream", "/sse/news").await, "200");
    assert_eq!(private.status("session-of-ann", "*/*", "/sse/news").await, "503");
}

#[tokio::test]
async fn with_the_private_file_more_streams_than_six_share_one_connection() {
    let private = Private::start(&[]).await;
    let targets: Vec<_> = (0..20).map(|number| format!("/sse/news?limit=1&_={number}")).collect();
    let targets: Vec<_> = targets.iter().map(String::as_str).collect();
    // At the end of a transfer curl tells which connection it opened, one line for each.
    let options =
        ["--http2", "--parallel", "--parallel-max", "50", "--write-out", "%{num_connects} of HTTP/%{http_version}\n"];
    let mut curl = private.curl("session-of-ann", &options, &targets);
    until_open(&private.node, 20).await;
    publish(&private.node, "news", "to all").await;
    curl.wait(PATIENCE).await.unwrap();
    let ended = |output: &ProgramOutput| output.exited.then(|| output.stdout.clone());
    let told = curl.find_in_output(PATIENCE, "it ended", ended).await.unwrap();
    assert_eq!((told.matches("1 of HTTP/2").count(), told.matches("0 of HTTP/2").count()), (1, 19), "{told}");
    assert_eq!(told.matches("data: to all\n").count(), 20, "{told}");
}

#[tokio::test]
async fn with_the_private_file_a_node_that_trusts_nginx_knows_its_clients_by_their_address() {
    let private = Private::start(&["--trusted-proxies", "127.0.0.1"]).await;
    let options = ["--interface", "127.0.0.2", "--header", "X-Forwarded-For: 6.6.6.6"];
    let _curl = private.curl("session-of-ann", &options, &["/sse/news"]);
    until_open(&private.node, 1).await;
    let listed: HashSet<_> =
        connections(&private.node).await.iter().map(|entry| entry["forwarded"].to_string()).collect();
    assert_eq!(listed, HashSet::from(["\"127.0.0.2\"".to_owned()]), "what the client itself claims is not believed");
}
