//! How long a shard works before it lets others run.

use std::time::{Duration, Instant};

/// One slice: about fifty sends. A pass over a hundred thousand sockets takes most of a second; accepts, other channels
/// and timers of the same thread wait for one slice of it at most. Shorter slices spend more on looking around.
pub(crate) const SLICE: Duration = Duration::from_micros(250);

/// Reading the clock costs about as much as a hundredth of a send, so it is read once for so many sends.
const SENDS_PER_LOOK: u32 = 8;

/// The rest of a slice.
pub(crate) struct Slice {
    end: Instant,
    until_look: u32,
}

impl Slice {
    pub(crate) fn begin(length: Duration) -> Self {
        Self { end: Instant::now() + length, until_look: SENDS_PER_LOOK }
    }

    /// Counts one send; true when the slice is over.
    #[inline]
    pub(crate) fn is_over(&mut self) -> bool {
        self.until_look -= 1;
        if self.until_look > 0 {
            return false;
        }
        // Over stays over: the next call looks again.
        let over = Instant::now() >= self.end;
        self.until_look = if over { 1 } else { SENDS_PER_LOOK };
        over
    }
}
