//! Streams through a real nginx and into a real browser.
#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

mod chromium;
mod nginx;
#[path = "../common/node.rs"]
mod node;
mod private;
mod recipe;
