//! The kernel's figures of processes and of itself, read from `/proc`. Every figure keeps the kernel's own resolution.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Context as _;
use procfs::process::{Process, Stat, all_processes};
use procfs::{CpuInfo, Current as _, Meminfo};
use serde::Serialize;

/// CPU time of a process, all its threads, in microseconds. The kernel gives it in ticks of (usually) 10 ms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Cpu {
    pub(crate) user_us: u64,
    pub(crate) system_us: u64,
}

/// Memory of a process in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Memory {
    pub(crate) rss: u64,
    pub(crate) pss: u64,
    pub(crate) private_dirty: u64,
}

/// Memory of the kernel in bytes, for the whole machine: both ends of every loopback connection are in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Kernel {
    pub(crate) tcp: u64,
    pub(crate) slab: u64,
    /// The bytes that programs could still get.
    pub(crate) available: u64,
    pub(crate) tcp_sockets: u64,
}

/// The machine of the figures.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    pub(crate) kernel_release: String,
    pub(crate) cpu_model: String,
    pub(crate) cpus: usize,
    pub(crate) memory_bytes: u64,
}

impl Cpu {
    pub(crate) fn total_us(self) -> u64 {
        self.user_us + self.system_us
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            user_us: self.user_us.saturating_sub(earlier.user_us),
            system_us: self.system_us.saturating_sub(earlier.system_us),
        }
    }

    fn and(self, stat: &Stat) -> Self {
        let us = |ticks: u64| ticks * 1_000_000 / procfs::ticks_per_second();
        Self { user_us: self.user_us + us(stat.utime), system_us: self.system_us + us(stat.stime) }
    }
}

/// The CPU time of these processes together.
pub(crate) fn cpu(pids: &[u32]) -> anyhow::Result<Cpu> {
    pids.iter().try_fold(Cpu::default(), |sum, pid| Ok(sum.and(&process(*pid)?.stat()?)))
}

/// The CPU time of each thread of a process. Threads of one name are added up; the main thread has the program's name.
pub(crate) fn threads(pid: u32) -> anyhow::Result<BTreeMap<String, Cpu>> {
    let mut threads = BTreeMap::<String, Cpu>::new();
    for task in process(pid)?.tasks()? {
        // A thread may end between being listed and being read.
        let Ok(stat) = task.and_then(|task| task.stat()) else { continue };
        let sum = threads.entry(stat.comm.clone()).or_default();
        *sum = sum.and(&stat);
    }
    Ok(threads)
}

/// A process and all its descendants.
pub(crate) fn family(root: u32) -> anyhow::Result<Vec<u32>> {
    let stats: Vec<_> = all_processes()?.filter_map(|process| process.ok()?.stat().ok()).collect();
    let mut family = vec![root];
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        family.extend(
            stats.iter().filter(|stat| stat.ppid.cast_unsigned() == parent).map(|stat| stat.pid.cast_unsigned()),
        );
        at += 1;
    }
    Ok(family)
}

/// The memory of these processes together.
pub(crate) fn memory(pids: &[u32]) -> anyhow::Result<Memory> {
    pids.iter().try_fold(Memory::default(), |sum, pid| {
        let rollup = process(*pid)?.smaps_rollup()?.memory_map_rollup;
        let fields = &rollup.0.first().context("smaps_rollup is empty")?.extension.map;
        let field = |name| fields.get(name).copied().with_context(|| format!("/proc/{pid}/smaps_rollup has no {name}"));
        Ok(Memory {
            rss: sum.rss + field("Rss")?,
            pss: sum.pss + field("Pss")?,
            private_dirty: sum.private_dirty + field("Private_Dirty")?,
        })
    })
}

pub(crate) fn kernel() -> anyhow::Result<Kernel> {
    let sockets = read("/proc/net/sockstat")?;
    let tcp = |name| parse_tcp(&sockets, name).with_context(|| format!("/proc/net/sockstat has no TCP {name}"));
    let memory = Meminfo::current()?;
    Ok(Kernel {
        tcp: tcp("mem")? * procfs::page_size(),
        slab: memory.slab,
        available: memory.mem_available.context("/proc/meminfo has no MemAvailable")?,
        tcp_sockets: tcp("inuse")?,
    })
}

pub(crate) fn machine() -> anyhow::Result<Machine> {
    let cpus = CpuInfo::current()?;
    Ok(Machine {
        kernel_release: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        cpu_model: cpus.model_name(0).unwrap_or("unknown").to_owned(),
        cpus: cpus.num_cores(),
        memory_bytes: Meminfo::current()?.mem_total,
    })
}

/// The CPUs a process may run on, as the kernel writes them (`0`, `1-3`).
pub(crate) fn allowed_cpus(pid: u32) -> anyhow::Result<String> {
    let status = read(&format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    Ok(line.with_context(|| format!("/proc/{pid}/status has no Cpus_allowed_list"))?.trim().to_owned())
}

fn process(pid: u32) -> anyhow::Result<Process> {
    Process::new(i32::try_from(pid)?)
        .with_context(|| format!("cannot read /proc/{pid} (is the process there, and yours?)"))
}

fn read(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

/// One of the pairs of the TCP line.
fn parse_tcp(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    line.split_whitespace().skip_while(|word| *word != name).nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a file that cannot be read is a failed test")]
    use super::*;

    #[test]
    fn tcp_counts_are_found_by_name() {
        let text = "sockets: used 12\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 828\nUDP: inuse 0 mem 5\n";
        assert_eq!((parse_tcp(text, "mem"), parse_tcp(text, "inuse")), (Some(828), Some(1)));
    }

    #[test]
    fn this_process_and_machine_can_be_read() {
        let pid = std::process::id();
        cpu(&[pid]).unwrap();
        let memory = memory(&[pid]).unwrap();
        assert!(memory.rss >= memory.pss && memory.pss > 0);
        assert!(kernel().unwrap().slab > 0);
        assert!(machine().unwrap().cpus > 0);
        assert!(!allowed_cpus(pid).unwrap().is_empty());
    }

    #[test]
    fn threads_are_told_by_name_and_families_by_descent() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let family = family(std::process::id()).unwrap();
        assert!(family.contains(&std::process::id()) && family.contains(&child.id()));
        assert!(threads(child.id()).unwrap().contains_key("sleep"));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn missing_process_is_an_error_that_names_it() {
        let error = cpu(&[i32::MAX as u32]).unwrap_err();
        assert!(format!("{error:#}").contains("/proc/2147483647"), "{error:#}");
    }
}
