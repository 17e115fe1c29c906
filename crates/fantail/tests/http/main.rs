//! A node over HTTP, with its own memory as the feed: its promises to clients, publishers and operators.
#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

mod access;
mod api_pages;
mod bad_input;
mod canary;
mod control_events;
mod cors;
mod drain;
mod hostile;
mod internal_listener;
mod internal_tokens;
mod keepalive;
#[path = "../common/keys.rs"]
mod keys;
mod limits;
mod memory;
#[path = "../common/node.rs"]
mod node;
mod operations;
#[path = "../common/origin.rs"]
mod origin;
mod per_client;
mod proxy_protocol;
mod publish_api;
mod request_log;
mod resume;
mod slow_streams;
mod streams;
mod takeover;
mod tls;
mod unix_sockets;
#[path = "../common/wire.rs"]
mod wire;
