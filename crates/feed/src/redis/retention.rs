//! How much of its past a channel keeps in Redis.

use std::time::Duration;

/// How much of its past a channel keeps in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRetention {
    /// Events of one channel.
    pub events_max: u64,
    /// Age up to which an event is kept; also how long after its last event a channel's Stream lives.
    pub age_max: Duration,
}

impl Default for LogRetention {
    /// The bounds of the functions in Redis until a node sets others.
    fn default() -> Self {
        Self { events_max: 10_000, age_max: Duration::from_hours(24) }
    }
}
