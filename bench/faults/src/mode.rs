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
    /// Core NATS: events during an outage are lost, and declared.
    Nats,
    /// A stream of JetStream: accepted events can be read again.
    Jetstream,
}

/// The stream of the mode that has one.
pub const STREAM: &str = "EVENTS";

impl Mode {
    /// The modes in which all channels are in one lane.
    pub const OF_ONE_LANE: [Self; 5] = [Self::Memory, Self::Pubsub, Self::Log, Self::Nats, Self::Jetstream];
    /// The modes with a broker.
    pub const WITH_BROKER: [Self; 5] = [Self::Pubsub, Self::Log, Self::Lanes, Self::Nats, Self::Jetstream];

    /// Its name on the command line and in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pubsub => "pubsub",
            Self::Log => "log",
            Self::Lanes => "lanes",
            Self::Nats => "nats",
            Self::Jetstream => "jetstream",
        }
    }

    /// The flag with the broker's address, if there is a broker. A Cluster of Redis has another one.
    pub const fn address_flag(self) -> Option<&'static str> {
        match self {
            Self::Memory => None,
            Self::Pubsub | Self::Log | Self::Lanes => Some("--redis-url"),
            Self::Nats | Self::Jetstream => Some("--nats-url"),
        }
    }

    /// The flags of a node besides the address of the broker.
    pub const fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Memory | Self::Pubsub | Self::Nats => &[],
            Self::Jetstream => &["--nats-stream", STREAM],
            Self::Log => &["--redis-log"],
            Self::Lanes => &["--redis-log", "--redis-log-lanes", "orders"],
        }
    }

    /// Its lanes. A fault that hits one of several hits the last. Their slots in a Cluster are at different masters.
    pub const fn lanes(self) -> &'static [&'static str] {
        match self {
            Self::Memory | Self::Pubsub | Self::Log | Self::Nats | Self::Jetstream => &["0"],
            Self::Lanes => &["0", "orders"],
        }
    }

    /// Whether the broker numbers events and keeps them, so that a place that one node names can be found on another one.
    pub const fn has_log(self) -> bool {
        matches!(self, Self::Log | Self::Lanes | Self::Jetstream)
    }

    /// Whether the broker is NATS.
    pub const fn is_nats(self) -> bool {
        matches!(self, Self::Nats | Self::Jetstream)
    }

    /// Whether this program knows the flags of the mode.
    pub async fn is_known_to(self, fantail: &Path) -> Result<bool> {
        let (_, output) = Fantail::run_to_end(fantail, &["serve", "--help"], &[]).await.context("asking for help")?;
        let own = self.flags().iter().copied().filter(|word| word.starts_with("--"));
        Ok(own.chain(self.address_flag()).all(|flag| output.stdout.contains(flag)))
    }
}
