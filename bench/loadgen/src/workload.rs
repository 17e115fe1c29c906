//! The load on a server: how many streams on how many channels, which events and at what pace. Command line options and
//! their meaning; nothing here runs.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde::Serialize;

use crate::payload::{PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MIN};

/// How streams are opened.
#[derive(Debug, Clone, Args, Serialize)]
pub(crate) struct OpeningOptions {
    /// How streams spread over channels: one, a number, or per-stream
    #[arg(long, default_value = "one")]
    #[serde(skip)]
    pub(crate) channels: ChannelLayout,

    /// Connections begun per second, all workers together
    #[arg(long, value_name = "PER_SECOND", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connect_rate: u32,

    /// Worker processes; more are started when the streams need them
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub(crate) workers: u32,

    /// Loopback addresses each worker connects from, when the server is on loopback
    #[arg(long, value_name = "COUNT", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=200))]
    pub(crate) source_addresses: u8,

    /// Keep the last id of every stream, so that all can come back after a reset
    #[arg(skip)]
    pub(crate) remember_ids: bool,

    /// Keep the tickets of TLS, so that streams that come back resume their sessions
    #[arg(skip)]
    pub(crate) keep_tickets: bool,

    /// How long opening all streams may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) open_deadline: u64,
}

/// The published events and their pace.
#[derive(Debug, Clone, Args, Serialize)]
pub(crate) struct PublishOptions {
    /// Events to publish, dealt to the channels in turn
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) events: u64,

    /// Bytes of data per event
    #[arg(long, value_name = "BYTES", default_value_t = 128, value_parser = clap::value_parser!(u32)
        .range(i64::from(PAYLOAD_BYTES_MIN)..=i64::from(PAYLOAD_BYTES_MAX)))]
    pub(crate) payload: u32,

    /// Publish so many events per second, whether or not the server keeps up
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "in_flight")]
    pub(crate) rate: Option<f64>,

    /// Publish so many events together, wait until every stream has them, go on [default: 1]
    #[arg(long, value_name = "EVENTS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) in_flight: Option<u64>,

    /// How long events may take to arrive after they were published
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) deadline: u64,

    /// Keep-alive connections to publish on; a channel always uses the same one
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) publish_connections: u32,
}

/// The place of the outcome besides the screen.
#[derive(Debug, Args)]
pub(crate) struct OutputOptions {
    /// Also write everything as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// How streams spread over channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChannelLayout {
    Count(u32),
    PerStream,
}

/// The time of the next events.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pace {
    Rate { per_second: f64 },
    InFlight { events: u64 },
}

impl ChannelLayout {
    pub(crate) fn channels(self, streams: u32) -> anyhow::Result<u32> {
        let channels = match self {
            Self::Count(count) => count,
            Self::PerStream => streams,
        };
        ensure!(channels <= streams, "{channels} channels need at least as many streams, not {streams}");
        Ok(channels)
    }
}

impl FromStr for ChannelLayout {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text {
            "one" => Ok(Self::Count(1)),
            "per-stream" => Ok(Self::PerStream),
            _ => {
                let count = text.parse().with_context(|| format!("{text:?} is not one, per-stream or a number"))?;
                ensure!(count > 0, "there must be at least one channel");
                Ok(Self::Count(count))
            }
        }
    }
}

impl PublishOptions {
    pub(crate) fn pace(&self) -> anyhow::Result<Pace> {
        match self.rate {
            None => Ok(Pace::InFlight { events: self.in_flight.unwrap_or(1) }),
            Some(per_second) => {
                ensure!(per_second.is_finite() && per_second > 0.0, "the rate must be above 0, not {per_second}");
                Ok(Pace::Rate { per_second })
            }
        }
    }

    pub(crate) fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a value that does not parse is a failed test")]
    use super::*;

    #[test]
    fn channel_layouts_are_read() {
        let channels = |text: &str| text.parse::<ChannelLayout>().unwrap().channels(100).unwrap();
        assert_eq!((channels("one"), channels("7"), channels("per-stream")), (1, 7, 100));
    }

    #[test]
    fn impossible_layouts_are_refused() {
        for text in ["0", "-1", "two", ""] {
            assert!(text.parse::<ChannelLayout>().is_err(), "{text:?}");
        }
        assert!(ChannelLayout::Count(101).channels(100).is_err());
    }
}
