//! What the parent and its `hold` workers say to each other: one JSON object per line, commands on the worker's
//! standard input, notices on its standard output.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::latency::Samples;
use crate::url_template::UrlTemplate;

/// Parent to worker. The end of the input means: close everything and leave.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub(crate) enum Command {
    /// Open more streams; answered by `Opened`.
    Open(Open),
    /// Say `Reached` once so many events of this round have come, all streams together.
    Await { deliveries: u64 },
    /// End the round; `published` counts all events since the first round. Answered by `Report`.
    Report { published: u64 },
}

/// Which streams to open, and how fast.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Open {
    pub(crate) subscribe: UrlTemplate,
    pub(crate) channel_prefix: String,
    pub(crate) channels: u32,
    /// The number of the first stream among those of all workers; stream n follows channel n modulo `channels`.
    pub(crate) first_stream: u32,
    pub(crate) streams: u32,
    /// Events published before these streams open: they start behind them.
    pub(crate) published: u64,
    pub(crate) connects_per_second: u32,
    /// Addresses to connect from, in turn; one address has ports for some 28,000 streams to one server. Empty: the
    /// kernel's choice.
    pub(crate) sources: Vec<Ipv4Addr>,
    pub(crate) deadline_seconds: u64,
}

/// Worker to parent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "snake_case")]
pub(crate) enum Notice {
    /// How far an `Open` has come.
    Opening { open: u32 },
    /// An `Open` is done.
    Opened(Opened),
    /// How far a round has come.
    Progress { deliveries: u64 },
    /// The awaited count has come.
    Reached { deliveries: u64 },
    /// A round is over.
    Report(Tally),
    /// The worker cannot go on.
    Failed { reason: String },
}

/// The outcome of an `Open`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Opened {
    pub(crate) open: u32,
    pub(crate) failed: BTreeMap<String, u64>,
    pub(crate) began_nanos: u64,
    pub(crate) ended_nanos: u64,
    pub(crate) time_to_head: Samples,
}

/// What one worker saw in one round. Each event counts once per stream.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// Events that came whole, each counted once however often it came.
    pub(crate) deliveries: u64,
    /// Published but never seen.
    pub(crate) lost: u64,
    /// Seen again.
    pub(crate) duplicated: u64,
    /// Seen after a later one.
    pub(crate) reordered: u64,
    /// Not as they were written. Such an event is lost too.
    pub(crate) corrupt: u64,
    /// Events of a channel that the stream does not follow.
    pub(crate) foreign: u64,
    /// Gaps that the server declared.
    pub(crate) gaps: u64,
    /// Streams that have ended since they were opened.
    pub(crate) ended: u64,
    pub(crate) last_delivery_nanos: u64,
    pub(crate) latency: Samples,
}

/// How many of the first `published` events, dealt to the channels in turn, went to `channel`.
pub(crate) fn published_on(channel: u32, channels: u32, published: u64) -> u64 {
    let channels = u64::from(channels);
    published / channels + u64::from(u64::from(channel) < published % channels)
}

/// A channel's name.
pub(crate) fn channel_name(prefix: &str, channel: u32) -> String {
    format!("{prefix}-{channel}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_dealt_to_channels_in_turn() {
        let counts: Vec<_> = (0..4).map(|channel| published_on(channel, 4, 10)).collect();
        assert_eq!(counts, [3, 3, 2, 2]);
        assert_eq!(published_on(0, 1, 10), 10);
    }
}
