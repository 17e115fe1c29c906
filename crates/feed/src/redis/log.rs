//! The log of one lane as a node follows it: gaps, repairs, recalls. Pure: no IO, no connection, no clock.
//!
//! Redis numbers events and keeps them, see `live/fantail.lua`. Anyone who may publish may also write into its keys, so
//! everything that is read is checked.

mod entry;
mod gap_detector;
mod lane_log;
mod log_order;
mod message;
mod read_budget;
mod recall;
mod repair_buffer;
mod repair_plan;

pub(super) use entry::{EntryError, LogEntry};
pub(super) use gap_detector::ContinuityError;
pub(super) use lane_log::{GivenUp, LaneLog, MissedRange};
pub(super) use log_order::{LogOrder, Orders};
#[cfg(test)]
pub(super) use message::LogMessage;
pub(super) use read_budget::{CHANNEL_BYTES_MAX, READS_MAX, ReadBudget};
pub(super) use recall::RecallReading;
pub(super) use repair_buffer::Message;
pub(super) use repair_plan::MissedEvents;
