//! The end of all streams, spread over a window so that their clients do not come back all at once.

use std::time::Duration;

use fantail_telemetry::CloseReason;
use tokio::sync::oneshot;

use crate::engine::Engine;
use crate::slice::{SLICE, Slice};
use crate::stream::{Key, State};
use crate::tick::Tick;

/// The accept loop takes what the kernel has completed already while the drain begins; it is waited for.
const GRACE: Duration = Duration::from_millis(50);

/// A drain under way.
pub(crate) struct Drain {
    started: Tick,
    window: Duration,
    /// Streams at the start.
    total: usize,
    /// Streams ended so far.
    ended: usize,
    /// The next slot to look at.
    next: Key,
    /// Told when no connection is left.
    done: Option<oneshot::Sender<()>>,
}

impl Engine {
    /// Ends all streams within `window`, at a steady pace.
    pub(crate) fn begin_drain(&mut self, window: Duration, done: oneshot::Sender<()>) {
        self.now = self.clock.now();
        let (started, total) = (self.now, self.streams.len());
        self.drain = Some(Drain { started, window, total, ended: 0, next: 0, done: Some(done) });
        self.drain_tick();
    }

    /// Ends the streams whose time has come.
    pub(crate) fn drain_tick(&mut self) {
        let now = self.now;
        let Some(drain) = &self.drain else { return };
        let drain_started = drain.started;
        let due = share(drain.total, now.since(drain.started), drain.window);
        // At the end of the window nobody is left out, whenever he came.
        let window_over = now.since(drain.started) >= drain.window;
        let mut slice = Slice::begin(SLICE);
        while let Some(drain) = self.drain.as_mut().filter(|drain| drain.ended < due || window_over) {
            let key = drain.next;
            drain.next += 1;
            if key as usize >= self.streams.slots() {
                break;
            }
            if self.streams.get(key).is_some_and(|stream| stream.state != State::Ending) {
                drain.ended += 1;
                self.drain_one(key, &mut slice);
            }
        }
        // Connections that are no streams count too: they were accepted, and get an answer.
        let settled = now.since(drain_started) >= GRACE;
        let nothing_left = settled && self.counters.connections_open.get() == 0;
        if let Some(done) = self.drain.as_mut().filter(|_| nothing_left).and_then(|drain| drain.done.take()) {
            // The receiver is gone only when the process is past waiting.
            let _ = done.send(());
        }
    }

    /// What was published before, then the end. All that end in one tick share a slice, and when it is over each gets one
    /// write. Who lacks more than that, or takes nothing at the moment, comes back with its id.
    fn drain_one(&mut self, key: Key, slice: &mut Slice) {
        let generation = self.streams[key].generation;
        if matches!(self.streams[key].state, State::Live | State::Behind) {
            self.streams[key].state = State::Behind;
            self.serve(key, slice);
        }
        if self.is_stream(key, generation) {
            self.end(key, CloseReason::Drained);
        }
    }
}

/// How many of `total` are due after `elapsed` of `window`.
fn share(total: usize, elapsed: Duration, window: Duration) -> usize {
    if elapsed >= window {
        return total;
    }
    (total as u128 * elapsed.as_micros()).div_ceil(window.as_micros()) as usize
}

#[cfg(test)]
mod tests {
    use fantail_telemetry::SlowPolicy;

    use super::*;
    use crate::harness::{Harness, read_to, shortest};

    #[test]
    fn a_drain_keeps_a_steady_pace_and_ends_on_time() {
        let window = Duration::from_secs(10);
        let due = |ms| share(1000, Duration::from_millis(ms), window);
        assert_eq!([due(0), due(1), due(5000), due(9999), due(10_000), due(99_999)], [0, 1, 500, 1000, 1000, 1000]);
        assert_eq!(share(1000, Duration::ZERO, Duration::ZERO), 1000);
    }

    #[tokio::test]
    async fn who_is_drained_gets_first_what_was_published_before() {
        let mut harness = Harness::new(SlowPolicy::Disconnect, 10);
        let (_, mut client) = harness.open(&["a"]).await;
        harness.settle();
        harness.publish(&["a"], "before");
        harness.engine.begin_drain(Duration::ZERO, oneshot::channel().0);
        harness.settle();
        let text = read_to(&mut client, "\n\n");
        let (event, end) = (text.find("data: before\n\n"), text.find("{\"reason\":\"drained\"}"));
        assert!(event.is_some() && event < end, "{text}");
    }

    /// 1. A stream of two channels is behind: a pass has put it aside, and nobody has looked after it yet.
    /// 2. The drain ends it, and many others before it.
    #[tokio::test]
    async fn who_is_behind_when_it_is_drained_gets_first_what_was_published_before() {
        let mut harness = Harness::new(SlowPolicy::Disconnect, 10);
        let mut clients = Vec::new();
        for _ in 0..20 {
            clients.push(harness.open(&["a", "b"]).await);
        }
        harness.settle();
        harness.publish(&["a"], "before");
        for (key, _) in &clients {
            harness.engine.streams[*key].state = State::Behind;
            harness.engine.queue_behind(*key);
        }
        for (key, _) in &clients {
            harness.engine.drain_one(*key, &mut shortest());
        }
        harness.settle();
        for (_, client) in &mut clients {
            let text = read_to(client, "\n\n");
            let (event, end) = (text.find("data: before\n\n"), text.find("{\"reason\":\"drained\"}"));
            assert!(event.is_some() && event < end, "{text}");
        }
    }
}
