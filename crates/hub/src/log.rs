//! A channel's log: a ring of what was published to it, complete above its floor.

use std::collections::VecDeque;

use fantail_wire::{Frame, GapReason, PublisherId};

use crate::Position;

/// One thing that streams of a channel get, in its place.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Its place in this node's order.
    pub position: Position,
    /// What it is.
    pub kind: EntryKind,
    /// Its bytes, shared by everyone who gets it.
    pub frame: Frame,
    /// The publisher's own id, under which clients may come back.
    pub publisher_id: Option<PublisherId>,
    /// When it came, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// An event.
    Event,
    /// A gap: something before it may be missing. It does not count against `limit` and is no event to replay.
    Gap,
}

/// The log is complete after `position`. A reader whose cursor is lower has missed something, for `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// Everything the channel got above this place is in the log.
    pub position: Position,
    /// The time of that place, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Why nothing is known of what is below.
    pub reason: GapReason,
}

/// How much of one channel is kept.
#[derive(Debug, Clone, Copy)]
pub struct LogLimits {
    /// Entries per channel.
    pub entries_max: usize,
    /// Bytes per channel, frames and entries together.
    pub bytes_max: usize,
    /// Age of an entry in milliseconds.
    pub age_ms_max: u64,
}

/// The ring.
#[derive(Debug)]
pub(crate) struct ChannelLog {
    entries: VecDeque<Entry>,
    floor: Floor,
    bytes: usize,
}

impl Entry {
    /// The memory that keeping the entry costs, in bytes.
    pub(crate) fn cost(&self) -> usize {
        size_of::<Self>() + self.frame.len() + self.publisher_id.as_ref().map_or(0, |id| id.as_str().len())
    }
}

impl ChannelLog {
    pub(crate) fn new(floor: Floor) -> Self {
        Self { entries: VecDeque::new(), floor, bytes: 0 }
    }

    pub(crate) fn floor(&self) -> Floor {
        self.floor
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The last place that the log speaks of.
    pub(crate) fn top(&self) -> Position {
        self.entries.back().map_or(self.floor.position, |last| last.position)
    }

    /// Adds the newest entry and evicts what passes the limits, the new entry itself if need be. Says how many.
    pub(crate) fn append(&mut self, entry: Entry, limits: &LogLimits) -> usize {
        debug_assert!(entry.position > self.top(), "a log only grows upwards");
        let now_ms = entry.at_ms;
        self.bytes += entry.cost();
        self.entries.push_back(entry);
        let before = self.entries.len();
        while self.entries.len() > limits.entries_max || self.bytes > limits.bytes_max {
            self.evict_oldest();
        }
        before - self.entries.len() + self.evict_older(now_ms, limits)
    }

    /// Evicts what is older than the limit. Says how many entries.
    pub(crate) fn evict_older(&mut self, now_ms: u64, limits: &LogLimits) -> usize {
        let before = self.entries.len();
        while self.entries.front().is_some_and(|e| now_ms.saturating_sub(e.at_ms) > limits.age_ms_max) {
            self.evict_oldest();
        }
        if self.entries.is_empty() && self.entries.capacity() > 8 {
            self.entries.shrink_to_fit();
        }
        before - self.entries.len()
    }

    /// Evicts the oldest entries until the log has at most `bytes_max` bytes. Says how many.
    pub(crate) fn evict_to(&mut self, bytes_max: usize) -> usize {
        let before = self.entries.len();
        while self.bytes > bytes_max {
            self.evict_oldest();
        }
        self.entries.shrink_to_fit();
        before - self.entries.len()
    }

    /// Empties the log and raises its floor.
    pub(crate) fn clear(&mut self, floor: Floor) {
        debug_assert!(floor.position >= self.top());
        *self = Self::new(floor);
    }

    fn evict_oldest(&mut self) {
        let Some(oldest) = self.entries.pop_front() else { return };
        self.bytes -= oldest.cost();
        self.floor = Floor { position: oldest.position, at_ms: oldest.at_ms, reason: GapReason::Trimmed };
    }

    /// Entries above `cursor` and up to `to`, oldest first.
    pub(crate) fn range(&self, cursor: Position, to: Position) -> impl DoubleEndedIterator<Item = &Entry> {
        let start = self.entries.partition_point(|e| e.position <= cursor);
        let end = self.entries.partition_point(|e| e.position <= to).max(start);
        self.entries.range(start..end)
    }

    /// The places of all entries with this id of the publisher's own.
    pub(crate) fn with_publisher_id(&self, id: &str) -> impl Iterator<Item = Position> {
        let has_id = move |e: &&Entry| e.publisher_id.as_ref().is_some_and(|own| own.as_str() == id);
        self.entries.iter().filter(has_id).map(|e| e.position)
    }
}

#[cfg(test)]
mod tests {
    use fantail_wire::{Event, EventFields, encode};

