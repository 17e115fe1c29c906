//! How long a shard works before it lets others run.

use std::time::{Duration, Instant};

/// One slice: about fifty sends. A pass over a hundred thousand sockets takes most of a second; accepts, other channels
/// and timers of the same thread wait for one slice of it at most. Shorter slices spend more on looking around.
pub(crate) const SLICE: Duration = Duration::from_micros(250);

/// Reading the clock costs about as much as a hundredth of a send, so it is read once for so many sends.
const SENDS_PER_LOOK: u32 = 8;

/// The rest of a slice.
pub(crate) struct Slice {
    length: Duration,
    /// None before the first look at the clock: a slice that is done by then reads no clock, and most are done with one send.
    end: Option<Instant>,
    until_look: u32,
}

impl Slice {
    pub(crate) fn begin(length: Duration) -> Self {
        Self { length, end: None, until_look: SENDS_PER_LOOK }
    }

    /// Counts one send; true when the slice is over. The sends before the first look come on top of its length.
    #[inline]
    pub(crate) fn is_over(&mut self) -> bool {
        self.until_look -= 1;
        if self.until_look > 0 {
            return false;
        }
        let now = Instant::now();
        // Over stays over: the next call looks again.
        let over = now >= *self.end.get_or_insert(now + self.length);
        self.until_look = if over { 1 } else { SENDS_PER_LOOK };
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_begins_with_its_first_look_at_the_clock_and_stays_over() {
        let (mut short, mut long) = (Slice::begin(Duration::ZERO), Slice::begin(Duration::from_hours(1)));
        for _ in 1..SENDS_PER_LOOK {
            assert!(!short.is_over() && short.end.is_none());
        }
        assert!(short.is_over() && short.is_over() && short.end.is_some());
        assert!((0..100).all(|_| !long.is_over()));
    }
}
