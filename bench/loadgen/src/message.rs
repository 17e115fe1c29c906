//! The messages between the parent and its `hold` workers: one JSON object per line, commands on the worker's standard
//! input, notices on its standard output.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::hold::event_template::EventTemplate;
use crate::http2_options::Http2Options;
use crate::latency::Samples;
use crate::tls_options::TlsOptions;
use crate::url_template::UrlTemplate;

/// Parent to worker. The end of the input means: close everything and leave.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub(crate) enum WorkerCommand {
    /// Open more streams; answered by `Opened`.
    Open(Box<Open>),
    /// Say `Reached` once so many events of this round have come, all streams together.
    Await { deliveries: u64 },
    /// End the round; `published` counts all events since the first round. Answered by `Report`.
    Report { published: u64 },
    /// Never read again from every n-th stream, and expect nothing of it. Answered by `Done`.
    Stop { every: u32 },
    /// Reset all connections at once. Answered by `Done`.
    Reset,
}

/// The streams to open, and their rate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Open {
    pub(crate) subscribe: UrlTemplate,
    /// None for plain connections.
    pub(crate) tls: Option<TlsOptions>,
    #[serde(default)]
    pub(crate) http2: Http2Options,
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
    /// The form of events, if it is not the publisher's data alone.
    #[serde(default)]
    pub(crate) event: Option<Box<EventTemplate>>,
    pub(crate) deadline_seconds: u64,
    /// Whether streams remember their last id, so that they can return.
    pub(crate) remember_ids: bool,
    /// Whether tickets of TLS are kept, so that streams that return resume their sessions.
    pub(crate) keep_tickets: bool,
    /// Open the same streams again behind their last ids, after a `Reset`, instead of new ones.
    pub(crate) returning: bool,
}

/// Worker to parent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "snake_case")]
pub(crate) enum Notice {
    /// The progress of an `Open`.
    Opening { open: u32 },
    /// An `Open` is done.
    Opened(Opened),
    /// The progress of a round.
    DeliveryProgress { deliveries: u64 },
    /// The awaited count has come.
    Reached { deliveries: u64 },
    /// A round is over.
    Report(WorkerTally),
    /// A `Stop` or `Reset` is done, for so many streams.
    Done { streams: u32 },
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
    pub(crate) handshakes: Handshakes,
}

/// The kinds of handshakes of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handshake {
    Full,
    Resumed,
}

/// Handshakes of TLS by kind. Plain connections have none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Handshakes {
    pub(crate) full: u32,
    pub(crate) resumed: u32,
}

impl Handshakes {
    pub(crate) fn note(&mut self, handshake: Handshake) {
        match handshake {
            Handshake::Full => self.full += 1,
            Handshake::Resumed => self.resumed += 1,
        }
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self { full: self.full + other.full, resumed: self.resumed + other.resumed }
    }
}

/// The observations of one worker in one round. Each event counts once per stream.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct WorkerTally {
    /// Events that came whole, each counted once however often it came.
    pub(crate) deliveries: u64,
    /// Published but never seen.
    pub(crate) lost: u64,
    /// Seen again.
    pub(crate) duplicated: u64,
    /// Seen after a later one.
    pub(crate) reordered: u64,
    /// Different from the sent text. Such an event is lost too.
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

/// The channel of an event. Each channel gets one event before any gets the next, but neighbours in time are far apart
/// in number. A server that is fast only when it walks its channels in the order of their making must not look fast.
pub(crate) fn channel_of(event: u64, channels: u32) -> u32 {
    let channels = u64::from(channels);
    let place = event % channels * stride(channels) % channels;
    u32::try_from(place).unwrap_or_default()
}

/// How many of the first `published` events went to `channel`.
pub(crate) fn published_on(channel: u32, channels: u32, published: u64) -> u64 {
    let channels = u64::from(channels);
    let turn = u64::from(channel) * inverse(stride(channels), channels) % channels;
    published / channels + u64::from(turn < published % channels)
}

/// About 0.618 of the channels, and without a common divisor with them, so that every channel has its turn.
fn stride(channels: u64) -> u64 {
    let from = channels * 618 / 1000;
    (from.max(1)..=channels).find(|stride| gcd(*stride, channels) == 1).unwrap_or(1)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The number that undoes a multiplication by `value`, modulo `modulus` (Euclid's algorithm, extended).
fn inverse(value: u64, modulus: u64) -> u64 {
    let modulus = i128::from(modulus);
    let (mut left, mut right) = ((modulus, 0_i128), (i128::from(value), 1_i128));
    while right.0 != 0 {
        let times = left.0 / right.0;
        (left, right) = (right, (left.0 - times * right.0, left.1 - times * right.1));
    }
    u64::try_from(left.1.rem_euclid(modulus)).unwrap_or_default()
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
        for channels in [1, 2, 4, 7, 1_000, 18_000] {
            let mut counts = vec![0_u64; channels as usize];
            for event in 0..25_000 {
                let channel = channel_of(event, channels);
                assert_eq!(published_on(channel, channels, event), counts[channel as usize]);
                counts[channel as usize] += 1;
            }
            let spread = counts.iter().max().zip(counts.iter().min()).map(|(most, least)| most - least);
            assert!(spread <= Some(1), "{channels} channels");
        }
    }
}
