//! Nodes, and a broker if the mode has one, for checks that break nothing.

use std::path::Path;

use anyhow::{Context, Result};
use fantail_testkit::{Broker, Certificates, NatsServer, RedisServer, TlsTrust};

use crate::mode::Mode;
use crate::trial_node::TrialNode;
use crate::trial_setup::start_nats;
use fantail_testkit::trial::Sender;

/// The running processes.
#[derive(Debug)]
pub struct QuietSetup {
    /// The kind of feed.
    pub mode: Mode,
    /// One node with its own memory, or two with one broker.
    pub nodes: Vec<TrialNode>,
    /// The trust of clients over TLS.
    pub trust: TlsTrust,
    broker: Broker,
    _servers: (Option<RedisServer>, Option<NatsServer>),
    /// The nodes read the files again when they start again.
    _certificates: Certificates,
}

impl QuietSetup {
    /// Starts everything and waits until it is ready.
    pub async fn start(fantail: &Path, mode: Mode, flags: &[&str]) -> Result<Self> {
        let (mut redis, mut nats) = (None, None);
        let (url, broker) = match mode {
            Mode::Memory => (None, Broker::None),
            Mode::Pubsub | Mode::Log | Mode::Lanes => {
                let redis = redis.insert(RedisServer::start().await?);
                let broker = Broker::Redis { servers: vec![redis.addr()], has_log: mode.has_log() };
                (Some(redis.url()), broker)
            }
            Mode::Nats | Mode::Jetstream => {
                let nats = nats.insert(start_nats(mode, "").await?);
                let broker = Broker::Nats { server: nats.addr(), has_stream: mode.has_log() };
                (Some(nats.url()), broker)
            }
        };
        let feed = mode.address_flag().zip(url.as_deref()).map(|(flag, url)| [flag, url]);
        let certificates = Certificates::make()?;
        let (cert, key) = (certificates.server(), certificates.server_key());
        let tls = ["--tls-cert", cert.to_str().context("a path")?, "--tls-key", key.to_str().context("a path")?];
        let flags = [feed.as_ref().map_or(&[][..], |feed| feed), &tls, mode.flags(), flags].concat();
        let mut nodes = Vec::new();
        for _ in 0..if mode == Mode::Memory { 1 } else { 2 } {
            let node = TrialNode::start(fantail, &flags).await?;
            node.wait_until_ready().await?;
            nodes.push(node);
        }
        Ok(Self {
            mode,
            nodes,
            trust: TlsTrust::new(&certificates.ca())?,
            broker,
            _servers: (redis, nats),
            _certificates: certificates,
        })
    }

    /// A sender of events.
    pub fn sender(&self) -> Sender {
        let first = self.nodes[0].internal();
        let second = self.nodes.last().map_or(first, TrialNode::internal);
        Sender::new(&[first, second], &self.broker)
    }
}
