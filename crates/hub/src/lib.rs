//! Channels, their logs, their order, and the shards that want them.
//!
//! The hub is where the control loop and the shards meet. The control loop owns the one [`Publisher`]: it alone
//! appends, evicts, confirms and forgets. Shards [join](Hub::join) channels, read logs by cursor and are told by a
//! [`Mailbox`] which channels have something new. There is no IO here, no runtime, and no queue of events: what waits
//! for a slow reader waits in the log.
//!
//! The order of three steps carries the correctness of the whole: an event is appended to all its channels, then the
//! watermark moves, then the channels are marked dirty. A shard does the reverse: it clears the mark, then reads the
//! watermark, then the logs.

#![forbid(unsafe_code)]

mod channel;
mod channel_map;
mod cursor_id;
mod hub;
mod hub_settings;
mod interest;
mod lane;
mod log;
mod log_entry;
mod mailbox;
mod maker;
mod numbering;
mod position;
mod publisher;
mod recall_state;
mod resume;
mod sync_requests;
#[cfg(test)]
mod testing;

pub use channel::{Channel, Delivery, Join, ReadLimit, Reading};
pub use channel_map::ChannelsFull;
pub use hub::{ChannelSummary, Hub};
pub use hub_settings::{CLASSES_MAX, Following, HubSettings};
pub use interest::{Interest, Release, Wish};
pub use log::{Floor, LogLimits};
pub use log_entry::EntryKind;
pub use mailbox::{Mailbox, Mark};
pub use maker::Maker;
pub use numbering::{NumberedBy, Watermark};
pub use position::Position;
pub use publisher::{Published, Publisher};
pub use resume::{Asked, Begin, Resume, Start};
