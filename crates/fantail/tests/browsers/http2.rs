//! Seven tabs of one page in Chromium. A browser opens six connections to an origin over HTTP/1.1, and one over HTTP/2.

use fantail_testkit::{Certificates, Fantail, PATIENCE, Page};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::node::{metrics, publish, tls_node, until};
use crate::tls::assert_plays;

/// Reports the states of seven sources as soon as so many of them have had an event. A fetch to the page's own origin takes none of their
/// connections.
const PAGE: &str = "<script>
const got = new Set();
const sources = [...Array(7).keys()].map((number) => {
  const source = new EventSource('URL?tab=' + number);
  source.onmessage = () => {
    got.add(number);
    if (got.size === LIVE) {
      const states = sources.map((source) => source.readyState).sort();
      fetch('/result', { method: 'POST', body: JSON.stringify(states) });
    }
  };
  return source;
});
</script>";

/// The states of seven sources when so many are live, and the connections of HTTP/2 at that time.
async fn seven_tabs(flags: &[&str], live: u64) -> (Value, u64) {
    let certificates = Certificates::make().unwrap();
    let page = Page::bind().await.unwrap().argument("--ignore-certificate-errors");
    let origin = page.origin();
    let (node, address) = tls_node(&certificates, &[&["--cors-origin", &origin], flags].concat()).await;
    let html = PAGE.replace("URL", &format!("https://{address}/sse/demo")).replace("LIVE", &live.to_string());
    let play = async {
        until(&node, "the tabs are open", |metrics| metrics.count("fantail_streams_open") == live).await;
        let connections = metrics(&node).await.count("fantail_http2_connections");
        publish(&node, "demo", "for all").await;
        connections
    };
    let (report, connections) = tokio::join!(page.run(&html, PATIENCE), timeout(PATIENCE, play));
    (report.unwrap(), connections.expect("the tabs were open"))
}

/// The page's stream comes over HTTP/2, and breaks none of its rules.
async fn assert_plays_over_http_2(node: &Fantail, page: Page, url: &str) {
    let spoken = until(node, "HTTP/2 is spoken", |metrics| metrics.count("fantail_http2_connections") > 0);
    tokio::join!(assert_plays(node, page, url), spoken);
    assert_eq!(metrics(node).await.sum("fantail_http2_faults_total"), 0);
}

#[tokio::test]
async fn seven_tabs_of_a_browser_are_live_over_one_connection_of_http_2() {
    assert_eq!(seven_tabs(&["--http2"], 7).await, (json!([1, 1, 1, 1, 1, 1, 1]), 1));
}

/// The seventh waits for one of the others to close.
#[tokio::test]
async fn the_seventh_tab_of_a_browser_waits_over_http_1() {
    assert_eq!(seven_tabs(&["--http2=false"], 6).await, (json!([0, 1, 1, 1, 1, 1, 1]), 0));
}

#[tokio::test]
async fn an_event_source_over_http_2_comes_back_with_its_last_id_and_misses_nothing() {
    let certificates = Certificates::make().unwrap();
    let page = Page::bind().await.unwrap().argument("--ignore-certificate-errors");
    let origin = page.origin();
    let flags = ["--cors-origin", &origin, "--retry", "50ms", "--http2"];
    let (node, address) = tls_node(&certificates, &flags).await;
    assert_plays_over_http_2(&node, page, &format!("https://{address}/sse/demo")).await;
}

#[tokio::test]
async fn an_event_source_of_firefox_over_http_2_misses_nothing() {
    let certificates = Certificates::make().unwrap();
    let page = Page::bind().await.unwrap().in_firefox(certificates.ca());
    let origin = page.origin();
    let flags = ["--cors-origin", &origin, "--retry", "50ms", "--http2"];
    let (node, address) = tls_node(&certificates, &flags).await;
    assert_plays_over_http_2(&node, page, &format!("https://localhost:{}/sse/demo", address.port())).await;
}
