//! The promise of a stream, judged by chance: the real hub and the real steps of `catch_up.rs`, without sockets.
//!
//! A seed decides everything: the events that are published, deleted, lost and forgotten, when a client comes and goes, how
//! few bytes its socket takes, where its connection is cut, and the steps of the control loop between two steps of the shard.
//! `node.rs` is the control loop with its feed, `connection.rs` one stream of a shard, and `client.rs` a browser that
//! keeps account of the events that it is owed (`account.rs`). Each client has a shard of its own, so that marks and bells are
//! part of the schedule. `shared.rs` does the same with a feed that numbers and two nodes (`world.rs`). `one_node.rs` and
//! `two_nodes.rs` tell the client what differs.
//!
//! Not here: passes (`fanout.rs`) and threads. A step of the control loop is whole, so an append without its watermark
//! is never seen; `hub/mailbox` has its own model of that.

#![allow(clippy::unwrap_used, reason = "a test says what it found by panicking")]

mod account;
mod block;
mod client;
mod connection;
mod course;
mod feed;
mod follower;
mod node;
mod one_node;
mod shared;
mod two_nodes;
mod unnumbered_events;
mod world;

use client::Client;
use course::{Disturbances, Happened, expect_all, expect_none, run_seeds};
use node::ModelNode;

/// Seeds with each kind of disturbances: a few seconds without optimization. A harmless run takes longer, since its logs keep everything.
const SEEDS: [u64; 2] = [2500, 500];

const STEPS: usize = 250;

/// These must happen in a run with all disturbances.
const MUST_HAPPEN: [&str; 15] = [
    "event",
    "gap",
    "unit cut",
    "overrun",
    "skip",
    "latest",
    "unknown id",
    "repeats were bounded",
    "all of some time followed",
    "replay",
    "partial write",
    "limit reached",
    "ended by delete",
    "refused",
    "floor above watermark",
];

struct Run {
    node: ModelNode,
    clients: Vec<Client>,
}

impl Run {
    fn new(seed: u64, disturbances: Disturbances) -> Self {
        let mut node = ModelNode::new(seed, disturbances);
        let clients = (0..node::SHARDS).map(|shard| Client::new(shard, &mut node)).collect();
        Self { node, clients }
    }

    fn go(mut self) -> Happened {
        for _ in 0..STEPS {
            if self.node.course.rng.bool() {
                self.node.step();
            } else {
                let client = self.node.course.rng.usize(..self.clients.len());
                self.clients[client].step(&mut self.node);
            }
        }
        self.come_to_rest();
        std::mem::take(&mut self.node.course.happened)
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

fn run_all(disturbances: Disturbances) -> Happened {
    run_seeds(SEEDS[disturbances as usize], |seed| Run::new(seed, disturbances).go())
}

#[test]
fn whatever_happens_each_event_comes_once_in_order_or_a_gap_tells_of_it() {
    expect_all(&run_all(Disturbances::All), &MUST_HAPPEN);
}

#[test]
fn where_nothing_is_lost_no_gap_is_told_and_no_stream_overrun() {
    let happened = run_all(Disturbances::Harmless);
    expect_none(&happened, &["gap", "overrun", "skip", "latest", "unknown id"]);
    expect_all(&happened, &["event", "partial write"]);
}
