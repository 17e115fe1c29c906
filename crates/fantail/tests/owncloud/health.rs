//! The debug server: metrics behind its token, health for probes, the settings without their secrets.

use fantail_testkit::{NatsServer, http};

use crate::keys::SECRET;
use crate::node::until_ready;
use crate::service::{nats_and_service, service};

const TOKEN: &str = "of-the-debug-server";

#[tokio::test]
async fn metrics_and_settings_need_the_token_and_health_needs_none() {
    let (_nats, mut node) = nats_and_service(&[("SSE_DEBUG_TOKEN", TOKEN)]).await;
    let health = node.health().await.unwrap();
    let get = async |path: &str, token: &str| http(health, "GET", path, &[("Authorization", token)], "").await.unwrap();
    let (right, wrong) = (format!("Bearer {TOKEN}"), format!("Bearer {TOKEN}x"));
    for path in ["/metrics", "/config"] {
        assert_eq!(get(path, &right).await.status, 200, "{path}");
        for refused in [&wrong, TOKEN, "Bearer ", ""] {
            assert_eq!(get(path, refused).await.status, 401, "{path} {refused}");
        }
    }
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(get(path, "").await.status, 200, "{path}");
    }
    assert_eq!(get("/debug/pprof/", &right).await.status, 404);
    let settings = get("/config", &right).await;
    assert!(!settings.text().contains(SECRET) && !settings.text().contains(TOKEN), "{}", settings.text());
    let settings = settings.json().unwrap();
    assert_eq!(settings["token_secret"]["place"], "OCIS_JWT_SECRET");
    assert_eq!(settings["nats_stream"]["value"], "main-queue");
}

#[tokio::test]
async fn without_a_token_metrics_are_open_and_the_settings_are_not_shown() {
    let (_nats, mut node) = nats_and_service(&[]).await;
    let health = node.health().await.unwrap();
    assert_eq!(http(health, "GET", "/metrics", &[], "").await.unwrap().status, 200);
    assert_eq!(http(health, "GET", "/config", &[], "").await.unwrap().status, 404);
}

#[tokio::test]
async fn a_node_is_not_ready_while_nats_is_away_and_is_again_when_it_is_back() {
    let mut nats = NatsServer::start_jetstream().await.unwrap();
    let mut node = service(&nats.url(), &[], &[]).await;
    let health = node.health().await.unwrap();
    nats.kill();
    until_ready(&node, false).await;
    assert_eq!(http(health, "GET", "/healthz", &[], "").await.unwrap().status, 200, "it lives");
    nats.restart_empty().await.unwrap();
    until_ready(&node, true).await;
}
