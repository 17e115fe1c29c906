//! The faults, each a function that injects it, holds it and heals it. They stand in the table of `fault.rs`.

pub mod cluster;
pub mod failover;
pub mod load;
pub mod log;
pub mod nats;
pub mod network;
pub mod node;
pub mod redis;
