//! How long to wait before trying a broker again.

use std::time::{Duration, Instant};

use crate::random::random_below;

/// The longest wait before the first retry, which is at once or soon: most outages are restarts.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait between two tries. A connection that stood this long was a good one.
const LONGEST: Duration = Duration::from_secs(5);

/// Waits that double up to a bound, jittered so that a fleet of nodes does not come back in one instant.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
    connected_at: Option<Instant>,
}

impl Backoff {
    /// A connection stands. Failures are forgotten only when it has stood for a while, else one that is accepted and
    /// cut each time would be retried without any pause.
    pub(crate) fn connected(&mut self) {
        self.connected_at = Some(Instant::now());
    }

    /// The connection ended or was not made: how long to wait now.
    pub(crate) fn next_wait(&mut self) -> Duration {
        if self.connected_at.take().is_some_and(|at| at.elapsed() >= LONGEST) {
            self.failures = 0;
        }
        let (shortest, longest) = bounds(self.failures);
        self.failures = self.failures.saturating_add(1);
        let spread = u64::try_from(longest.saturating_sub(shortest).as_millis()).unwrap_or(0);
        shortest + Duration::from_millis(random_below(spread + 1))
    }
}

/// The range of the wait after so many failures: anything up to the bound at first, the upper half of it later.
fn bounds(failures: u32) -> (Duration, Duration) {
    let longest = FIRST.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST);
    (if failures == 0 { Duration::ZERO } else { longest / 2 }, longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_from_nearly_nothing_to_their_cap_and_stay_there() {
        assert_eq!(bounds(0), (Duration::ZERO, FIRST));
        assert_eq!(bounds(1), (FIRST, FIRST * 2));
        assert_eq!(bounds(6), (LONGEST / 2, LONGEST));
        assert_eq!(bounds(u32::MAX), (LONGEST / 2, LONGEST));
    }

    #[test]
    fn a_connection_that_is_cut_at_once_does_not_reset_the_wait() {
        let mut backoff = Backoff::default();
        for failures in 0..20 {
            backoff.connected();
            let (shortest, longest) = bounds(failures);
            let wait = backoff.next_wait();
            assert!(shortest <= wait && wait <= longest, "{wait:?} after {failures} failures");
        }
    }
}
