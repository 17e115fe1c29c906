//! Counts of a feed, which may be read at any time.

use std::sync::atomic::{AtomicU64, Ordering};

/// Monotonic counts since the feed was made. Written by the feed alone; each is read on its own.
#[derive(Debug, Default)]
pub struct FeedCounters {
    /// Events that the node took.
    pub events: AtomicU64,
    /// Messages refused: not UTF-8.
    pub refused_not_utf8: AtomicU64,
    /// Messages refused: not a JSON envelope, or one that contradicts itself.
    pub refused_envelope: AtomicU64,
    /// Messages refused: a field of the envelope is not valid.
    pub refused_field: AtomicU64,
    /// Messages refused: too large once encoded.
    pub refused_too_large: AtomicU64,
    /// Messages passed over because their channel is not followed: an unfollow was on its way.
    pub ignored: AtomicU64,
    /// Messages passed over because the same event came by another of its channels.
    pub repeated: AtomicU64,
    /// Times that the feed was connected again after the first.
    pub reconnects: AtomicU64,
    /// Times that a connected feed was lost.
    pub outages: AtomicU64,
    /// Attempts to connect that failed.
    pub connect_failures: AtomicU64,
    /// Probes that did not come back over the subscription; each ended its connection.
    pub probes_lost: AtomicU64,
    /// Times that what a lost connection had missed was read from the log.
    pub repairs: AtomicU64,
    /// Events that came that way.
    pub repaired: AtomicU64,
    /// Recalls of older events that were answered from the log.
    pub recalls: AtomicU64,
    /// Channels that the broker does not let this node follow.
    pub follows_refused: AtomicU64,
}

/// Why a message was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Not UTF-8.
    NotUtf8,
    /// Not an envelope.
    Envelope,
    /// An invalid field.
    Field,
    /// Too large once encoded.
    TooLarge,
}

impl FeedCounters {
    /// Messages refused for `reason`.
    pub fn refused(&self, reason: Refusal) -> u64 {
        self.refusals(reason).load(Ordering::Relaxed)
    }

    pub(crate) fn refuse(&self, reason: Refusal) {
        add_one(self.refusals(reason));
    }

    fn refusals(&self, reason: Refusal) -> &AtomicU64 {
        match reason {
            Refusal::NotUtf8 => &self.refused_not_utf8,
            Refusal::Envelope => &self.refused_envelope,
            Refusal::Field => &self.refused_field,
            Refusal::TooLarge => &self.refused_too_large,
        }
    }
}

/// Counts one. Nobody orders anything by these counts, so relaxed is enough.
pub(crate) fn add_one(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
