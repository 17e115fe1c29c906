//! The right to read: by token, by the operator's own service, by a proxy that has decided.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fantail_access::{KeyAlgorithm, mint_token};
use fantail_testkit::{Fantail, PATIENCE, Response, Signal, SseClient, http};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use crate::keys::{KeyDirectory, SECRET, base64url, now};
use crate::node::{FANTAIL, connections, node, publish, read_to_close, until, until_said, whole_log};
use crate::origin::{TestOrigin, answer};

const OTHER_SECRET: &str = "another-secret-of-32-bytes-abcde";

fn signed(claims: Value, kid: Option<&str>, secret: &str) -> String {
    let algorithm: KeyAlgorithm = "HS256".parse().unwrap();
    let claims: Map<String, Value> = serde_json::from_value(claims).unwrap();
    mint_token(algorithm, kid, secret.as_bytes(), &claims).unwrap()
}

/// A token for ten minutes.
fn token(claims: Value) -> String {
    let mut claims = claims;
    if claims.get("exp").is_none() {
        claims["exp"] = (now() + 600).into();
    }
    signed(claims, None, SECRET)
}

async fn token_node(keys: &KeyDirectory, flags: &[&str]) -> Fantail {
    let key_flag = keys.key("HS256", SECRET);
    let base = ["--access", "token", "--token-keys", &key_flag, "--channel-templates", "user:{sub}"];
    node(&[&base[..], flags].concat()).await
}

async fn open(node: &Fantail, path: &str, token: &str) -> SseClient {
    let request = SseClient::request(node.public(), path).header("Authorization", &format!("Bearer {token}"));
    let client = request.connect().await.unwrap();
    assert_eq!(client.status(), 200, "{path}");
    client
}

/// The answer to a client that does not ask for a stream by its type.
async fn refused(node: &Fantail, path: &str, headers: &[(&str, &str)]) -> Response {
    http(node.public(), "GET", path, headers, "").await.unwrap()
}

fn detail(answer: &Response) -> String {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.text());
    answer.json().unwrap()["detail"].as_str().unwrap().to_owned()
}

async fn until_live(node: &Fantail, count: usize) {
    let live = async {
        while connections(node).await.iter().filter(|it| it["state"] == "live").count() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, live).await.expect("the streams become live");
}

