//! The kit against the real servers, and against faulty servers and clients.
#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

mod chromium;
mod client;
mod ledger;
mod nginx;
mod program;
mod proxy;
mod redis_kinds;
mod redis_server;
