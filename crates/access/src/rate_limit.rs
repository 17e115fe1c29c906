//! How often something may happen, for each of many: so many times a second, and as many at once.
//!
//! Of each name one moment is remembered: when it would have caught up, had everything come evenly (the generic cell rate
//! algorithm). Example: with 10 a second and the moment at 0.3 s, at 0 s seven more may come at once, and at 0.2 s nine.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// Names that are remembered. One that has caught up is forgotten; if all have not, a new name is let through.
const NAMES_MAX: usize = 65_536;

/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// The rate, and who has used it up.
#[derive(Debug)]
pub struct RateLimit<N> {
    per_second: u32,
    /// By name, when it will have caught up: nanoseconds on the caller's clock.
    caught_up: HashMap<N, u64>,
    /// Names are looked through when there are so many, and not before this moment.
    look_through_at: (usize, u64),
}

/// Too often. It may come again after this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooOften(pub Duration);

impl<N: Eq + Hash> RateLimit<N> {
    /// So many a second, at least 1.
    pub fn new(per_second: u32) -> Self {
        Self { per_second: per_second.max(1), caught_up: HashMap::new(), look_through_at: (1024, 0) }
    }

    /// It comes once more, `now` on any clock that never goes back.
    pub fn take(&mut self, name: N, now: Duration) -> Result<(), TooOften> {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX / 2);
        self.forget(now);
        let is_full = self.caught_up.len() >= NAMES_MAX;
        let caught_up = match self.caught_up.get_mut(&name) {
            Some(caught_up) => caught_up,
            None if is_full => return Ok(()),
            None => self.caught_up.entry(name).or_insert(now),
        };
        let next = (*caught_up).max(now) + SECOND / u64::from(self.per_second);
        match (next - now).checked_sub(SECOND) {
            None | Some(0) => {
                *caught_up = next;
                Ok(())
            }
            Some(wait) => Err(TooOften(Duration::from_nanos(wait))),
        }
    }

    /// Names that are remembered.
    pub fn names(&self) -> usize {
        self.caught_up.len()
    }

    /// Forgets those who have caught up, when there are twice as many names as were left. Where all are in use that is once
    /// in a tenth of a second at most.
    fn forget(&mut self, now: u64) {
        let (names, moment) = self.look_through_at;
        if self.caught_up.len() >= names && now >= moment {
            self.caught_up.retain(|_, caught_up| *caught_up > now);
            self.look_through_at = ((2 * self.caught_up.len()).clamp(1024, NAMES_MAX), now + SECOND / 10);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn so_many_come_at_once_and_then_one_after_the_other() {
        let mut limit = RateLimit::new(10);
        for _ in 0..10 {
            assert_eq!(limit.take("a", millis(0)), Ok(()));
        }
        assert_eq!(limit.take("a", millis(0)), Err(TooOften(millis(100))));
        assert_eq!(limit.take("a", millis(99)), Err(TooOften(millis(1))));
        assert_eq!(limit.take("b", millis(99)), Ok(()), "another has its own");
        assert_eq!(limit.take("a", millis(100)), Ok(()));
        assert_eq!(limit.take("a", millis(100)), Err(TooOften(millis(100))), "a refusal costs nothing");
        let taken = (0..50).filter(|_| limit.take("a", millis(10_000)).is_ok()).count();
        assert_eq!(taken, 10, "a pause saves up no more than a second");
    }

    #[test]
    fn names_that_have_caught_up_are_forgotten_and_all_together_are_bounded() {
        let mut limit = RateLimit::new(1);
        for name in 0..2 * NAMES_MAX as u64 {
            assert_eq!(limit.take(name, millis(0)), Ok(()));
        }
        assert_eq!(limit.names(), NAMES_MAX);
        assert!(limit.take(0, millis(0)).is_err());
        assert_eq!(limit.take(u64::MAX, millis(5_000)), Ok(()));
        assert_eq!(limit.names(), 1);
    }
}
