//! The promise over several nodes that share a feed which numbers and keeps its events: clients wander between the nodes
//! with their ids, nodes lose their connections and forget channels, terms end and take their last events along.

use super::node::SHARDS;
use super::wanderer::Wanderer;
use super::world::World;
use super::{Happened, Weather, the_one_seed};

const SEEDS: [u64; 2] = [1500, 500];

const STEPS: usize = 1000;

/// What rough weather must bring about.
const ROUGH: [&str; 14] = [
    "event",
    "beside",
    "gap",
    "unit cut",
    "overrun",
    "unknown id",
    "replay",
    "term ended",
    "forgotten",
    "recall",
    "sync",
    "moved",
    "resumed by a publisher's id",
    "ended by delete",
];

/// Tells the seed and its schedule if the run panics.
struct Run {
    seed: u64,
    world: World,
    clients: Vec<Wanderer>,
}

impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}\nseed {}: set FANTAIL_MODEL_SEED to it to run it alone", self.world.trace(), self.seed);
        }
    }
}

impl Run {
    fn new(seed: u64, weather: Weather) -> Self {
        let mut world = World::new(seed, weather);
        let clients = (0..SHARDS).map(|shard| Wanderer::new(shard, &mut world)).collect();
        Self { seed, world, clients }
    }

    fn go(mut self) -> Happened {
        for _ in 0..STEPS {
            if self.world.rng.u8(..5) < 3 {
                self.world.step();
            } else {
                let client = self.world.rng.usize(..self.clients.len());
                self.clients[client].step(&mut self.world);
            }
        }
        self.world.come_to_rest();
        for _ in 0..4 {
            for client in &mut self.clients {
                client.drain(&mut self.world);
            }
        }
        for client in &mut self.clients {
            client.judge_at_rest(&mut self.world);
        }
        std::mem::take(&mut self.world.happened)
    }
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
fn whoever_wanders_between_nodes_gets_each_numbered_event_once_in_order_or_is_told() {
    let happened = run_all(Weather::Rough);
    for what in ROUGH {
        let times = happened.get(what).copied().unwrap_or(0);
        assert!(times > 10 || the_one_seed().is_some(), "{what}: {times} times");
    }
}

#[test]
fn where_the_feed_keeps_everything_no_outage_and_no_move_costs_a_gap() {
    let happened = run_all(Weather::Calm);
    for what in ["gap", "overrun", "unknown id"] {
        assert_eq!(happened.get(what), None, "{what}");
    }
    for what in ["event", "beside", "replay", "recall", "sync", "moved", "forgotten", "resumed by a publisher's id"] {
        assert!(
            happened.get(what).is_some_and(|times| *times > 10) || the_one_seed().is_some(),
            "{what}: {happened:?}"
        );
    }
}
