//! The memory of the process, and what gives way when it is short.
//!
//! The control loop looks once a second. Short: no new streams, and logs keep half as much. Scarce: streams whose sockets take
//! nothing are ended, since each may pin frames that no log holds any more. Neither ever takes anything from a stream that
//! keeps up.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fantail_shard::ShardCommand;
use rustix::param::page_size;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::running_node::RunningNode;

/// How often memory is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// The parts of the bound, in percent, from which on it is short and scarce. A level ends this much below its beginning, so that it
/// does not come and go.
const SHORT_PERCENT: u64 = 80;
const SCARCE_PERCENT: u64 = 95;
const BACK_PERCENT: u64 = 5;

/// How short memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MemoryLevel {
    Enough,
    Short,
    Scarce,
}

/// The bound, and how short memory was when it was last looked at.
#[derive(Debug)]
pub(crate) struct MemoryBound {
    bytes_max: u64,
    percent: AtomicU64,
    level: AtomicU64,
}

impl MemoryBound {
    /// The operator's, or else what the process can have. Without either memory is never short.
    pub(crate) fn new(memory_max: Option<usize>) -> Self {
        let bytes_max = memory_max.map(|bytes| bytes as u64).or_else(available).unwrap_or(u64::MAX);
        Self { bytes_max, percent: AtomicU64::new(0), level: AtomicU64::new(0) }
    }

    pub(crate) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Whether newcomers are to come back later.
    pub(crate) fn is_short(&self) -> bool {
        self.level() != MemoryLevel::Enough
    }

    /// The sentence for operators, if memory is short.
    pub(crate) fn trouble(&self) -> Option<String> {
        let percent = self.percent.load(Ordering::Relaxed);
        let bytes_max = self.bytes_max;
        self.is_short().then(|| format!("{percent}% of {bytes_max} bytes of memory are in use (memory_max)"))
    }

    fn level(&self) -> MemoryLevel {
        match self.level.load(Ordering::Relaxed) {
            0 => MemoryLevel::Enough,
            1 => MemoryLevel::Short,
            _ => MemoryLevel::Scarce,
        }
    }

    /// So many bytes are in use now. Returns the level that follows.
    fn note(&self, resident: u64) -> MemoryLevel {
        let percent = percent_of(resident, self.bytes_max);
        let level = level_at(percent, self.level());
        self.percent.store(percent, Ordering::Relaxed);
        self.level.store(level as u64, Ordering::Relaxed);
        level
    }
}

/// Looks at the memory for ever, and lets others give way.
pub(crate) async fn watch(node: Arc<RunningNode>, logs_bytes_max: usize) {
    let hub = node.metrics.hub();
    hub.memory_max.set(node.memory.bytes_max());
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(resident) = resident_bytes() else { continue };
        let before = node.memory.level();
        let level = node.memory.note(resident);
        hub.memory_level.set(level as u64);
        if level != before {
            tell(level, resident, node.memory.bytes_max());
            let logs_bytes_max = if level == MemoryLevel::Enough { logs_bytes_max } else { logs_bytes_max / 2 };
            node.intake.lock().publisher.limit_logs(logs_bytes_max);
        }
        if level == MemoryLevel::Scarce {
            end_blocked(&node).await;
        }
    }
}

async fn end_blocked(node: &RunningNode) {
    for shard in &node.shards {
        let (reply, ended) = oneshot::channel();
        if shard.send(ShardCommand::EndBlocked { reply }).await.is_ok() {
            let ended = ended.await.unwrap_or_default();
            if ended > 0 {
                warn!(streams = ended, "memory is scarce: streams that take nothing were ended");
            }
        }
    }
}

fn tell(level: MemoryLevel, resident_bytes: u64, memory_max: u64) {
    match level {
        MemoryLevel::Enough => info!(resident_bytes, memory_max, "there is enough memory again"),
        MemoryLevel::Short => warn!(
            resident_bytes,
            memory_max,
            "memory is short: newcomers are told to come back later, and logs keep half as much; raise memory_max or add a node"
        ),
        MemoryLevel::Scarce => {
            warn!(resident_bytes, memory_max, "memory is scarce: streams that take nothing are ended");
        }
    }
}

fn percent_of(bytes: u64, of: u64) -> u64 {
    u64::try_from(u128::from(bytes) * 100 / u128::from(of.max(1))).unwrap_or(u64::MAX)
}

fn level_at(percent: u64, current: MemoryLevel) -> MemoryLevel {
    let reaches = |level, from: u64| percent >= if current >= level { from - BACK_PERCENT } else { from };
    if reaches(MemoryLevel::Scarce, SCARCE_PERCENT) {
        MemoryLevel::Scarce
    } else if reaches(MemoryLevel::Short, SHORT_PERCENT) {
        MemoryLevel::Short
    } else {
        MemoryLevel::Enough
    }
}

/// The memory in use, by the kernel's count of pages.
fn resident_bytes() -> Option<u64> {
    let pages: u64 = fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()?;
    Some(pages * page_size() as u64)
}

/// The smallest limit of the cgroups that the process is in, or the machine's memory.
fn available() -> Option<u64> {
    let root = Path::new("/sys/fs/cgroup");
    let of_process = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = of_process.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let limit = |cgroup: &Path| fs::read_to_string(cgroup.join("memory.max")).ok()?.trim().parse().ok();
    let in_groups = root.join(path).ancestors().take_while(|group| group.starts_with(root)).filter_map(limit).min();
    let of_machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_of(&text));
    in_groups.into_iter().chain(of_machine).min()
}

fn total_of(meminfo: &str) -> Option<u64> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(total.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_begins_at_its_part_of_the_bound_and_ends_a_little_below() {
        use MemoryLevel::{Enough, Scarce, Short};
        let bound = MemoryBound::new(Some(1_000));
        let course = [790, 800, 760, 749, 949, 950, 900, 899, 1_500, 0].map(|resident| bound.note(resident));
        assert_eq!(course, [Enough, Short, Short, Enough, Short, Scarce, Scarce, Short, Scarce, Enough]);
        bound.note(812);
        assert_eq!(bound.trouble().as_deref(), Some("81% of 1000 bytes of memory are in use (memory_max)"));
        bound.note(0);
        assert_eq!(bound.trouble(), None);
    }

    #[test]
    fn without_a_setting_the_bound_is_what_the_machine_has_and_this_process_is_below_it() {
        let bound = MemoryBound::new(None);
        assert_eq!(total_of("MemTotal:       16 kB\nMemFree: 1 kB\n"), Some(16_384));
        assert!((1 << 20..u64::MAX).contains(&bound.bytes_max()), "{bound:?}");
        assert!(resident_bytes().is_some_and(|bytes| (1 << 16..bound.bytes_max()).contains(&bytes)));
    }
}
