//! The log of events that Redis keeps: numbered there, stored in a Stream for each channel, and published.
//!
//! One text runs in Redis and does what must not be torn apart, see `log/fantail.lua`; all else here calls it, or reads
//! what it wrote. Whoever may publish may also write into these keys, so what is read is trusted in nothing.

mod entry;
mod follower;
mod gap_detector;
mod lane_log;
mod library;
mod message;
mod read_budget;
mod recall;
mod recall_queue;
mod repair_buffer;
mod repair_plan;
mod store;

#[cfg(test)]
pub(in crate::redis) use self::entry::LogEntry;
pub(in crate::redis) use self::follower::{FollowError, Follower, ReadPermits};
pub(in crate::redis) use self::gap_detector::{ContinuityError, ReadyEvent};
pub(in crate::redis) use self::lane_log::LaneLog;
pub(in crate::redis) use self::message::LogMessage;
pub(in crate::redis) use self::recall::RecallRequest;
pub(in crate::redis) use self::repair_buffer::Message;
pub(in crate::redis) use self::repair_plan::{MissedEvents, RepairStep, plan};
pub use self::store::LogRetention;
pub(in crate::redis) use self::store::LogStore;
#[cfg(test)]
pub(in crate::redis) use self::store::{Entries, LogState};

#[cfg(test)]
mod tests;
