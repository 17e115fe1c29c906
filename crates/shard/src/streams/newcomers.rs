//! Streams that come: each gets a generation that none had before, and may be refused or turned away.

use std::time::{Duration, Instant};

use fantail_hub::{ChannelsFull, Maker};
use fantail_telemetry::{CloseReason, Sampled};
use tracing::{field::display, warn};

/// How often it is told at most, for one reason, that streams are refused.
const REFUSALS_TOLD_EACH: Duration = Duration::from_mins(1);

/// The newest stream of a shard, and whether another may come.
pub(crate) struct Newcomers {
    newest_generation: u32,
    are_turned_away: bool,
    /// Which refused streams are told in the log.
    refusals: Sampled<CloseReason>,
}

impl Newcomers {
    pub(super) fn new() -> Self {
        Self { newest_generation: 0, are_turned_away: false, refusals: Sampled::new(1, REFUSALS_TOLD_EACH) }
    }

    /// The generation of the stream that came last.
    pub(crate) fn newest_generation(&self) -> u32 {
        self.newest_generation
    }

    /// From now on every stream that comes is ended, and told to come back.
    pub(crate) fn turn_away(&mut self) {
        self.are_turned_away = true;
    }

    pub(super) fn are_turned_away(&self) -> bool {
        self.are_turned_away
    }

    /// One more.
    pub(super) fn next_generation(&mut self) -> u32 {
        self.newest_generation = self.newest_generation.wrapping_add(1);
        self.newest_generation
    }

    /// There is no room for a newcomer's channels. Says so now and then, and why the stream ends.
    pub(super) fn refuse(&mut self, full: ChannelsFull, maker: Option<Maker>) -> CloseReason {
        let reason = match full {
            ChannelsFull::OfNode => CloseReason::Refused,
            ChannelsFull::OfAddress => CloseReason::TooManyChannels,
        };
        if let Some(admitted) = self.refusals.admit(reason, Instant::now()) {
            let (address, suppressed) = (maker.map(display), admitted.suppressed);
            warn!(address, suppressed, "a stream is refused: {full}; see channels_max and channels_per_address_max");
        }
        reason
    }
}
