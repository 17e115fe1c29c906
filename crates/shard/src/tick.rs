//! The shard's coarse clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the shard started, in 32 bits: it wraps after 49 days, and only differences are ever taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tick(u32);

/// Whole seconds since the shard started: lengths that a stream's life may have do not fit into a [`Tick`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Second(u32);

/// Read once per turn; every write of the turn is dated with it.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    now: Tick,
    unix_second: u32,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let mut clock = Self { started: Instant::now(), now: Tick(0), unix_second: 0 };
        clock.begin_tick();
        clock
    }

    /// Reads the time, once for all that happens in a turn.
    pub(crate) fn begin_turn(&mut self) {
        self.now = Tick(self.started.elapsed().as_millis() as u32);
    }

    /// Reads the wall clock, once for all that happens until the next tick.
    pub(crate) fn begin_tick(&mut self) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        self.unix_second = since.map_or(0, |since| u32::try_from(since.as_secs()).unwrap_or(u32::MAX));
    }

    /// The time of this turn.
    pub(crate) fn now(&self) -> Tick {
        self.now
    }

    /// Seconds since 1970 by the wall clock, which may be set, at the last tick: a right to read ends by it.
    pub(crate) fn unix_second(&self) -> u32 {
        self.unix_second
    }

    pub(crate) fn second(&self) -> Second {
        Second(self.started.elapsed().as_secs() as u32)
    }
}

impl Tick {
    /// How long ago `earlier` was.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::from(self.0.wrapping_sub(earlier.0)))
    }
}

impl Second {
    /// How long ago `earlier` was.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(u64::from(self.0.wrapping_sub(earlier.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_survive_the_wrap() {
        assert_eq!(Tick(5).since(Tick(u32::MAX - 4)), Duration::from_millis(10));
    }
}
