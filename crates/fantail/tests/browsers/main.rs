//! Streams through a real nginx and into a real browser.
#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

mod access;
mod answers;
mod chromium;
mod conformance;
mod http2;
#[path = "../common/keys.rs"]
mod keys;
mod nginx;
#[path = "../common/node.rs"]
mod node;
#[path = "../common/origin.rs"]
mod origin;
mod private;
mod proxies;
mod recipe;
mod tls;
