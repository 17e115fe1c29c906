//! How a node reaches Redis: with which login, over which TLS, and by whose word about the master. Real servers.
#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

mod acl;
#[path = "../common/feed_node.rs"]
mod feed_node;
mod log;
#[allow(dead_code)] // shared with the other tests of the feed, which use more of it
#[path = "../redis/node.rs"]
mod node;
mod patience;
mod role;
mod sentinel;
mod silence;
mod tls;
