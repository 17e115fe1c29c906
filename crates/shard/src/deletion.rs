//! The streams of a deleted channel, ended a slice at a time: there may be a hundred thousand of them.

use std::sync::Arc;

use fantail_hub::Mark;
use fantail_telemetry::CloseReason;

use crate::engine::Engine;
use crate::slice::Slice;

/// A deletion under way.
pub(crate) struct Deletion {
    /// Names the channel; a later one in the same slot has another.
    mark: Arc<Mark>,
    /// Subscribers below this index are not visited yet. It runs down as in a pass, for the same reason.
    next: usize,
    /// The newest stream that is to end. Who comes later follows the channel as it is after the deletion.
    newest: u32,
}

impl Engine {
    /// All that follow the channel in this slot now are to end.
    pub(crate) fn begin_deletion(&mut self, slot: u32) {
        let channel = self.channels.get(slot);
        let (mark, next) = (Arc::clone(&channel.join.mark), channel.subscribers.len());
        self.deletions.retain(|deletion| !Arc::ptr_eq(&deletion.mark, &mark));
        self.deletions.push_back(Deletion { mark, next, newest: self.newest_generation() });
    }

    /// Channels take turns, slice by slice.
    pub(crate) fn end_deleted(&mut self, slice: &mut Slice) {
        while let Some(mut deletion) = self.deletions.pop_front() {
            if !self.end_some(&mut deletion, slice) {
                return self.deletions.push_back(deletion);
            }
        }
    }

    /// True when all are ended.
    fn end_some(&mut self, deletion: &mut Deletion, slice: &mut Slice) -> bool {
        // The channel goes away with its last stream.
        while let Some(slot) = self.channels.slot_of(&deletion.mark) {
            let subscribers = &self.channels.get(slot).subscribers;
            // Streams that left meanwhile have made the list shorter.
            let Some(next) = deletion.next.min(subscribers.len()).checked_sub(1) else { return true };
            deletion.next = next;
            let key = subscribers[next];
            if is_up_to(self.streams[key].generation, deletion.newest) {
                self.end(key, CloseReason::ChannelDeleted);
            }
            if slice.is_over() {
                return false;
            }
        }
        true
    }
}

/// Whether `generation` is not later than `newest`, also where the count has wrapped in between.
fn is_up_to(generation: u32, newest: u32) -> bool {
    newest.wrapping_sub(generation) <= u32::MAX / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_later_is_not_meant_though_the_count_wraps() {
        for (generation, newest, meant) in
            [(5, 5, true), (4, 5, true), (6, 5, false), (u32::MAX, 2, true), (2, u32::MAX, false)]
        {
            assert_eq!(is_up_to(generation, newest), meant, "{generation} {newest}");
        }
    }
}
