//! A node of core NATS.

use std::time::Duration;

use fantail_feed::{Feed, NatsFeed, NatsReach, NatsSettings};

use crate::feed_node::FeedNode;

impl FeedNode {
    #[allow(clippy::needless_pass_by_value, reason = "they are made for this node")]
    pub(crate) fn start_with(settings: NatsSettings) -> Self {
        Self::of(settings.event_bytes_max, |intake| Feed::Nats(NatsFeed::start(&settings, intake)))
    }

    /// Starts a node and waits until it follows `names`.
    pub(crate) async fn following(url: &str, names: &[&str]) -> Self {
        let mut node = Self::start_with(settings(url));
        node.follow(names).await;
        node
    }
}

pub(crate) fn reach(url: &str) -> NatsReach {
    NatsReach { servers: vec![url.into()], ..NatsReach::default() }
}

pub(crate) fn settings(url: &str) -> NatsSettings {
    settings_of(reach(url))
}

pub(crate) fn settings_of(reach: NatsReach) -> NatsSettings {
    let mut settings = NatsSettings::new(reach, None).unwrap();
    settings.probe_interval = Duration::from_millis(300);
    settings.response_deadline = Duration::from_secs(2);
    settings
}
