//! What a shard does in a turn, and in which order.
//!
//! A turn never waits. Between turns the shard waits on five things (see `shard.rs`): its mailbox rings, the poll has
//! socket events, a stream was handed over, a command came, or the tick is due.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use fantail_hub::{Delivery, Hub};
use fantail_telemetry::{CloseReason, ShardCounters};
use mio::event::Event;
use mio::{Registry, Token};
use tracing::debug;

use crate::admission::Admission;
use crate::announcement::Announcement;
use crate::catch_up::end_of_body;
use crate::channels::Channels;
use crate::deletion::Deletion;
use crate::drain::Drain;
use crate::fanout::{Aside, Batch, Tally, fan_out};
use crate::forwarded::Forwarded;
use crate::outgoing::ROOM;
use crate::shard::ShardSettings;
use crate::slab::Slab;
use crate::slice::{SLICE, Slice};
use crate::stream::{Key, State, Stream, Subscriptions, Waiting};
use crate::sweep::Sweep;
use crate::tick::{Clock, Tick};

/// Bytes that a client may send behind its request before the stream is reset. A browser sends none.
const INPUT_BYTES_MAX: u32 = 64 * 1024;

/// Everything of one shard.
pub(crate) struct Engine {
    pub(crate) streams: Slab<Stream>,
    /// From where streams come that came through a trusted proxy.
    pub(crate) forwarded: Forwarded,
    pub(crate) channels: Channels,
    pub(crate) hub: Arc<Hub>,
    pub(crate) shard: u16,
    pub(crate) registry: Registry,
    pub(crate) settings: ShardSettings,
    pub(crate) counters: Arc<ShardCounters>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) clock: Clock,
    /// The time of this turn.
    pub(crate) now: Tick,
    pub(crate) sweep: Sweep,
    pub(crate) drain: Option<Drain>,
    /// Channels with a pass to make, by slot; each at most once.
    pub(crate) passes: VecDeque<u32>,
    /// Deleted channels whose streams are not all ended yet.
    pub(crate) deletions: VecDeque<Deletion>,
    /// What all open streams are being told.
    pub(crate) announcement: Option<Announcement>,
    /// Streams to be served one by one. May hold stale keys; the generation tells.
    behind: VecDeque<(Key, u32)>,
    next_generation: u32,
    /// What the last slice went to, as an index into [`WORK`].
    last_work: usize,
    /// Reused between calls.
    pub(crate) scratch: Vec<Delivery>,
    tally: Tally,
}

/// What the slices go to.
enum Work {
    Passes,
    Behind,
    Deletions,
    Announcement,
}

const WORK: [Work; 4] = [Work::Passes, Work::Behind, Work::Deletions, Work::Announcement];

/// A pass under way with the entries it delivers.
pub(crate) struct Pass {
    /// Subscribers below this index are not visited yet.
    ///
    /// The pass runs from the end of the list to its start: removal by swapping with the last then never moves a stream
    /// that was not visited into the part that was, however often the pass yields.
    pub(crate) next: usize,
    batch: Batch,
}

