//! What the feed brings of a channel's past, when somebody asked for it.

use fantail_wire::{ChannelName, Event, EventId, GapReason};

use super::Publisher;
use crate::channel::ChannelState;
use crate::log::Entry;
use crate::recall_state::{Question, Wanted};
use crate::{Channel, EntryKind, Floor, Position};

impl Publisher {
    /// The answer to a [`Wish::Recall`](crate::Wish::Recall): older events, oldest first, and above which place they are
    /// all there are; `None` if they could not be read. They take room that is free and evict nothing.
    #[allow(clippy::needless_pass_by_value, reason = "they are the answer, and of no more use to anybody")]
    pub fn recalled(&mut self, name: &ChannelName, entries: Vec<(EventId, Event)>, from: Option<EventId>) {
        let Some(channel) = self.lookup(name) else { return };
        // Before the lock: shards read the log meanwhile.
        let brought = entries.len();
        let entries: Vec<_> =
            entries.iter().filter_map(|(id, event)| self.recalled_entry(&channel, id, event)).collect();
        let mut state = channel.lock();
        let Some(question) = state.recall.as_mut().and_then(|recall| recall.answer()) else { return };
        // If the floor has moved meanwhile, there is a hole between what came and what is there.
        let joins = state.log.floor().position == question.floor;
        let from = from.and_then(|from| Some((self.hub.lane(channel.lane()).numbering.place(&from)?, from.ms)));
        if let Some((from, at_ms)) = from.filter(|_| joins) {
            let reason = if from > question.wanted.above { GapReason::Trimmed } else { state.log.floor().reason };
            self.prepend(&channel, &mut state, entries, Floor { position: from, at_ms, reason });
            remember(&mut state, question, brought);
        }
        if state.recall.as_ref().is_some_and(|recall| recall.has_wish()) {
            self.hub.interest.post(&channel, &mut state);
        }
        drop(state);
        self.mark(&channel, false);
        self.ring();
        self.report();
    }

    /// An entry for an event of the past. If it cannot be sent, it is a gap here as it was when it came.
    fn recalled_entry(&self, channel: &Channel, id: &EventId, event: &Event) -> Option<Entry> {
        let position = self.hub.lane(channel.lane()).numbering.place(id)?;
        let (kind, frame) = match self.encode(event, Some(*id)) {
            Ok(frame) => (EntryKind::Event, frame),
            Err(_) => (EntryKind::Gap, self.hub.gap_frame(channel.name(), GapReason::Lost, Some(*id))),
        };
        let publisher_id = event.id.clone().filter(|_| kind == EntryKind::Event);
        Some(Entry { position, kind, frame, publisher_id, at_ms: id.ms })
    }

    /// Puts what fits below the floor, and the floor below that.
    fn prepend(&mut self, channel: &Channel, state: &mut ChannelState, mut entries: Vec<Entry>, mut floor: Floor) {
        let old = state.log.floor().position;
        if let Some(bottom) = state.recall.as_ref().and_then(|recall| recall.bottom)
            && bottom.position > floor.position
        {
            floor = bottom;
        }
        let starts = self.hub.term_starts(channel.lane(), floor.position, old);
        entries.extend(starts.into_iter().map(|start| self.term_ended(channel, start, state)));
        entries.retain(|entry| floor.position < entry.position && entry.position <= old);
        entries.sort_by_key(|entry| (entry.position, entry.kind.is_event()));
        entries.dedup_by_key(|entry| entry.position);
        let first = self.first_that_fits(state, &entries);
        let kept = entries.split_off(first);
        if let Some(left_out) = entries.last() {
            let (position, at_ms) = (left_out.position, left_out.at_ms);
            floor = Floor { position, at_ms, reason: GapReason::Trimmed };
        }
        if floor.position < old {
            self.hub.counters.recalled.add(kept.len() as u64);
            let now_ms = (self.hub.settings.clock)();
            self.changing(state, |state| {
                state.log.prepend(kept, floor, now_ms);
                0
            });
        } else if state.log.floor().reason == GapReason::NotFollowed {
            // The feed has nothing below either: that nobody here followed is not why.
            state.log.explain_floor(floor.reason);
        }
    }

    fn term_ended(&self, channel: &Channel, position: Position, state: &ChannelState) -> Entry {
        let at_ms = state.log.floor().at_ms; // not before its own
        let id = self.hub.id(channel.lane(), position, at_ms);
        let frame = self.hub.gap_frame(channel.name(), GapReason::TermEnded, id);
        Entry { position, kind: EntryKind::Gap, frame, publisher_id: None, at_ms }
    }

    /// From where on entries fit into what room the channel and all logs together still have.
    fn first_that_fits(&self, state: &ChannelState, entries: &[Entry]) -> usize {
        let room = state.log.room(&self.hub.settings.log_limits(state.class));
        let mut bytes = room.bytes.min(self.hub.settings.logs_bytes_max.saturating_sub(self.log_bytes));
        let mut first = entries.len();
        for entry in entries.iter().rev().take(room.entries) {
            let Some(left) = bytes.checked_sub(entry.cost()) else { break };
            bytes = left;
            first -= 1;
        }
        first
    }
}

/// What was asked needs not be asked again, unless there may be more: only so many events were wanted, and came.
fn remember(state: &mut ChannelState, question: Question, brought: usize) {
    let floor = state.log.floor().position;
    if brought >= question.wanted.events {
        return;
    }
    if let Some(recall) = &mut state.recall {
        recall.remember(Wanted { events: usize::MAX, ..question.wanted }, floor);
    }
}

#[cfg(test)]
mod tests;
