//! Orders of a lane's log: the node is to be told these things.

use std::error::Error;

use fantail_wire::{ChannelName, EventId, GapReason, Publication, Terms};
use smallvec::SmallVec;

use super::repair_buffer::Message;
use crate::Recalled;

/// Carried out one after the other, before the log takes anything else.
pub(crate) type Orders = SmallVec<[LogOrder; 2]>;

/// One thing to tell the node.
#[derive(Debug)]
pub(crate) enum LogOrder {
    /// An event, for all of its followed channels.
    Event { id: EventId, publication: Publication, is_repaired: bool },
    /// A message without a number: its event goes down here, if it is one.
    Unnumbered(Message),
    /// A message that cannot be read.
    Refuse { channel: ChannelName, error: Box<dyn Error> },
    /// Events of the channel up to `at` may be missing.
    Gap { channel: ChannelName, at: EventId, reason: GapReason },
    /// A message of the channel without a number was dropped.
    Dropped(ChannelName),
    /// The channel is complete above `from`.
    Followed { channel: ChannelName, from: Option<EventId> },
    /// Events that were missed follow.
    Repair,
    /// All events of the followed channels up to `number` have gone down.
    Synced(Terms),
    /// Older events of the channel.
    Recalled { channel: ChannelName, recalled: Recalled },
}
