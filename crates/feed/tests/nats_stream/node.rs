//! A node that reads a stream of NATS, and the publishers of that stream.

use std::time::Duration;

use fantail_feed::{Feed, NatsFeed, NatsReach, NatsSettings};
use fantail_testkit::NatsServer;

use crate::log_node::LogNode;

impl LogNode {
    pub(crate) fn start(url: &str) -> Self {
        Self::start_with(settings(url))
    }

    #[allow(clippy::needless_pass_by_value, reason = "they are made for this node")]
    pub(crate) fn start_with(settings: NatsSettings) -> Self {
        Self::of(|intake| Feed::Nats(NatsFeed::start(&settings, intake)))
    }

    /// Starts a node and waits until it follows `names`.
    pub(crate) async fn following(url: &str, names: &[&str]) -> Self {
        let mut node = Self::start(url);
        node.follow(names).await;
        node
    }
}

pub(crate) fn settings(url: &str) -> NatsSettings {
    let reach = NatsReach { servers: vec![url.into()], ..NatsReach::default() };
    let mut settings = NatsSettings::new(reach, Some("EVENTS".into())).unwrap();
    settings.probe_interval = Duration::from_millis(400);
    settings.response_deadline = Duration::from_secs(2);
    settings
}

/// A server with a stream of the usual name.
pub(crate) async fn server_with_stream() -> NatsServer {
    let server = NatsServer::start_jetstream().await.unwrap();
    server.make_stream("EVENTS", "").await.unwrap();
    server
}

/// Publishes text to a channel, and returns its number.
pub(crate) async fn publish(server: &NatsServer, data: &str, channel: &str) -> u64 {
    server.publish_to_stream(&format!("fantail.{channel}"), data).await.unwrap()
}
