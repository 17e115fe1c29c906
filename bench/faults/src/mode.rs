//! How events travel: what differs between the kinds of feed is data, here.

use std::path::Path;

use anyhow::{Context, Result};
use fantail_testkit::Fantail;

/// A kind of feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// One node and its own memory.
    Memory,
    /// Plain pub/sub of Redis: what is published during an outage is lost, and declared.
    Pubsub,
    /// The Redis log: what was accepted can be had again.
    Log,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Pubsub, Self::Log];

    /// Its name on the command line and in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pubsub => "pubsub",
            Self::Log => "log",
        }
    }

    /// What a node is told besides the address of Redis.
    pub const fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Memory | Self::Pubsub => &[],
            Self::Log => &["--redis-log"],
        }
    }

    /// Whether a place that one node names can be found on another one.
    pub const fn is_shared_by_nodes(self) -> bool {
        matches!(self, Self::Log)
    }

    /// Whether this program knows the flags of the mode.
    pub async fn is_known_to(self, fantail: &Path) -> Result<bool> {
        let (_, output) = Fantail::run_to_end(fantail, &["serve", "--help"], &[]).await.context("asking for help")?;
        Ok(self.flags().iter().all(|flag| output.stdout.contains(flag)))
    }
}
