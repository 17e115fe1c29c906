//! Durations in a histogram of three significant digits: recorded by workers, sent to the parent as pairs, reported as
//! percentiles.

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

const NANOS_MIN: u64 = 1_000;
/// Slower values are recorded as this; a deadline ends a run long before.
const NANOS_MAX: u64 = 600 * 1_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// Recorded durations.
#[derive(Debug, Clone)]
pub(crate) struct Latency {
    nanos: Histogram<u64>,
}

/// The form for the parent: each recorded value in nanoseconds with its count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Samples(Vec<(u64, u64)>);

/// The form for reports, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) count: u64,
    pub(crate) min: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Latency {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let nanos = Histogram::new_with_bounds(NANOS_MIN, NANOS_MAX, SIGNIFICANT_DIGITS)
            .context("the histogram's bounds are not usable")?;
        Ok(Self { nanos })
    }

    pub(crate) fn record(&mut self, nanos: u64) {
        self.nanos.saturating_record(nanos);
    }

    pub(crate) fn clear(&mut self) {
        self.nanos.reset();
    }

    pub(crate) fn samples(&self) -> Samples {
        let pairs = self.nanos.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value()));
        Samples(pairs.collect())
    }

    pub(crate) fn add(&mut self, samples: &Samples) {
        for (value, count) in &samples.0 {
            self.nanos.saturating_record_n(*value, *count);
        }
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        let micros = |nanos: u64| nanos as f64 / 1_000.0;
        let at = |quantile| micros(self.nanos.value_at_quantile(quantile));
        Percentiles {
            count: self.nanos.len(),
            min: micros(self.nanos.min()),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: micros(self.nanos.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "the bounds are constants")]
    use super::*;

    #[test]
    fn percentiles_survive_the_way_to_the_parent() {
        let mut recorded = Latency::new().unwrap();
        for micros in 1..=10_000 {
            recorded.record(micros * 1_000);
        }
        let text = serde_json::to_string(&recorded.samples()).unwrap();
        let mut received = Latency::new().unwrap();
        received.add(&serde_json::from_str(&text).unwrap());
        assert_eq!(received.percentiles(), recorded.percentiles());
        assert_eq!(received.percentiles().count, 10_000);
        assert!((received.percentiles().p50 - 5_000.0).abs() < 10.0);
    }

    #[test]
    fn values_beyond_the_bounds_are_kept_at_the_bounds() {
        let mut latency = Latency::new().unwrap();
        latency.record(0);
        latency.record(u64::MAX);
        assert_eq!(latency.percentiles().count, 2);
    }
}
