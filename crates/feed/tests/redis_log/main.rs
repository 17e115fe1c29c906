//! The log in a real redis-server, as a node follows it: what comes down, in which order, and what is declared missing.
#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

mod cluster;
mod eviction;
mod following;
#[allow(dead_code)] // shared with the other tests of the feed, which use more of it
#[path = "../reach/log.rs"]
mod log;
#[path = "../common/log_node.rs"]
mod log_node;
mod node;
mod outages;
mod recalls;
mod set_back;
