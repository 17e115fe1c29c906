//! One thread's streams: the fan-out engine.
//!
//! A shard owns its sockets, its streams and its view of the channels; nothing of it is shared with other threads but
//! the hub's logs and its mailbox. It never waits for a socket and never holds a queue for one: a stream that cannot
//! keep up is a cursor into the logs.
//!
//! `streams.rs` leads the life of each stream. The jobs work on streams: passes (with `fanout.rs`, the hot loop), catching
//! one stream up, the sweep, the drain, deletions, announcements. `engine.rs` gives the jobs their turns.

#![forbid(unsafe_code)]

mod admission;
mod announcement;
mod catch_up;
mod channels;
mod command;
mod connections;
mod deletion;
mod drain;
mod engine;
mod fanout;
#[cfg(test)]
mod harness;
mod open_counts;
mod outgoing;
mod passes;
mod revocation;
#[cfg(test)]
mod sealed_streams;
mod shard;
mod side_table;
mod slab;
mod slice;
mod slow_policies;
mod streams;
mod sweep;
mod tick;
mod tls_record;
mod undecided_sockets;

pub use admission::{Admission, Permit};
pub use command::{ConnectionId, ConnectionSummary, ShardCommand};
pub use connections::{Http2Connection, Http2Request, Http2Stream, Requests};
pub use fantail_http2::{Bounds as Http2Bounds, PREFACE as HTTP2_PREFACE, encode_head};
pub use fantail_telemetry::CloseReason;
pub use open_counts::{AddressPermit, HolderPermit, OpenBounds, StreamPermit, TooManyStreams};
pub use shard::{Http2Settings, Shard, ShardSettings};
pub use slow_policies::SlowPolicies;
pub use streams::{
    KeptInput, KeptTls, Revoked, RightHolder, Sealer, Shed, StreamRight, Subscribe, SubscribeOn, WholeAnswer,
};
pub use tls_record::kernel::kernel_seals;
pub use tls_record::{TlsCipher, TlsSealer, TlsUnsealer, TlsVersion};
pub use undecided_sockets::UndecidedSocket;
