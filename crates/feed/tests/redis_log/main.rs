//! The log in a real redis-server, as a node follows it: what comes down, in which order, and what is declared missing.
#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

mod cluster;
mod following;
mod node;
mod outages;
mod recalls;
