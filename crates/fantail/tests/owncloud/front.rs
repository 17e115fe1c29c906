//! The front: whom the token lets in, and which status everyone else gets.

use std::time::Duration;

use fantail_testkit::{End, PATIENCE, Response, http};
use serde_json::json;

use crate::keys::{SECRET, base64url, now, signed};
use crate::service::{PATH, claims, claims_with, nats_and_service, request, send, stream_of, token_of};

/// Where the service answers an empty 200, or drops the connection, this is a 401.
#[tokio::test]
async fn a_token_that_is_none_gets_a_status_that_says_so() {
    let (_nats, node) = nats_and_service(&[]).await;
    let with = |changes| signed("HS256", SECRET, claims_with("alice", &changes));
    let groups: Vec<_> = (0..1_000).map(|group| format!("{group:08}-0000-4000-8000-000000000000")).collect();
    let of_many_groups = json!({"user": {"id": {"opaque_id": "alice"}, "groups": groups}});
    let token_of_alg_none = {
        let claims = base64url(claims("alice").to_string());
        format!("{}.{claims}.", base64url(r#"{"alg":"none","typ":"JWT"}"#))
    };
    for (what, token, status) in [
        ("of a user", token_of("alice"), 200),
        ("of a user within the leeway", with(json!({"exp": now() - 3})), 200),
        ("of a user in many groups", with(of_many_groups), 200),
        ("without audience and issuer", with(json!({"aud": null, "iss": null, "iat": null})), 200),
        ("no token", "nonsense".to_owned(), 401),
        ("expired", with(json!({"exp": now() - 60})), 401),
        ("without an end", with(json!({"exp": null})), 401),
        ("of another secret", signed("HS256", "another-secret-of-thirty-two-byte", claims("alice")), 401),
        ("of no algorithm", token_of_alg_none, 401),
        ("not valid yet", with(json!({"nbf": now() + 60})), 401),
        ("of a public share", with(json!({"scope": {"publicshare:1": {}}})), 401),
        ("without a scope", with(json!({"scope": null})), 401),
        ("without a user", with(json!({"user": null})), 401),
        ("of a user without an id", with(json!({"user": {"username": "alice"}})), 401),
        ("of a user with an empty id", with(json!({"user": {"id": {"opaque_id": ""}}})), 401),
    ] {
        let stream = request(node.public(), &token).connect().await.unwrap();
        assert_eq!(stream.status(), status, "{what}");
    }
}

/// A secret that stands in a file often ends with a line end, and the other services sign with all of it.
#[tokio::test]
async fn every_byte_of_the_secret_counts_as_it_does_in_the_other_services() {
    let secret = format!("{SECRET}\n");
    let (_nats, node) = nats_and_service(&[("SSE_JWT_SECRET", &secret)]).await;
    let signed_with = |secret: &[u8]| {
        let key = jsonwebtoken::EncodingKey::from_secret(secret);
        let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
        jsonwebtoken::encode(&header, &claims("alice"), &key.unwrap()).unwrap()
    };
    for (secret, status) in [(secret.as_bytes(), 200), (SECRET.as_bytes(), 401)] {
        let stream = request(node.public(), &signed_with(secret)).connect().await.unwrap();
        assert_eq!(stream.status(), status);
    }
}

#[tokio::test]
async fn each_other_request_gets_the_answer_of_the_service_or_a_clearer_one() {
    let (_nats, node) = nats_and_service(&[]).await;
    let token = token_of("alice");
    let ask = async |method: &str, path: &str, token: &str| -> Response {
        http(node.public(), method, path, &[("x-access-token", token)], "").await.unwrap()
    };
    assert_eq!(http(node.public(), "GET", PATH, &[], "").await.unwrap().status, 401, "no token");
    let post = ask("POST", PATH, &token).await;
    assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
    assert_eq!(ask("GET", "/", &token).await.status, 404);
    assert_eq!(ask("GET", "/sse/alice", &token).await.status, 404);
    let foreign = ask("GET", &format!("{PATH}/bob"), &token).await;
    assert_eq!(foreign.status, 403, "a user asks for the events of another");
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let (nats, node) = nats_and_service(&[]).await;
    let short = signed("HS256", SECRET, claims_with("alice", &json!({"exp": now() + 1})));
    let mut alice = request(node.public(), &short).connect().await.unwrap();
    let mut lasting = stream_of(&node, "alice").await;
    let (events, end) = alice.read_until_end(PATIENCE).await.unwrap();
    assert_eq!((events.len(), end), (0, End::Clean), "no event of ours tells it");
    send(&nats, &["alice"], "x", "one").await;
    assert_eq!(lasting.next_event(Duration::from_secs(30)).await.unwrap().data, "one");
}

#[tokio::test]
async fn pages_of_the_origins_that_the_operator_named_may_read() {
    let origins = [("OCIS_CORS_ALLOW_ORIGINS", "https://web.test,https://*.y.test")];
    let (_nats, node) = nats_and_service(&origins).await;
    let preflight = async |origin: &str| {
        let headers = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "GET"),
            ("Access-Control-Request-Headers", "authorization,last-event-id,x-request-id,x-requested-with"),
        ];
        http(node.public(), "OPTIONS", PATH, &headers, "").await.unwrap()
    };
    for origin in ["https://web.test", "https://a.y.test"] {
        let answer = preflight(origin).await;
        assert_eq!(answer.status, 204);
        assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        let granted = answer.header("access-control-allow-headers").unwrap().to_ascii_lowercase();
        for name in ["authorization", "last-event-id", "x-request-id", "x-requested-with", "x-access-token"] {
            assert!(granted.split(", ").any(|it| it == name), "{name} in {granted}");
        }
    }
    let refused = preflight("https://evil.test").await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (204, None));
}

#[tokio::test]
async fn without_origins_every_page_may_read_and_none_with_cookies() {
    let (_nats, node) = nats_and_service(&[]).await;
    let stream =
        request(node.public(), &token_of("alice")).header("Origin", "https://any.test").connect().await.unwrap();
    assert_eq!(stream.header("access-control-allow-origin"), Some("*"));
    assert_eq!(stream.header("access-control-allow-credentials"), None);
}
