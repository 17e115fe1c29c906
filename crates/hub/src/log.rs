//! A channel's log: a ring of what was published to it, complete above its floor.

use std::collections::VecDeque;

use fantail_wire::GapReason;

use crate::log_entry::LogEntry;
use crate::{EntryKind, Position, ReadLimit};

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
    entries: VecDeque<LogEntry>,
    /// For streams that resume: all events above it are here.
    floor: Floor,
    /// For live streams: nothing above it was evicted, not even what is never replayed. Not below the floor.
    live_floor: Position,
    bytes: usize,
    /// Where gaps stand among the entries: nearly always nowhere, and then nobody searches for one.
    gaps: VecDeque<Position>,
    /// The last entry that was recalled, and when, in milliseconds since the Unix epoch: what was recalled is as old as
    /// its stay here, since it was old when it came.
    recalled: Option<Box<(Position, u64)>>,
}

impl ChannelLog {
    pub(crate) fn new(floor: Floor) -> Self {
        let (entries, gaps) = (VecDeque::new(), VecDeque::new());
        Self { entries, floor, live_floor: floor.position, bytes: 0, gaps, recalled: None }
    }

    pub(crate) fn floor(&self) -> Floor {
        self.floor
    }

    /// The floor for a live stream, which has had whatever came while it was open.
    pub(crate) fn live_floor(&self) -> Floor {
        if self.live_floor == self.floor.position {
            return self.floor;
        }
        Floor { position: self.live_floor, reason: GapReason::Trimmed, ..self.floor }
    }

