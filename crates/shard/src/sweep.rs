//! What streams need as time passes: keepalives and deadlines, looked at a portion per tick so that no burst forms.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use fantail_telemetry::CloseReason;
use fantail_wire::keepalive;

use crate::engine::Engine;
use crate::shard::ShardSettings;
use crate::slice::{SLICE, Slice};
use crate::stream::{Key, State};
use crate::tick::Tick;

/// How long a stream that was ended waits for the client to close its side.
const LINGER: Duration = Duration::from_secs(2);

/// A sweep over all streams takes this part of the keepalive interval, so a comment is that much early or late at most…
const SWEEPS_PER_KEEPALIVE: u32 = 16;

/// …or this part of the shorter deadline, if that is less. Every wake-up for a tick costs about as much as ten comments.
const SWEEPS_PER_DEADLINE: u32 = 5;

/// A sweep is not slower than this, however long the deadlines…
const SWEEP_MAX: Duration = Duration::from_secs(1);

/// …and a tick not shorter than this.
const TICK_MIN: Duration = Duration::from_millis(5);

/// Ticks per sweep, if the sweep is long enough.
const TICKS_PER_SWEEP: u32 = 10;

/// The sweep over the slab, in progress.
pub(crate) struct Sweep {
    /// One sweep over all slots.
    period: Duration,
    pub(crate) tick: Duration,
    next: Key,
    last: Option<Tick>,
    /// Slots that are due to be looked at now.
    owed: usize,
    /// Sums of this sweep, reported at its end.
    behind: u64,
    unsent_bytes: u64,
}

impl Sweep {
    pub(crate) fn new(settings: &ShardSettings) -> Self {
        let keepalive = settings.keepalive_interval / SWEEPS_PER_KEEPALIVE;
        let deadline = settings.progress_deadline.min(settings.follow_deadline) / SWEEPS_PER_DEADLINE;
        let period = keepalive.min(deadline).clamp(TICK_MIN, SWEEP_MAX);
        let tick = (period / TICKS_PER_SWEEP).max(TICK_MIN);
        Self { period, tick, next: 0, last: None, owed: 0, behind: 0, unsent_bytes: 0 }
    }

    /// Slots to look at now, out of `slots`, for the time since the last tick.
    fn portion(&mut self, now: Tick, slots: usize) -> usize {
        let elapsed = self.last.map_or(self.tick, |last| now.since(last)).min(self.period);
        self.last = Some(now);
        (slots as u128 * elapsed.as_micros()).div_ceil(self.period.as_micros()) as usize
    }
}

impl Engine {
    /// More of the sweep is due.
    pub(crate) fn tick(&mut self) {
        self.now = self.clock.now();
        let slots = self.streams.slots();
        // Never more than a whole sweep: a shard that was held up does not look twice.
        self.sweep.owed = (self.sweep.owed + self.sweep.portion(self.now, slots)).min(slots);
        self.drain_tick();
    }

    /// Goes on with the sweep for a slice at most. True if more is due.
    pub(crate) fn sweep_on(&mut self) -> bool {
        let mut slice = Slice::begin(SLICE);
        while self.sweep.owed > 0 && !slice.is_over() {
            self.sweep.owed -= 1;
            let key = self.sweep.next;
            if key as usize >= self.streams.slots() {
                self.sweep_done();
                continue;
            }
            self.sweep.next += 1;
            if self.streams.contains(key) {
                self.look_after(key);
            }
        }
        self.sweep.owed > 0
    }

    fn sweep_done(&mut self) {
        self.streams.shrink();
        self.forwarded.shrink(self.streams.slots());
        self.counters.streams_behind.set(self.sweep.behind);
        self.counters.unsent_bytes.set(self.sweep.unsent_bytes);
        (self.sweep.next, self.sweep.behind, self.sweep.unsent_bytes) = (0, 0, 0);
    }

    fn look_after(&mut self, key: Key) {
        let stream = &self.streams[key];
        let silent = self.now.since(stream.written);
        match stream.state {
            // Half a sweep early rather than half a sweep late on average.
            State::Live if silent + self.sweep.period / 2 >= self.settings.keepalive_interval => self.keep_alive(key),
            State::Waiting if silent >= self.settings.follow_deadline => self.end(key, CloseReason::FollowTimeout),
            State::Blocked if silent >= self.settings.progress_deadline => self.reset(key, CloseReason::Stalled),
            State::Ending if silent >= LINGER => self.end_of_linger(key),
            State::Blocked | State::Behind => {
                self.sweep.behind += 1;
                self.sweep.unsent_bytes += stream.unsent_bytes() as u64;
            }
            State::Live | State::Waiting | State::Ending => {}
        }
    }

    fn end_of_linger(&mut self, key: Key) {
        let ending = self.streams[key].extra.as_ref().and_then(|extra| extra.ending);
        self.close(key, ending.unwrap_or(CloseReason::ClientClosed));
    }

    fn keep_alive(&mut self, key: Key) {
        let comment = keepalive(self.streams[key].framing);
        if self.write_between(key, &Bytes::from_static(comment)) {
            self.counters.keepalives.add(1);
        }
    }

    /// Writes something beside the logs to a stream that stands between two frames. True if it was begun.
    pub(crate) fn write_between(&mut self, key: Key, piece: &Bytes) -> bool {
        let now = self.now;
        let stream = &mut self.streams[key];
        match (&stream.socket).write(piece) {
            Ok(taken) => {
                stream.written = now;
                if taken < piece.len() {
                    stream.extra().outgoing.push(piece.slice(taken..));
                    self.block(key);
                }
                return true;
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.block(key),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => self.fail(key, &e),
        }
        false
    }
}
