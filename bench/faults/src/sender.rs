//! Sends an event by one way or another, and keeps the connections that it takes.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use fantail_testkit::{HttpConnection, Reply};
use serde_json::json;
use tokio::time::sleep;

use crate::lane::{key_of, lane_of};
use crate::mode::Mode;
use crate::redis_way::RedisWay;

/// By which way an event is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The publish API of a node.
    Node(usize),
    /// Redis itself.
    Redis,
}

/// Between two copies of an event that go out one by one: long enough for channels to be let go of and followed.
const COPIES_PAUSE: Duration = Duration::from_millis(10);

/// In which form an event is published to plain pub/sub. The log and the nodes have one of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PubsubForm {
    /// The text as it is; for several channels an envelope, of which all get a copy in one transaction.
    Plain,
    /// An envelope; for several channels its copies go out in one transaction.
    Envelope,
    /// An envelope; for several channels its copies go out one after the other.
    Copies,
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

/// Connections to those who take events, made when they are needed.
#[derive(Debug)]
pub struct Sender {
    mode: Mode,
    nodes: [SocketAddr; 2],
    to_nodes: [Option<HttpConnection>; 2],
    to_redis: RedisWay,
}

impl Sender {
    /// One that has no connection yet, to these nodes and these servers of Redis.
    pub const fn new(mode: Mode, nodes: [SocketAddr; 2], redis: Vec<SocketAddr>) -> Self {
        Self { mode, nodes, to_nodes: [None, None], to_redis: RedisWay::new(redis) }
    }

    /// Makes the connection, so that sending need not.
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
            Way::Redis if channels.len() > 1 && !self.mode.has_log() => self.send_copies(channels, data, form).await,
            Way::Redis => self.call(channels, &command(self.mode, channels, data, form)).await,
        }
    }

    /// Gives a connection up on which an answer may still be outstanding.
    pub fn forget(&mut self, way: Way) {
        match way {
            Way::Node(node) => self.to_nodes[node] = None,
            Way::Redis => self.to_redis.forget(),
        }
    }

    /// To plain pub/sub, for several channels.
    async fn send_copies(&mut self, channels: &[&str], data: &str, form: PubsubForm) -> Result<()> {
        let uid = format!("{:016x}", fantail_testkit::Random::from_entropy().next_u64());
        let copy = json!({ "data": data, "channels": channels, "uid": uid }).to_string();
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let copies = channels.iter().map(|channel| words(&["PUBLISH", &format!("fantail-event:{channel}"), &copy]));
        let (before, behind) = match form {
            PubsubForm::Copies => (None, None),
            PubsubForm::Plain | PubsubForm::Envelope => (Some(words(&["MULTI"])), Some(words(&["EXEC"]))),
        };
        for command in before.into_iter().chain(copies).chain(behind) {
            self.call(channels, &command).await?;
            if form == PubsubForm::Copies {
                sleep(COPIES_PAUSE).await;
            }
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

/// The words of a command that publishes. Plain pub/sub goes to the first channel alone.
pub(crate) fn command(mode: Mode, channels: &[&str], data: &str, form: PubsubForm) -> Vec<String> {
    let envelope = json!({ "data": data }).to_string();
    let words: &[&str] = if mode.has_log() {
        &["FCALL", "fantail_publish", "1", &key_of(lane_of(channels[0])), &envelope]
    } else if form != PubsubForm::Plain {
        &["PUBLISH", &format!("fantail-event:{}", channels[0]), &envelope]
    } else {
        &["PUBLISH", &format!("fantail:{}", channels[0]), data]
    };
    let channels: &[&str] = if mode.has_log() { channels } else { &[] };
    words.iter().chain(channels).map(ToString::to_string).collect()
}

pub(crate) fn is_accepted(reply: &Reply) -> bool {
    match reply {
        Reply::Integer(_) | Reply::Array(_) => true,
        // To MULTI, and to what is queued behind it.
        Reply::Simple(text) => text == "OK" || text == "QUEUED",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_publishes_with_its_own_command() {
        let words = |mode, channels: &[&str], form| command(mode, channels, "x", form).join(" ");
        assert_eq!(words(Mode::Pubsub, &["a"], PubsubForm::Plain), "PUBLISH fantail:a x");
        assert_eq!(words(Mode::Pubsub, &["a"], PubsubForm::Copies), "PUBLISH fantail-event:a {\"data\":\"x\"}");
        let logged = "FCALL fantail_publish 1 fantail-log:{0} {\"data\":\"x\"} a b";
        assert_eq!(words(Mode::Log, &["a", "b"], PubsubForm::Envelope), logged);
        let in_lane = "FCALL fantail_publish 1 fantail-log:{orders} {\"data\":\"x\"} @orders/a";
        assert_eq!(words(Mode::Lanes, &["@orders/a"], PubsubForm::Plain), in_lane);
    }
}
