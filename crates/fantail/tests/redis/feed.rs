//! The Redis feed, with a real Redis: what is published there reaches every stream of every node, and what may have been
//! lost on the way is told.

mod delivery;
mod following;
mod hostile_payloads;
mod moving;
mod outage;
mod start;
