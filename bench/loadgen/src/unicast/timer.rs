//! A timer that the loop waits on like a socket. The timeout of a poll counts whole milliseconds, which is too coarse for
//! events that are due every few microseconds.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// One time at which the loop wakes up.
#[derive(Debug)]
pub(crate) struct Timer {
    descriptor: OwnedFd,
    set_nanos: u64,
}

impl Timer {
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let descriptor = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        registry.register(&mut SourceFd(&descriptor.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { descriptor, set_nanos: 0 })
    }

    /// Wakes the loop at this time of `clock::now_nanos`. Readiness is edge-triggered, so nobody has to read it.
    pub(crate) fn set(&mut self, nanos: u64) -> io::Result<()> {
        if self.set_nanos == nanos {
            return Ok(());
        }
        let time = |nanos: u64| Timespec {
            tv_sec: i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(nanos % 1_000_000_000).unwrap_or_default(),
        };
        let at = Itimerspec { it_interval: time(0), it_value: time(nanos) };
        timerfd_settime(&self.descriptor, TimerfdTimerFlags::ABSTIME, &at)?;
        self.set_nanos = nanos;
        Ok(())
    }
}
