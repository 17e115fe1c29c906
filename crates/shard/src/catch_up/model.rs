//! The promise of a stream, judged by chance: the real hub and the real steps of `catch_up.rs`, without sockets.
//!
//! A seed decides everything: what is published, deleted, lost and forgotten, when a client comes and goes, how few
//! bytes its socket takes, where its connection is cut, and what the control thread does between two steps of the shard.
//! `node.rs` is the control thread with its feed, `connection.rs` one stream of a shard, and `client.rs` a browser that
//! knows what it is owed. Each client has a shard of its own, so that marks and bells are part of the schedule.
//! `shared.rs` does the same with a feed that numbers: `world.rs` and `wanderer.rs`.
//!
//! Not here: passes (`fanout.rs`) and threads. A step of the control thread is whole, so an append without its watermark
//! is never seen; `hub/mailbox` has its own model of that.

#![allow(clippy::unwrap_used, reason = "a test says what it found by panicking")]

mod client;
mod connection;
mod node;
mod shared;
mod wanderer;
mod world;

use std::collections::BTreeMap;

use client::Client;
use node::Node;

/// Seeds in each weather: a few seconds without optimization. A calm run takes longer, since its logs keep everything.
const SEEDS: [u64; 2] = [2500, 500];

const STEPS: usize = 250;

/// What may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    /// Everything.
    Rough,
    /// Nothing that could cost a client an event that it comes back for: then nothing may be declared missing either.
    Calm,
}

/// What happened and how often, so that a run in which nothing can go wrong is noticed.
type Happened = BTreeMap<&'static str, u64>;

/// What rough weather must bring about.
const ROUGH: [&str; 13] = [
    "event",
    "gap",
    "unit cut",
    "overrun",
    "skip",
    "latest",
    "unknown id",
    "replay",
    "partial write",
    "limit reached",
    "ended by delete",
    "refused",
    "floor above watermark",
];

/// Tells the seed and its schedule if the run panics.
struct Run {
    seed: u64,
    node: Node,
    clients: Vec<Client>,
}

impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}\nseed {}: set FANTAIL_MODEL_SEED to it to run it alone", self.node.trace(), self.seed);
        }
    }
}

impl Run {
    fn new(seed: u64, weather: Weather) -> Self {
        let mut node = Node::new(seed, weather);
        let clients = (0..node::SHARDS).map(|shard| Client::new(shard, &mut node)).collect();
        Self { seed, node, clients }
    }

    fn go(mut self) -> Happened {
        for _ in 0..STEPS {
            if self.node.rng.bool() {
                self.node.step();
            } else {
                let client = self.node.rng.usize(..self.clients.len());
                self.clients[client].step(&mut self.node);
            }
        }
        self.come_to_rest();
        std::mem::take(&mut self.node.happened)
    }

    /// Nothing new is published, the feed is back, and every client gets all that it is owed.
    fn come_to_rest(&mut self) {
        self.node.come_to_rest();
        for _ in 0..4 {
            for client in &mut self.clients {
                client.drain(&mut self.node);
            }
        }
        for client in &mut self.clients {
            client.judge_at_rest(&mut self.node);
        }
    }
}

fn the_one_seed() -> Option<u64> {
    let seed = std::env::var("FANTAIL_MODEL_SEED").ok()?;
    Some(seed.parse().expect("FANTAIL_MODEL_SEED is a number"))
}

fn run_all(weather: Weather) -> Happened {
    if let Some(seed) = the_one_seed() {
        return Run::new(seed, weather).go();
    }
    let mut all = Happened::default();
    for seed in 0..SEEDS[weather as usize] {
        for (what, times) in Run::new(seed, weather).go() {
            *all.entry(what).or_default() += times;
        }
    }
    println!("{weather:?}: {all:?}");
    all
}

#[test]
fn whatever_happens_each_event_comes_once_in_order_or_a_gap_tells_of_it() {
    let happened = run_all(Weather::Rough);
    for what in ROUGH {
        let times = happened.get(what).copied().unwrap_or(0);
        assert!(times > 10 || the_one_seed().is_some(), "{what}: {times} times");
    }
}

#[test]
fn where_nothing_is_lost_no_gap_is_told_and_no_stream_overrun() {
    let happened = run_all(Weather::Calm);
    for what in ["gap", "overrun", "skip", "latest", "unknown id"] {
        assert_eq!(happened.get(what), None, "{what}");
    }
    assert!(happened["event"] > 0 && happened["partial write"] > 0, "{happened:?}");
}
