//! The commands of the service, so that an image can take the place of its image.

use fantail_testkit::{Fantail, NatsServer};

use crate::keys::SECRET;
use crate::node::FANTAIL;
use crate::service::service;

async fn run(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let (status, output) = Fantail::run_to_end(FANTAIL, arguments, variables).await.unwrap();
    (status.code(), output.stdout, output.stderr)
}

#[tokio::test]
async fn health_finds_the_node_by_the_same_variables() {
    let nats = NatsServer::start_jetstream().await.unwrap();
    let mut node = service(&nats.url(), &[], &[]).await;
    let address = node.health().await.unwrap().to_string();
    let variables = [("FANTAIL_PRESET", "owncloud"), ("OCIS_JWT_SECRET", SECRET), ("SSE_DEBUG_ADDR", &address)];
    assert_eq!(run(&["health"], &variables).await.0, Some(0));
    node.kill();
    assert_eq!(run(&["health"], &variables).await.0, Some(1));
}

#[tokio::test]
async fn version_tells_the_version_and_config_show_tells_what_each_setting_became() {
    let version = run(&["version"], &[]).await;
    assert_eq!((version.0, version.1.trim()), (Some(0), concat!("fantail ", env!("CARGO_PKG_VERSION"))));
    let variables =
        [("FANTAIL_PRESET", "owncloud"), ("SSE_JWT_SECRET", SECRET), ("OCIS_EVENTS_ENDPOINT", "nats.test:9233")];
    let (status, shown, told) = run(&["config", "show", "--retry=3s"], &variables).await;
    assert_eq!(status, Some(0), "{told}");
    for line in [
        "nats_url = \"nats://nats.test:9233\"  # OCIS_EVENTS_ENDPOINT",
        "access = \"token\"  # preset owncloud",
        "token_secret = \"***\"  # SSE_JWT_SECRET",
        "retry = \"3s\"  # --retry",
        "workers = ",
    ] {
        assert!(shown.contains(line), "{line} in {shown}");
    }
    assert!(!shown.contains(SECRET));
}

#[tokio::test]
async fn a_setting_that_cannot_be_had_keeps_it_from_starting_and_is_told() {
    let variables = [("OCIS_JWT_SECRET", SECRET), ("OCIS_TRACING_ENABLED", "true"), ("SSE_KEEPALIVE_INTERVAL", "x")];
    let (status, _, told) = run(&["server"], &variables).await;
    assert_eq!(status, Some(2));
    assert!(told.contains("OCIS_TRACING_ENABLED: ") && told.contains("SSE_KEEPALIVE_INTERVAL: "), "{told}");
    for said_again in [&["server"][..], &["server", "--preset", "owncloud"], &["server", "--preset=owncloud"]] {
        let (status, _, told) = run(said_again, &[("OCIS_JWT_SECRET", "short")]).await;
        assert_eq!(status, Some(2));
        assert!(told.contains("token_secret") && !told.contains("short") && !told.contains("--preset"), "{told}");
    }
}
