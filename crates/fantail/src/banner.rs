//! The text at the start: where events come from, where the node serves, and lines to paste.
//!
//! It is for the person who started the program. A log line says the same.

use std::net::SocketAddr;

use fantail_feed::RedisSettings;
use tracing::{info, warn};

/// The feed, in the words of its mode.
pub(crate) struct FeedLine {
    name: String,
    /// A command that publishes past this node, where that is possible.
    publish: Option<String>,
}

pub(crate) struct Banner<'a> {
    pub(crate) shards: usize,
    /// Everyone may read.
    pub(crate) is_open: bool,
    pub(crate) feed: &'a FeedLine,
    pub(crate) listen: SocketAddr,
    /// With the path of the streams.
    pub(crate) public: &'a str,
    /// The same of the encrypted listener.
    pub(crate) tls: Option<String>,
    pub(crate) internal: &'a str,
    pub(crate) health: Option<&'a str>,
}

impl FeedLine {
    pub(crate) fn of(redis: Option<&RedisSettings>) -> Self {
        let Some(settings) = redis else {
            let name = "memory: events are published to this node, and kept in it alone".to_owned();
            return Self { name, publish: None };
        };
        let address = settings.address();
        let name = if settings.log.is_some() {
            let lanes: Vec<_> = settings.log_lanes.iter().map(|(_, name)| name.as_str().to_owned()).collect();
            let word = if lanes.len() == 1 { "lane" } else { "lanes" };
            format!("the log in redis at {address}, {word} {}", lanes.join(", "))
        } else {
            format!("redis pub/sub at {address}")
        };
        Self { name, publish: Some(settings.redis_cli_line()) }
    }
}

impl Banner<'_> {
    /// Writes the log's lines, and the others if they are to be shown.
    pub(crate) fn tell(&self, is_shown: bool) {
        if is_shown {
            println!("{}", self.text());
        }
        if self.is_open && !self.listen.ip().to_canonical().is_loopback() {
            warn!(
                listen = %self.listen,
                "everyone who reaches this address reads every channel; docs/access.md tells how to decide who may"
            );
        }
        let Self { shards, feed, public, tls, internal, health, .. } = self;
        info!(public, tls, internal, health, feed = feed.name, shards, "serving");
    }

    fn text(&self) -> String {
        let Self { shards, feed, public, tls, internal, health, .. } = self;
        let mut lines = vec![
            format!("fantail {} serves with {shards} shards", env!("CARGO_PKG_VERSION")),
            format!("feed     {}", feed.name),
            format!("public   {public}"),
        ];
        lines.extend(tls.as_ref().map(|tls| format!("tls      {tls}")));
        lines.push(format!("internal {internal}"));
        lines.extend(health.map(|health| format!("health   {health}")));
        lines.push(String::new());
        lines.push(format!("subscribe  curl -N {public}/demo"));
        lines.push(format!("publish    curl -d hello {internal}/publish/demo"));
        lines.extend(feed.publish.as_ref().map(|line| format!("or         {line}")));
        lines.join("\n")
    }
}
