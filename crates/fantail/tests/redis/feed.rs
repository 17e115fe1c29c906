//! The Redis feed, with a real Redis: each event reaches every stream of every node, and a possible loss on the way is
//! declared.

mod delivery;
mod following;
mod hostile_payloads;
mod moving;
mod outage;
mod start;