impl Engine {
    pub(crate) fn new(
        hub: Arc<Hub>,
        shard: u16,
        registry: Registry,
        settings: ShardSettings,
        counters: Arc<ShardCounters>,
        admission: Arc<Admission>,
    ) -> Self {
        let clock = Clock::start();
        Self {
            streams: Slab::new(),
            forwarded: Forwarded::default(),
            channels: Channels::new(Arc::clone(&hub), shard),
            hub,
            shard,
            registry,
            sweep: Sweep::new(&settings),
            settings,
            counters,
            admission,
            now: clock.now(),
            clock,
            drain: None,
            passes: VecDeque::new(),
            deletions: VecDeque::new(),
            announcement: None,
            behind: VecDeque::new(),
            next_generation: 0,
            last_work: 0,
            scratch: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// One slice of work. True if more is waiting.
    pub(crate) fn turn(&mut self) -> bool {
        self.now = self.clock.now();
        self.take_marks();
        let sweeping = self.sweep_on();
        let Some(work) = self.next_work() else { return sweeping };
        self.last_work = work;
        let mut slice = Slice::begin(SLICE);
        match WORK[work] {
            Work::Passes => self.make_passes(&mut slice),
            Work::Behind => self.serve_behind(&mut slice),
            Work::Deletions => self.end_deleted(&mut slice),
            Work::Announcement => self.announce_on(&mut slice),
        }
        self.counters.slices.add(1);
        sweeping || self.next_work().is_some()
    }

    /// The next kind of work that there is, behind the last one: so each gets a slice before any gets a second.
    fn next_work(&self) -> Option<usize> {
        (1..=WORK.len()).map(|ahead| (self.last_work + ahead) % WORK.len()).find(|&work| match WORK[work] {
            Work::Passes => !self.passes.is_empty(),
            Work::Behind => !self.behind.is_empty(),
            Work::Deletions => !self.deletions.is_empty(),
            Work::Announcement => self.announcement.is_some(),
        })
    }

    /// Takes what the control thread has posted. Each mark is cleared before anything of its channel is read.
    pub(crate) fn take_marks(&mut self) {
        let hub = Arc::clone(&self.hub);
        let mailbox = hub.mailbox(self.shard);
        mailbox.silence();
        while let Some(mark) = mailbox.take() {
            let end = mark.clear();
            let Some(slot) = self.channels.slot_of(&mark) else { continue };
            if end {
                self.begin_deletion(slot);
                continue;
            }
            self.start_waiting(slot);
            self.queue_pass(slot);
        }
    }

    fn queue_pass(&mut self, slot: u32) {
        let channel = self.channels.get_mut(slot);
        if channel.queued {
            // A pass under way takes the new entries when it is done; it reads the watermark anew then.
            channel.again = true;
        } else {
            channel.queued = true;
            self.passes.push_back(slot);
        }
    }

    /// Channels take turns, slice by slice.
    fn make_passes(&mut self, slice: &mut Slice) {
        while let Some(slot) = self.passes.pop_front() {
            if !self.channels.is_queued(slot) {
                continue; // the channel is gone; its slot may already be another's
            }
            let done = self.make_pass(slot, slice);
            self.look_aside(slot);
            if self.channels.is_queued(slot) {
                if done {
                    self.finish_pass(slot);
                } else {
                    self.passes.push_back(slot);
                }
            }
            if slice.is_over() {
                break;
            }
        }
    }

    /// Goes on with a channel's pass, or begins one. True when it is done.
    fn make_pass(&mut self, slot: u32, slice: &mut Slice) -> bool {
        let channel = self.channels.get_mut(slot);
        let watermark = self.hub.watermark(channel.join.channel.lane()).position;
        if channel.pass.is_none() {
            let mut entries = Vec::new();
            let reading = channel.join.channel.read(channel.delivered, watermark, ROOM, &mut entries);
            let floor = reading.floor.position;
            if entries.is_empty() && floor <= channel.delivered {
                channel.delivered = channel.delivered.max(watermark);
                return true;
            }
            // What was cut short goes to its last entry, and the next pass goes on from there.
            channel.again |= !reading.complete;
            let to = entries.last().filter(|_| !reading.complete).map_or(watermark, |last| last.position);
            // A stream below the floor has missed something: it is not plain, and `catch_up` decides.
            let batch = Batch { from: channel.delivered.max(floor), to, entries };
            self.counters.passes.add(1);
            channel.pass = Some(Box::new(Pass { next: channel.subscribers.len(), batch }));
        }
        let pass = channel.pass.as_mut().expect("set above");
        let tally = &mut self.tally;
        let done =
            fan_out(&mut self.streams, &channel.subscribers, &mut pass.next, &pass.batch, self.now, slice, tally);
        if done {
            channel.delivered = channel.delivered.max(pass.batch.to);
        }
        let events = pass.batch.events();
        self.counters.deliveries.add(tally.whole * events);
        self.counters.gaps_sent.add(tally.whole * (pass.batch.entries.len() as u64 - events));
        self.counters.delivered_bytes.add(tally.bytes);
        self.counters.write_calls.add(tally.writes);
        (tally.whole, tally.bytes, tally.writes) = (0, 0, 0);
        done
    }

    /// Settles what the slice put aside.
    fn look_aside(&mut self, slot: u32) {
        if self.tally.aside.is_empty() {
            return;
        }
        // The pass is taken out of its channel, which may go away with its last stream.
        let pass = self.channels.get_mut(slot).pass.take();
        let generation = self.channels.get(slot).join.mark.clone();
        let mut aside = std::mem::take(&mut self.tally.aside);
        for (key, why) in aside.drain(..) {
            match why {
                Aside::Alone => {
                    self.streams[key].state = State::Behind;
                    self.queue_behind(key);
                }
                Aside::Short(taken) => {
                    let entries = pass.as_ref().map_or(&[][..], |pass| &pass.batch.entries);
                    self.settle(key, entries, taken);
                }
                Aside::Failed(e) => self.fail(key, &e),
            }
        }
        self.tally.aside = aside;
        if let (Some(mut pass), Some(slot)) = (pass, self.channels.slot_of(&generation)) {
            let channel = self.channels.get_mut(slot);
            pass.next = pass.next.min(channel.subscribers.len());
            channel.pass = Some(pass);
        }
    }

    fn finish_pass(&mut self, slot: u32) {
        let channel = self.channels.get_mut(slot);
        channel.pass = None;
        channel.queued = false;
        if std::mem::take(&mut channel.again) {
            self.queue_pass(slot);
        }
    }

    fn serve_behind(&mut self, slice: &mut Slice) {
        for _ in 0..self.behind.len() {
            let Some((key, generation)) = self.behind.pop_front() else { break };
            if self.is_stream(key, generation) {
                match self.streams[key].state {
                    State::Behind => self.serve(key, slice),
                    State::Waiting => self.start_or_wait(key),
                    State::Blocked | State::Live | State::Ending => {}
                }
            }
            if slice.is_over() {
                break;
            }
        }
    }

    pub(crate) fn queue_behind(&mut self, key: Key) {
        self.behind.push_back((key, self.streams[key].generation));
    }

    pub(crate) fn is_stream(&self, key: Key, generation: u32) -> bool {
        is_stream(&self.streams, key, generation)
    }

    /// The generation of the stream that came last.
    pub(crate) fn newest_generation(&self) -> u32 {
        self.next_generation
    }

    pub(crate) fn next_generation(&mut self) -> u32 {
        self.next_generation = self.next_generation.wrapping_add(1);
        self.next_generation
    }

    /// What the poll tells of a socket.
    pub(crate) fn socket_event(&mut self, event: &Event) {
        let (key, generation) = from_token(event.token());
        if !self.is_stream(key, generation) {
            return;
        }
        if event.is_error() {
            return self.close(key, CloseReason::ClientReset);
        }
        if event.is_readable() && !self.drop_input(key) {
            return;
        }
        if event.is_writable() && self.streams[key].state == State::Blocked {
            self.streams[key].state = State::Behind;
            self.queue_behind(key);
        }
    }

    /// Reads and drops what the client sends. False if that was the end of the stream.
    fn drop_input(&mut self, key: Key) -> bool {
        let mut sink = [0; 4096];
        loop {
            let stream = &mut self.streams[key];
            match stream.socket.read(&mut sink) {
                Ok(0) => return self.client_is_done(key),
                Ok(n) => {
                    stream.input_bytes += n as u32;
                    if stream.input_bytes > INPUT_BYTES_MAX {
                        self.reset(key, CloseReason::InputFlood);
                        return false;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return true,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.fail(key, &e);
                    return false;
                }
            }
        }
    }

    /// The client closed its side. A browser that went away looks like this, and so does a script that only half-closed:
    /// the stream ends either way, and for the script it ends cleanly. False if the stream is gone.
    fn client_is_done(&mut self, key: Key) -> bool {
        let stream = &self.streams[key];
        let ending = stream.extra.as_ref().and_then(|extra| extra.ending);
        match (stream.state, ending) {
            (State::Waiting, _) => self.close(key, CloseReason::ClientClosed),
            (State::Ending, Some(reason)) => self.close(key, reason),
            // Its last bytes are not with the kernel yet. The socket counts as readable from now on, so this is seen
            // again with every event that says that it takes more.
            (_, Some(_)) => return true,
            _ => {
                self.end(key, CloseReason::ClientClosed);
                return true;
            }
        }
        false
    }

    /// Ends a stream cleanly: what was begun is finished, the client is told why if we end it of our own accord, the
    /// body is ended, and the client gets to read it all.
    pub(crate) fn end(&mut self, key: Key, reason: CloseReason) {
        self.unsubscribe(key);
        let stream = &mut self.streams[key];
        let (framing, state) = (stream.framing, stream.state);
        let extra = stream.extra();
        if extra.ending.is_some() {
            return;
        }
        extra.ending = Some(reason);
        (extra.resuming, extra.events_left) = (None, None);
        let waiting = extra.waiting.take().map(|waiting| *waiting);
        self.counters.shed.add(u64::from(waiting.is_some()));
        if let Some(Waiting { shed: Some(answer), .. }) = waiting {
            extra.outgoing.push(answer);
        } else {
            extra.outgoing.push(waiting.map_or_else(Bytes::new, |waiting| waiting.head));
            extra.outgoing.push(self.settings.last_words(reason).map_or_else(Bytes::new, |frame| frame.share(framing)));
            extra.outgoing.push(Bytes::from_static(end_of_body(framing)));
        }
        if state != State::Blocked {
            stream.state = State::Behind;
            self.queue_behind(key);
        }
    }

    /// The last byte is with the kernel: close our side, and wait a little for the client to close its own. Closing at
    /// once while input is unread would send a reset, which may destroy the last frames on their way.
    pub(crate) fn finish_ending(&mut self, key: Key) {
        let stream = &mut self.streams[key];
        let reason = stream.extra.as_ref().and_then(|extra| extra.ending);
        if reason == Some(CloseReason::ClientClosed) || stream.socket.shutdown(std::net::Shutdown::Write).is_err() {
            return self.close(key, reason.unwrap_or(CloseReason::ClientClosed));
        }
        stream.state = State::Ending;
        stream.written = self.now;
    }

    /// The socket failed. Clients that go away do this; it is no error of ours.
    pub(crate) fn fail(&mut self, key: Key, error: &io::Error) {
        let ending = self.streams[key].extra.as_ref().and_then(|extra| extra.ending);
        let reason = match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
                CloseReason::ClientReset
            }
            io::ErrorKind::TimedOut => CloseReason::ClientReset,
            _ => CloseReason::WriteFailed,
        };
        self.close(key, ending.unwrap_or(reason));
    }

    /// Closes with a reset, which frees what the kernel still holds for the client at once.
    pub(crate) fn reset(&mut self, key: Key, reason: CloseReason) {
        let socket = socket2::SockRef::from(&self.streams[key].socket);
        // If it fails the close is merely slower.
        let _ = socket.set_linger(Some(std::time::Duration::ZERO));
        self.close(key, reason);
    }

    /// Takes a stream out of everything and closes its socket.
    pub(crate) fn close(&mut self, key: Key, reason: CloseReason) {
        self.log_end(key, reason);
        self.unsubscribe(key);
        drop(self.streams.remove(key));
        self.admission.release();
        self.counters.streams_open.set(self.streams.len() as u64);
        self.counters.streams_closed.add(reason, 1);
        self.counters.connections_open.sub(1);
    }

    /// One line for the end of each stream, if anyone listens at that level.
    fn log_end(&self, key: Key, reason: CloseReason) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let stream = &self.streams[key];
        // A socket that was reset has no peer any more.
        let peer = stream.socket.peer_addr().ok();
        debug!(
            connection = %self.connection_id(key, stream.generation),
            peer = peer.map(display),
            client = self.forwarded.get(key).map(display),
            reason = reason.as_str(),
            age_seconds = self.age(stream).as_secs(),
            unsent_bytes = stream.unsent_bytes(),
            "a stream ended"
        );
    }

