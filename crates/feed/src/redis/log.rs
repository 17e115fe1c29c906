//! The log of events that Redis keeps: numbered there, stored in a Stream for each channel, and published.
//!
//! One text runs in Redis and does what must not be torn apart, see `log/fantail.lua`; all else here calls it, or reads
//! what it wrote. Whoever may publish may also write into these keys, so what is read is trusted in nothing.

#[allow(dead_code, reason = "for the node's session")]
mod entry;
mod library;
#[allow(dead_code, reason = "for the node's session")]
mod message;
#[allow(dead_code, reason = "for the node's session")]
mod store;

#[allow(unused_imports, reason = "for the node's session")]
pub(crate) use self::entry::{EntryError, LogEntry};
#[allow(unused_imports, reason = "for the node's session")]
pub(crate) use self::message::{LogMessage, MessageError};
pub use self::store::LogRetention;
pub(crate) use self::store::LogStore;
#[allow(unused_imports, reason = "for the node's session")]
pub(crate) use self::store::{Entries, LogState};

#[cfg(test)]
mod tests;
