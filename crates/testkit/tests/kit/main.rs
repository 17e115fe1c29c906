//! The kit against the real servers, and against servers and clients that do wrong.
#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

mod chromium;
mod client;
mod ledger;
mod nginx;
mod program;
mod proxy;
mod redis_kinds;
mod redis_server;
