//! A node with a real NATS: live events, and events that a stream of JetStream numbers and keeps.
#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

mod core;
#[path = "../common/node.rs"]
mod node;
mod stream;
