//! The feed's answer to a recall: what a channel had before, as far as there is room for it.

use std::sync::Arc;

use fantail_wire::{Event, EventId, GapReason};

use super::appender::Appender;
use crate::channel::ChannelState;
use crate::log_entry::LogEntry;
use crate::recall_state::{Question, Wanted};
use crate::{Channel, EntryKind, Floor, Hub, Position, Watermark};

/// An answer on its way into a channel's log.
pub(super) struct RecallAnswer<'a> {
    hub: &'a Hub,
    channel: &'a Arc<Channel>,
    /// The place above which it has all there is, and its time; `None` if the past could not be read.
    from: Option<(Position, u64)>,
}

impl<'a> RecallAnswer<'a> {
    pub(super) fn new(hub: &'a Hub, channel: &'a Arc<Channel>, from: Option<EventId>) -> Self {
        let numbering = &hub.lane(channel.lane()).numbering;
        Self { hub, channel, from: from.and_then(|from| Some((numbering.place(&from)?, from.ms))) }
    }

    /// Puts what fits of the events, which are the oldest first, into the log, and tells the streams that waited.
    pub(super) fn take(&self, appender: &mut Appender, events: &[(EventId, Event)]) {
        // Before the lock: shards read the log meanwhile.
        let entries: Vec<_> = events.iter().filter_map(|(id, event)| self.entry(appender, id, event)).collect();
        let mut state = self.channel.lock();
        let Some(question) = state.recall.as_mut().and_then(|recall| recall.answer()) else { return };
        // If the floor has moved meanwhile, there is a hole between what came and what is there.
        let joins = state.log.floor().position == question.floor;
        if let Some((from, at_ms)) = self.from.filter(|_| joins) {
            let reason = if from > question.wanted.above { GapReason::Trimmed } else { state.log.floor().reason };
            self.prepend(appender, &mut state, entries, Floor { position: from, at_ms, reason });
            remember(&mut state, question, events.len());
        }
        if state.recall.as_ref().is_some_and(|recall| recall.has_wish()) {
            self.hub.interest.post(self.channel, &mut state);
        }
        drop(state);
        appender.marks.tell(self.channel);
        appender.logs.report();
    }

    /// An entry for an event of the past. If it cannot be sent, it is a gap here as it was when it came.
    fn entry(&self, appender: &Appender, id: &EventId, event: &Event) -> Option<LogEntry> {
        let position = self.hub.lane(self.channel.lane()).numbering.place(id)?;
        let Ok(frame) = appender.encode(event, Some(*id)) else {
            let frame = self.hub.gap_frame(self.channel.name(), GapReason::Lost, Some(*id));
            return Some(LogEntry::gap(Watermark { position, at_ms: id.ms }, EntryKind::Gap, frame));
        };
        Some(LogEntry { position, kind: EntryKind::Event, frame, publisher_id: event.id.clone(), at_ms: id.ms })
    }

    /// Puts what fits below the floor, and the floor below that.
    fn prepend(&self, appender: &mut Appender, state: &mut ChannelState, mut entries: Vec<LogEntry>, mut floor: Floor) {
        let old = state.log.floor().position;
        if let Some(bottom) = state.recall.as_ref().and_then(|recall| recall.bottom)
            && bottom.position > floor.position
        {
            floor = bottom;
        }
        let starts = self.hub.term_starts(self.channel.lane(), floor.position, old);
        entries.extend(starts.into_iter().map(|start| self.term_ended(start, state)));
        entries.retain(|entry| floor.position < entry.position && entry.position <= old);
        entries.sort_by_key(|entry| (entry.position, entry.kind.is_event()));
        entries.dedup_by_key(|entry| entry.position);
        let first = self.first_that_fits(appender.logs.free_bytes(), state, &entries);
        let kept = entries.split_off(first);
        if let Some(left_out) = entries.last() {
            let (position, at_ms) = (left_out.position, left_out.at_ms);
            floor = Floor { position, at_ms, reason: GapReason::Trimmed };
        }
        if floor.position < old {
            appender.logs.prepend(state, kept, floor);
        } else if state.log.floor().reason == GapReason::NotFollowed {
            // The feed has nothing below either: that nobody here followed is not why.
            state.log.explain_floor(floor.reason);
        }
    }

    fn term_ended(&self, position: Position, state: &ChannelState) -> LogEntry {
        let at_ms = state.log.floor().at_ms; // not before its own
        let id = self.hub.id(self.channel.lane(), position, at_ms);
        let frame = self.hub.gap_frame(self.channel.name(), GapReason::TermEnded, id);
        LogEntry::gap(Watermark { position, at_ms }, EntryKind::Gap, frame)
    }

    /// From where on entries fit into the room that the channel and all logs together still have.
    fn first_that_fits(&self, free_bytes: usize, state: &ChannelState, entries: &[LogEntry]) -> usize {
        let room = state.log.room(&self.hub.settings.log_limits(state.class));
        let mut bytes = room.bytes.min(free_bytes);
        let mut first = entries.len();
        for entry in entries.iter().rev().take(room.entries) {
            let Some(left) = bytes.checked_sub(entry.cost()) else { break };
            bytes = left;
            first -= 1;
        }
        first
    }
}

/// An answered question is not asked again, unless there may be more: only so many events were wanted, and came.
fn remember(state: &mut ChannelState, question: Question, brought: usize) {
    let floor = state.log.floor().position;
    if brought >= question.wanted.events {
        return;
    }
    if let Some(recall) = &mut state.recall {
        recall.remember(Wanted { events: usize::MAX, ..question.wanted }, floor);
    }
}