    use super::*;

    const LIMITS: LogLimits = LogLimits { entries_max: 3, bytes_max: 1 << 20, age_ms_max: 1000 };
    const BOTTOM: Floor = Floor { position: Position::new(1, 0), at_ms: 0, reason: GapReason::Trimmed };

    fn entry(number: u64, at_ms: u64) -> Entry {
        let frame = encode(&Event::text("x"), None, 100).expect("small");
        Entry { position: Position::new(1, number), kind: EntryKind::Event, frame, publisher_id: None, at_ms }
    }

    fn numbers(log: &ChannelLog, cursor: u64, to: u64) -> Vec<u64> {
        log.range(Position::new(1, cursor), Position::new(1, to)).map(|e| e.position.number).collect()
    }

    #[test]
    fn a_range_is_exclusive_below_and_inclusive_above_with_sparse_numbers() {
        let mut log = ChannelLog::new(BOTTOM);
        for n in [2, 5, 9] {
            log.append(entry(n, 0), &LIMITS);
        }
        assert_eq!(numbers(&log, 2, 9), [5, 9]);
        assert_eq!(numbers(&log, 1, 8), [2, 5]);
        assert_eq!(numbers(&log, 9, 3), [0; 0]);
    }

    #[test]
    fn whatever_is_evicted_raises_the_floor_to_it() {
        let mut log = ChannelLog::new(BOTTOM);
        for n in 1..=5 {
            log.append(entry(n, 0), &LIMITS);
        }
        assert_eq!((log.floor().position.number, log.len()), (2, 3), "by count");
        log.evict_to(log.bytes() - 1);
        assert_eq!((log.floor().position.number, log.len()), (3, 2), "by bytes");
        log.append(entry(6, 1001), &LIMITS);
        assert_eq!((log.floor().position.number, log.len()), (5, 1), "by age");
        assert_eq!(log.bytes(), entry(6, 0).cost());
    }

    #[test]
    fn an_entry_too_large_for_the_log_leaves_a_floor_and_not_a_hole() {
        let mut log = ChannelLog::new(BOTTOM);
        log.append(entry(1, 0), &LogLimits { bytes_max: 10, ..LIMITS });
        assert_eq!((log.len(), log.bytes(), log.floor().position.number), (0, 0, 1));
    }

    #[test]
    fn every_event_with_a_publisher_id_is_found() {
        let mut log = ChannelLog::new(BOTTOM);
        let fields = EventFields { data: "x".into(), id: Some("mine".into()), ..EventFields::default() };
        let id = fields.validate().expect("valid").id;
        for n in [1, 3] {
            log.append(Entry { publisher_id: id.clone(), ..entry(n, 0) }, &LIMITS);
        }
        assert_eq!(log.with_publisher_id("mine").collect::<Vec<_>>(), [Position::new(1, 1), Position::new(1, 3)]);
        assert_eq!(log.with_publisher_id("other").count(), 0);
    }
}
