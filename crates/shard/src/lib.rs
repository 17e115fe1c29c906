//! One thread's streams: the fan-out engine.
//!
//! A shard owns its sockets, its streams and its view of the channels; nothing of it is shared with other threads but
//! the hub's logs and its mailbox. It never waits for a socket and never holds a queue for one: a stream that cannot
//! keep up is a cursor into the logs.
//!
//! `fanout.rs` is the hot loop. `catch_up.rs` serves one stream at a time: after a resume, a blocked socket, or a merge
//! of several channels. `engine.rs` says in which order a turn does its work, and what it waits for between turns.

#![forbid(unsafe_code)]

mod admission;
mod announcement;
mod catch_up;
mod channels;
mod command;
mod deletion;
mod drain;
mod engine;
mod fanout;
mod forwarded;
#[cfg(test)]
mod harness;
mod outgoing;
mod shard;
mod slab;
mod slice;
mod slow_policies;
mod stream;
mod subscribe;
mod sweep;
mod tick;

pub use admission::{Admission, Permit};
pub use command::{Command, ConnectionId, ConnectionSummary};
pub use fantail_telemetry::{CloseReason, SlowPolicy};
pub use shard::{Shard, ShardSettings};
pub use slow_policies::SlowPolicies;
pub use subscribe::Subscribe;
