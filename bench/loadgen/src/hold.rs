//! The `hold` worker: opens streams, reads them and checks every event. It takes commands on standard input and answers
//! on standard output; it never publishes and never prints for people.

mod commands;
pub(crate) mod connect;
mod connection;
mod decoder;
pub(crate) mod event_template;
mod http2;
pub(crate) mod opener;
pub(crate) mod order;
pub(crate) mod stream;
pub(crate) mod stream_connection;
mod stream_request;
mod tabs;
pub(crate) mod tls;
mod worker;

pub(crate) use worker::{Worker, raise_descriptor_limit};

/// The most connections of one worker: below the 20,000 descriptors that many machines allow one process. Over HTTP/1.1 each has
/// one stream.
pub(crate) const CONNECTIONS_PER_WORKER_MAX: u32 = 19_000;
