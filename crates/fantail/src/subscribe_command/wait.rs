//! How long to wait before connecting again.

use std::time::Duration;

/// The pause until a server says otherwise; browsers take about this.
const RETRY_DEFAULT: Duration = Duration::from_secs(3);

/// A server may say 0, and may end every stream at once: the client comes no faster than this.
const WAIT_MIN: Duration = Duration::from_millis(100);

/// The longest of the growing pauses before an absent server, unless it asked for longer ones.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The pause before the next connection: the server's own, longer and spread while the server stays away.
#[derive(Debug)]
pub(super) struct Wait {
    retry: Duration,
    /// Connections since the last stream, this one included.
    attempts: u32,
}

impl Default for Wait {
    fn default() -> Self {
        Self { retry: RETRY_DEFAULT, attempts: 1 }
    }
}

impl Wait {
    /// A stream has begun: its end is no sign of trouble.
    pub(super) fn connected(&mut self) {
        self.attempts = 0;
    }

    /// The server's `retry:`, in milliseconds.
    pub(super) fn told(&mut self, retry_ms: u64) {
        self.retry = Duration::from_millis(retry_ms).max(WAIT_MIN);
    }

    /// The pause now. After a stream it is the server's own, since the server has spread its clients itself. The longer
    /// the server stays away, the wider the clients spread on their own.
    pub(super) fn next(&mut self) -> Duration {
        let spread = self.ceiling().saturating_sub(self.retry);
        self.attempts += 1;
        self.retry + spread.mul_f64(fastrand::f64())
    }

    fn ceiling(&self) -> Duration {
        let doubled = self.retry.saturating_mul(1 << self.attempts.min(16));
        doubled.min(WAIT_MAX.max(self.retry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_stream_the_pause_is_what_the_server_told() {
        let mut wait = Wait::default();
        wait.connected();
        wait.told(1_500);
        assert_eq!(wait.next(), Duration::from_millis(1_500));
        wait.connected();
        wait.told(0);
        assert_eq!(wait.next(), WAIT_MIN);
    }

    #[test]
    fn pauses_before_an_absent_server_grow_within_bounds_and_are_spread() {
        let mut wait = Wait::default();
        wait.told(1_000);
        let ceilings: Vec<_> = (0..40)
            .map(|_| {
                let ceiling = wait.ceiling();
                let pause = wait.next();
                assert!(pause >= Duration::from_secs(1) && pause <= ceiling, "{pause:?} {ceiling:?}");
                ceiling.as_secs()
            })
            .collect();
        assert_eq!(ceilings[..6], [2, 4, 8, 16, 30, 30]);
        assert_eq!(ceilings[39], 30);
        let pauses: Vec<_> = (0..20).map(|_| wait.next()).collect();
        assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{pauses:?}");
    }

    #[test]
    fn a_server_that_asks_for_more_than_the_longest_pause_gets_it() {
        let mut wait = Wait::default();
        wait.told(60_000);
        assert_eq!((wait.next(), wait.next()), (Duration::from_mins(1), Duration::from_mins(1)));
    }
}
