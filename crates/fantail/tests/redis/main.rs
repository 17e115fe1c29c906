//! A node with a real Redis: live events, the log, and every way to reach a Redis.
#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

mod broker;
mod feed;
mod log;
mod name;
#[path = "../common/node.rs"]
mod node;
mod reach;
