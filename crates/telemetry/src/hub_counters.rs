//! The control loop's counters: events on their way in, the logs, and the feed.

use std::ops::Deref;

use crossbeam::utils::CachePadded;
use fantail_wire::FeedState;

use crate::counter::{ByLabel, Counter, Gauge};
use crate::label::{Label, label};
use crate::shard_counters::{HandshakeFailure, StatusClass};

label! {
    /// Why an event was not taken.
    pub enum RejectReason {
        /// The data is not UTF-8.
        NotUtf8 = "not_utf8",
        /// An envelope that cannot be read.
        Malformed = "malformed",
        /// A field of the event holds what it must not.
        BadField = "bad_field",
        /// More bytes after encoding than `event_bytes_max`.
        TooLarge = "too_large",
    }
}

label! {
    /// Which bound an event had to give way to.
    pub enum EvictReason {
        /// Its channel's log had as many events as it may.
        Count = "count",
        /// Its channel's log had as many bytes as it may.
        Bytes = "bytes",
        /// It had grown too old.
        Age = "age",
        /// All logs together had as many bytes as they may.
        Budget = "budget",
        /// It was for a channel that there was no room for, so no log has held it.
        Channels = "channels",
    }
}

label! {
    for FeedState {
        Memory: "Events come from this process alone, which cannot be disconnected",
        Connecting: "Not connected, and trying",
        Partly: "Events of some lanes arrive",
        Connected: "Events arrive",
    }
}

/// The control loop's counters, alone on their cache lines.
#[derive(Debug, Default)]
pub struct HubCounters(CachePadded<HubFields>);

/// The counters themselves; each one's meaning for users stands in `rows.rs`.
#[derive(Debug, Default)]
pub struct HubFields {
    /// Connections that may be open on the public listener; set once, at the start.
    pub connections_max: Gauge,
    /// Streams that may be open; set once, at the start.
    pub streams_max: Gauge,
    /// When the first of the TLS certificates expires, in seconds since 1970; 0 without one.
    pub tls_certificate_expiry: Gauge,
    /// TLS handshakes with the internal listener that failed, by the cause.
    pub tls_handshakes_failed: ByLabel<HandshakeFailure, { HandshakeFailure::COUNT }>,
    /// Events refused because their publisher was too fast.
    pub publishes_refused: Counter,
    /// Bytes that the process may use; set once, at the start.
    pub memory_max: Gauge,
    /// How short memory is: 0, 1 or 2.
    pub memory_level: Gauge,
    /// Events accepted from the feed.
    pub events_in: Counter,
    /// Events not taken, by reason.
    pub events_rejected: ByLabel<RejectReason, { RejectReason::COUNT }>,
    /// Frames built; one per event, however many streams get it.
    pub encodes: Counter,
    /// Channels that may be known; set once, at the start.
    pub channels_max: Gauge,
    /// Channels known now.
    pub channels: Gauge,
    /// Channels that the feed follows now.
    pub followed_channels: Gauge,
    /// Entries in all logs together.
    pub log_entries: Gauge,
    /// Frame bytes in all logs together.
    pub log_bytes: Gauge,
    /// Entries dropped from a log, by the bound that it would have passed.
    pub evictions: ByLabel<EvictReason, { EvictReason::COUNT }>,
    /// Channels forgotten because no shard wanted them any more.
    pub channels_forgotten: Counter,
    /// Entries put back into a log because somebody asked for what a channel had before.
    pub recalled: Counter,
    /// Events that the feed numbered out of turn, which are dropped: a fault of this program or of what it reads.
    pub events_misplaced: Counter,
    /// Connections made to the feed again after one was lost.
    pub feed_reconnects: Counter,
    /// Times that events missed by a lost connection were read back from the feed's log.
    pub feed_repairs: Counter,
    /// Events that came back that way.
    pub feed_repaired_events: Counter,
    /// Times that older events were read back for clients that returned.
    pub feed_recalls: Counter,
    /// Attempts to connect to the feed that failed.
    pub feed_connect_failures: Counter,
    /// Probes that did not come back from the feed.
    pub feed_probes_lost: Counter,
    /// Channels that the feed does not let this node follow.
    pub follows_refused: Counter,
    /// Times in which events may have been lost on the way from the feed.
    pub outages: Counter,
    /// Requests answered on the internal listener, by class of status.
    pub requests: ByLabel<StatusClass, { StatusClass::COUNT }>,
    /// Index of the feed's state; written through [`HubFields::set_feed_state`].
    feed_state: Gauge,
}

impl Deref for HubCounters {
    type Target = HubFields;

    #[inline]
    fn deref(&self) -> &HubFields {
        &self.0
    }
}

impl HubFields {
    /// Says how the feed is from now on; it is [`FeedState::Memory`] until the first call.
    pub fn set_feed_state(&self, state: FeedState) {
        self.feed_state.set(state.index() as u64);
    }

    /// How the feed is.
    pub fn feed_state(&self) -> FeedState {
        let index = self.feed_state.get();
        let is_current = |state: &FeedState| state.index() as u64 == index;
        FeedState::ALL.iter().copied().find(is_current).unwrap_or(FeedState::Memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_feed_is_in_the_state_that_was_set_last() {
        let counters = HubCounters::default();
        assert_eq!(counters.feed_state(), FeedState::Memory);
        for state in FeedState::ALL {
            counters.set_feed_state(*state);
            assert_eq!(counters.feed_state(), *state);
        }
    }
}
