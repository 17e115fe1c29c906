//! Which channel gets the next event, and when: options and plain arithmetic. It knows no socket.

use std::fmt;
use std::time::Duration;

use anyhow::ensure;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::clock::due_nanos;
use crate::payload::{PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MIN, Payload};

/// Multiplier and increment of a known generator with 64 bits (PCG's). The order must be random, not secret.
const STEP: (u64, u64) = (6_364_136_223_846_793_005, 1_442_695_040_888_963_407);

/// The events of a round.
#[derive(Debug, Clone, Args, Serialize)]
pub(crate) struct LoadOptions {
    /// Measure so many events [default: no limit but --seconds]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) events: Option<u64>,

    /// Measure for so long [default: 10, or no limit with --events]
    #[arg(long)]
    pub(crate) seconds: Option<f64>,

    /// Events before the measurement [default: one for each stream]
    #[arg(long, value_name = "EVENTS")]
    pub(crate) warm_up: Option<u64>,

    /// Bytes of data per event
    #[arg(long, value_name = "BYTES", default_value_t = 128, value_parser = clap::value_parser!(u32)
        .range(i64::from(PAYLOAD_BYTES_MIN)..=i64::from(PAYLOAD_BYTES_MAX)))]
    pub(crate) payload: u32,

    /// Kept connections to publish on over HTTP, each with one POST under way at most
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) publish_connections: u32,

    /// The condition for the next POST on a connection
    #[arg(long, value_enum, default_value_t)]
    pub(crate) wait_for: WaitFor,

    /// Events under way over Redis or NATS: when one arrives the next is published
    #[arg(long, value_name = "EVENTS", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) in_flight: u64,

    /// Publish so many events per second, whether or not the server keeps up; latency counts from when they were due
    #[arg(long, value_name = "PER_SECOND")]
    pub(crate) rate: Option<f64>,

    /// End the round when nothing has come for so long
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub(crate) deadline: u64,
}

/// The condition for the next POST on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WaitFor {
    /// The answer to the POST
    #[default]
    Answer,
    /// The answer and the event on its stream
    Both,
}

/// The time of the next event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum UnicastPace {
    /// As soon as fewer than the most are under way.
    Closed,
    /// At its time.
    Open { per_second: f64 },
}

/// The channels in a random order that repeats, and how many events each has got. A channel comes again only after all
/// others, so its events are as far apart as they can be.
#[derive(Debug)]
pub(crate) struct Order {
    channels: Vec<u32>,
    at: usize,
    sent: Vec<u64>,
}

impl LoadOptions {
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        for (name, value) in [("rate", self.rate), ("seconds", self.seconds)] {
            let usable = value.is_none_or(|value| value.is_finite() && value > 0.0);
            ensure!(usable, "--{name} must be above 0");
        }
        Ok(())
    }

    pub(crate) fn pace(&self) -> UnicastPace {
        self.rate.map_or(UnicastPace::Closed, |per_second| UnicastPace::Open { per_second })
    }

    /// The measured time, if it has a limit.
    pub(crate) fn seconds_most(&self) -> Option<f64> {
        self.seconds.or(if self.events.is_none() { Some(10.0) } else { None })
    }

    pub(crate) fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline)
    }
}

impl UnicastPace {
    /// When event `number` of a round that began at `began_nanos` is due, if it has a time of its own.
    pub(crate) fn due_nanos(self, began_nanos: u64, number: u64) -> Option<u64> {
        let Self::Open { per_second } = self else { return None };
        Some(due_nanos(began_nanos, number, per_second))
    }
}

impl fmt::Display for UnicastPace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => out.write_str("closed loop: the next event when an earlier one is done"),
            Self::Open { per_second } => write!(out, "open loop: {per_second:.0} events per second"),
        }
    }
}

impl Order {
    /// Always the same order for a number of channels, so that rounds on two servers are alike.
    pub(crate) fn shuffled(channels: u32) -> Self {
        let mut order: Vec<_> = (0..channels).collect();
        let mut state = u64::from(channels);
        for at in (1..order.len()).rev() {
            state = state.wrapping_mul(STEP.0).wrapping_add(STEP.1);
            // The upper bits are the random ones.
            let other = (state >> 33) as usize % (at + 1);
            order.swap(at, other);
        }
        Self { channels: order, at: 0, sent: vec![0; channels as usize] }
    }

    /// The channel whose turn it is.
    pub(crate) fn channel(&self) -> u32 {
        self.channels[self.at]
    }

    /// Takes the turn.
    pub(crate) fn next_event(&mut self, sent_nanos: u64) -> Payload {
        let channel = self.channel();
        self.at = (self.at + 1) % self.channels.len();
        let number = &mut self.sent[channel as usize];
        *number += 1;
        Payload { number: *number, sent_nanos, channel }
    }

    /// Events that went to each channel since the streams were opened.
    pub(crate) fn sent(&self) -> &[u64] {
        &self.sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_channel_has_one_turn_before_any_has_the_next() {
        let mut order = Order::shuffled(1_000);
        let first: Vec<_> = (0..1_000).map(|_| order.next_event(0)).collect();
        assert!(first.iter().all(|event| event.number == 1));
        assert!(order.sent().iter().all(|sent| *sent == 1));
        assert_eq!(order.next_event(0), Payload { number: 2, ..first[0] });
    }

    #[test]
    fn order_is_not_that_of_the_streams() {
        let mut order = Order::shuffled(1_000);
        let channels: Vec<_> = (0..1_000).map(|_| order.next_event(0).channel).collect();
        let neighbours = channels.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) == 1).count();
        assert!(neighbours < 20, "{neighbours}");
    }

    #[test]
    fn events_are_due_one_by_one() {
        let pace = UnicastPace::Open { per_second: 100.0 };
        assert_eq!(
            [0, 1, 250].map(|number| pace.due_nanos(7, number)),
            [Some(7), Some(10_000_007), Some(2_500_000_007)]
        );
        assert_eq!(UnicastPace::Closed.due_nanos(7, 1), None);
    }
}
