//! A node of a Redis without a log.

use fantail_feed::{Feed, RedisFeed, RedisSettings};

use crate::feed_node::FeedNode;

impl FeedNode {
    /// Starts a node with the usual settings.
    pub(crate) fn start(url: &str) -> Self {
        Self::start_with(RedisSettings::parse(url).unwrap())
    }

    #[allow(clippy::needless_pass_by_value, reason = "they are made for this node")]
    pub(crate) fn start_with(settings: RedisSettings) -> Self {
        Self::of(settings.event_bytes_max, |intake| Feed::Redis(RedisFeed::start(&settings, intake)))
    }

    /// Starts a node and waits until it follows `names`.
    pub(crate) async fn following(url: &str, names: &[&str]) -> Self {
        let mut node = Self::start(url);
        node.follow(names).await;
        node
    }
}
