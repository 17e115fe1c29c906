//! The same clients over HTTP/2, each with its own implementation of it.

use std::process::Command;

use fantail_testkit::Certificates;
use fantail_testkit::child::Child;

use crate::node::{metrics, tls_node, until_open};
use crate::{FETCH_PATIENCE, Served, built, program};

impl Served {
    async fn with_http2() -> Self {
        let certificates = Certificates::make().unwrap();
        let (node, address) = tls_node(&certificates, &["--retry", "50ms", "--http2"]).await;
        Self { node, certificates, port: address.port() }
    }

    /// The client reads to its clean end, over a connection of HTTP/2 whose rules it keeps.
    async fn assert_reads_over_http2(&self, what: &str, command: &mut Command) {
        assert_eq!(self.assert_reads(what, command).await, 1, "{what} speaks HTTP/2");
        until_open(&self.node, 0).await;
        let after = metrics(&self.node).await;
        assert_eq!(after.sum("fantail_http2_faults_total"), 0, "{what}");
    }
}

#[tokio::test]
async fn curl_and_node_js_read_a_stream_over_http_2_to_its_clean_end() {
    let served = Served::with_http2().await;
    let mut curl = Command::new("curl");
    curl.args(["--http2", "--silent", "--show-error", "--no-buffer", "--fail", "--cacert"]).arg(served.ca());
    served.assert_reads_over_http2("curl", curl.arg(served.url())).await;
    let mut node = Command::new("node");
    served.assert_reads_over_http2("Node.js", node.arg(program("reader_http2.mjs")).arg(served.url())).await;
}

#[tokio::test]
#[ignore = "fetches packages; scripts/test runs it"]
async fn httpx_of_python_reads_a_stream_over_http_2_to_its_clean_end() {
    let (served, packages) = (Served::with_http2().await, built().join("python"));
    if !packages.join("httpx").exists() {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--target"]).arg(&packages).args(["httpx", "h2"]);
        let mut pip = Child::spawn("pip", &mut pip).unwrap();
        assert!(pip.wait(FETCH_PATIENCE).await.unwrap().success(), "{}", pip.output().stderr);
    }
    let mut python = Command::new("python3");
    python.arg(program("reader_httpx.py")).arg(served.url()).arg(served.ca()).env("PYTHONPATH", &packages);
    served.assert_reads_over_http2("httpx", &mut python).await;
}

#[tokio::test]
#[ignore = "needs Go; scripts/test runs it where Go is there"]
async fn a_client_in_go_reads_a_stream_over_http_2_to_its_clean_end() {
    let (served, reader) = (Served::with_http2().await, built().join("reader_http2"));
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&reader).arg(program("reader.go"));
    assert!(Child::spawn("go", &mut build).unwrap().wait(FETCH_PATIENCE).await.unwrap().success());
    let mut go = Command::new(reader);
    served.assert_reads_over_http2("Go", go.arg(served.url()).arg(served.ca()).arg("http2")).await;
}

#[tokio::test]
#[ignore = "needs Java; scripts/test runs it where Java is there"]
async fn a_client_in_java_reads_a_stream_over_http_2_to_its_clean_end() {
    let served = Served::with_http2().await;
    let mut java = Command::new("java");
    java.arg(program("Reader.java")).arg(served.url()).arg(served.ca());
    served.assert_reads_over_http2("Java", &mut java).await;
}
