//! Drives targets by mutations of their kept corpus, with the stable compiler: no coverage, but many thousand inputs a second.

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fastrand::Rng;

/// Inputs that a run starts from are cut to this.
const INPUT_BYTES_MAX: usize = 16 * 1024;

/// Words that stand in the grammars of what is read; mutations put them anywhere.
const WORDS: &[&str] = &[
    "*",
    "~",
    ":",
    "/",
    "..",
    "@",
    ",",
    ";",
    "=",
    "%00",
    "%0a",
    "\r\n",
    "\n",
    "\0",
    "\u{1}",
    "\u{feff}",
    "\u{2028}",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\ud800",
    "null",
    "true",
    "-1",
    "1e400",
    "18446744073709551616",
    "0",
    ".",
    "..",
    "Bearer ",
    "session=",
    "origin: ",
    "host: ",
    "data",
    "channel",
    "channels",
    "exp",
    "sub",
    "alg",
    "none",
    "kid",
    "fantail.",
    "abcdefghijkl.1.2",
    "evil.example",
];

/// What a run did.
#[derive(Debug)]
pub struct Run {
    /// Inputs that were tried.
    pub executions: u64,
    /// Files of the corpus.
    pub corpus: usize,
    /// The first input that the target failed on.
    pub find: Option<Vec<u8>>,
}

/// The kept corpus of a target.
pub fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths.iter().filter_map(|path| fs::read(path).ok()).collect()
}

/// Tries each input of the corpus, and then mutations of them, for so long or up to the first find.
pub fn run(target: fn(&[u8]), corpus: &[Vec<u8>], seed: u64, time: Duration) -> Run {
    let mut random = Rng::with_seed(seed);
    let mut run = Run { executions: 0, corpus: corpus.len(), find: None };
    let mut try_one = |input: &[u8]| {
        run.executions += 1;
        let is_find = panic::catch_unwind(AssertUnwindSafe(|| target(input))).is_err();
        if is_find {
            run.find = Some(input.to_vec());
        }
        is_find
    };
    let ends_at = Instant::now() + time;
    if corpus.iter().any(|input| try_one(input)) {
        return run;
    }
    let empty = Vec::new();
    while Instant::now() < ends_at {
        let one = if corpus.is_empty() { &empty } else { &corpus[random.usize(..corpus.len())] };
        let other = if corpus.is_empty() { &empty } else { &corpus[random.usize(..corpus.len())] };
        if try_one(&mutated(one, other, &mut random)) {
            break;
        }
    }
    run
}

fn mutated(one: &[u8], other: &[u8], random: &mut Rng) -> Vec<u8> {
    let mut bytes = one.to_vec();
    for _ in 0..=random.usize(..4) {
        let at = random.usize(..=bytes.len());
        let end = at + random.usize(..=(bytes.len() - at).min(32));
        match random.u8(..8) {
            0 if at < bytes.len() => bytes[at] = random.u8(..),
            1 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
            2 => bytes.insert(at, random.u8(..)),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => {
                let from = random.usize(..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            6 if at < end => {
                let piece = bytes[at..end].repeat(random.usize(1..64));
                bytes.splice(at..end, piece);
            }
            _ => {
                let word = random.choice(WORDS).expect("there are words");
                bytes.splice(at..at, word.bytes());
            }
        }
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}
