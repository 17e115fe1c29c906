//! A browser's `EventSource` over TLS: it reads, is ended, comes back with its last id, and misses nothing.

use fantail_testkit::{Certificates, Fantail, PATIENCE, Page};
use serde_json::json;
use tokio::time::timeout;

use crate::node::{ask, connections, node, publish, until};

const PAGE: &str = "<script>
const got = [];
const source = new EventSource('URL');
source.onmessage = (event) => {
  got.push(event.data);
  if (event.data === 'end') fetch('/result', { method: 'POST', body: JSON.stringify(got) });
};
source.addEventListener('fantail.close', (event) => got.push(JSON.parse(event.data).reason));
</script>";

#[tokio::test]
async fn an_event_source_over_tls_comes_back_with_its_last_id_and_misses_nothing() {
    let certificates = Certificates::make().unwrap();
    let (cert, key) = (certificates.server(), certificates.server_key());
    let page = Page::bind().await.unwrap().argument("--ignore-certificate-errors");
    let flags =
        ["--tls-listen", "127.0.0.1:0", "--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let node = node(&[&flags[..], &["--cors-origin", &page.origin(), "--retry", "50ms"]].concat()).await;
    let told = node.output().stdout;
    let url = told.lines().find_map(|line| line.trim().strip_prefix("tls")).expect("it tells").trim().to_owned();
    let html = PAGE.replace("URL", &format!("{url}/demo"));
    let (report, played) = tokio::join!(page.run(&html, PATIENCE), timeout(PATIENCE, play(&node)));
    played.expect("the page's stream was live twice");
    assert_eq!(report.unwrap(), json!(["one", "x".repeat(100_000), "kicked", "while it was away", "end"]));
}

async fn play(node: &Fantail) {
    let first = live(node, "").await;
    publish(node, "demo", "one").await;
    publish(node, "demo", "x".repeat(100_000)).await;
    until(node, "both were sent", |metrics| metrics.sum("fantail_deliveries_total") >= 2).await;
    ask(node, "DELETE", &format!("/connections/{first}")).await;
    publish(node, "demo", "while it was away").await;
    live(node, &first).await;
    publish(node, "demo", "end").await;
}

/// The page's stream, once it is live and another one than before.
async fn live(node: &Fantail, before: &str) -> String {
    loop {
        let listing = connections(node).await;
        let found = listing.iter().find(|it| it["state"] == "live" && it["id"] != before);
        if let Some(id) = found.and_then(|it| it["id"].as_str()) {
            return id.to_owned();
        }
        tokio::task::yield_now().await;
    }
}
