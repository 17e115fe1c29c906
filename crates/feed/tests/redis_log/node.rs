//! A node of a Redis with a log, and the publishers of that log.

use std::time::Duration;

use fantail_feed::{Feed, LogRetention, RedisFeed, RedisSettings};
use fantail_testkit::RedisServer;
use fantail_wire::EventId;

use crate::log_node::LogNode;

impl LogNode {
    pub(crate) fn start(url: &str) -> Self {
        Self::start_with(settings(url))
    }

    #[allow(clippy::needless_pass_by_value, reason = "they are made for this node")]
    pub(crate) fn start_with(settings: RedisSettings) -> Self {
        Self::of(|intake| Feed::Redis(RedisFeed::start(&settings, intake)))
    }

    /// Starts a node and waits until it follows `names`.
    pub(crate) async fn following(url: &str, names: &[&str]) -> Self {
        let mut node = Self::start(url);
        node.follow(names).await;
        node
    }
}

pub(crate) fn settings(url: &str) -> RedisSettings {
    let mut settings = RedisSettings::parse(url).unwrap();
    settings.log = Some(LogRetention { events_max: 10_000, age_max: Duration::from_hours(1) });
    settings.probe_interval = Duration::from_millis(300);
    settings.response_deadline = Duration::from_secs(2);
    settings
}

/// Publishes through the function, as any program would. Returns the id.
pub(crate) async fn publish(server: &RedisServer, data: &str, channels: &[&str]) -> EventId {
    let envelope = format!("{{\"data\":\"{data}\"}}");
    let mut command = vec!["FCALL", "fantail_publish", "1", "fantail-log:{0}", &envelope];
    command.extend(channels);
    let reply = server.command(&command).await.unwrap();
    let id = reply.array().and_then(|parts| parts.first()?.text()).unwrap_or_else(|| panic!("{reply:?}"));
    EventId::parse(&id).unwrap()
}
