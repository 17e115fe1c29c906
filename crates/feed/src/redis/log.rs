//! The log of events that Redis keeps: numbered there, stored in a Stream for each channel, and published.
//!
//! One text runs in Redis and does what must not be torn apart, see `log/fantail.lua`; all else here calls it, or reads
//! what it wrote. Whoever may publish may also write into these keys, so what is read is trusted in nothing.

mod cut;
mod entry;
mod follower;
mod held;
mod library;
mod line;
mod message;
mod order;
mod recall;
mod recalls;
mod room;
mod store;

pub(in crate::redis) use self::cut::{Missed, Step, plan};
#[cfg(test)]
pub(in crate::redis) use self::entry::LogEntry;
pub(in crate::redis) use self::follower::{FollowError, Follower, Turns};
pub(in crate::redis) use self::held::Message;
pub(in crate::redis) use self::line::Line;
pub(in crate::redis) use self::message::LogMessage;
pub(in crate::redis) use self::order::{Arrived, Broken};
pub(in crate::redis) use self::recall::Recall;
pub use self::store::LogRetention;
pub(in crate::redis) use self::store::LogStore;
#[cfg(test)]
pub(in crate::redis) use self::store::{Entries, LogState};

#[cfg(test)]
mod tests;
