//! A progress bar on standard error, when that is a terminal; silence otherwise, so that logs stay clean.

use std::io::{IsTerminal as _, stderr};

use indicatif::{ProgressBar, ProgressStyle};

/// The progress of a round.
#[derive(Debug)]
pub(crate) struct DeliveryProgress {
    bar: ProgressBar,
}

impl DeliveryProgress {
    pub(crate) fn new(what: &'static str, total: u64) -> Self {
        if !stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden() };
        }
        let bar = ProgressBar::new(total);
        // A template that does not parse costs the bar's looks, not the run.
        if let Ok(style) = ProgressStyle::with_template("{msg:<22} {wide_bar} {human_pos}/{human_len} {eta:>4}") {
            bar.set_style(style);
        }
        bar.set_message(what);
        Self { bar }
    }

    pub(crate) fn set(&self, done: u64) {
        self.bar.set_position(done);
    }
}

impl Drop for DeliveryProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
