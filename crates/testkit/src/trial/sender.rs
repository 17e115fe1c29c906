//! Sends an event by one way or another, and keeps the connections for it.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::redis_way::RedisWay;
use crate::{
    http::HttpConnection,
    random::Random,
    resp::{Reply, RespConnection},
};

/// The way by which an event is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The publish API of a node.
    Node(usize),
    /// Redis itself.
    Redis,
}

/// The commands that go out before their replies are read.
const PIPELINED_MAX: usize = 500;

/// The form of an event for plain pub/sub. The log and the nodes have one of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PubsubForm {
    /// The text as it is. For several channels it is an envelope, and one transaction sends a copy to each.
    Plain,
    /// An envelope; for several channels its copies go out in one transaction. Copies that go out one by one may come
    /// twice, so no trial sends them.
    Envelope,
}

/// An answer to publishing that no fault explains.
#[derive(Debug)]
pub struct Unexpected(String);

impl std::fmt::Display for Unexpected {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Unexpected {}

/// Connections to nodes and to Redis, made when they are needed.
#[derive(Debug)]
pub struct Sender {
    has_log: bool,
    nodes: Vec<SocketAddr>,
    to_nodes: Vec<Option<HttpConnection>>,
    redis: Option<SocketAddr>,
    to_redis: RedisWay,
}

impl Sender {
    /// A sender without connections, to these nodes and these servers of Redis. With `has_log` events go into the log.
    pub fn new(has_log: bool, nodes: &[SocketAddr], redis: &[SocketAddr]) -> Self {
        Self {
            has_log,
            nodes: nodes.to_vec(),
            to_nodes: nodes.iter().map(|_| None).collect(),
            redis: redis.first().copied(),
            to_redis: RedisWay::new(redis.to_vec()),
        }
    }

    /// Connects ahead of the first event.
    pub async fn prepare(&mut self, way: Way) -> Result<()> {
        match way {
            Way::Node(node) => self.node_connection(node).await.map(drop),
            Way::Redis => self.to_redis.prepare().await,
        }
    }

    /// Sends one event and waits until it is accepted.
    pub async fn send(&mut self, way: Way, channels: &[&str], data: &str, form: PubsubForm) -> Result<()> {
        match way {
            Way::Node(node) => send_to_node(self.node_connection(node).await?, channels, data).await,
            Way::Redis if channels.len() > 1 && !self.has_log => self.send_copies(channels, data).await,
            Way::Redis => self.call(channels, &command(self.has_log, channels, data, form)).await,
        }
    }

    /// Sends all of these at once, each to its channel. Returns which were accepted.
    pub async fn send_all(&mut self, way: Way, events: &[(&str, &str)]) -> Result<Vec<bool>> {
        match way {
            Way::Node(node) => {
                let items: Vec<_> =
                    events.iter().map(|(channel, data)| json!({ "channel": channel, "data": data })).collect();
                let answer =
                    self.node_connection(node).await?.post("/publish", json!(items).to_string()).await?.json()?;
                let results = answer.as_array().context("a batch is answered with an array")?;
                Ok(results.iter().map(|result| result["status"] == 202).collect())
            }
            Way::Redis => {
                let redis = self.redis.context("there is no redis to publish to")?;
                let mut redis = RespConnection::connect(redis).await?;
                let mut accepted = Vec::new();
                for batch in events.chunks(PIPELINED_MAX) {
                    for (channel, data) in batch {
                        redis.send(&command(self.has_log, &[channel], data, PubsubForm::Envelope)).await?;
                    }
                    for _ in batch {
                        accepted.push(is_accepted(&redis.reply().await?));
                    }
                }
                Ok(accepted)
            }
        }
    }

    /// Drops a connection on which an answer may still be outstanding.
    pub fn forget(&mut self, way: Way) {
        match way {
            Way::Node(node) => self.to_nodes[node] = None,
            Way::Redis => self.to_redis.forget(),
        }
    }

