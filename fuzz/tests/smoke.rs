//! A short run of every target with the stable compiler, from the kept corpus. `FUZZ_SECONDS` makes it longer, `FUZZ_SEED` another
//! one.

use std::env;
use std::time::Duration;

use fantail_fuzz::driver::{corpus, run};
use fantail_fuzz::targets::TARGETS;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

#[test]
fn no_target_fails_on_mutations_of_its_corpus() {
    let seed = number("FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..));
    let time = Duration::from_secs(number("FUZZ_SECONDS").unwrap_or(10)) / TARGETS.len() as u32;
    println!("FUZZ_SEED={seed}");
    let mut finds = Vec::new();
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        assert!(!corpus.is_empty(), "{name} has no corpus");
        let run = run(target, &corpus, seed, time);
        println!("{name}: {} executions from {} files", run.executions, run.corpus);
        finds.extend(run.find.map(|input| format!("{name}: {:?}", String::from_utf8_lossy(&input))));
    }
    assert!(finds.is_empty(), "FUZZ_SEED={seed}\n{}", finds.join("\n"));
}

/// A driver that finds nothing may look at nothing.
#[test]
fn the_driver_finds_a_fault_that_is_there() {
    let faulty = |input: &[u8]| assert!(!input.windows(2).any(|pair| pair == b"**"));
    let run = run(faulty, &[b"user:*".to_vec()], 1, Duration::from_secs(60));
    assert!(run.find.is_some(), "{run:?}");
}
