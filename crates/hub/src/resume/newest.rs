//! The newest events of some channels.

use std::sync::Arc;

use crate::{Channel, EntryKind, Position, Watermark};

/// The newest events of some channels together.
pub(super) struct Newest {
    /// The place and the time of the oldest of them.
    pub(super) oldest: Option<(Position, u64)>,
    /// The floors of the channels, as they were when their events were looked for.
    pub(super) floors: Vec<Position>,
}

impl Newest {
    /// At most so many, none from before `since_ms`.
    pub(super) fn of(channels: &[Arc<Channel>], to: Watermark, since_ms: u64, events: usize) -> Self {
        let mut found = Vec::new();
        let mut floors = Vec::with_capacity(channels.len());
        for channel in channels {
            let state = channel.lock();
            let newest = state.log.range(Position::ORIGIN, to.position).rev().filter(|e| e.kind == EntryKind::Event);
            let newest = newest.take_while(|e| e.at_ms >= since_ms).take(events);
            found.extend(newest.map(|e| (e.position, e.at_ms)));
            floors.push(state.log.floor().position);
        }
        found.sort_unstable();
        found.dedup_by_key(|(position, _)| *position); // an event for several of the channels is one event
        let oldest = found.get(found.len().saturating_sub(events)).copied();
        Self { oldest, floors }
    }
}
