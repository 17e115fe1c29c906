//! Passes: each hands a channel's new entries to all its subscribers, channels in turns, slice by slice.

use std::collections::VecDeque;

use crate::fanout::{Batch, Exception, PassTally, fan_out};
use crate::outgoing::READ_LIMIT;
use crate::slice::Slice;
use crate::streams::Streams;

/// The queue of channels with something new.
#[derive(Default)]
pub(crate) struct Passes {
    /// By slot; each at most once. A channel may be gone when its turn comes.
    queue: VecDeque<u32>,
    /// Reused between slices.
    tally: PassTally,
    /// The memory of a pass that is over, for the next one: an event for one stream allocates nothing.
    spare: Option<Box<Pass>>,
}

/// A pass under way with the entries it delivers.
pub(crate) struct Pass {
    /// Subscribers below this index are not visited yet.
    ///
    /// The pass runs from the end of the list to its start: removal by swapping with the last then never moves a stream
    /// that was not visited into the part that was, however often the pass yields.
    pub(crate) next: usize,
    batch: Batch,
}

impl Passes {
    pub(crate) fn has_work(&self) -> bool {
        !self.queue.is_empty()
    }

    /// A channel has something new.
    pub(crate) fn queue(&mut self, streams: &mut Streams, slot: u32) {
        let channel = streams.channels_mut().get_mut(slot);
        if channel.queued {
            // A pass under way takes the new entries when it is done; it reads the watermark anew then.
            channel.again = true;
        } else {
            channel.queued = true;
            self.queue.push_back(slot);
        }
    }

    /// Goes on until the slice is over.
    pub(crate) fn slice(&mut self, streams: &mut Streams, slice: &mut Slice) {
        while let Some(slot) = self.queue.pop_front() {
            if !streams.channels().is_queued(slot) {
                continue; // the channel is gone; its slot may already be another's
            }
            let done = self.go_on(streams, slot, slice);
            self.see_to_exceptions(streams, slot);
            if streams.channels().is_queued(slot) {
                if done {
                    self.finish(streams, slot);
                } else {
                    self.queue.push_back(slot);
                }
            }
            if slice.is_over() {
                break;
            }
        }
    }

    /// Goes on with a channel's pass, or begins one. True when it is done.
    fn go_on(&mut self, streams: &mut Streams, slot: u32, slice: &mut Slice) -> bool {
        if !self.begin(streams, slot) {
            return true;
        }
        let (now, tally) = (streams.clock.now(), &mut self.tally);
        let (channel, wires) = streams.with_channel(slot);
        let pass = channel.pass.as_mut().expect("it was begun");
        let done = fan_out(wires, (slot, &channel.subscribers), &mut pass.next, &pass.batch, now, slice, tally);
        if done {
            channel.delivered = channel.delivered.max(pass.batch.to);
        }
        let (events, entries) = (pass.batch.events(), pass.batch.entries.len() as u64);
        let counters = streams.counters();
        counters.deliveries.add(tally.whole * events);
        counters.gaps_sent.add(tally.whole * (entries - events));
        counters.delivered_bytes.add(tally.bytes);
        counters.write_calls.add(tally.writes);
        (tally.whole, tally.bytes, tally.writes) = (0, 0, 0);
        done
    }

    /// Settles what the slice could not do in passing.
    fn see_to_exceptions(&mut self, streams: &mut Streams, slot: u32) {
        if self.tally.exceptions.is_empty() {
            return;
        }
        // The pass is taken out of its channel, which may go away with its last stream.
        let channel = streams.channels_mut().get_mut(slot);
        let (pass, mark) = (channel.pass.take(), channel.join.mark.clone());
        for (key, generation, exception) in self.tally.exceptions.drain(..) {
            if !streams.is_stream(key, generation) {
                continue;
            }
            match exception {
                Exception::Alone => streams.fall_behind(key),
                Exception::Short(taken, rest) => {
                    let entries = pass.as_ref().map_or(&[][..], |pass| &pass.batch.entries);
                    streams.settle(key, entries, taken, rest);
                }
                Exception::Failed(e) => streams.fail(key, &e),
            }
        }
        if let (Some(mut pass), Some(slot)) = (pass, streams.channels().slot_of(&mark)) {
            let channel = streams.channels_mut().get_mut(slot);
            pass.next = pass.next.min(channel.subscribers.len());
            channel.pass = Some(pass);
        }
    }

    fn finish(&mut self, streams: &mut Streams, slot: u32) {
        let channel = streams.channels_mut().get_mut(slot);
        if let Some(mut pass) = channel.pass.take() {
            // Frames are let go of at once.
            pass.batch.entries.clear();
            self.spare = Some(pass);
        }
        channel.queued = false;
        if std::mem::take(&mut channel.again) {
            self.queue(streams, slot);
        }
    }

    /// Takes what is new out of the channel's log, unless a pass is under way. False if there is nothing to deliver.
    fn begin(&mut self, streams: &mut Streams, slot: u32) -> bool {
        let channel = streams.channels().get(slot);
        if channel.pass.is_some() {
            return true;
        }
        let watermark = streams.hub().watermark(channel.join.channel.lane()).position;
        let mut pass = self.spare.take().unwrap_or_else(|| Box::new(Pass { next: 0, batch: Batch::empty() }));
        let entries = &mut pass.batch.entries;
        let reading = channel.join.channel.read(channel.delivered, watermark, READ_LIMIT, entries);
        let floor = reading.floor.position;
        let is_nothing = entries.is_empty() && floor <= channel.delivered;
        let channel = streams.channels_mut().get_mut(slot);
        if is_nothing {
            channel.delivered = channel.delivered.max(watermark);
            self.spare = Some(pass);
            return false;
        }
        // A batch that was cut short goes to its last entry, and the next pass goes on from there.
        channel.again |= !reading.complete;
        pass.batch.to = entries.last().filter(|_| !reading.complete).map_or(watermark, |last| last.position);
        // A stream below the floor has missed something: it is not plain, and `catch_up` decides.
        pass.batch.from = channel.delivered.max(floor);
        pass.next = channel.subscribers.len();
        channel.pass = Some(pass);
        streams.counters().passes.add(1);
        true
    }
}
