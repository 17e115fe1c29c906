//! The log in Redis, with the whole program: clients come back to any node, after any loss, with the id that they have,
//! and get what they miss, once and in order, or are told what is missing.
#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

#[path = "redis_log/broker.rs"]
mod broker;
#[path = "redis_log/cluster.rs"]
mod cluster;
#[path = "redis_log/deleting.rs"]
mod deleting;
#[path = "redis_log/herd.rs"]
mod herd;
#[path = "redis_log/ids.rs"]
mod ids;
#[path = "redis_log/lanes.rs"]
mod lanes;
#[path = "redis_log/losses.rs"]
mod losses;
#[path = "redis_log/moving_clients.rs"]
mod moving_clients;
#[path = "common/node.rs"]
mod node;
#[path = "redis_log/opening.rs"]
mod opening;
#[path = "redis_log/oversize.rs"]
mod oversize;
#[path = "redis_log/publishing.rs"]
mod publishing;
#[path = "redis_log/replay.rs"]
mod replay;
#[path = "redis_log/rights.rs"]
mod rights;
#[path = "redis_log/several.rs"]
mod several;
#[path = "redis_log/unnumbered.rs"]
mod unnumbered;
