//! A secret is nowhere to be read: not in the log at its lowest level, not in numbers, listings, settings or answers, whether
//! all goes well or everything that could be asked is away.

use std::fmt::Write as _;
use std::fs;
use std::sync::{Arc, Mutex};

use fantail_testkit::{Fantail, PATIENCE, RedisServer, SseClient, http};
use serde_json::json;

use crate::node::{node, until_ready, until_said, whole_log};
use crate::origin::{TestOrigin, answer};

const SECRET: &str = "canary-key-file-0123456789abcdef-0123456789";
const INTERNAL_TOKEN: &str = "canary-internal-token-0123456789abcdef";
const REDIS_PASSWORD: &str = "canary-redis-password";

/// All secrets, by the places where they stand. Their common beginning is looked for; the rest tells the place.
const CANARY: &str = "canary-";

struct Places {
    _directory: tempfile::TempDir,
    flags: Vec<String>,
}

/// Settings with a secret in each place that can hold one.
fn places(jwks: &str, origin: &str, redis: &RedisServer) -> Places {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let key = format!("HS256:{}", file("key", SECRET));
    let internal = format!("{}=publish+read+operate", file("internal", INTERNAL_TOKEN));
    let redis_url = format!("redis://:{REDIS_PASSWORD}@{}", redis.addr());
    let flags = [
        ("--log-level", "trace"),
        ("--access", "token+origin"),
        ("--token-keys", &key),
        ("--token-jwks", jwks),
        ("--token-query", "tok"),
        ("--token-cookie", "session"),
        ("--token-header", "X-Token"),
        ("--origin-url", origin),
        ("--origin-headers", "authorization,cookie,x-secret"),
        ("--origin-cache", "0s"),
        ("--internal-tokens", &internal),
        ("--redis-url", &redis_url),
    ];
    Places {
        _directory: directory,
        flags: flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()]).collect(),
    }
}

impl Places {
    async fn start(&self) -> Fantail {
        node(&self.flags.iter().map(String::as_str).collect::<Vec<_>>()).await
    }
}

/// Opens streams with secrets in all places of a request, some of which are refused. Returns what was answered.
async fn ask_with_secrets(node: &Fantail, token: &str) -> String {
    let mut answers = String::new();
    for token in [token, "canary-no-token", "canary-a.canary-b.canary-c"] {
        for (target, name, value) in [
            (format!("/sse/a?tok={token}&x=canary-query"), "X-Secret", "canary-header".to_owned()),
            ("/sse/a".to_owned(), "Cookie", format!("session={token}; other=canary-cookie")),
            ("/sse/a".to_owned(), "Authorization", format!("Bearer {token}")),
            ("/sse/a".to_owned(), "Authorization", "Basic canary-basic".to_owned()),
            ("/sse/a".to_owned(), "X-Token", token.to_owned()),
            ("/nope?tok=canary-query".to_owned(), "Proxy-Authorization", "Bearer canary-proxy".to_owned()),
            (format!("/sse/b?tok={token}&tok=canary-second"), "X-Secret", "canary-header".to_owned()),
        ] {
            let mut client =
                SseClient::request(node.public(), &target).header(name, &value).keep_body().connect().await.unwrap();
            if client.status() != 200 {
                client.read_until_end(PATIENCE).await.unwrap();
            }
            let _ = write!(answers, "{:?}", client.head());
            answers.push_str(&String::from_utf8_lossy(client.body()));
        }
    }
    answers
}

/// Publishes secrets, well and badly, and looks at everything that can be looked at.
async fn look_everywhere(node: &Fantail) -> String {
    let bearer = format!("Bearer {INTERNAL_TOKEN}");
    let good = [("Authorization", bearer.as_str())];
    let bad = [("Authorization", "Bearer canary-of-a-stranger-0123456789abcdef"), ("Cookie", "a=canary-cookie")];
    let mut shown = String::new();
    for headers in [&good[..], &bad[..]] {
        for (method, path, body) in [
            ("POST", "/publish/a", "canary-body".to_owned()),
            ("POST", "/publish", json!({"channel": "a", "data": "canary-body"}).to_string()),
            ("POST", "/publish", "{\"channel\":\"a\",\"data\":canary-body}".to_owned()),
            ("POST", "/publish", "{\"channel\":\"a\",\"data\":[\"canary-body\"]}".to_owned()),
            ("POST", "/publish", "canary-body".to_owned()),
            ("POST", "/revoke", "{\"sub\":\"canary-body".to_owned()),
            ("POST", "/revoke", json!({"jti": "canary-jti"}).to_string()),
            ("GET", "/metrics", String::new()),
            ("GET", "/connections", String::new()),
            ("GET", "/channels", String::new()),
            ("GET", "/channels/a", String::new()),
            ("GET", "/config", String::new()),
            ("GET", "/readyz", String::new()),
            ("GET", "/nope?x=canary-query", String::new()),
        ] {
            let answer = http(node.internal(), method, path, headers, &body).await.unwrap();
            let _ = writeln!(shown, "{:?} {}", answer.headers, answer.text());
        }
    }
    shown
}

