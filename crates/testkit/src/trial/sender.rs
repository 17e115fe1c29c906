//! Sends an event by one way or another, and keeps the connections for it.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::{nats_sender::NatsSender, redis_sender::RedisSender};
use crate::http::HttpConnection;

/// The server behind the nodes, to which publishers write as other programs do.
/// The server behind the nodes, to which publishers also write as other programs do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broker {
    /// There is none: each node has its own memory.
    None,
    /// Redis.
    Redis {
        /// The one server, or all nodes of a Cluster.
        servers: Vec<SocketAddr>,
        /// Whether events go into the log.
        has_log: bool,
    },
    /// NATS.
    Nats {
        /// The server.
        server: SocketAddr,
        /// Whether an event is accepted once a stream has stored it.
        has_stream: bool,
    },
}

/// The way by which an event is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The publish API of a node.
    Node(usize),
    /// The broker itself.
    Broker,
}

/// Said to a publisher that would write to a broker that is not there.
const NO_BROKER: &str = "there is no broker to publish to";

/// The form of an event for plain pub/sub of Redis. The log, NATS and the nodes have one of their own.
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

/// Connections to nodes and to the broker, made when they are needed.
#[derive(Debug)]
pub struct Sender {
    nodes: Vec<SocketAddr>,
    to_nodes: Vec<Option<HttpConnection>>,
    to_broker: BrokerSender,
}

#[derive(Debug)]
enum BrokerSender {
    None,
    Redis(RedisSender),
    Nats(NatsSender),
}

impl Sender {
    /// A sender without connections, to these nodes and this broker.
    pub fn new(nodes: &[SocketAddr], broker: &Broker) -> Self {
        let to_broker = match broker {
            Broker::None => BrokerSender::None,
            Broker::Redis { servers, has_log } => BrokerSender::Redis(RedisSender::new(servers, *has_log)),
            Broker::Nats { server, has_stream } => BrokerSender::Nats(NatsSender::new(*server, *has_stream)),
        };
        Self { nodes: nodes.to_vec(), to_nodes: nodes.iter().map(|_| None).collect(), to_broker }
    }

    /// Connects ahead of the first event.
    pub async fn prepare(&mut self, way: Way) -> Result<()> {
        match (way, &mut self.to_broker) {
            (Way::Node(node), _) => self.node_connection(node).await.map(drop),
            (Way::Broker, BrokerSender::None) => bail!(NO_BROKER),
            (Way::Broker, BrokerSender::Redis(redis)) => redis.prepare().await,
            (Way::Broker, BrokerSender::Nats(nats)) => nats.prepare().await,
        }
    }

    /// Sends one event and waits until it is accepted.
    pub async fn send(&mut self, way: Way, channels: &[&str], data: &str, form: PubsubForm) -> Result<()> {
        match (way, &mut self.to_broker) {
            (Way::Node(node), _) => send_to_node(self.node_connection(node).await?, channels, data).await,
            (Way::Broker, BrokerSender::None) => bail!(NO_BROKER),
            (Way::Broker, BrokerSender::Redis(redis)) => redis.send(channels, data, form).await,
            (Way::Broker, BrokerSender::Nats(nats)) => nats.send(channels, data).await,
        }
    }

    /// Sends all of these at once, each to its channel. Returns which were accepted.
    pub async fn send_all(&mut self, way: Way, events: &[(&str, &str)]) -> Result<Vec<bool>> {
        match (way, &mut self.to_broker) {
            (Way::Node(node), _) => {
                let items: Vec<_> =
                    events.iter().map(|(channel, data)| json!({ "channel": channel, "data": data })).collect();
                let answer =
                    self.node_connection(node).await?.post("/publish", json!(items).to_string()).await?.json()?;
                let results = answer.as_array().context("a batch is answered with an array")?;
                Ok(results.iter().map(|result| result["status"] == 202).collect())
            }
            (Way::Broker, BrokerSender::None) => bail!(NO_BROKER),
            (Way::Broker, BrokerSender::Redis(redis)) => redis.send_all(events).await,
            (Way::Broker, BrokerSender::Nats(nats)) => {
                for (channel, data) in events {
                    nats.send(&[channel], data).await?;
                }
                Ok(vec![true; events.len()])
            }
        }
    }

    /// Drops a connection on which an answer may still be outstanding.
    pub fn forget(&mut self, way: Way) {
        match (way, &mut self.to_broker) {
            (Way::Node(node), _) => self.to_nodes[node] = None,
            (Way::Broker, BrokerSender::None) => {}
            (Way::Broker, BrokerSender::Redis(redis)) => redis.forget(),
            (Way::Broker, BrokerSender::Nats(nats)) => nats.forget(),
        }
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
        503 => bail!("the node cannot reach its broker"),
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
