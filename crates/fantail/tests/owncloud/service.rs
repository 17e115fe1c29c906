//! A node that stands in the place of the service, and what its neighbours do.

use std::net::SocketAddr;

use fantail_testkit::{Fantail, NatsServer, OWNCLOUD_STREAM, SseClient, owncloud_message};
use serde_json::{Value, json};

use crate::keys::{SECRET, now, signed};
use crate::node::{FANTAIL, until_ready};

/// The path that the front proxy knows.
pub(crate) const PATH: &str = "/ocs/v2.php/apps/notifications/api/v1/notifications/sse";

/// Starts a node with the settings of that service, and flags for what a test must have otherwise.
pub(crate) async fn service(nats: &str, variables: &[(&str, &str)], flags: &[&str]) -> Fantail {
    let own =
        ["server", "--workers", "2", "--drain-delay", "0s", "--log-format", "text", "--health-listen", "127.0.0.1:0"];
    let endpoint = nats.trim_start_matches("nats://");
    let given = [("OCIS_JWT_SECRET", SECRET), ("OCIS_EVENTS_ENDPOINT", endpoint)];
    let node = Fantail::start(FANTAIL, &[&own, flags].concat(), &[&given, variables].concat()).await.unwrap();
    until_ready(&node, true).await;
    node
}

/// A server without any stream, and a node.
pub(crate) async fn nats_and_service(variables: &[(&str, &str)]) -> (NatsServer, Fantail) {
    let nats = NatsServer::start_jetstream().await.unwrap();
    let node = service(&nats.url(), variables, &[]).await;
    (nats, node)
}

/// The claims that the front proxy writes for a user.
pub(crate) fn claims(user: &str) -> Value {
    json!({
        "aud": ["reva"],
        "exp": now() + 86_400,
        "iat": now(),
        "iss": "https://ocis.test",
        "user": {
            "id": {"idp": "https://ocis.test", "opaque_id": user, "type": 1},
            "username": user, "mail": format!("{user}@ocis.test"), "display_name": user, "uid_number": 99, "gid_number": 99
        },
        "scope": {"user": {"resource": {"decoder": "json", "value": "eyJwYXRoIjoiLyJ9"}, "role": 1}}
    })
}

/// The same with some claims changed, or taken out by `null`.
pub(crate) fn claims_with(user: &str, changes: &Value) -> Value {
    let mut claims = claims(user);
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

pub(crate) fn token_of(user: &str) -> String {
    signed("HS256", SECRET, claims(user))
}

/// Opens a stream as the front proxy does for a user.
pub(crate) async fn stream_of(node: &Fantail, user: &str) -> SseClient {
    let stream = request(node.public(), &token_of(user)).connect().await.unwrap();
    assert_eq!(stream.status(), 200, "{user}");
    stream
}

pub(crate) fn request(node: SocketAddr, token: &str) -> fantail_testkit::client::SubscribeRequest {
    SseClient::request(node, PATH).header("x-access-token", token)
}

/// Publishes as `userlog` and `clientlog` do, and waits for the acknowledgement.
pub(crate) async fn send(nats: &NatsServer, users: &[&str], kind: &str, data: &str) -> u64 {
    nats.publish_to_stream(OWNCLOUD_STREAM, &owncloud_message(users, kind, data)).await.unwrap()
}
