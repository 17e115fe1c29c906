//! Nodes, and a Redis if the mode has one, for checks that break nothing.

use std::path::Path;

use anyhow::Result;
use fantail_testkit::RedisServer;

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
    redis: Option<RedisServer>,
}

impl QuietSetup {
    /// Starts everything and waits until it is ready.
    pub async fn start(fantail: &Path, mode: Mode, flags: &[&str]) -> Result<Self> {
        let redis = if mode == Mode::Memory { None } else { Some(RedisServer::start().await?) };
        let url = redis.as_ref().map(RedisServer::url);
        let feed = url.as_ref().map(|url| ["--redis-url", url]);
        let flags = [feed.as_ref().map_or(&[][..], |feed| feed), mode.flags(), flags].concat();
        let mut nodes = Vec::new();
        for _ in 0..if mode == Mode::Memory { 1 } else { 2 } {
            let node = TrialNode::start(fantail, &flags).await?;
            node.wait_until_ready().await?;
            nodes.push(node);
        }
        Ok(Self { mode, nodes, redis })
    }

    /// A sender of events.
    pub fn sender(&self) -> Sender {
        let first = self.nodes[0].internal();
        let second = self.nodes.last().map_or(first, TrialNode::internal);
        let redis: Vec<_> = self.redis.iter().map(RedisServer::addr).collect();
        Sender::new(self.mode.has_log(), &[first, second], &redis)
    }
}
