//! The streams of a deleted channel, ended a slice at a time: there may be a hundred thousand of them.

use std::collections::VecDeque;
use std::sync::Arc;

use fantail_hub::Mark;
use fantail_telemetry::CloseReason;

use crate::slice::Slice;
use crate::streams::{Streams, is_not_later};

/// All deletions under way; channels take turns.
#[derive(Default)]
pub(crate) struct Deletions(VecDeque<Deletion>);

/// A deletion under way.
struct Deletion {
    /// Names the channel; a later one in the same slot has another.
    mark: Arc<Mark>,
    /// Subscribers below this index are not visited yet. It runs down as in a pass, for the same reason.
    next: usize,
    /// The newest stream that is to end. Streams that come later follow the channel as it is after the deletion.
    newest: u32,
}

impl Deletions {
    /// All that follow the channel in this slot now are to end.
    pub(crate) fn begin(&mut self, streams: &Streams, slot: u32) {
        let channel = streams.channels().get(slot);
        let (mark, next) = (Arc::clone(&channel.join.mark), channel.subscribers.len());
        self.0.retain(|deletion| !Arc::ptr_eq(&deletion.mark, &mark));
        self.0.push_back(Deletion { mark, next, newest: streams.newcomers.newest_generation() });
    }

    pub(crate) fn has_work(&self) -> bool {
        !self.0.is_empty()
    }

    /// Goes on until the slice is over.
    pub(crate) fn slice(&mut self, streams: &mut Streams, slice: &mut Slice) {
        while let Some(mut deletion) = self.0.pop_front() {
            if !deletion.go_on(streams, slice) {
                return self.0.push_back(deletion);
            }
        }
    }
}

impl Deletion {
    /// True when all are ended.
    fn go_on(&mut self, streams: &mut Streams, slice: &mut Slice) -> bool {
        // The channel goes away with its last stream.
        while let Some(slot) = streams.channels().slot_of(&self.mark) {
            let subscribers = &streams.channels().get(slot).subscribers;
            // Streams that left meanwhile have made the list shorter.
            let Some(next) = self.next.min(subscribers.len()).checked_sub(1) else { return true };
            self.next = next;
            let key = subscribers[next];
            if streams.get(key).is_some_and(|stream| is_not_later(stream.generation(), self.newest)) {
                streams.end(key, CloseReason::ChannelDeleted);
            }
            if slice.is_over() {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use fantail_wire::ChannelName;
    use fantail_wire::SlowPolicy;

    use super::*;
    use crate::harness::{Harness, read_to, shortest};
    use crate::streams::Key;

    #[test]
    fn a_stream_that_comes_after_the_deletion_stays_though_the_count_wraps() {
        for (generation, newest, meant) in
            [(5, 5, true), (4, 5, true), (6, 5, false), (u32::MAX, 2, true), (2, u32::MAX, false)]
        {
            assert_eq!(is_not_later(generation, newest), meant, "{generation} {newest}");
        }
    }
    /// 1. A channel of a hundred streams is deleted. Forty of them follow another channel too.
    /// 2. Between the shortest slices, streams leave from all places of the list, and others come.
    /// 3. Every stream that was there is ended, once; those that came, and those of the other channel, stay and get events.
    #[test]
    fn a_deletion_ends_those_that_were_there_and_no_others_however_often_it_yields() {
        let mut harness = Harness::new(SlowPolicy::Disconnect, 100);
        let (mut doomed, mut stay) = (Vec::new(), Vec::new());
        for number in 0..100 {
            let channels: &[&str] = if number % 5 < 2 { &["a", "b"] } else { &["a"] };
            doomed.push(harness.open(channels));
            if number % 10 == 0 {
                stay.push(harness.open(&["b"]));
            }
        }
        harness.settle();
        assert!(harness.publisher.delete(&ChannelName::parse("a").expect("a name")));
        harness.engine.take_marks();
        let (mut slices, mut left) = (0, 0);
        while !harness.engine.deletions.0.is_empty() {
            harness.engine.deletions.slice(&mut harness.engine.streams, &mut shortest());
            slices += 1;
            // One that is still open, from the front, the middle or the end.
            let open: Vec<_> = doomed.iter().map(|(key, _)| *key).filter(|key| !is_ended(&harness, *key)).collect();
            if let Some(&key) = open.get([0, open.len() / 2, open.len().saturating_sub(1)][slices % 3]) {
                harness.engine.streams.close(key, CloseReason::ClientReset);
                doomed.retain(|(doomed, _)| *doomed != key);
                left += 1;
            }
            stay.push(harness.open(&["a"]));
        }
        assert!(slices > 5 && left > 5, "{slices} slices, {left} left");
        assert!(doomed.iter().all(|(key, _)| is_ended(&harness, *key)), "one was left out");
        assert!(stay.iter().all(|(key, _)| !is_ended(&harness, *key)), "one was ended that came later");
        harness.settle();
        harness.publish(&["a", "b"], "still here");
        harness.settle();
        for (_, client) in &mut stay {
            assert!(read_to(client, "data: still here\n\n").starts_with("head\n"));
        }
        for (_, client) in &mut doomed {
            let text = read_to(client, "\n\n");
            assert!(text.contains("event: fantail.close\ndata: {\"reason\":\"channel-deleted\"}\nretry: "), "{text}");
        }
        assert_eq!(harness.engine.streams.len(), stay.len() + doomed.len());
    }

    fn is_ended(harness: &Harness, key: Key) -> bool {
        harness.engine.streams.get(key).is_some_and(|stream| stream.ending().is_some())
    }
}
