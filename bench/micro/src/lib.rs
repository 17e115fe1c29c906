//! Runs small benchmarks in one of three ways: timed under `cargo bench`, once each as a test under
//! `cargo test --benches`, and a given number of times for `scripts/instructions`, which counts instructions under
//! valgrind and takes the difference of two runs.
//!
//! It keeps no history and judges nothing: times are only good for a look, instruction counts for comparison.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// One thing to measure. The closure does it once and returns a value that must not be optimised away.
pub struct Bench<'a> {
    name: &'static str,
    once: Box<dyn FnMut() -> u64 + 'a>,
}

/// Long enough that the clock's grain does not show.
const SAMPLE_LEAST: Duration = Duration::from_millis(50);
const SAMPLES: u32 = 7;

impl std::fmt::Debug for Bench<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Bench").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<'a> Bench<'a> {
    /// A benchmark under its name.
    pub fn new(name: &'static str, once: impl FnMut() -> u64 + 'a) -> Self {
        Self { name, once: Box::new(once) }
    }

    fn run(&mut self, times: u64) {
        for _ in 0..times {
            black_box((self.once)());
        }
    }

    /// The least time of several samples: other work of the machine can only add to it.
    fn nanos(&mut self) -> f64 {
        let mut times = 1;
        let sample = |bench: &mut Self, times| {
            let began = Instant::now();
            bench.run(times);
            began.elapsed()
        };
        while sample(self, times) < SAMPLE_LEAST {
            times *= 2;
        }
        let least = (0..SAMPLES).map(|_| sample(self, times)).min().unwrap_or_default();
        least.as_secs_f64() * 1e9 / times as f64
    }
}

/// Runs the benchmarks as the command line says; the last line of a benchmark's `main`.
pub fn main(benches: &mut [Bench<'_>]) {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--list-names"] => benches.iter().for_each(|bench| println!("{}", bench.name)),
        ["--times", times, name] => {
            let times = times.parse().unwrap_or_else(|_| panic!("--times takes a number, not {times:?}"));
            let found = benches.iter_mut().find(|bench| bench.name == *name);
            found.unwrap_or_else(|| panic!("there is no benchmark {name:?}")).run(times);
        }
        words if words.contains(&"--bench") => {
            for bench in benches {
                let nanos = bench.nanos();
                println!("{:<40} {nanos:>10.1} ns", bench.name);
            }
        }
        _ => {
            for bench in benches {
                bench.run(1);
                println!("{} ran", bench.name);
            }
        }
    }
}
