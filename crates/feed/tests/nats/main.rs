//! The feed over core NATS against a real server.

#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

mod delivery;
mod faults;
mod node;
mod reach;