    fn unsubscribe(&mut self, key: Key) {
        let nothing = Subscriptions::Several(Box::default());
        let subscriptions = std::mem::replace(&mut self.streams[key].subscriptions, nothing);
        for subscription in subscriptions.as_slice() {
            self.channels.remove(subscription.slot, subscription.at, &mut self.streams);
        }
    }
}

/// Whether a slot still holds the stream of that generation.
pub(crate) fn is_stream(streams: &Slab<Stream>, key: Key, generation: u32) -> bool {
    streams.get(key).is_some_and(|stream| stream.generation == generation)
}

/// A stream's name in the poll: its slot and its generation, so that an event for an earlier stream of the slot, read in
/// the same batch, does not hit this one.
pub(crate) fn to_token(key: Key, generation: u32) -> Token {
    Token((generation as usize) << 32 | key as usize)
}

fn from_token(token: Token) -> (Key, u32) {
    (token.0 as u32, (token.0 >> 32) as u32)
}

#[cfg(test)]
mod tests {
    use fantail_telemetry::SlowPolicy;
    use fantail_wire::feed_frame;

    use super::WORK;
    use crate::harness::Harness;

    #[tokio::test]
    async fn each_kind_of_work_gets_a_slice_before_any_gets_a_second() {
        let mut harness = Harness::new(SlowPolicy::Disconnect, 10);
        let (key, _client) = harness.open(&["a"]).await;
        harness.settle();
        harness.publish(&["a"], "x");
        harness.engine.take_marks();
        harness.engine.queue_behind(key);
        harness.engine.begin_deletion(0);
        harness.engine.announce(feed_frame(true));
        let mut slices = Vec::new();
        for _ in 0..2 * WORK.len() {
            harness.engine.last_work = harness.engine.next_work().expect("there is some of each");
            slices.push(harness.engine.last_work);
        }
        let (first, second) = slices.split_at(WORK.len());
        assert_eq!(first, second);
        slices.sort_unstable();
        slices.dedup();
        assert_eq!(slices.len(), WORK.len());
    }
}
