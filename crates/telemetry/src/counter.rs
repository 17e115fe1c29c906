//! A counter and a gauge with one writer each.
//!
//! Only the thread that owns a counter changes it, so a change is a relaxed load and a relaxed
//! store: no locked instruction on the fan-out path. Any thread may read; it sees a value that was
//! true a moment ago. A second writer would lose counts, never corrupt memory.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::label::Label;

/// A number that only grows. One thread writes.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// A number that grows and shrinks. One thread writes.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

/// One counter per value of a label.
#[derive(Debug)]
pub struct ByLabel<L, const N: usize> {
    counters: [Counter; N],
    label: PhantomData<fn(L)>,
}

impl Counter {
    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The number so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Gauge {
    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        self.set(self.get().wrapping_add(n));
    }

    /// Takes `n` away. Taking more than there is means that something was counted twice; it fails
    /// in debug builds, and in others the gauge stays at zero instead of jumping to the largest number.
    #[inline]
    pub fn sub(&self, n: u64) {
        let value = self.get();
        debug_assert!(value >= n, "gauge at {value} cannot lose {n}");
        self.set(value.saturating_sub(n));
    }

    /// Replaces the number.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The number now.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl<L: Label, const N: usize> ByLabel<L, N> {
    /// Adds `n` to the counter of `label`.
    #[inline]
    pub fn add(&self, label: L, n: u64) {
        self.of(label).add(n);
    }

    /// The counter of `label`.
    #[inline]
    pub fn of(&self, label: L) -> &Counter {
        &self.counters[label.index()]
    }

    /// All counters added up.
    pub fn sum(&self) -> u64 {
        self.counters.iter().map(Counter::get).sum()
    }

    pub(crate) fn counters(&self) -> &[Counter] {
        &self.counters
    }
}

impl<L: Label, const N: usize> Default for ByLabel<L, N> {
    fn default() -> Self {
        const { assert!(N == L::WORDS.len(), "one counter per value of the label") };
        Self { counters: std::array::from_fn(|_| Counter::default()), label: PhantomData }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CloseReason;

    #[test]
    fn a_counter_adds_up() {
        let counter = Counter::default();
        counter.add(2);
        counter.add(40);
        assert_eq!(counter.get(), 42);
    }

    #[test]
    fn a_gauge_goes_up_and_down() {
        let gauge = Gauge::default();
        gauge.add(5);
        gauge.sub(3);
        assert_eq!(gauge.get(), 2);
        gauge.set(7);
        assert_eq!(gauge.get(), 7);
    }

    #[test]
    #[cfg_attr(debug_assertions, should_panic(expected = "gauge at 1 cannot lose 2"))]
    fn a_gauge_does_not_fall_below_zero() {
        let gauge = Gauge::default();
        gauge.add(1);
        gauge.sub(2);
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn each_label_has_its_own_counter() {
        let closed: ByLabel<CloseReason, { CloseReason::COUNT }> = ByLabel::default();
        for (times, reason) in (1..).zip(CloseReason::ALL) {
            closed.add(reason, times);
        }
        for (times, reason) in (1..).zip(CloseReason::ALL) {
            assert_eq!(closed.of(reason).get(), times, "{}", reason.as_str());
        }
        let count = CloseReason::COUNT as u64;
        assert_eq!(closed.sum(), count * (count + 1) / 2);
    }
}
