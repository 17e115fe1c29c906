//! The command line as people meet it: faults, help, and the two clients against real servers.
//!
//! Runs the built program only. A server with fixed answers checks the requests of its clients.
#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

mod banner;
mod canned;
mod health;
#[path = "../common/keys.rs"]
mod keys;
#[path = "../common/node.rs"]
mod node;
mod publish;
mod running;
mod serve;
mod subscribe;
mod systemd;
mod tls;
mod token;
