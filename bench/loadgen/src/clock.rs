//! The one clock of a measurement: `CLOCK_MONOTONIC`, which all processes of a machine share. So one process can stamp
//! an event and another can take its latency.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since the machine started.
pub(crate) fn now_nanos() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or_default() * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or_default()
}

/// When event `number` of a load at a given rate is due, if its first is due at `began_nanos`.
pub(crate) fn due_nanos(began_nanos: u64, number: u64, per_second: f64) -> u64 {
    let offset = Duration::from_secs_f64(number as f64 / per_second).as_nanos();
    began_nanos + u64::try_from(offset).unwrap_or(u64::MAX / 2)
}
