//! Clients of other makers read streams over TLS: curl, OpenSSL, Node.js, Python, Go and Java.
//!
//! Each reads a small event and one of many records, is ended, and must take that for a clean end. Their programs stand
//! beside this file.
#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

mod http2;
#[path = "../common/node.rs"]
mod node;
mod openssl;
mod scanner;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fantail_testkit::child::{Child, ProgramOutput};
use fantail_testkit::{Certificates, Fantail, PATIENCE};

use node::{ask, connections, metrics, publish, tls_node, until, until_open};

/// A registry, or a compiler that starts cold, may be slow.
const FETCH_PATIENCE: Duration = Duration::from_mins(5);

/// A node that serves TLS, and the authority that vouches for it.
pub(crate) struct Served {
    pub(crate) node: Fantail,
    pub(crate) certificates: Certificates,
    /// The port of the encrypted listener. Its certificate is for `localhost`.
    pub(crate) port: u16,
}

impl Served {
    pub(crate) async fn start() -> Self {
        let certificates = Certificates::make().unwrap();
        let (node, address) = tls_node(&certificates, &["--retry", "50ms"]).await;
        Self { node, certificates, port: address.port() }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}/sse/a", self.port)
    }

    fn ca(&self) -> PathBuf {
        self.certificates.ca()
    }

    /// The command with the URL, and the authority as a file and in the variable that Node.js reads. The connections of HTTP/2 while it reads.
    async fn assert_reads(&self, what: &str, command: &mut Command) -> u64 {
        let mut client = Child::spawn(what, command.env("NODE_EXTRA_CA_CERTS", self.ca())).unwrap();
        let connections = self.play().await;
        let status = client.wait(FETCH_PATIENCE).await.unwrap();
        let printed = whole_output(&mut client).await;
        assert!(status.success(), "{what}: {status}, {}", client.output().stderr);
        assert_told(what, &printed);
        connections
    }

    /// Once the client's stream is open: both events, and its end. The connections of HTTP/2 in between.
    pub(crate) async fn play(&self) -> u64 {
        until_open_after_start(&self.node).await;
        let open = metrics(&self.node).await;
        let before = open.sum("fantail_deliveries_total");
        publish(&self.node, "a", "one").await;
        publish(&self.node, "a", "x".repeat(100_000)).await;
        until(&self.node, "both were sent", |m| m.sum("fantail_deliveries_total") >= before + 2).await;
        self.kick().await;
        open.count("fantail_http2_connections")
    }

    async fn kick(&self) {
        let listing = connections(&self.node).await;
        let id = listing[0]["id"].as_str().unwrap();
        assert_eq!(ask(&self.node, "DELETE", &format!("/connections/{id}")).await.status, 200);
    }
}

/// A client may first be compiled, which takes longer than anything that a node does.
async fn until_open_after_start(node: &Fantail) {
    let open = async {
        while metrics(node).await.count("fantail_streams_open") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(FETCH_PATIENCE, open).await.expect("the client opens a stream");
}

async fn whole_output(client: &mut Child) -> String {
    let ended = |output: &ProgramOutput| output.exited.then(|| output.stdout.clone());
    client.find_in_output(PATIENCE, "it ended", ended).await.unwrap();
    // The pipes are drained at their end; looking for nothing waits for exactly that.
    let _ = client.find_in_output(PATIENCE, "the end", |_| None::<()>).await;
    client.output().stdout
}

/// Both events, and the reason of the end.
pub(crate) fn assert_told(what: &str, printed: &str) {
    let data: Vec<&str> = printed.lines().filter_map(|line| line.trim_end().strip_prefix("data: ")).collect();
    let large = "x".repeat(100_000);
    let rest: String = printed.chars().filter(|character| *character != 'x').collect();
    assert_eq!(data.len(), 3, "{what}: {rest}");
    assert!(data[0] == "one" && data[1] == large && data[2] == "{\"reason\":\"kicked\"}", "{what}: {rest}");
}

fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls_clients").join(name)
}

/// The place of packages and compiled programs.
fn built() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tls_clients");
    fs::create_dir_all(&directory).unwrap();
    directory
}

#[tokio::test]
async fn curl_reads_a_stream_over_either_version_to_its_clean_end() {
    let served = Served::start().await;
    for versions in [["--tlsv1.3", "--tls-max", "1.3"], ["--tlsv1.2", "--tls-max", "1.2"]] {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--no-buffer", "--fail", "--cacert"]).arg(served.ca());
        served.assert_reads("curl", curl.args(versions).arg(served.url())).await;
        until_open(&served.node, 0).await;
    }
}

#[tokio::test]
async fn python_reads_a_stream_to_its_clean_end() {
    let served = Served::start().await;
    let mut python = Command::new("python3");
    python.arg(program("reader.py")).arg(served.url()).arg(served.ca());
    served.assert_reads("python3", &mut python).await;
}

#[tokio::test]
async fn node_js_reads_a_stream_with_fetch_and_with_its_https_module_to_its_clean_end() {
    let served = Served::start().await;
    for name in ["reader_fetch.mjs", "reader_https.mjs"] {
        let mut node = Command::new("node");
        served.assert_reads(name, node.arg(program(name)).arg(served.url())).await;
        until_open(&served.node, 0).await;
    }
}

/// The package comes back by itself with the last id, as a browser does.
#[tokio::test]
#[ignore = "fetches a package; scripts/test runs it"]
async fn the_event_source_for_node_js_comes_back_and_misses_nothing() {
    let (served, packages) = (Served::start().await, built());
    if !packages.join("node_modules/eventsource").exists() {
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--prefix"]).arg(&packages).arg("eventsource");
        assert!(Child::spawn("npm", &mut npm).unwrap().wait(FETCH_PATIENCE).await.unwrap().success());
    }
    // Node.js looks for packages in the folder of the program.
    let copy = packages.join("reader_eventsource.mjs");
    fs::copy(program("reader_eventsource.mjs"), &copy).unwrap();
    let mut command = Command::new("node");
    command.arg(copy).arg(served.url()).env("NODE_EXTRA_CA_CERTS", served.ca());
    let mut client = Child::spawn("the event source", &mut command).unwrap();
    served.play().await;
    publish(&served.node, "a", "while it was away").await;
    publish(&served.node, "a", "end").await;
    assert!(client.wait(PATIENCE).await.unwrap().success());
    let printed = whole_output(&mut client).await;
    assert!(printed.ends_with("data: while it was away\ndata: end\n"), "{}", client.output().stderr);
    assert_told("the event source", printed.strip_suffix("data: while it was away\ndata: end\n").unwrap());
}

#[tokio::test]
#[ignore = "needs Go; scripts/test runs it where Go is there"]
async fn a_client_in_go_reads_a_stream_to_its_clean_end() {
    let (served, reader) = (Served::start().await, built().join("reader"));
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&reader).arg(program("reader.go"));
    assert!(Child::spawn("go", &mut build).unwrap().wait(FETCH_PATIENCE).await.unwrap().success());
    served.assert_reads("Go", Command::new(reader).arg(served.url()).arg(served.ca())).await;
}

#[tokio::test]
#[ignore = "needs Java; scripts/test runs it where Java is there"]
async fn a_client_in_java_reads_a_stream_to_its_clean_end() {
    let served = Served::start().await;
    let mut java = Command::new("java");
    java.arg(program("Reader.java")).arg(served.url()).arg(served.ca());
    served.assert_reads("Java", &mut java).await;
}
