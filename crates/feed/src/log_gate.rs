//! A bound on log lines of one kind, so that a hostile or broken publisher cannot fill a disk.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

const WINDOW: Duration = Duration::from_mins(1);
/// How much of an error about a payload is logged: it may quote the payload.
const ERROR_CHARS_MAX: usize = 200;

/// The beginning of an error as one printable line: it may quote a publisher's text.
pub(crate) fn clipped(error: &str) -> String {
    error.chars().take(ERROR_CHARS_MAX).flat_map(char::escape_debug).collect()
}

/// Lets the first few lines of each minute pass and counts the rest.
#[derive(Debug)]
pub(crate) struct LogGate {
    lines_per_minute: u32,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    start: Option<Instant>,
    lines: u32,
    suppressed: u64,
}

impl LogGate {
    pub(crate) const fn new(lines_per_minute: u32) -> Self {
        Self { lines_per_minute, window: Mutex::new(Window { start: None, lines: 0, suppressed: 0 }) }
    }

    /// Whether to write a line now; if so, how many were left out since the last.
    pub(crate) fn pass(&self) -> Option<u64> {
        self.pass_at(Instant::now())
    }

    fn pass_at(&self, now: Instant) -> Option<u64> {
        let mut window = self.window.lock();
        if window.start.is_none_or(|start| now.duration_since(start) >= WINDOW) {
            window.start = Some(now);
            window.lines = 0;
        }
        if window.lines >= self.lines_per_minute {
            window.suppressed += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_shows_neither_control_characters_nor_a_whole_payload() {
        assert!(!clipped("not a number: \u{1b}[2J\n").chars().any(char::is_control));
        assert!(clipped(&"\n".repeat(1 << 20)).len() <= 2 * ERROR_CHARS_MAX);
    }

    #[test]
    fn the_first_lines_of_a_minute_pass_and_the_next_minute_tells_how_many_did_not() {
        let gate = LogGate::new(2);
        let start = Instant::now();
        let passed: Vec<_> = (0..5).map(|_| gate.pass_at(start)).collect();
        assert_eq!(passed, [Some(0), Some(0), None, None, None]);
        assert_eq!(gate.pass_at(start + WINDOW), Some(3));
        assert_eq!(gate.pass_at(start + WINDOW), Some(0));
        assert_eq!(gate.pass_at(start + WINDOW), None);
    }
}
