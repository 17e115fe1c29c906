//! The slots that are due for a keepalive now. A round is spread over the whole interval, so that no burst forms. It
//! never touches a socket.

use std::ops::Range;
use std::time::{Duration, Instant};

/// Portions per interval: small enough that one portion of 20,000 sockets takes well under a millisecond.
const PORTIONS: u32 = 200;

/// A walk over all slots that takes one interval.
#[derive(Debug)]
pub(crate) struct Sweep {
    interval: Duration,
    began: Instant,
    swept: usize,
}

impl Sweep {
    /// The first round begins at `now`.
    pub(crate) fn new(interval: Duration, now: Instant) -> Self {
        Self { interval: interval.max(Duration::from_millis(1)), began: now, swept: 0 }
    }

    /// How long the loop may sleep between two portions.
    pub(crate) fn tick(&self) -> Duration {
        (self.interval / PORTIONS).max(Duration::from_millis(1))
    }

    /// The slots whose turn has come since the last call.
    pub(crate) fn due(&mut self, slots: usize, now: Instant) -> Range<usize> {
        let elapsed = now.duration_since(self.began);
        if elapsed >= self.interval {
            // A late call finishes the round and starts the next one from now: streams get a comment a little late
            // rather than two at once.
            let rest = self.swept.min(slots)..slots;
            self.began = now;
            self.swept = 0;
            return rest;
        }
        let share = elapsed.as_nanos() * slots as u128 / self.interval.as_nanos();
        let target = usize::try_from(share).unwrap_or(slots).max(self.swept);
        let due = self.swept.min(slots)..target.min(slots);
        self.swept = target;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_is_due_once_per_interval() {
        let start = Instant::now();
        let mut sweep = Sweep::new(Duration::from_secs(1), start);
        let mut hits = vec![0; 997];
        for step in 1..=100 {
            for slot in sweep.due(hits.len(), start + Duration::from_millis(step * 10)) {
                hits[slot] += 1;
            }
        }
        assert!(hits.iter().all(|count| *count == 1), "{hits:?}");
    }

    #[test]
    fn portions_are_even() {
        let start = Instant::now();
        let mut sweep = Sweep::new(Duration::from_secs(1), start);
        for step in 1..100 {
            let portion = sweep.due(10_000, start + Duration::from_millis(step * 10)).len();
            assert_eq!(portion, 100);
        }
    }

    #[test]
    fn slots_that_vanish_are_not_due() {
        let start = Instant::now();
        let mut sweep = Sweep::new(Duration::from_secs(1), start);
        assert_eq!(sweep.due(100, start + Duration::from_millis(900)), 0..90);
        assert!(sweep.due(10, start + Duration::from_millis(950)).is_empty());
        assert!(sweep.due(10, start + Duration::from_secs(2)).is_empty());
    }
}
