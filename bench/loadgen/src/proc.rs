//! The kernel's figures of processes and of itself, read from `/proc`. Every figure keeps the kernel's own resolution.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Context as _;
use rustix::param::{clock_ticks_per_second, page_size};
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
}

/// The CPU time of these processes together.
pub(crate) fn cpu(pids: &[u32]) -> anyhow::Result<Cpu> {
    pids.iter().try_fold(Cpu::default(), |sum, pid| {
        let cpu = parse_stat(&read(&format!("/proc/{pid}/stat"))?, clock_ticks_per_second())
            .with_context(|| format!("/proc/{pid}/stat is not as expected"))?;
        Ok(Cpu { user_us: sum.user_us + cpu.user_us, system_us: sum.system_us + cpu.system_us })
    })
}

/// The CPU time of each thread of a process. Threads of one name are added up; the main thread has the program's name.
pub(crate) fn threads(pid: u32) -> anyhow::Result<BTreeMap<String, Cpu>> {
    let mut threads = BTreeMap::<String, Cpu>::new();
    let folder = format!("/proc/{pid}/task");
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
        let task = entry?.path();
        // A thread may end between being listed and being read.
        let Ok(text) = fs::read_to_string(task.join("stat")) else { continue };
        let name = text.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')).map(|(name, _)| name);
        let (Some(name), Some(cpu)) = (name, parse_stat(&text, clock_ticks_per_second())) else { continue };
        let sum = threads.entry(name.to_owned()).or_default();
        *sum = Cpu { user_us: sum.user_us + cpu.user_us, system_us: sum.system_us + cpu.system_us };
    }
    Ok(threads)
}

/// A process and all its descendants.
pub(crate) fn family(root: u32) -> anyhow::Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot read /proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let parent = text.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        parents.extend(parent.map(|parent| (pid, parent)));
    }
    let mut family = vec![root];
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    Ok(family)
}

/// The memory of these processes together.
pub(crate) fn memory(pids: &[u32]) -> anyhow::Result<Memory> {
    pids.iter().try_fold(Memory::default(), |sum, pid| {
        let text = read(&format!("/proc/{pid}/smaps_rollup"))?;
        let field = |name| field_bytes(&text, name).with_context(|| format!("/proc/{pid}/smaps_rollup has no {name}"));
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
    let memory = read("/proc/meminfo")?;
    let field = |name| field_bytes(&memory, name).with_context(|| format!("/proc/meminfo has no {name}"));
    Ok(Kernel {
        tcp: tcp("mem")? * page_size() as u64,
        slab: field("Slab")?,
        available: field("MemAvailable")?,
        tcp_sockets: tcp("inuse")?,
    })
}

pub(crate) fn machine() -> anyhow::Result<Machine> {
    let model = read("/proc/cpuinfo")?
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, model)| model.trim().to_owned()));
    Ok(Machine {
        kernel_release: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        cpu_model: model.unwrap_or_else(|| "unknown".to_owned()),
        cpus: read("/proc/cpuinfo")?.lines().filter(|line| line.starts_with("processor")).count(),
        memory_bytes: field_bytes(&read("/proc/meminfo")?, "MemTotal").context("/proc/meminfo has no MemTotal")?,
    })
}

/// The CPUs a process may run on, as the kernel writes them (`0`, `1-3`).
pub(crate) fn allowed_cpus(pid: u32) -> anyhow::Result<String> {
    let status = read(&format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    Ok(line.with_context(|| format!("/proc/{pid}/status has no Cpus_allowed_list"))?.trim().to_owned())
}

fn read(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path} (is the process there, and yours?)"))
}

/// User and system time are fields 14 and 15; the name in field 2 may hold spaces and parentheses, so counting starts
/// behind its last one.
fn parse_stat(text: &str, ticks_per_second: u64) -> Option<Cpu> {
    let (_, behind_name) = text.rsplit_once(')')?;
    let mut fields = behind_name.split_whitespace().skip(11);
    let mut next_us = || Some(fields.next()?.parse::<u64>().ok()? * 1_000_000 / ticks_per_second);
    Some(Cpu { user_us: next_us()?, system_us: next_us()? })
}

/// A `Name:   123 kB` line.
fn field_bytes(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kilobytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
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
    fn cpu_time_is_found_behind_a_hostile_name() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 1 0 99";
        assert_eq!(parse_stat(stat, 100), Some(Cpu { user_us: 1_500_000, system_us: 500_000 }));
        assert_eq!(parse_stat("42 (a", 100), None);
    }

    #[test]
    fn fields_are_matched_by_their_whole_name() {
        let text = "Pss_Dirty:   4 kB\nPss:        8 kB\nRss:  12 kB\n";
        assert_eq!(field_bytes(text, "Pss"), Some(8 * 1024));
        assert_eq!(field_bytes(text, "Rss"), Some(12 * 1024));
        assert_eq!(field_bytes(text, "Swap"), None);
    }

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
        let error = cpu(&[u32::MAX]).unwrap_err();
        assert!(format!("{error:#}").contains("/proc/4294967295/stat"), "{error:#}");
    }
}