    /// To plain pub/sub, for several channels.
    async fn send_copies(&mut self, channels: &[&str], data: &str) -> Result<()> {
        let uid = format!("{:016x}", Random::from_entropy().next_u64());
        let copy = json!({ "data": data, "channels": channels, "uid": uid }).to_string();
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let copies = channels.iter().map(|channel| words(&["PUBLISH", &format!("fantail-event:{channel}"), &copy]));
        for command in [words(&["MULTI"])].into_iter().chain(copies).chain([words(&["EXEC"])]) {
            self.call(channels, &command).await?;
        }
        Ok(())
    }

    async fn call(&mut self, channels: &[&str], words: &[String]) -> Result<()> {
        let reply = self.to_redis.call(&key_of(lane_of(channels[0])), words).await?;
        if is_accepted(&reply) { Ok(()) } else { bail!("redis refused the event: {reply:?}") }
    }

    async fn node_connection(&mut self, node: usize) -> Result<&mut HttpConnection> {
        Ok(match &mut self.to_nodes[node] {
            Some(connection) => connection,
            none => none.insert(HttpConnection::connect(self.nodes[node]).await?),
        })
    }
}

async fn send_to_node(connection: &mut HttpConnection, channels: &[&str], data: &str) -> Result<()> {
    let answer = if let [channel] = channels {
        connection.post(&format!("/publish/{channel}"), data).await?
    } else {
        connection.post("/publish", json!({ "channels": channels, "data": data }).to_string()).await?
    };
    match answer.status {
        202 => Ok(()),
        503 => bail!("the node cannot reach redis"),
        status => bail!(Unexpected(format!("publishing was answered with {status}: {}", answer.text()))),
    }
}

/// The lane of every channel whose name has none.
pub const UNNAMED_LANE: &str = "0";

/// The lane that a channel is in.
pub fn lane_of(channel: &str) -> &str {
    channel.strip_prefix('@').and_then(|rest| rest.split_once('/')).map_or(UNNAMED_LANE, |(lane, _)| lane)
}

/// The key with which publishers call a lane's function. The whole lane is in its slot.
pub fn key_of(lane: &str) -> String {
    format!("fantail-log:{{{lane}}}")
}

/// The words of a command that publishes. Plain pub/sub goes to the first channel alone.
fn command(has_log: bool, channels: &[&str], data: &str, form: PubsubForm) -> Vec<String> {
    let envelope = json!({ "data": data }).to_string();
    let words: &[&str] = if has_log {
        &["FCALL", "fantail_publish", "1", &key_of(lane_of(channels[0])), &envelope]
    } else if form != PubsubForm::Plain {
        &["PUBLISH", &format!("fantail-event:{}", channels[0]), &envelope]
    } else {
        &["PUBLISH", &format!("fantail:{}", channels[0]), data]
    };
    let channels: &[&str] = if has_log { channels } else { &[] };
    words.iter().chain(channels).map(ToString::to_string).collect()
}

fn is_accepted(reply: &Reply) -> bool {
    match reply {
        Reply::Integer(_) | Reply::Array(_) => true,
        // To MULTI, and to the commands queued behind it.
        Reply::Simple(text) => text == "OK" || text == "QUEUED",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_and_without_a_log_events_are_published_by_another_command() {
        let words = |has_log, channels: &[&str], form| command(has_log, channels, "x", form).join(" ");
        assert_eq!(words(false, &["a"], PubsubForm::Plain), "PUBLISH fantail:a x");
        assert_eq!(words(false, &["a"], PubsubForm::Envelope), "PUBLISH fantail-event:a {\"data\":\"x\"}");
        let logged = "FCALL fantail_publish 1 fantail-log:{0} {\"data\":\"x\"} a b";
        assert_eq!(words(true, &["a", "b"], PubsubForm::Envelope), logged);
        let in_lane = "FCALL fantail_publish 1 fantail-log:{orders} {\"data\":\"x\"} @orders/a";
        assert_eq!(words(true, &["@orders/a"], PubsubForm::Plain), in_lane);
    }
}
