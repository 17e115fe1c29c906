//! The server's CPU time and context switches, thread by thread. The kernel counts user and system time in steps of 10 ms,
//! and the time on a CPU in nanoseconds; the sum is the finer one.

use std::collections::BTreeMap;
use std::fs;

use procfs::process::Process;
use serde::Serialize;

/// The use of resources of one thread, or of several of one name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ThreadUse {
    /// Time on a CPU.
    pub(crate) run_nanos: u64,
    pub(crate) user_us: u64,
    pub(crate) system_us: u64,
    /// Switches because the thread had nothing to do.
    pub(crate) voluntary: u64,
    /// Switches because another thread had its turn.
    pub(crate) involuntary: u64,
}

/// Threads by name; those of one name are added up. The main thread has the program's name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ServerThreads(pub(crate) BTreeMap<String, ThreadUse>);

impl ThreadUse {
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            run_nanos: self.run_nanos + other.run_nanos,
            user_us: self.user_us + other.user_us,
            system_us: self.system_us + other.system_us,
            voluntary: self.voluntary + other.voluntary,
            involuntary: self.involuntary + other.involuntary,
        }
    }

    fn since(self, earlier: Self) -> Self {
        Self {
            run_nanos: self.run_nanos.saturating_sub(earlier.run_nanos),
            user_us: self.user_us.saturating_sub(earlier.user_us),
            system_us: self.system_us.saturating_sub(earlier.system_us),
            voluntary: self.voluntary.saturating_sub(earlier.voluntary),
            involuntary: self.involuntary.saturating_sub(earlier.involuntary),
        }
    }
}

impl ServerThreads {
    pub(crate) fn read(pids: &[u32]) -> anyhow::Result<Self> {
        let mut threads = BTreeMap::<String, ThreadUse>::new();
        for pid in pids {
            let pid = i32::try_from(*pid)?;
            for task in Process::new(pid)?.tasks()? {
                // A thread may end between being listed and being read.
                let Ok(task) = task else { continue };
                let (Ok(stat), Ok(status)) = (task.stat(), task.status()) else { continue };
                let us = |ticks: u64| ticks * 1_000_000 / procfs::ticks_per_second();
                let thread = ThreadUse {
                    run_nanos: run_nanos(pid, stat.pid).unwrap_or(us(stat.utime + stat.stime) * 1_000),
                    user_us: us(stat.utime),
                    system_us: us(stat.stime),
                    voluntary: status.voluntary_ctxt_switches.unwrap_or_default(),
                    involuntary: status.nonvoluntary_ctxt_switches.unwrap_or_default(),
                };
                let sum = threads.entry(stat.comm).or_default();
                *sum = sum.and(thread);
            }
        }
        Ok(Self(threads))
    }

    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let before = |name: &str| earlier.0.get(name).copied().unwrap_or_default();
        Self(self.0.iter().map(|(name, thread)| (name.clone(), thread.since(before(name)))).collect())
    }

    pub(crate) fn total(&self) -> ThreadUse {
        self.0.values().fold(ThreadUse::default(), |sum, thread| sum.and(*thread))
    }
}

/// The first number of `schedstat`, which kernels without it leave out.
fn run_nanos(pid: i32, thread: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")).ok()?;
    text.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a file that cannot be read is a failed test")]
    use super::*;

    #[test]
    fn threads_of_a_process_are_told_by_name() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let threads = ServerThreads::read(&[child.id()]).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(threads.0.keys().collect::<Vec<_>>(), ["sleep"]);
        assert_eq!(threads.since(&threads).total(), ThreadUse::default());
    }
}
