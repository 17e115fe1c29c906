//! Keepalives and deadlines of streams, looked at a portion per tick so that no burst forms.

use std::time::Duration;

use bytes::Bytes;
use fantail_telemetry::CloseReason;
use fantail_wire::{Framing, keepalive};

use crate::connections::ConnectionKey;
use crate::shard::ShardSettings;
use crate::slice::Slice;
use crate::streams::{Key, StreamState, Streams, rights, tabs};
use crate::tick::Tick;

/// How long a stream or a connection that was ended waits for the client to close its side.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

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
    /// The same for HTTP/2 connections.
    next_connection: ConnectionKey,
    owed_connections: usize,
    /// Sums of this sweep, reported at its end.
    behind: u64,
    unsent_bytes: u64,
    /// The same of the connections, whose sweep ends at other times: the sum so far, and that of the last whole one.
    connections_unsent_bytes: u64,
    connections_unsent_bytes_last: u64,
}

impl Sweep {
    pub(crate) fn new(settings: &ShardSettings) -> Self {
        let keepalive = settings.keepalive_interval / SWEEPS_PER_KEEPALIVE;
        let deadline = settings.progress_deadline.min(settings.follow_deadline) / SWEEPS_PER_DEADLINE;
        let period = keepalive.min(deadline).clamp(TICK_MIN, SWEEP_MAX);
        let tick = (period / TICKS_PER_SWEEP).max(TICK_MIN);
        Self {
            period,
            tick,
            next: 0,
            last: None,
            owed: 0,
            next_connection: 0,
            owed_connections: 0,
            behind: 0,
            unsent_bytes: 0,
            connections_unsent_bytes: 0,
            connections_unsent_bytes_last: 0,
        }
    }

    /// The time since the last tick.
    fn elapsed(&mut self, now: Tick) -> Duration {
        self.last.replace(now).map_or(self.tick, |last| now.since(last)).min(self.period)
    }

    /// Slots to look at now, out of `slots`, for that time.
    fn portion(&self, elapsed: Duration, slots: usize) -> usize {
        (slots as u128 * elapsed.as_micros()).div_ceil(self.period.as_micros()) as usize
    }
}

impl Sweep {
    /// More of the sweep is due.
    pub(crate) fn tick(&mut self, streams: &mut Streams) {
        streams.clock.begin_tick();
        let elapsed = self.elapsed(streams.clock.now());
        let (slots, connections) = (streams.slots(), streams.outlets.connections.slots());
        // Never more than a whole sweep: a shard that was held up does not look twice.
        self.owed = (self.owed + self.portion(elapsed, slots)).min(slots);
        self.owed_connections = (self.owed_connections + self.portion(elapsed, connections)).min(connections);
    }

    pub(crate) fn has_work(&self) -> bool {
        self.owed + self.owed_connections > 0
    }

    /// Goes on with what is due until the slice is over.
    pub(crate) fn slice(&mut self, streams: &mut Streams, slice: &mut Slice) {
        while self.owed > 0 && !slice.is_over() {
            self.owed -= 1;
            let key = self.next;
            if key as usize >= streams.slots() {
                self.begin_anew(streams);
                continue;
            }
            self.next += 1;
            self.look_after(streams, key);
        }
        while self.owed_connections > 0 && !slice.is_over() {
            self.owed_connections -= 1;
            let key = self.next_connection;
            let connections = &streams.outlets.connections;
            self.connections_unsent_bytes += connections.get(key).map_or(0, |one| one.unsent_bytes() as u64);
            self.next_connection += 1;
            if self.next_connection as usize >= connections.slots() {
                self.next_connection = 0;
                self.connections_unsent_bytes_last = std::mem::take(&mut self.connections_unsent_bytes);
            }
            tabs::look_after(streams, key, self.period);
        }
    }

    fn begin_anew(&mut self, streams: &mut Streams) {
        streams.shrink();
        if streams.outlets.connections.slots() == 0 {
            // Their sweep has nothing to go over and would not end again.
            (self.connections_unsent_bytes, self.connections_unsent_bytes_last) = (0, 0);
        }
        streams.counters().streams_behind.set(self.behind);
        streams.counters().unsent_bytes.set(self.unsent_bytes + self.connections_unsent_bytes_last);
        (self.next, self.behind, self.unsent_bytes) = (0, 0, 0);
    }

    fn look_after(&mut self, streams: &mut Streams, key: Key) {
        if streams.get(key).is_none() || rights::end_with_its_right(streams, key) || streams.end_if_worn_out(key) {
            return;
        }
        let Some(stream) = streams.get(key) else { return };
        let silent = streams.clock.now().since(stream.written());
        let ShardSettings { keepalive_interval, follow_deadline, progress_deadline, .. } = *streams.settings();
        match stream.state() {
            // Half a sweep early rather than half a sweep late on average.
            StreamState::Live if silent + self.period / 2 >= keepalive_interval => {
                keep_alive(streams, key, stream.framing());
            }
            StreamState::Waiting if silent >= follow_deadline => streams.end(key, CloseReason::FollowTimeout),
            StreamState::Blocked if silent >= progress_deadline => streams.reset(key, CloseReason::Stalled),
            StreamState::Ending if silent >= LINGER => streams.close_at_its_end(key),
            StreamState::Blocked | StreamState::Behind => {
                self.behind += 1;
                self.unsent_bytes += stream.unsent_bytes() as u64;
            }
            StreamState::Live | StreamState::Waiting | StreamState::Ending => {}
        }
    }
}

fn keep_alive(streams: &mut Streams, key: Key, framing: Framing) {
    if streams.write_between(key, &Bytes::from_static(keepalive(framing, streams.settings().bare_blocks))) {
        streams.counters().keepalives.add(1);
    }
}
