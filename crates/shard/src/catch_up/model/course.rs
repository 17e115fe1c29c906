//! The course of a run: the disturbances, the chance and the clock that its seed decides, and what came of them.

use std::cell::Cell;
use std::collections::BTreeMap;

/// The faults that may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disturbances {
    /// Everything.
    All,
    /// Nothing that could cost a client an event that it comes back for: then nothing may be declared missing either.
    Harmless,
}

/// The events of a run and how often each happened, so that a run in which nothing can go wrong is noticed.
pub(super) type Happened = BTreeMap<&'static str, u64>;

/// Tells the seed and its schedule if the run panics.
pub(super) struct Course {
    pub(super) rng: fastrand::Rng,
    pub(super) disturbances: Disturbances,
    pub(super) happened: Happened,
    seed: u64,
    trace: Vec<String>,
}

thread_local! {
    static NOW_MS: Cell<u64> = const { Cell::new(0) };
}

pub(super) fn now_ms() -> u64 {
    NOW_MS.get()
}

impl Drop for Course {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (i, line) in self.trace.iter().enumerate() {
                eprintln!("{i}. {line}");
            }
            eprintln!("\nseed {}: set FANTAIL_MODEL_SEED to it to run it alone", self.seed);
        }
    }
}

impl Course {
    pub(super) fn new(seed: u64, disturbances: Disturbances) -> Self {
        NOW_MS.set(1000);
        let rng = fastrand::Rng::with_seed(seed);
        Self { rng, disturbances, happened: Happened::new(), seed, trace: Vec::new() }
    }

    pub(super) fn may_lose(&self) -> bool {
        self.disturbances == Disturbances::All
    }

    pub(super) fn happened(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }

    pub(super) fn note(&mut self, what: String) {
        self.trace.push(what);
    }

    /// True in one of `of` cases.
    pub(super) fn chance(&mut self, of: usize) -> bool {
        self.rng.usize(..of) == 0
    }

    /// Whether a limit is one that is reached: with all disturbances, in one of `of` cases.
    pub(super) fn is_tight(&mut self, of: usize) -> bool {
        self.may_lose() && self.chance(of)
    }

    /// Up to three of so many channels.
    pub(super) fn some_channels(&mut self, of: usize) -> Vec<usize> {
        let count = self.rng.usize(1..=3);
        self.rng.choose_multiple(0..of, count)
    }

    pub(super) fn pass_time(&mut self) {
        NOW_MS.set(NOW_MS.get() + self.rng.u64(..40));
    }
}

/// Goes through so many seeds, or through `FANTAIL_MODEL_SEEDS`, or the one in `FANTAIL_MODEL_SEED`.
pub(super) fn run_seeds(seeds: u64, run: impl Fn(u64) -> Happened) -> Happened {
    if let Some(seed) = the_one_seed() {
        return run(seed);
    }
    let mut all = Happened::new();
    for seed in 0..number_in("FANTAIL_MODEL_SEEDS").unwrap_or(seeds) {
        for (what, times) in run(seed) {
            *all.entry(what).or_default() += times;
        }
    }
    println!("{all:?}");
    all
}

/// Checks that each of these happened more than a few times; a single seed needs not have them all.
pub(super) fn expect_all(happened: &Happened, expected: &[&str]) {
    for &what in expected {
        let times = happened.get(what).copied().unwrap_or(0);
        assert!(times > 10 || the_one_seed().is_some(), "{what}: {times} times");
    }
}

/// Checks that none of these happened.
pub(super) fn expect_none(happened: &Happened, unexpected: &[&str]) {
    for &what in unexpected {
        assert_eq!(happened.get(what), None, "{what}");
    }
}

fn the_one_seed() -> Option<u64> {
    number_in("FANTAIL_MODEL_SEED")
}

fn number_in(variable: &str) -> Option<u64> {
    let number = std::env::var(variable).ok()?;
    Some(number.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}
