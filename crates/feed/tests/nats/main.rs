//! The feed over core NATS against a real server.

#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

mod delivery;
mod faults;
#[path = "../common/feed_node.rs"]
mod feed_node;
mod node;
mod reach;
