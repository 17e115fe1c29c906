//! The promise over several nodes that share a feed which numbers and keeps its events: clients roam between the nodes
//! with their ids, nodes lose their connections and forget channels, terms end and take their last events along.
//!
//! A client is judged by the truth of each of its channels (`account.rs`) and not by the id with which it comes to a node:
//! that id says nothing of what it lacks below.

use super::client::Client;
use super::course::{Disturbances, Happened, expect_all, expect_none, run_seeds};
use super::node::SHARDS;
use super::world::World;

const SEEDS: [u64; 2] = [1500, 500];

const STEPS: usize = 1000;

/// These must happen in a run with all disturbances.
const MUST_HAPPEN: [&str; 17] = [
    "event",
    "unnumbered",
    "unnumbered gap",
    "gap",
    "unit cut",
    "overrun",
    "unknown id",
    "behind the end of a term",
    "with the newest of what there is",
    "replay",
    "term ended",
    "forgotten",
    "recall",
    "sync",
    "moved",
    "resumed by a publisher's id",
    "ended by delete",
];

struct Run {
    world: World,
    clients: Vec<Client>,
}

impl Run {
    fn new(seed: u64, disturbances: Disturbances) -> Self {
        let mut world = World::new(seed, disturbances);
        let clients = (0..SHARDS).map(|shard| Client::new(shard, &mut world)).collect();
        Self { world, clients }
    }

    fn go(mut self) -> Happened {
        for _ in 0..STEPS {
            if self.world.course.rng.u8(..5) < 3 {
                self.world.step();
            } else {
                let client = self.world.course.rng.usize(..self.clients.len());
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
        std::mem::take(&mut self.world.course.happened)
    }
}

fn run_all(disturbances: Disturbances) -> Happened {
    run_seeds(SEEDS[disturbances as usize], |seed| Run::new(seed, disturbances).go())
}

#[test]
fn a_client_that_roams_between_nodes_gets_each_numbered_event_once_in_order_or_is_told() {
    expect_all(&run_all(Disturbances::All), &MUST_HAPPEN);
}

#[test]
fn where_the_feed_keeps_everything_no_outage_and_no_move_costs_a_gap() {
    let happened = run_all(Disturbances::Harmless);
    expect_none(&happened, &["gap", "overrun", "unknown id"]);
    let harmless = [
        "event",
        "unnumbered",
        "unnumbered gap",
        "replay",
        "recall",
        "sync",
        "moved",
        "forgotten",
        "resumed by a publisher's id",
    ];
    expect_all(&happened, &harmless);
}

#[test]
#[should_panic(expected = "silently")]
fn the_judge_sees_nodes_that_tell_of_a_gap_only_where_it_ends() {
    for seed in 0..SEEDS[Disturbances::All as usize] {
        let mut run = Run::new(seed, Disturbances::All);
        run.world.is_mute = true;
        run.go();
    }
}
