//! All logs together: how large they are, and the one bound over them, shared out fairly. Every change of a log passes
//! through here.

use std::cmp::Reverse;
use std::sync::Arc;

use fantail_telemetry::EvictReason;

use crate::channel::ChannelState;
use crate::log_entry::LogEntry;
use crate::{EntryKind, Floor, Hub, LogLimits};

/// After the budget was passed, logs are cut to this part of it, so that cutting is rare.
const BUDGET_AFTER_CUT: (usize, usize) = (9, 10);

/// The sums over all logs.
#[derive(Debug)]
pub(super) struct LogBudget {
    hub: Arc<Hub>,
    bytes: usize,
    entries: usize,
    bytes_max: usize,
}

impl LogBudget {
    pub(super) fn new(hub: &Arc<Hub>) -> Self {
        Self { hub: Arc::clone(hub), bytes: 0, entries: 0, bytes_max: hub.settings.logs_bytes_max }
    }

    /// Adds an entry, which may evict others.
    pub(super) fn append(&mut self, state: &mut ChannelState, entry: LogEntry) {
        let limits = self.hub.settings.log_limits(state.class);
        let (at_ms, too_many) = (entry.at_ms, (state.log.len() + 1).saturating_sub(limits.entries_max));
        state.has_unnumbered |= entry.kind == EntryKind::Unnumbered;
        // Age apart, so that each bound is counted by itself.
        let at_any_age = LogLimits { age_ms_max: u64::MAX, ..limits };
        let evicted = self.change(state, |state| state.log.append(entry, &at_any_age));
        let by_count = evicted.min(too_many);
        let by_age = self.change(state, |state| state.log.evict_older(at_ms, &limits));
        self.count_evictions(EvictReason::Count, by_count);
        self.count_evictions(EvictReason::Bytes, evicted - by_count);
        self.count_evictions(EvictReason::Age, by_age);
    }

    /// Adds older entries below the floor, which sinks to `floor`. They must fit: see [`free_bytes`](Self::free_bytes).
    pub(super) fn prepend(&mut self, state: &mut ChannelState, entries: Vec<LogEntry>, floor: Floor) {
        self.hub.counters.recalled.add(entries.len() as u64);
        let now_ms = (self.hub.settings.clock)();
        self.change(state, |state| {
            state.log.prepend(entries, floor, now_ms);
            0
        });
    }

    /// Empties a log, which is complete above `floor` then.
    pub(super) fn clear(&mut self, state: &mut ChannelState, floor: Floor) {
        self.change(state, |state| {
            state.log.clear(floor);
            0
        });
    }

    /// Evicts what is too old.
    pub(super) fn evict_older(&mut self, state: &mut ChannelState, now_ms: u64) {
        let limits = self.hub.settings.log_limits(state.class);
        let evicted = self.change(state, |state| state.log.evict_older(now_ms, &limits));
        self.count_evictions(EvictReason::Age, evicted);
    }

    /// How many bytes all logs may still take.
    pub(super) fn free_bytes(&self) -> usize {
        self.bytes_max.saturating_sub(self.bytes)
    }

    /// Cuts logs if all together are too large, and tells the metrics how large they are.
    pub(super) fn keep(&mut self) {
        if self.bytes > self.bytes_max {
            self.cut_to(self.bytes_max / BUDGET_AFTER_CUT.1 * BUDGET_AFTER_CUT.0);
        }
        self.report();
    }

    /// Keeps so many bytes at most from now on.
    pub(super) fn limit(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
        self.keep();
    }

    /// Tells the metrics.
    pub(super) fn report(&self) {
        self.hub.counters.log_bytes.set(self.bytes as u64);
        self.hub.counters.log_entries.set(self.entries as u64);
        self.hub.counters.channels.set(self.hub.channels.len() as u64);
    }

    pub(super) fn count_evictions(&self, reason: EvictReason, entries: usize) {
        self.hub.counters.evictions.add(reason, entries as u64);
    }

    /// Changes a log, which says how many entries it evicted, and keeps the sums over all logs.
    fn change(&mut self, state: &mut ChannelState, change: impl FnOnce(&mut ChannelState) -> usize) -> usize {
        self.bytes -= state.log.bytes();
        self.entries -= state.log.len();
        let evicted = change(state);
        self.bytes += state.log.bytes();
        self.entries += state.log.len();
        evicted
    }

    /// Cuts the largest logs to a common level, and of equals those that were quiet for longest, until all together have
    /// at most `bytes_max`: where every log is as large as every other, a few pay and not all of them. The name decides
    /// last, and not the order of the map, which differs from process to process.
    fn cut_to(&mut self, bytes_max: usize) {
        let channels = self.hub.channels.all();
        let mut by_size: Vec<_> = channels
            .iter()
            .map(|channel| {
                let state = channel.lock();
                (Reverse(state.log.bytes()), (state.log.newest_ms(), state.log.top()), channel)
            })
            .collect();
        by_size.sort_unstable_by(|(a, a_newest, a_channel), (b, b_newest, b_channel)| {
            (a, a_newest, a_channel.name()).cmp(&(b, b_newest, b_channel.name()))
        });
        let level = fair_level(by_size.iter().map(|(Reverse(size), ..)| *size).collect(), bytes_max);
        for (_, _, channel) in by_size {
            if self.bytes <= bytes_max {
                break;
            }
            let evicted = self.change(&mut channel.lock(), |state| state.log.evict_to(level));
            self.count_evictions(EvictReason::Budget, evicted);
        }
    }
}

/// The size to cut every larger log down to, so that all `sizes` together have at most `bytes_max`: the small ones stay
/// whole and the large ones share what is left in equal parts (max-min fairness). A flood in one channel costs the
/// others nothing. Example: logs of 10, 1000 and 20 bytes with a bound of 130 are cut to 100, so only the large one pays.
fn fair_level(mut sizes: Vec<usize>, bytes_max: usize) -> usize {
    sizes.sort_unstable();
    let mut left = bytes_max;
    for (i, &size) in sizes.iter().enumerate() {
        let share = left / (sizes.len() - i);
        if size > share {
            return share;
        }
        left -= size;
    }
    usize::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_logs_pay_alone_and_pay_alike() {
        assert_eq!(fair_level(vec![10, 20, 30], 60), usize::MAX);
        assert_eq!(fair_level(vec![10, 1000, 20], 130), 100);
        assert_eq!(fair_level(vec![500, 10, 500], 110), 50);
        assert_eq!(fair_level(vec![100; 4], 40), 10);
    }
}
