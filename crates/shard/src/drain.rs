//! The end of all streams, spread over a window so that their clients do not come back all at once.

use std::time::Duration;

use fantail_telemetry::CloseReason;
use tokio::sync::oneshot;

use crate::catch_up::CatchUp;
use crate::slice::{SLICE, Slice};
use crate::streams::{Key, StreamState, Streams};
use crate::tick::Tick;
use crate::undecided_sockets::UndecidedSockets;

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

impl Drain {
    /// Ends all streams within `window`, at a steady pace.
    pub(crate) fn begin(streams: &mut Streams, window: Duration, done: oneshot::Sender<()>) -> Self {
        streams.newcomers.turn_away();
        streams.outlets.connections.ask_all_to_leave();
        Self { started: streams.clock.now(), window, total: streams.len(), ended: 0, next: 0, done: Some(done) }
    }

    /// Ends the streams whose time has come.
    pub(crate) fn tick(&mut self, streams: &mut Streams, catch_up: &mut CatchUp, undecided: &UndecidedSockets) {
        let elapsed = streams.clock.now().since(self.started);
        let due = share(self.total, elapsed, self.window);
        // At the end of the window nobody is left out, however late a stream came.
        let window_over = elapsed >= self.window;
        let mut slice = Slice::begin(SLICE);
        while self.ended < due || window_over {
            let key = self.next;
            self.next += 1;
            if key as usize >= streams.slots() {
                break;
            }
            if streams.state(key).is_some_and(|state| state != StreamState::Ending) {
                self.ended += 1;
                end_one(streams, catch_up, key, &mut slice);
            }
        }
        // Connections that are no streams count too: they were accepted, and get an answer.
        let nothing_left =
            elapsed >= GRACE && streams.len() + undecided.count() + streams.outlets.connections.len() == 0;
        if let Some(done) = nothing_left.then(|| self.done.take()).flatten() {
            // The receiver is gone only when the process is past waiting.
            let _ = done.send(());
        }
    }
}

/// Sends what was published before, then the end. All streams that end in one tick share a slice. When it is over each
/// gets one write. A stream that lacks more, or takes nothing at the moment, comes back with its id.
fn end_one(streams: &mut Streams, catch_up: &mut CatchUp, key: Key, slice: &mut Slice) {
    let Some(stream) = streams.get(key) else { return };
    let generation = stream.generation();
    if matches!(stream.state(), StreamState::Live | StreamState::Behind) {
        streams.leave_passes(key);
        catch_up.serve(streams, key, slice);
    }
    if streams.is_stream(key, generation) {
        streams.end(key, CloseReason::Drained);
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
    use fantail_wire::SlowPolicy;

    use super::*;
    use crate::engine::Engine;
    use crate::harness::{Harness, read_to, shortest};

    #[test]
    fn a_drain_keeps_a_steady_pace_and_ends_on_time() {
        let window = Duration::from_secs(10);
        let due = |ms| share(1000, Duration::from_millis(ms), window);
        assert_eq!([due(0), due(1), due(5000), due(9999), due(10_000), due(99_999)], [0, 1, 500, 1000, 1000, 1000]);
        assert_eq!(share(1000, Duration::ZERO, Duration::ZERO), 1000);
    }

    #[test]
    fn a_drain_waits_for_connections_that_are_no_streams_yet() {
        let mut harness = Harness::new(SlowPolicy::Disconnect, 10);
        let engine = &mut harness.engine;
        let connection = engine.undecided.open();
        let (done, mut is_done) = oneshot::channel();
        engine.begin_drain(Duration::ZERO, done);
        let started = engine.streams.clock.now();
        while engine.streams.clock.now().since(started) < 2 * GRACE {
            engine.tick();
        }
        assert!(is_done.try_recv().is_err(), "a connection is open");
        drop(connection);
        engine.tick();
        assert!(is_done.try_recv().is_ok());
    }

    #[test]
    fn a_drained_stream_first_gets_what_was_published_before() {
        let mut harness = Harness::new(SlowPolicy::Disconnect, 10);
        let (_, mut client) = harness.open(&["a"]);
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
    #[test]
    fn a_drained_stream_that_is_behind_first_gets_what_was_published_before() {
        let mut harness = Harness::new(SlowPolicy::Disconnect, 10);
        let mut clients = Vec::new();
        for _ in 0..20 {
            clients.push(harness.open(&["a", "b"]));
        }
        harness.settle();
        harness.publish(&["a"], "before");
        for (key, _) in &clients {
            harness.engine.streams.fall_behind(*key);
        }
        for (key, _) in &clients {
            let Engine { streams, catch_up, .. } = &mut harness.engine;
            end_one(streams, catch_up, *key, &mut shortest());
        }
        harness.settle();
        for (_, client) in &mut clients {
            let text = read_to(client, "\n\n");
            let (event, end) = (text.find("data: before\n\n"), text.find("{\"reason\":\"drained\"}"));
            assert!(event.is_some() && event < end, "{text}");
        }
    }
}
