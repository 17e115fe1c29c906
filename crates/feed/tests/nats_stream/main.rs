//! The feed over a stream of JetStream against a real server.

#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

mod cluster;
mod following;
mod hostile;
#[path = "../common/log_node.rs"]
mod log_node;
mod node;
mod outages;
mod owncloud;
mod recalls;
mod set_back;
