//! Nodes, and a Redis if the mode has one, for checks that break nothing.

use std::path::Path;

use anyhow::{Context, Result};
use fantail_testkit::{Broker, Certificates, RedisServer, TlsTrust};

use crate::mode::Mode;
use crate::trial_node::TrialNode;
use fantail_testkit::trial::Sender;

/// The running processes.
#[derive(Debug)]
pub struct QuietSetup {
    /// The kind of feed.
    pub mode: Mode,
    /// One node with its own memory, or two with one Redis.
    pub nodes: Vec<TrialNode>,
    /// The trust of clients over TLS.
    pub trust: TlsTrust,
    redis: Option<RedisServer>,
    /// The nodes read the files again when they start again.
    _certificates: Certificates,
}

impl QuietSetup {
    /// Starts everything and waits until it is ready.
    pub async fn start(fantail: &Path, mode: Mode, flags: &[&str]) -> Result<Self> {
        let redis = if mode == Mode::Memory { None } else { Some(RedisServer::start().await?) };
        let url = redis.as_ref().map(RedisServer::url);
        let feed = url.as_ref().map(|url| ["--redis-url", url]);
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
        Ok(Self { mode, nodes, trust: TlsTrust::new(&certificates.ca())?, redis, _certificates: certificates })
    }

    /// A sender of events.
    pub fn sender(&self) -> Sender {
        let first = self.nodes[0].internal();
        let second = self.nodes.last().map_or(first, TrialNode::internal);
        let broker = match &self.redis {
            None => Broker::None,
            Some(redis) => Broker::Redis { servers: vec![redis.addr()], has_log: self.mode.has_log() },
        };
        Sender::new(&[first, second], &broker)
    }
}