    /// The floor for a stream that resumed when the watermark was at `began`, and has come to `cursor` since: unnumbered
    /// entries are for it from there on. A recall may have sunk the floor below the live one. Then the floor is told first,
    /// since recalled events come behind it.
    pub(crate) fn resuming_floor(&self, cursor: Position, began: Position) -> Floor {
        if self.floor.position <= cursor && self.live_floor > began { self.live_floor() } else { self.floor }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The last place that the log speaks of.
    pub(crate) fn top(&self) -> Position {
        self.entries.back().map_or(self.live_floor, |last| last.position)
    }

    /// The time of the newest entry, or of the floor if there is none.
    pub(crate) fn newest_ms(&self) -> u64 {
        self.entries.back().map_or(self.floor.at_ms, |entry| entry.at_ms)
    }

    /// Adds the newest entry and evicts what passes the limits, the new entry itself if need be. Says how many.
    pub(crate) fn append(&mut self, entry: LogEntry, limits: &LogLimits) -> usize {
        debug_assert!(entry.position > self.top(), "a log only grows upwards");
        let now_ms = entry.at_ms;
        self.bytes += entry.cost();
        if entry.kind == EntryKind::Gap {
            self.gaps.push_back(entry.position);
        }
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
        while self.entries.front().is_some_and(|e| now_ms.saturating_sub(self.kept_since_ms(e)) > limits.age_ms_max) {
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

    /// Empties the log, which is complete above `floor` then.
    pub(crate) fn clear(&mut self, floor: Floor) {
        debug_assert!(floor.position >= self.floor.position);
        let live_floor = floor.position.max(self.top());
        *self = Self { live_floor, ..Self::new(floor) };
    }

    /// Adds older entries, all below the floor, which sinks to `floor`. They must be within the limits: see
    /// [`room`](Self::room).
    pub(crate) fn prepend(&mut self, entries: Vec<LogEntry>, floor: Floor, now_ms: u64) {
        debug_assert!(floor.position < self.floor.position, "the floor sinks");
        debug_assert!(entries.last().is_none_or(|last| last.position <= self.floor.position));
        debug_assert!(entries.first().is_none_or(|first| first.position > floor.position));
        let last = entries.last().map(|last| last.position);
        let older = self.recalled.as_ref().map(|recalled| recalled.0);
        self.recalled = last.max(older).map(|last| Box::new((last, now_ms)));
        for entry in entries.into_iter().rev() {
            self.bytes += entry.cost();
            if entry.kind == EntryKind::Gap {
                self.gaps.push_front(entry.position);
            }
            self.entries.push_front(entry);
        }
        self.floor = floor;
    }

    /// Says anew why nothing is below the floor, which stays.
    pub(crate) fn explain_floor(&mut self, reason: GapReason) {
        self.floor.reason = reason;
    }

    /// How many entries and bytes may still be added.
    pub(crate) fn room(&self, limits: &LogLimits) -> ReadLimit {
        let entries = limits.entries_max.saturating_sub(self.entries.len());
        ReadLimit { entries, bytes: limits.bytes_max.saturating_sub(self.bytes) }
    }

    /// Events that could be replayed.
    pub(crate) fn events(&self) -> usize {
        self.entries.iter().filter(|e| e.kind == EntryKind::Event).count()
    }

    fn kept_since_ms(&self, entry: &LogEntry) -> u64 {
        let recalled = self.recalled.as_ref().filter(|recalled| entry.position <= recalled.0);
        recalled.map_or(entry.at_ms, |recalled| recalled.1.max(entry.at_ms))
    }

    fn evict_oldest(&mut self) {
        let Some(oldest) = self.entries.pop_front() else { return };
        self.bytes -= oldest.cost();
        if oldest.kind == EntryKind::Gap {
            self.gaps.pop_front();
        }
        self.live_floor = self.live_floor.max(oldest.position);
        if !oldest.kind.is_unnumbered() {
            self.floor = Floor { position: oldest.position, at_ms: oldest.at_ms, reason: GapReason::Trimmed };
        }
    }

    /// Entries above `cursor` and up to `to`, oldest first.
    pub(crate) fn range(&self, cursor: Position, to: Position) -> impl DoubleEndedIterator<Item = &LogEntry> {
        let start = self.first_above(cursor);
        let end = self.first_above(to).max(start);
        self.entries.range(start..end)
    }

    /// The index of the first entry above `position`. That is mostly the newest one, or none: a stream that keeps up reads there.
    fn first_above(&self, position: Position) -> usize {
        let len = self.entries.len();
        let is_above = |at: usize| self.entries[at].position > position;
        match len {
            0 => 0,
            _ if !is_above(len - 1) => len,
            1 => 0,
            _ if !is_above(len - 2) => len - 1,
            _ => self.entries.partition_point(|entry| entry.position <= position),
        }
    }

    /// The first gap above `cursor` and up to `to` that does not stand at one of `places`.
    pub(crate) fn first_gap(&self, cursor: Position, to: Position, places: &[Position]) -> Option<&LogEntry> {
        let is_meant = |place: &&Position| cursor < **place && **place <= to && !places.contains(place);
        let place = self.gaps.iter().find(is_meant)?;
        self.range(place.before(), *place).next()
    }

    /// The places of all entries with this id of the publisher's own.
    pub(crate) fn with_publisher_id(&self, id: &str) -> impl Iterator<Item = Position> {
        let has_id = move |e: &&LogEntry| e.publisher_id.as_ref().is_some_and(|own| own.as_str() == id);
        self.entries.iter().filter(has_id).map(|e| e.position)
    }
}

#[cfg(test)]
mod tests {
    use fantail_wire::{Event, EventFields, encode};

    use super::*;

    const LIMITS: LogLimits = LogLimits { entries_max: 3, bytes_max: 1 << 20, age_ms_max: 1000 };
    const BOTTOM: Floor = Floor { position: Position::new(1, 0), at_ms: 0, reason: GapReason::Trimmed };

    fn entry(number: u64, at_ms: u64) -> LogEntry {
        let frame = encode(&Event::text("x"), None, 100).expect("small");
        LogEntry { position: Position::new(1, number), kind: EntryKind::Event, frame, publisher_id: None, at_ms }
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
    fn an_evicted_unnumbered_event_is_a_hole_for_live_streams_only() {
        let mut log = ChannelLog::new(BOTTOM);
        log.append(entry(1, 0), &LIMITS);
        let unnumbered = Position { unnumbered: 1, ..Position::new(1, 1) };
        log.append(LogEntry { position: unnumbered, kind: EntryKind::Unnumbered, ..entry(1, 0) }, &LIMITS);
        log.evict_to(0);
        assert_eq!(log.floor().position, Position::new(1, 1));
        assert_eq!((log.live_floor().position, log.top()), (unnumbered, unnumbered));
        for n in 2..=5 {
            log.append(entry(n, 0), &LIMITS);
        }
        assert_eq!((log.floor().position.number, log.live_floor().position.number), (2, 2));
    }

    /// 1. Event 12 is evicted, and an unnumbered one behind it.
    /// 2. Another stream wants the past, and 10 and 12 are recalled: 9 and all before it are gone.
    #[test]
    fn a_stream_that_catches_up_is_told_of_the_floor_before_what_was_recalled_and_then_of_what_it_missed_live() {
        let mut log = ChannelLog::new(BOTTOM);
        log.append(entry(12, 0), &LIMITS);
        let unnumbered = Position { unnumbered: 1, ..Position::new(1, 12) };
        log.append(LogEntry { position: unnumbered, kind: EntryKind::Unnumbered, ..entry(12, 0) }, &LIMITS);
        log.evict_to(0);
        log.prepend(vec![entry(10, 0), entry(12, 0)], Floor { position: Position::new(1, 9), ..BOTTOM }, 0);
        let floor = |cursor, began| log.resuming_floor(Position::new(1, cursor), Position::new(1, began)).position;
        assert_eq!(floor(5, 11), Position::new(1, 9));
        assert_eq!(floor(10, 11), unnumbered);
        assert_eq!(floor(10, 13), Position::new(1, 9), "it was not there when that came");
    }

    #[test]
    fn a_log_that_is_emptied_below_its_top_still_says_that_live_streams_missed_it() {
        let mut log = ChannelLog::new(BOTTOM);
        log.append(entry(5, 0), &LIMITS);
        log.clear(Floor { position: Position::new(1, 3), ..BOTTOM });
        assert_eq!((log.floor().position.number, log.live_floor().position.number, log.top().number), (3, 5, 5));
    }

    #[test]
    fn recalled_entries_stand_below_the_floor_and_sink_it() {
        let mut log = ChannelLog::new(Floor { position: Position::new(1, 10), ..BOTTOM });
        log.append(entry(11, 0), &LIMITS);
        log.prepend(vec![entry(8, 0), entry(10, 0)], Floor { position: Position::new(1, 7), ..BOTTOM }, 500);
        assert_eq!((numbers(&log, 7, 11), log.floor().position.number), (vec![8, 10, 11], 7));
        assert_eq!((log.bytes(), log.room(&LIMITS).entries), (3 * entry(1, 0).cost(), 0));
        assert_eq!(log.live_floor().position.number, 10, "a live stream that was below has missed something else");
        log.append(entry(12, 0), &LIMITS);
        assert_eq!((numbers(&log, 8, 12), log.floor().position.number), (vec![10, 11, 12], 8));
    }

    #[test]
    fn gaps_are_found_wherever_they_came_in_and_until_they_leave() {
        let gap = |number| LogEntry { kind: EntryKind::Gap, ..entry(number, 0) };
        let mut log = ChannelLog::new(Floor { position: Position::new(1, 10), ..BOTTOM });
        let found = |log: &ChannelLog, cursor, to, places: &[u64]| {
            let places: Vec<_> = places.iter().map(|&number| Position::new(1, number)).collect();
            log.first_gap(Position::new(1, cursor), Position::new(1, to), &places).map(|gap| gap.position.number)
        };
        log.append(gap(12), &LIMITS);
        log.prepend(vec![gap(9), entry(10, 0)], Floor { position: Position::new(1, 7), ..BOTTOM }, 0);
        assert_eq!([found(&log, 7, 20, &[]), found(&log, 7, 20, &[9]), found(&log, 9, 20, &[])], [9, 12, 12].map(Some));
        assert_eq!([found(&log, 12, 20, &[]), found(&log, 9, 11, &[]), found(&log, 7, 20, &[9, 12])], [None; 3]);
        log.append(entry(13, 0), &LIMITS);
        assert_eq!(found(&log, 7, 20, &[]), Some(12), "the first was evicted");
        log.clear(Floor { position: Position::new(1, 20), ..BOTTOM });
        assert_eq!(found(&log, 7, 20, &[]), None);
    }

    #[test]
    fn a_recalled_event_is_as_old_as_its_stay() {
        let mut log = ChannelLog::new(Floor { position: Position::new(1, 10), ..BOTTOM });
        log.append(entry(11, 5000), &LIMITS);
        log.prepend(vec![entry(9, 0)], Floor { position: Position::new(1, 7), ..BOTTOM }, 5500);
        assert_eq!(log.evict_older(6000, &LIMITS), 0);
        assert_eq!(log.evict_older(6001, &LIMITS), 0, "it waits behind what was recalled later");
        assert_eq!(log.evict_older(6501, &LIMITS), 2);
    }

    #[test]
    fn every_event_with_a_publisher_id_is_found() {
        let mut log = ChannelLog::new(BOTTOM);
        let fields = EventFields { data: "x".into(), id: Some("mine".into()), ..EventFields::default() };
        let id = fields.validate().expect("valid").id;
        for n in [1, 3] {
            log.append(LogEntry { publisher_id: id.clone(), ..entry(n, 0) }, &LIMITS);
        }
        assert_eq!(log.with_publisher_id("mine").collect::<Vec<_>>(), [Position::new(1, 1), Position::new(1, 3)]);
        assert_eq!(log.with_publisher_id("other").count(), 0);
    }
}
