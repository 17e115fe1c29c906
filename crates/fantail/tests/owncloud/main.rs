//! In the place of ownCloud's sse service: its events, its tokens, its path, its settings, its commands.
#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

mod commands;
mod events;
mod front;
mod health;
#[path = "../common/keys.rs"]
mod keys;
#[path = "../common/node.rs"]
mod node;
mod service;
mod web_client;
