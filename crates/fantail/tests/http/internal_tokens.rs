//! Tokens of the internal listener: each has its rights, and health needs none.

use std::fs;

use fantail_testkit::{Fantail, Signal, http};
use tempfile::TempDir;

use crate::node::node;

const PUBLISHER: &str = "publisher-token-0123456789abcdef";
const READER: &str = "reader-token-0123456789abcdef-xx";
const OPERATOR: &str = "operator-token-0123456789abcdef-";

async fn start() -> (TempDir, Fantail) {
    let directory = tempfile::tempdir().unwrap();
    let mut tokens = Vec::new();
    for (name, token, rights) in [
        ("publisher", PUBLISHER, "publish:orders.*+publish:news"),
        ("reader", READER, "read"),
        ("operator", OPERATOR, "operate+read"),
    ] {
        let path = directory.path().join(name);
        fs::write(&path, format!("{token}\n")).unwrap();
        tokens.push(format!("{}={rights}", path.display()));
    }
    let node = node(&["--internal-tokens", &tokens.join(",")]).await;
    (directory, node)
}

async fn status(node: &Fantail, token: &str, method: &str, path: &str, body: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    http(node.internal(), method, path, &[("Authorization", &bearer)], body).await.unwrap().status
}

#[tokio::test]
async fn each_token_may_do_what_its_rights_say_and_nothing_else() {
    let (_directory, node) = start().await;
    let batch = r#"[{"channel":"news","data":"1"},{"channel":"users","data":"2"}]"#;
    let spread = r#"{"channels":["news","users"],"data":"1"}"#;
    for (method, path, body, expected) in [
        ("POST", "/publish/orders.1", "x", [202, 403, 403]),
        ("POST", "/publish/news", "x", [202, 403, 403]),
        ("POST", "/publish/users", "x", [403, 403, 403]),
        ("POST", "/publish", spread, [403, 403, 403]),
        ("POST", "/publish", batch, [207, 403, 403]),
        ("GET", "/channels", "", [403, 200, 200]),
        ("GET", "/connections", "", [403, 200, 200]),
        ("GET", "/metrics", "", [403, 200, 200]),
        ("GET", "/config", "", [403, 200, 200]),
        ("POST", "/revoke", r#"{"sub":"u"}"#, [403, 403, 200]),
        ("DELETE", "/connections/0-0-0", "", [403, 403, 404]),
        ("DELETE", "/channels/none", "", [403, 403, 404]),
    ] {
        for (token, expected) in [PUBLISHER, READER, OPERATOR].into_iter().zip(expected) {
            assert_eq!(status(&node, token, method, path, body).await, expected, "{token} {method} {path}");
        }
        for nobody in ["", "unknown-token-0123456789abcdef-x", &PUBLISHER[..31]] {
            assert_eq!(status(&node, nobody, method, path, body).await, 401, "{nobody} {method} {path}");
        }
    }
}

#[tokio::test]
async fn probes_need_no_token() {
    let (_directory, node) = start().await;
    for path in ["/livez", "/healthz", "/readyz"] {
        assert_eq!(http(node.internal(), "GET", path, &[], "").await.unwrap().status, 200, "{path}");
    }
    assert_eq!(http(node.internal(), "GET", "/metrics", &[], "").await.unwrap().status, 401);
}

#[tokio::test]
async fn a_token_that_is_replaced_in_its_file_is_good_no_more() {
    let (directory, node) = start().await;
    let newer = "newer-publisher-token-0123456789";
    fs::write(directory.path().join("publisher"), newer).unwrap();
    node.signal(Signal::HUP).unwrap();
    let taken = async {
        while status(&node, newer, "POST", "/publish/news", "x").await != 202 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(fantail_testkit::PATIENCE, taken).await.expect("it is read again");
    assert_eq!(status(&node, PUBLISHER, "POST", "/publish/news", "x").await, 401);
}