#[tokio::test]
async fn a_stream_without_channels_follows_those_of_its_token_and_no_other_channel_can_be_had() {
    let keys = KeyDirectory::new();
    let node = token_node(&keys, &[]).await;
    let token = token(json!({ "sub": "bob:1", "channels": ["news", "org:*"] }));
    let mut own = open(&node, "/sse", &token).await;
    let mut asked = open(&node, "/sse?channel=org:7&channel=news", &token).await;
    until_live(&node, 2).await;
    publish(&node, "user:bob~3a1", "to bob").await;
    publish(&node, "org:7", "to seven").await;
    publish(&node, "news", "to all").await;
    for (client, first) in [(&mut own, "to bob"), (&mut asked, "to seven")] {
        assert_eq!(client.next_event(PATIENCE).await.unwrap().data, first);
        assert_eq!(client.next_event(PATIENCE).await.unwrap().data, "to all");
    }
    let bearer = format!("Bearer {token}");
    for path in ["/sse/user:alice", "/sse/org", "/sse?channel=news&channel=secret", "/sse/user:bob:1"] {
        let answer = refused(&node, path, &[("Authorization", &bearer)]).await;
        assert_eq!(answer.status, 403, "{path}");
        assert!(detail(&answer).starts_with("you may not read the channel "), "{path}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_refusal_says_why_and_a_page_of_the_list_can_read_it() {
    let keys = KeyDirectory::new();
    let node = token_node(&keys, &["--cors-origin", "https://app.example", "--token-leeway", "0s"]).await;
    let expired = token(json!({ "exp": now() - 5 }));
    let forged = signed(json!({ "sub": "u", "exp": now() + 600 }), None, OTHER_SECRET);
    let nothing = token(json!({ "org": "o" }));
    for (token, status, reason) in [
        (None, 401, "a token is needed"),
        (Some("x"), 401, "this is no JSON Web Token"),
        (Some(&*expired), 401, "has expired"),
        (Some(&*forged), 401, "signature is wrong"),
        (Some(&*nothing), 403, "allows no channel"),
    ] {
        let bearer = format!("Bearer {}", token.unwrap_or_default());
        let mut headers = vec![("Origin", "https://app.example"), ("Accept", "text/event-stream")];
        headers.extend(token.is_some().then_some(("Authorization", &*bearer)));
        let answer = refused(&node, "/sse", &headers).await;
        assert_eq!((answer.status, detail(&answer).contains(reason)), (status, true), "{}", answer.text());
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"));
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401);
    }
}

/// Any page can make a browser send the user's cookies; it must not open streams with them.
#[tokio::test]
async fn a_cookie_opens_streams_for_its_own_site_and_listed_pages_alone() {
    let keys = KeyDirectory::new();
    let node = token_node(&keys, &["--token-cookie", "session", "--cors-origin", "https://app.example"]).await;
    let cookie = format!("a=b; session={}", token(json!({ "sub": "u" })));
    let own = format!("http://{}", node.public());
    for (origin, status) in [
        (Some("https://app.example"), 200),
        (Some(&*own), 200),
        (None, 200),
        (Some("https://evil.example"), 403),
        (Some("null"), 403),
    ] {
        let mut request = SseClient::request(node.public(), "/sse").header("Cookie", &cookie);
        if let Some(origin) = origin {
            request = request.header("Origin", origin);
        }
        assert_eq!(request.connect().await.unwrap().status(), status, "{origin:?}");
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_token_and_the_client_is_told() {
    let keys = KeyDirectory::new();
    let node = token_node(&keys, &[]).await;
    let ends_at = now() + 4;
    let mut client = open(&node, "/sse", &token(json!({ "sub": "u", "exp": ends_at }))).await;
    let (_, reason) = read_to_close(&mut client).await;
    assert_eq!(reason, "token-expired");
    assert!(now() <= ends_at, "not later than its token");
}

#[tokio::test]
async fn a_stream_ends_after_the_longest_life_that_a_stream_may_have() {
    let node = node(&["--stream-lifetime-max", "1s"]).await;
    let mut client = SseClient::connect(node.public(), "/sse/a").await.unwrap();
    assert_eq!(read_to_close(&mut client).await.1, "lifetime");
}

#[tokio::test]
async fn a_revoked_subject_loses_its_streams_and_comes_back_with_a_newer_token_alone() {
    let keys = KeyDirectory::new();
    let node = token_node(&keys, &[]).await;
    let old = token(json!({ "sub": "u", "iat": now() - 60 }));
    let mut gone = open(&node, "/sse", &old).await;
    let mut other = open(&node, "/sse", &token(json!({ "sub": "v" }))).await;
    until_live(&node, 2).await;
    let answer = http(node.internal(), "POST", "/revoke", &[], r#"{"sub":"u"}"#).await.unwrap();
    assert_eq!((answer.status, answer.json().unwrap()), (200, json!({ "ended": 1 })));
    assert_eq!(read_to_close(&mut gone).await.1, "revoked");
    let bearer = format!("Bearer {old}");
    let answer = refused(&node, "/sse", &[("Authorization", &bearer)]).await;
    assert_eq!((answer.status, &*detail(&answer)), (403, "the right to read was taken back"));
    open(&node, "/sse", &token(json!({ "sub": "u", "iat": now() + 2 }))).await;
    publish(&node, "user:v", "still here").await;
    assert_eq!(other.next_event(PATIENCE).await.unwrap().data, "still here");
}

#[tokio::test]
async fn a_revoked_client_gets_204_where_the_operator_wants_that() {
    let keys = KeyDirectory::new();
    let node = token_node(&keys, &["--revoked-answer", "204"]).await;
    http(node.internal(), "POST", "/revoke", &[], r#"{"sub":"u"}"#).await.unwrap();
    let bearer = format!("Bearer {}", token(json!({ "sub": "u" })));
    let answer = refused(&node, "/sse", &[("Authorization", &bearer)]).await;
    assert_eq!((answer.status, &*answer.text()), (204, ""));
}

#[tokio::test]
async fn a_key_that_is_replaced_ends_its_streams_and_the_new_one_opens_others() {
    let keys = KeyDirectory::new();
    let node = token_node(&keys, &[]).await;
    let mut old = open(&node, "/sse", &token(json!({ "sub": "u" }))).await;
    until_live(&node, 1).await;
    // A file that is empty for a moment changes nothing.
    keys.key("HS256", "");
    node.signal(Signal::HUP).unwrap();
    until_said(&node, "keys cannot be read again", 1).await;
    open(&node, "/sse", &token(json!({ "sub": "v" }))).await;
    keys.key("HS256", OTHER_SECRET);
    node.signal(Signal::HUP).unwrap();
    assert_eq!(read_to_close(&mut old).await.1, "revoked");
    open(&node, "/sse", &signed(json!({ "sub": "u", "exp": now() + 600 }), None, OTHER_SECRET)).await;
    let bearer = format!("Bearer {}", token(json!({ "sub": "u" })));
    assert_eq!(refused(&node, "/sse", &[("Authorization", &bearer)]).await.status, 401);
}

fn jwks(keys: &[(&str, &str)]) -> String {
    let keys: Vec<_> =
        keys.iter().map(|(id, secret)| json!({"kty":"oct","alg":"HS256","kid":id,"k":base64url(secret)})).collect();
    json!({ "keys": keys }).to_string()
}

#[tokio::test]
async fn keys_come_from_a_jwks_and_unknown_ones_do_not_make_us_ask_without_end() {
    let set = Arc::new(std::sync::Mutex::new(jwks(&[("k1", SECRET)])));
    let served = Arc::clone(&set);
    let origin = TestOrigin::start(move |_| answer("200 OK", "", &served.lock().unwrap())).await;
    let url = origin.url("/jwks");
    let flags = ["--access", "token", "--token-jwks", &url, "--channel-templates", "user:{sub}"];
    let node = node(&flags).await;
    let claims = json!({ "sub": "u", "exp": now() + 600 });
    open(&node, "/sse", &signed(claims.clone(), Some("k1"), SECRET)).await;
    let asked = origin.asked().len();
    assert_eq!(asked, 1);
    // The set was asked for a moment ago, so an unknown key causes no other question. It may be good soon.
    *set.lock().unwrap() = jwks(&[("k1", SECRET), ("k2", OTHER_SECRET)]);
    for _ in 0..20 {
        let bearer = format!("Bearer {}", signed(claims.clone(), Some("k2"), OTHER_SECRET));
        assert_eq!(refused(&node, "/sse", &[("Authorization", &bearer)]).await.status, 503);
    }
    assert_eq!(origin.asked().len(), asked);
}

#[tokio::test]
async fn while_no_keys_can_be_had_a_browser_is_told_to_come_back() {
    let origin = TestOrigin::start(|_| answer("500 Internal Server Error", "", "")).await;
    let url = origin.url("/jwks");
    let node = node(&["--access", "token", "--token-jwks", &url]).await;
    let token = token(json!({ "channels": ["a"] }));
    let mut client = open(&node, "/sse", &token).await;
    assert_eq!(read_to_close(&mut client).await.1, "access-unavailable");
    let bearer = format!("Bearer {token}");
    let answer = refused(&node, "/sse", &[("Authorization", &bearer)]).await;
    assert_eq!((answer.status, answer.header("retry-after").is_some()), (503, true));
}

#[tokio::test]
async fn the_operators_service_allows_denies_names_channels_and_sends_a_first_event() {
    let origin = TestOrigin::start(|head| {
        if head.contains("cookie: session=good") {
            let body = json!({"channels": ["user:7", "news"], "subject": "7", "first_event": {"event": "hello", "data": "you"}});
            answer("200 OK", "Content-Type: application/json\r\n", &body.to_string())
        } else if head.contains("cookie: session=by-headers") {
            answer("204 No Content", "Fantail-Channels: org:*\r\nFantail-Expires-In: 600\r\n", "")
        } else if head.contains("cookie: session=asked") {
            answer("200 OK", "", "")
        } else {
            answer("403 Forbidden", "", "")
        }
    })
    .await;
    let url = origin.url("/authorize?of=fantail");
    let node = node(&["--access", "origin", "--origin-url", &url]).await;
    let request = |path: &str, session: &str| {
        SseClient::request(node.public(), path).header("Cookie", &format!("session={session}"))
    };
    let mut good = request("/sse", "good").connect().await.unwrap();
    let first = good.next_event(PATIENCE).await.unwrap();
    assert_eq!((&*first.event, &*first.data), ("hello", "you"));
    until_live(&node, 1).await;
    publish(&node, "user:7", "yours").await;
    assert_eq!(good.next_event(PATIENCE).await.unwrap().data, "yours");
    for (path, session, status) in [
        ("/sse/secret", "good", 403),
        ("/sse/org:1", "by-headers", 200),
        ("/sse", "by-headers", 403),
        ("/sse/user:7", "by-headers", 403),
        ("/sse/any", "asked", 200),
        ("/sse/any", "bad", 403),
    ] {
        assert_eq!(request(path, session).connect().await.unwrap().status(), status, "{path} {session}");
    }
    let asked = origin.asked();
    let last = asked.iter().find(|head| head.contains("session=asked")).unwrap();
    for line in [
        "get /authorize?of=fantail http/1.1",
        "fantail-channels: any",
        "x-forwarded-uri: /sse/any",
        "x-forwarded-for: 127.0.0.1",
    ] {
        assert!(last.contains(line), "{line} in {last}");
    }
    // A page of another site has the user's cookies sent along.
    let foreign = request("/sse/any", "asked").header("Origin", "https://evil.example").connect().await.unwrap();
    assert_eq!(foreign.status(), 403);
}

/// The answer of before the revocation says nothing of after it, however long it would have been kept.
#[tokio::test]
async fn after_a_revocation_the_operators_service_is_asked_again() {
    let may_read = Arc::new(AtomicBool::new(true));
    let decides = Arc::clone(&may_read);
    let origin = TestOrigin::start(move |_| {
        let status = if decides.load(Ordering::SeqCst) { "200 OK" } else { "403 Forbidden" };
        answer(status, "Fantail-Channels: a\r\nFantail-Subject: u\r\n", "")
    })
    .await;
    let url = origin.url("/");
    let node = node(&["--access", "origin", "--origin-url", &url, "--origin-cache", "1h"]).await;
    let mut client = SseClient::connect(node.public(), "/sse/a").await.unwrap();
    until_live(&node, 1).await;
    may_read.store(false, Ordering::SeqCst);
    http(node.internal(), "POST", "/revoke", &[], r#"{"sub":"u"}"#).await.unwrap();
    assert_eq!(read_to_close(&mut client).await.1, "revoked");
    assert_eq!(SseClient::connect(node.public(), "/sse/a").await.unwrap().status(), 403);
    assert_eq!(origin.asked().len(), 2);
}

#[tokio::test]
async fn with_a_token_and_the_operators_service_both_must_allow() {
    let keys = KeyDirectory::new();
    let origin = TestOrigin::start(|head| {
        let channels = if head.contains("session=some") { "org:7" } else { "org:*,secret" };
        answer("200 OK", &format!("Fantail-Channels: {channels}\r\n"), "")
    })
    .await;
    let (url, key) = (origin.url("/"), keys.key("HS256", SECRET));
    let node = node(&["--access", "token+origin", "--token-keys", &key, "--origin-url", &url]).await;
    let token = format!("Bearer {}", token(json!({ "channels": ["news", "org:*"] })));
    for (path, session, status) in [
        ("/sse/org:7", "all", 200),
        ("/sse/org:8", "all", 200),
        ("/sse/org:7", "some", 200),
        ("/sse/org:8", "some", 403),
        ("/sse/news", "all", 403),
        ("/sse/secret", "all", 403),
        ("/sse", "some", 200),
        ("/sse", "all", 403),
    ] {
        let request = SseClient::request(node.public(), path).header("Authorization", &token);
        let answer = request.header("Cookie", &format!("session={session}")).connect().await.unwrap();
        assert_eq!(answer.status(), status, "{path} {session}");
    }
}

/// The service may judge by `Authorization`, while the token that was checked stands elsewhere: the two may be two people.
#[tokio::test]
async fn the_operators_service_is_shown_the_token_that_was_checked() {
    let keys = KeyDirectory::new();
    let origin = TestOrigin::start(|head| {
        answer(if head.contains("x-access-token: ") { "200 OK" } else { "403 Forbidden" }, "", "")
    })
    .await;
    let (url, key) = (origin.url("/"), keys.key("HS256", SECRET));
    let flags = ["--access", "token+origin", "--token-keys", &key, "--origin-url", &url];
    let node =
        node(&[&flags[..], &["--token-header", "X-Access-Token", "--origin-headers", "authorization"]].concat()).await;
    let request = SseClient::request(node.public(), "/sse/a").header("Authorization", "Bearer of-another");
    let token = token(json!({ "channels": ["a"] }));
    assert_eq!(request.header("X-Access-Token", &token).connect().await.unwrap().status(), 200);
}

#[tokio::test]
async fn equal_questions_are_asked_once_and_the_answer_holds_for_a_while() {
    let origin = TestOrigin::start(|_| answer("200 OK", "", "")).await;
    let url = origin.url("/");
    let node = node(&["--access", "origin", "--origin-url", &url, "--origin-cache", "1h"]).await;
    for _ in 0..10 {
        assert_eq!(SseClient::connect(node.public(), "/sse/a").await.unwrap().status(), 200);
    }
    assert_eq!(origin.asked().len(), 1);
    assert_eq!(SseClient::connect(node.public(), "/sse/b").await.unwrap().status(), 200);
    assert_eq!(origin.asked().len(), 2, "another channel is another question");
}

#[tokio::test]
async fn a_service_that_is_away_or_answers_nonsense_lets_nobody_in() {
    for case in ["500", "302", "garbage", "silence", "json", "channels"] {
        let origin = TestOrigin::start(move |_| match case {
            "500" => answer("500 Internal Server Error", "", ""),
            "302" => answer("302 Found", "Location: /login\r\n", ""),
            "garbage" => "nonsense\r\n\r\n".to_owned(),
            "json" => answer("200 OK", "Content-Type: application/json\r\n", "{\"channels\":"),
            "channels" => answer("200 OK", "Content-Type: application/json\r\n", "{\"channels\":{}}"),
            _ => String::new(),
        })
        .await;
        let url = origin.url("/");
        let node = node(&["--access", "origin", "--origin-url", &url, "--origin-deadline", "300ms"]).await;
        let mut client = SseClient::connect(node.public(), "/sse/a").await.unwrap();
        assert_eq!(read_to_close(&mut client).await.1, "access-unavailable", "{case}");
    }
}

#[tokio::test]
async fn beyond_the_bound_on_questions_a_client_is_told_to_come_back() {
    let origin = TestOrigin::start(|_| String::new()).await;
    let url = origin.url("/");
    let flags = ["--access", "origin", "--origin-url", &url, "--origin-questions-max", "1", "--origin-deadline", "1m"];
    let node = node(&flags).await;
    let _waiting = SseClient::request(node.public(), "/sse/a").send().await.unwrap();
    let asked = async {
        while origin.asked().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, asked).await.expect("it is asked");
    let mut client = SseClient::connect(node.public(), "/sse/b").await.unwrap();
    assert_eq!(read_to_close(&mut client).await.1, "access-unavailable");
}

#[tokio::test]
async fn a_grant_in_the_header_fields_is_believed_from_a_trusted_proxy_alone() {
    let trusting = node(&["--access", "proxy", "--trusted-proxies", "127.0.0.1"]).await;
    let distrusting = node(&["--access", "proxy", "--trusted-proxies", "192.0.2.1"]).await;
    let request = |node: &Fantail, path: &str, grant: &str| {
        SseClient::request(node.public(), path).header("Fantail-Channels", grant).header("Fantail-Subject", "u")
    };
    for (node, path, grant, status) in [
        (&trusting, "/sse", "a,b", 200),
        (&trusting, "/sse/b", "a,b", 200),
        (&trusting, "/sse/c", "a,b", 403),
        (&trusting, "/sse/c", "*", 200),
        (&trusting, "/sse/a", "", 403),
        (&distrusting, "/sse/a", "a", 403),
    ] {
        assert_eq!(request(node, path, grant).connect().await.unwrap().status(), status, "{path} {grant:?}");
    }
    assert_eq!(SseClient::connect(trusting.public(), "/sse/a").await.unwrap().status(), 403, "no grant");
    let mut client = request(&trusting, "/sse", "mine").connect().await.unwrap();
    until(&trusting, "it is open", |metrics| metrics.count("fantail_streams_open") >= 1).await;
    http(trusting.internal(), "POST", "/revoke", &[], r#"{"sub":"u"}"#).await.unwrap();
    assert_eq!(read_to_close(&mut client).await.1, "revoked");
}

#[tokio::test]
async fn a_token_stands_in_no_log_line_and_no_answer() {
    const CANARY: &str = "hunter2canary";
    let keys = KeyDirectory::new();
    let flags = ["--log-level", "trace", "--token-query", "tok", "--token-cookie", "session"];
    let node = token_node(&keys, &flags).await;
    let token = signed(json!({ "sub": "u", "exp": now() + 600 }), Some(CANARY), SECRET);
    let canaries = [&*token, CANARY, SECRET];
    for (path, name, value) in [
        (format!("/sse?tok={token}"), "X-A", "b".to_owned()),
        ("/sse".to_owned(), "Cookie", format!("session={token}")),
        ("/sse".to_owned(), "Authorization", format!("Bearer {token}")),
    ] {
        let answer = SseClient::request(node.public(), &path).header(name, &value).connect().await.unwrap();
        assert_eq!(answer.status(), 200, "{name}");
    }
    let mut shown = String::new();
    for path in ["/metrics", "/connections", "/config", "/channels", "/readyz"] {
        shown.push_str(&http(node.internal(), "GET", path, &[], "").await.unwrap().text());
    }
    shown.extend([whole_log(&node).await, node.output().stdout]);
    for canary in canaries {
        assert!(!shown.contains(canary), "{canary}");
    }
}

#[test]
fn a_key_file_that_is_no_key_keeps_the_node_from_starting() {
    let directory = tempfile::tempdir().unwrap();
    let short = directory.path().join("short");
    fs::write(&short, "short").unwrap();
    let refused = |path: &Path| {
        let key = format!("HS256:{}", path.display());
        let mut command = Fantail::command(FANTAIL, &["serve", "--access", "token", "--token-keys", &key]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let text = refused(&short);
    assert!(text.contains("token_keys: ") && text.contains("at least 32 bytes"), "{text}");
    assert!(refused(&directory.path().join("none")).contains("No such file"));
}
