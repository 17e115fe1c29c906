//! `fantail token`: what it makes is good, and it says of every other token what the server says.

use fantail_testkit::{PATIENCE, SseClient, http};
use serde_json::json;

use crate::keys::{EC_PRIVATE, EC_PUBLIC, ED_PRIVATE, ED_PUBLIC, KeyDirectory, SECRET, now, signed};
use crate::node::{node, publish, until_open};
use crate::running::{run, run_with};

#[tokio::test]
async fn a_minted_token_opens_a_stream_and_is_inspected_with_the_same_outcome() {
    for (algorithm, private, public) in
        [("HS256", SECRET, SECRET), ("ES256", EC_PRIVATE, EC_PUBLIC), ("EdDSA", ED_PRIVATE, ED_PUBLIC)]
    {
        let files = KeyDirectory::new();
        let private = files.file("private", private);
        let key = format!("main={}", files.key(algorithm, public));
        let mint = ["token", "mint", "--key-file", &private, "--algorithm", algorithm, "--kid", "main", "--sub", "u1"];
        let minted = run(&[&mint[..], &["--channels", "news,org:*", "--claim", "org={\"id\":7}"]].concat()).await;
        assert_eq!((minted.status, &*minted.stderr), (Some(0), ""), "{algorithm}");
        let token = minted.stdout.trim();

        let rules = ["--token-keys", &key, "--channel-templates", "user:{sub},org:{org.id}"];
        let node = node(&[&["--access", "token"], &rules[..]].concat()).await;
        let bearer = format!("Bearer {token}");
        let request = SseClient::request(node.public(), "/sse").header("Authorization", &bearer);
        let mut client = request.connect().await.unwrap();
        assert_eq!(client.status(), 200, "{algorithm}");
        until_open(&node, 1).await;
        publish(&node, "user:u1", "mine").await;
        assert_eq!(client.next_event(PATIENCE).await.unwrap().data, "mine");

        // The access is a token's unless something says otherwise, and a token comes as it was copied.
        for input in [token, &format!("bearer {token}\n")] {
            let told = run_with(&[&["token", "inspect"], &rules[..]].concat(), input).await;
            assert_eq!((told.status, &*told.stderr), (Some(0), ""), "{algorithm}");
            let lines = told.lines();
            let key = format!("key: {algorithm} (kid \"main\")");
            for line in [&*key, "channel: news", "channel: user:u1", "channel: org:7", "pattern: org:*"] {
                assert!(lines.contains(&line), "{line} in {}", told.stdout);
            }
            assert!(told.stdout.contains(r#""sub":"u1""#) && told.stdout.contains("ends: in 3"), "{}", told.stdout);
        }
    }
}

#[tokio::test]
async fn a_token_is_inspected_by_the_rules_of_a_preset() {
    let files = KeyDirectory::new();
    let key = files.key("HS256", SECRET);
    let command = ["token", "inspect", "--preset", "owncloud", "--token-keys", &key];
    let claims = json!({"exp": now() + 600, "user": {"id": {"opaque_id": "u1"}}, "scope": {"user": {}}});
    let told = run_with(&command, &signed("HS256", SECRET, claims)).await;
    assert_eq!((told.status, &*told.stderr), (Some(0), ""));
    assert!(told.lines().contains(&"channel: u1"), "{}", told.stdout);
    let of_a_share = json!({"exp": now() + 600, "user": {"id": {"opaque_id": "u1"}}, "scope": {"publicshare:1": {}}});
    let told = run_with(&command, &signed("HS256", SECRET, of_a_share)).await;
    assert_eq!(told.status, Some(1));
    assert!(told.stderr.contains("scope.user*"), "{}", told.stderr);
}

/// Each case: the claims, the key, and the name of the check that refuses.
#[tokio::test]
async fn the_check_that_refuses_a_token_is_named_in_the_words_of_the_server() {
    let files = KeyDirectory::new();
    let key = files.key("HS256", SECRET);
    let settings = files.file(
        "fantail.toml",
        &format!("access = \"token\"\ntoken_keys = [{key:?}]\ntoken_leeway = \"0s\"\ntoken_issuers = [\"https://id.example\"]\ntoken_audiences = [\"events\"]\n"),
    );
    let node = node(&["--config", &settings]).await;
    let good = || json!({"iss": "https://id.example", "aud": "events", "exp": now() + 600, "channels": ["a"]});
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = good();
        claims[name] = value;
        signed("HS256", SECRET, claims)
    };
    for (check, token) in [
        ("form", "x.y.z".to_owned()),
        ("alg", signed("HS512", SECRET, good())),
        ("signature", signed("HS256", "another-secret-of-32-bytes-abcde", good())),
        ("exp", with("exp", (now() - 60).into())),
        ("exp", with("exp", "soon".into())),
        ("nbf", with("nbf", (now() + 600).into())),
        ("iss", with("iss", "https://evil.example".into())),
        ("aud", with("aud", "others".into())),
        ("channels", with("channels", json!([]))),
        ("channels", with("channels", json!(["a b"]))),
    ] {
        let bearer = format!("Bearer {token}");
        let answer = http(node.public(), "GET", "/sse", &[("Authorization", &bearer)], "").await.unwrap();
        let detail = answer.json().unwrap()["detail"].as_str().unwrap().to_owned();
        let told = run_with(&["token", "inspect", "--config", &settings], &token).await;
        assert_eq!(told.status, Some(1), "{check}");
        // Seconds may have passed between the two.
        let words = detail.trim_end_matches(|c: char| c.is_ascii_digit() || " sago".contains(c));
        let expected = format!("fantail: refused by the check of {check}: ");
        assert!(told.stderr.starts_with(&expected), "{check}: {}", told.stderr);
        let number = |text: &str| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
        assert!(number(&told.stderr).contains(&number(words)), "{detail} in {}", told.stderr);
        assert_eq!(told.stdout.contains("claims: {"), check != "form", "{}", told.stdout);
        assert!(!told.stderr.contains(SECRET) && !told.stdout.contains(SECRET));
    }
}

#[tokio::test]
async fn arguments_that_cannot_work_are_refused_with_the_reason() {
    let files = KeyDirectory::new();
    let (secret, public) = (files.file("secret", SECRET), files.file("public", EC_PUBLIC));
    let public_as_secret = format!("HS256:{public}");
    for (arguments, status, told) in [
        (&["mint", "--key-file", &secret][..], 2, "--algorithm"),
        (&["mint", "--key-file", &secret, "--algorithm", "none"], 2, "is no algorithm"),
        (&["mint", "--key-file", &secret, "--algorithm", "HS256", "--expires-in", "1"], 2, "is not a duration"),
        (&["mint", "--key-file", "/none", "--algorithm", "HS256"], 2, "--key-file: /none"),
        (&["mint", "--key-file", &secret, "--algorithm", "ES256"], 1, "no private key for ES256"),
        (&["mint", "--key-file", &public, "--algorithm", "HS256"], 1, "a key in PEM form and no HMAC secret"),
        (&["inspect", "a.b.c"], 2, "needs token_secret"),
        (&["inspect", "--access", "open", "a.b.c"], 2, "checks no token with these settings"),
        (&["inspect", "--token-keys", "HS256:/none", "a.b.c"], 2, "/none"),
        (&["inspect", "--token-keys", &public_as_secret, "a.b.c"], 2, "a key in PEM form and no HMAC secret"),
    ] {
        let outcome = run(&[&["token"], arguments].concat()).await;
        assert_eq!((outcome.status, &*outcome.stdout), (Some(status), ""), "{arguments:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(told), "{told} in {}", outcome.stderr);
    }
}

#[tokio::test]
async fn a_key_set_that_cannot_be_had_is_no_fault_of_the_token() {
    let token = signed("HS256", SECRET, json!({ "exp": now() + 600, "channels": ["a"] }));
    let outcome = run(&["token", "inspect", "--token-jwks", "http://127.0.0.1:1/jwks", &token]).await;
    assert_eq!(outcome.status, Some(1));
    assert!(outcome.stderr.contains("token_jwks cannot be had, and may have the token's key"), "{}", outcome.stderr);
}
