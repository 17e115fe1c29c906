//! The Redis feed against a real redis-server: what it promises, and what it survives.
#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

mod delivery;
mod faults;
#[path = "../common/feed_node.rs"]
mod feed_node;
mod following;
mod log;
mod node;
