//! The program's word about itself: counters, their exposition, and log lines.
//!
//! Counting costs a load and a store on memory that one thread owns; everything dear (adding up,
//! naming, formatting, reading `/proc`) happens at a scrape. Nothing here decides anything, and no
//! counter is ever read back by the part that keeps it.

#![forbid(unsafe_code)]

mod classic;
mod counter;
mod escape;
mod exposition;
mod hub_counters;
mod label;
pub mod logging;
mod metrics;
mod process;
mod reference;
mod rows;
mod sampled;
mod shard_counters;
mod text_format;

pub use counter::{ByLabel, Counter, Gauge};
pub use escape::{ESCAPED_BYTES_MAX, Escaped, escape};
pub use hub_counters::{EvictReason, HubCounters, HubFields, RejectReason};
pub use label::Label;
pub use metrics::Metrics;
pub use reference::reference_markdown;
pub use sampled::{Admitted, Sampled};
pub use shard_counters::{
    Bound, CloseReason, HandshakeFailure, Http2Fault, ShardCounters, ShardFields, StatusClass, TurnedAway,
};
pub use text_format::TextFormat;
