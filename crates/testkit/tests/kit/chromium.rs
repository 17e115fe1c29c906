//! The kit's browser against the real Chromium.

use std::time::Duration;

use fantail_testkit::{Browser, Error, PATIENCE, Page};
use serde_json::json;

/// Browsers start slowly on a busy machine.
const DEADLINE: Duration = PATIENCE.saturating_mul(3);

fn reporting(expression: &str) -> String {
    format!(
        "<!doctype html><meta charset=utf-8><script>
        fetch('/result', {{method: 'POST', body: JSON.stringify({expression})}});
        </script>"
    )
}

#[tokio::test]
async fn a_page_runs_and_reports() {
    let html = reporting("{sum: 1 + 1, sse: typeof EventSource, text: '\u{e9}\u{1f600}'}");
    let report = Browser::run_page(&html, DEADLINE).await.unwrap();
    assert_eq!(report, json!({"sum": 2, "sse": "function", "text": "\u{e9}\u{1f600}"}));
}

#[tokio::test]
async fn a_page_knows_its_origin_before_it_runs() {
    let page = Page::bind().await.unwrap();
    let origin = page.origin();
    assert_eq!(page.run(&reporting("location.origin"), DEADLINE).await.unwrap(), json!(origin));
}

#[tokio::test]
async fn a_silent_page_is_an_error_that_shows_its_console() {
    let html = "<script>console.log('stuck here')</script>";
    // The browser must be up within the deadline to say anything, so a slow machine gets a longer one.
    for deadline in [Duration::from_secs(4), DEADLINE] {
        let error = Browser::run_page(html, deadline).await.unwrap_err();
        assert!(matches!(error, Error::Program { .. }), "{error}");
        if error.to_string().contains("stuck here") {
            return;
        }
    }
    panic!("the console is not in the error");
}

#[tokio::test]
async fn a_report_that_is_no_json_is_an_error() {
    let html = "<script>fetch('/result', {method: 'POST', body: 'oops'})</script>";
    let error = Browser::run_page(html, DEADLINE).await.unwrap_err();
    assert!(matches!(error, Error::Protocol(_)) && error.to_string().contains("oops"), "{error}");
}
