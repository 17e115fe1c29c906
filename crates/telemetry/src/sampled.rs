//! A gate for log lines that clients can cause: the first few of each reason pass, the rest is
//! counted.
//!
//! A flood of bad requests must not become a flood of lines, yet the first line of a new trouble
//! must not be lost among those of another, so each reason has its own allowance. Time is passed
//! in; one thread owns a gate.

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use crate::label::Label;

/// The gate.
#[derive(Debug)]
pub struct Sampled<L> {
    lines_max: u32,
    period: Duration,
    /// By index of the label.
    reasons: Vec<Reason>,
    label: PhantomData<fn(L)>,
}

/// Leave to write one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Lines of the same reason that were held back since the last one that passed, to be told in
    /// this one.
    pub suppressed: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Reason {
    /// When the first line of the current period passed; nothing before the first.
    period_start: Option<Instant>,
    lines: u32,
    suppressed: u64,
}

impl<L: Label> Sampled<L> {
    /// Lets `lines_max` lines of each reason pass per period.
    pub fn new(lines_max: u32, period: Duration) -> Self {
        Self { lines_max, period, reasons: vec![Reason::default(); L::WORDS.len()], label: PhantomData }
    }

    /// Asks for leave to write a line; without it the line is counted instead.
    pub fn admit(&mut self, reason: L, now: Instant) -> Option<Admitted> {
        let period = self.period;
        let reason = &mut self.reasons[reason.index()];
        if reason.is_over(now, period) {
            reason.period_start = Some(now);
            reason.lines = 0;
        }
        if reason.lines < self.lines_max {
            reason.lines += 1;
            Some(Admitted { suppressed: std::mem::take(&mut reason.suppressed) })
        } else {
            reason.suppressed += 1;
            None
        }
    }

    /// Takes the count of a reason whose period is over, so that the end of a flood is told even
    /// if no further line comes. Meant to be called now and then for every reason.
    pub fn take_suppressed(&mut self, reason: L, now: Instant) -> Option<u64> {
        let period = self.period;
        let reason = &mut self.reasons[reason.index()];
        let tell = reason.suppressed > 0 && reason.is_over(now, period);
        tell.then(|| std::mem::take(&mut reason.suppressed))
    }
}

impl Reason {
    fn is_over(&self, now: Instant, period: Duration) -> bool {
        self.period_start.is_none_or(|start| now.saturating_duration_since(start) >= period)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RejectReason;

    const PERIOD: Duration = Duration::from_secs(1);

    /// Leave to write a line that tells of so many others.
    const fn telling(suppressed: u64) -> Admitted {
        Admitted { suppressed }
    }

    #[test]
    fn the_first_lines_of_a_period_pass_and_the_next_period_tells_how_many_did_not() {
        let mut gate = Sampled::new(2, PERIOD);
        let start = Instant::now();
        let table = [
            (0, Some(telling(0))),
            (100, Some(telling(0))),
            (200, None),
            (999, None),
            (1000, Some(telling(2))),
            (1001, Some(telling(0))),
            (1002, None),
            // A quiet time does not save up leave for more lines.
            (9000, Some(telling(1))),
            (9001, Some(telling(0))),
            (9002, None),
        ];
        for (millis, expected) in table {
            let now = start + Duration::from_millis(millis);
            assert_eq!(gate.admit(RejectReason::Malformed, now), expected, "at {millis} ms");
        }
    }

    #[test]
    fn one_reason_does_not_use_up_the_lines_of_another() {
        let mut gate = Sampled::new(1, PERIOD);
        let now = Instant::now();
        for reason in RejectReason::ALL {
            assert_eq!(gate.admit(reason, now), Some(telling(0)), "{reason}");
            assert_eq!(gate.admit(reason, now), None, "{reason}");
        }
    }

    #[test]
    fn the_end_of_a_flood_is_told_once_after_its_period() {
        let mut gate = Sampled::new(1, PERIOD);
        let start = Instant::now();
        let reason = RejectReason::TooLarge;
        for _ in 0..4 {
            gate.admit(reason, start);
        }
        assert_eq!(gate.take_suppressed(reason, start), None);
        assert_eq!(gate.take_suppressed(reason, start + PERIOD), Some(3));
        assert_eq!(gate.take_suppressed(reason, start + PERIOD), None);
        assert_eq!(gate.take_suppressed(RejectReason::Malformed, start + PERIOD), None);
        assert_eq!(gate.admit(reason, start + PERIOD), Some(telling(0)));
    }
}
