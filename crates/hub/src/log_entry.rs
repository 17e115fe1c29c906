//! One entry of a channel's log.

use fantail_wire::{Frame, PublisherId};

use crate::{Position, Watermark};

/// One thing that streams of a channel get, in its place.
#[derive(Debug, Clone)]
pub(crate) struct LogEntry {
    /// Its place in this node's order.
    pub position: Position,
    /// Whether it is an event or a gap, and numbered or not.
    pub kind: EntryKind,
    /// Its bytes, shared by everyone who gets it.
    pub frame: Frame,
    /// The publisher's own id, under which clients may come back.
    pub publisher_id: Option<PublisherId>,
    /// When it came, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// An event.
    Event,
    /// An event without a place in the feed's numbering: for streams that are open when it comes, and never replayed.
    Unnumbered,
    /// A gap: something before it may be missing. It does not count against `limit` and is no event to replay.
    Gap,
    /// A gap that tells of unnumbered events. Like them it is for streams that are open when it comes, and has no id.
    UnnumberedGap,
}

impl EntryKind {
    /// Whether it is an event, numbered or not.
    pub fn is_event(self) -> bool {
        matches!(self, Self::Event | Self::Unnumbered)
    }

    /// Whether it has no place in the feed's numbering, and is never replayed.
    pub fn is_unnumbered(self) -> bool {
        matches!(self, Self::Unnumbered | Self::UnnumberedGap)
    }
}

impl LogEntry {
    /// A gap of this kind.
    pub(crate) fn gap(at: Watermark, kind: EntryKind, frame: Frame) -> Self {
        Self { position: at.position, kind, frame, publisher_id: None, at_ms: at.at_ms }
    }

    /// The memory that keeping the entry costs, in bytes.
    pub(crate) fn cost(&self) -> usize {
        size_of::<Self>() + self.frame.len() + self.publisher_id.as_ref().map_or(0, |id| id.as_str().len())
    }
}
