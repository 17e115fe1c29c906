//! A browser's `EventSource` over TLS: it reads, is ended, comes back with its last id, and misses nothing.

use std::net::SocketAddr;

use fantail_testkit::{Certificates, Fantail, Nginx, PATIENCE, Page};
use serde_json::json;
use tokio::time::timeout;

use crate::node::{ask, live_stream, publish, tls_node, until};

const PAGE: &str = "<script>
const got = [];
const source = new EventSource('URL');
source.onmessage = (event) => {
  got.push(event.data);
  if (event.data === 'end') fetch('/result', { method: 'POST', body: JSON.stringify(got) });
};
source.addEventListener('fantail.close', (event) => got.push(JSON.parse(event.data).reason));
</script>";

/// The page's stream, and its events in order.
pub(crate) async fn assert_plays(node: &Fantail, page: Page, url: &str) {
    let html = PAGE.replace("URL", url);
    let (report, played) = tokio::join!(page.run(&html, PATIENCE), timeout(PATIENCE, play(node)));
    played.expect("the page's stream was live twice");
    assert_eq!(report.unwrap(), json!(["one", "x".repeat(100_000), "kicked", "while it was away", "end"]));
}

/// A page, the certificates, and a node that serves TLS and lets the page read.
async fn served() -> (Page, Certificates, Fantail, SocketAddr) {
    let certificates = Certificates::make().unwrap();
    let page = Page::bind().await.unwrap().argument("--ignore-certificate-errors");
    let (node, address) = tls_node(&certificates, &["--cors-origin", &page.origin(), "--retry", "50ms"]).await;
    (page, certificates, node, address)
}

#[tokio::test]
async fn an_event_source_over_tls_comes_back_with_its_last_id_and_misses_nothing() {
    let (page, _certificates, node, address) = served().await;
    assert_plays(&node, page, &format!("https://{address}/sse/demo")).await;
}

/// nginx speaks HTTP/2 to the browser. To the node it speaks either version of TLS and of HTTP/1.
#[tokio::test]
async fn an_event_source_behind_nginx_with_tls_on_both_sides_misses_nothing() {
    for lines in ["proxy_ssl_protocols TLSv1.3;", "proxy_ssl_protocols TLSv1.2; proxy_http_version 1.1;"] {
        let (page, certificates, node, upstream) = served().await;
        let nginx = Nginx::start_site(|port| site(port, upstream, &certificates, lines)).await.unwrap();
        assert_plays(&node, page, &format!("https://{}/sse/demo", nginx.addr())).await;
        // The browser is gone, and nginx tells the node.
        until(&node, "no stream is left", |metrics| metrics.count("fantail_streams_open") == 0).await;
    }
}

fn site(port: u16, upstream: SocketAddr, certificates: &Certificates, lines: &str) -> String {
    let (cert, key) = (certificates.server(), certificates.server_key());
    format!(
        "server {{
        listen 127.0.0.1:{port} ssl http2;
        ssl_certificate {};
        ssl_certificate_key {};
        location / {{
            proxy_pass https://{upstream};
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate {};
            proxy_ssl_name localhost;
            {lines}
        }}
    }}",
        cert.display(),
        key.display(),
        certificates.ca().display()
    )
}

async fn play(node: &Fantail) {
    let first = live_stream(node, "").await;
    publish(node, "demo", "one").await;
    publish(node, "demo", "x".repeat(100_000)).await;
    until(node, "both were sent", |metrics| metrics.sum("fantail_deliveries_total") >= 2).await;
    ask(node, "DELETE", &format!("/connections/{first}")).await;
    publish(node, "demo", "while it was away").await;
    live_stream(node, &first).await;
    publish(node, "demo", "end").await;
}