async fn assert_nowhere(node: &Fantail, shown: &str, more: &[&str]) {
    let log = whole_log(node).await;
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "the log is at its lowest level");
    for (place, text) in [("answers", shown), ("standard output", &*node.output().stdout), ("log", &*log)] {
        for secret in [&[CANARY], more].concat() {
            let line = text.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "{place}: {secret} stands in {}", line.unwrap_or_default());
        }
    }
}

/// A token whose signature and claims are secrets of their own.
fn token() -> String {
    let claims = json!({"channels": ["a"], "sub": "u", "exp": 4_000_000_000u64, "jti": "canary-jti"});
    let claims = serde_json::from_value(claims).unwrap();
    fantail_access::mint_token("HS256".parse().unwrap(), None, SECRET.as_bytes(), &claims).unwrap()
}

#[tokio::test]
async fn a_secret_is_nowhere_to_be_read_while_all_goes_well() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    let service = TestOrigin::start(move |head| {
        noted.lock().unwrap().push(head.to_owned());
        if head.contains("/jwks") {
            let key = json!({"kty": "oct", "alg": "HS256", "kid": "k", "k": "Y2FuYXJ5LW9mLXRoZS1qd2tzLTAxMjM0NTY3ODlhYmNkZWY"});
            return answer("200 OK", "", &json!({"keys": [key]}).to_string());
        }
        let body = json!({"channels": ["a"], "subject": "u", "session": "canary-session"});
        answer("200 OK", "Content-Type: application/json\r\n", &body.to_string())
    })
    .await;
    let redis = RedisServer::start_with(&["--requirepass", REDIS_PASSWORD]).await.unwrap();
    let (jwks, origin) =
        (service.url("/jwks?key=canary-jwks-query"), service.url("/authorize?key=canary-origin-query"));
    let places = places(&jwks, &origin, &redis);
    let node = places.start().await;
    until_ready(&node, true).await;
    let token = token();
    let shown = ask_with_secrets(&node, &token).await + &look_everywhere(&node).await;
    // It was used in all places, else nothing would be shown by its absence.
    let asked = asked.lock().unwrap().concat();
    for used in ["canary-jwks-query", "canary-origin-query", "canary-header", "canary-cookie"] {
        assert!(asked.contains(used), "{used}");
    }
    assert_nowhere(&node, &shown, &[&token, token.rsplit('.').next().unwrap()]).await;
}

#[tokio::test]
async fn a_secret_is_nowhere_to_be_read_while_everything_is_away() {
    let service = TestOrigin::start(|head| {
        let key = "{\"keys\":[{\"kty\":\"oct\",\"alg\":\"HS256\",\"k\":\"canary-in-a-broken-set\"";
        if head.contains("/jwks") {
            answer("200 OK", "", key)
        } else {
            answer("302 Found", "Location: /?canary-location\r\n", "{canary-answer")
        }
    })
    .await;
    let redis = RedisServer::start_with(&["--requirepass", "another-password"]).await.unwrap();
    let (jwks, origin) =
        (service.url("/jwks?key=canary-jwks-query"), service.url("/authorize?key=canary-origin-query"));
    let places = places(&jwks, &origin, &redis);
    let node = places.start().await;
    let token = token();
    let shown = ask_with_secrets(&node, &token).await + &look_everywhere(&node).await;
    until_said(&node, "origin_url cannot be asked", 1).await;
    until_said(&node, "token_jwks cannot be had", 1).await;
    until_said(&node, "redis", 1).await;
    assert_nowhere(&node, &shown, &[&token, token.rsplit('.').next().unwrap()]).await;
}
