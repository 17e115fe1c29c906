//! A stream of JetStream as the numbering and the memory of the events, which each node reads whole.
//!
//! `StreamLog` is a machine without IO. `StreamSession` reads the stream over one connection and tells the machine.

mod api;
mod identity;
mod news;
mod recall;
mod session;
mod stream_log;

pub(super) use session::{StreamEnd, StreamSession};
pub(super) use stream_log::{BrokenOff, Delivered, StreamLog};
