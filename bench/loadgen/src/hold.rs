//! The `hold` worker: opens streams, reads them and checks every event. It takes commands on standard input and answers
//! on standard output; it never publishes and never prints for people.

mod commands;
pub(crate) mod connect;
mod connection;
mod decoder;
pub(crate) mod event_template;
pub(crate) mod opener;
pub(crate) mod order;
pub(crate) mod stream;
pub(crate) mod tls;
mod worker;

pub(crate) use worker::{Worker, raise_descriptor_limit};

/// The most streams one worker holds: below the 20,000 descriptors that many machines allow one process.
pub(crate) const STREAMS_PER_WORKER_MAX: u32 = 19_000;
