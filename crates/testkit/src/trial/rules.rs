//! The differences between trials for their readers.

use std::{net::SocketAddr, time::Duration};

use super::{ReaderHabit, Trial};
use crate::{error::Error, random::Random, sse::Event, transport::TlsTrust};

/// The encrypted way to the nodes, which some connections of readers take.
#[derive(Debug, Clone)]
pub struct TlsReaders {
    /// The address of each node's encrypted streams.
    pub addresses: Vec<SocketAddr>,
    /// The authority that readers trust.
    pub trust: TlsTrust,
    /// One connection in so many is encrypted.
    pub one_in: u64,
}

/// The addresses, the channels and the possible ends of a trial's readers.
pub trait ReaderRules: Send + Sync + 'static {
    /// The shared state of the trial.
    fn trial(&self) -> &Trial;

    /// The habit of the next reader.
    fn choose_habit(&self, random: &mut Random) -> ReaderHabit;

    /// The channels of a reader with this habit.
    fn choose_channels(&self, habit: ReaderHabit, random: &mut Random) -> Vec<&str>;

    /// One reader in so many that may speaks HTTP/1.0.
    fn http_1_0_in(&self) -> u64;

    /// The address of each node's streams, with HTTP/1.0 or not.
    fn addresses(&self, http_1_0: bool) -> &[SocketAddr];

    /// The encrypted way to the nodes, if there is one.
    fn tls(&self) -> Option<&TlsReaders> {
        None
    }

    /// How long a reader waits for a response before it tries another node. None if each node is there all the time.
    fn away_after(&self) -> Option<Duration>;

    /// Whether a stream may end with this error while its reader stays.
    fn may_end(&self, error: &Error, in_mid_block: bool) -> bool;

    /// Whether a reader with this habit may find lines that are none of a stream's, since something spoils what it gets.
    fn may_find_unknown_lines(&self, _habit: ReaderHabit) -> bool {
        false
    }

    /// A reader took an event.
    fn took(&self, _habit: ReaderHabit, _event: &Event) {}
}
