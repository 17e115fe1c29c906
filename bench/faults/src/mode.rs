//! The kinds of feed: their differences are data, here.

use std::path::Path;

use anyhow::{Context, Result};
use fantail_testkit::Fantail;

/// A kind of feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// One node and its own memory.
    Memory,
    /// Plain pub/sub of Redis: events during an outage are lost, and declared.
    Pubsub,
    /// The Redis log: accepted events can be read again.
    Log,
    /// The same, with channels in two lanes.
    Lanes,
}

impl Mode {
    /// The modes in which all channels are in one lane.
    pub const OF_ONE_LANE: [Self; 3] = [Self::Memory, Self::Pubsub, Self::Log];
    /// The modes with a Redis.
    pub const WITH_REDIS: [Self; 3] = [Self::Pubsub, Self::Log, Self::Lanes];

    /// Its name on the command line and in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pubsub => "pubsub",
            Self::Log => "log",
            Self::Lanes => "lanes",
        }
    }

    /// The flags of a node besides the address of Redis.
    pub const fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Memory | Self::Pubsub => &[],
            Self::Log => &["--redis-log"],
            Self::Lanes => &["--redis-log", "--redis-log-lanes", "orders"],
        }
    }

    /// Its lanes. A fault that hits one of several hits the last. Their slots in a Cluster are at different masters.
    pub const fn lanes(self) -> &'static [&'static str] {
        match self {
            Self::Memory | Self::Pubsub | Self::Log => &["0"],
            Self::Lanes => &["0", "orders"],
        }
    }

    /// Whether Redis numbers events and keeps them, so that a place that one node names can be found on another one.
    pub const fn has_log(self) -> bool {
        matches!(self, Self::Log | Self::Lanes)
    }

    /// Whether this program knows the flags of the mode.
    pub async fn is_known_to(self, fantail: &Path) -> Result<bool> {
        let (_, output) = Fantail::run_to_end(fantail, &["serve", "--help"], &[]).await.context("asking for help")?;
        let mut flags = self.flags().iter().filter(|word| word.starts_with("--"));
        Ok(flags.all(|flag| output.stdout.contains(flag)))
    }
}
