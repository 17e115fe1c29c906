//! The Redis feed, with a real Redis: what is published there reaches every stream of every node, and what may have been
//! lost on the way is told.
#![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

#[path = "redis_feed/broker.rs"]
mod broker;
#[path = "redis_feed/delivery.rs"]
mod delivery;
#[path = "redis_feed/following.rs"]
mod following;
#[path = "redis_feed/hostile_payloads.rs"]
mod hostile_payloads;
#[path = "redis_feed/moving.rs"]
mod moving;
#[path = "common/node.rs"]
mod node;
#[path = "redis_feed/outage.rs"]
mod outage;
#[path = "redis_feed/start.rs"]
mod start;
