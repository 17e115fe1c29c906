//! Why there is no connection: the last reason, in the words of the log.

use std::fmt::Display;

use parking_lot::Mutex;

/// The last reason. None of its words are secret.
#[derive(Debug, Default)]
pub(crate) struct Trouble(Mutex<Option<String>>);

impl Trouble {
    pub(crate) fn is(&self, what: &str, address: &str, reason: &dyn Display) {
        *self.0.lock() = Some(format!("{what} ({address}): {reason}"));
    }

    pub(crate) fn told(&self) -> Option<String> {
        self.0.lock().clone()
    }
}
