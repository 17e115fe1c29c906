//! The shard as its thread sees it: a handle to give sockets to, and the loop that serves them.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fantail_http2::Bounds;
use fantail_hub::Hub;
use fantail_telemetry::{CloseReason, ShardCounters};
use fantail_wire::{BareBlocks, Closing, Frame, closing_frame};
use mio::{Events, Poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc};
use tokio::time::MissedTickBehavior;

use crate::admission::Admission;
use crate::command::{ConnectionId, ShardCommand};
use crate::connections::{Http2Connection, Http2Stream};
use crate::engine::Engine;
use crate::slow_policies::SlowPolicies;
use crate::streams::{Subscribe, WholeAnswer, input};
use crate::undecided_sockets::UndecidedSocket;

/// Socket events taken from the kernel at a time; what is more waits there.
const EVENTS_PER_POLL: usize = 1024;

/// A full node stays full for a while. Clients for which there is no room come back after so many times the usual time:
/// sooner their returns would be a load of their own. Example: with `retry = 2s` after 8 to 16 s.
const RETRY_WHEN_FULL: u32 = 4;

/// The settings of a shard.
#[derive(Debug, Clone)]
pub struct ShardSettings {
    /// A stream that was silent for so long gets a comment.
    pub keepalive_interval: Duration,
    /// The feed must confirm a stream's channels within this time, else the stream is shed.
    pub follow_deadline: Duration,
    /// A blocked socket that takes no byte for so long is reset.
    pub progress_deadline: Duration,
    /// The reconnection time that clients are told, in milliseconds; each gets one between it and twice it.
    pub retry_ms: u32,
    /// The slow policy of each class of channels.
    pub slow_policies: SlowPolicies,
    /// Whether streams are told of their end with an event, or only when to come back.
    pub control_events: bool,
    /// How the opening, keepalives and hints end, which carry no data.
    pub bare_blocks: BareBlocks,
    /// The bounds on HTTP/2 connections.
    pub http2: Http2Settings,
}

/// The bounds on an HTTP/2 connection.
#[derive(Debug, Clone, Copy)]
pub struct Http2Settings {
    /// Its streams, and the heads of its requests.
    pub bounds: Bounds,
    /// Something that its client has begun is whole within this time, and without a stream it ends after it.
    pub request_deadline: Duration,
}

/// A handle to a shard, for tasks of its own thread.
#[derive(Clone)]
pub struct Shard {
    engine: Rc<RefCell<Engine>>,
    /// Wakes the loop after a hand-over that left work.
    handed_over: Rc<Notify>,
}

impl ShardSettings {
    /// A reconnection time between `retry_ms` and twice that: clients that were cut off together come back apart.
    pub(crate) fn retry_jittered(&self) -> u32 {
        fastrand::u32(self.retry_ms..=self.retry_ms.saturating_mul(2))
    }

    fn retry_when_full(&self) -> u32 {
        self.retry_jittered().saturating_mul(RETRY_WHEN_FULL)
    }

    /// The message to a stream that the node ends: why, and when to come back, a time of its own. No message if the client
    /// closed the stream or reached its own `limit`.
    pub(crate) fn last_words(&self, reason: CloseReason) -> Option<Frame> {
        let closing = match reason {
            CloseReason::Drained => Closing::Drained,
            CloseReason::Overrun => Closing::Overrun,
            CloseReason::ChannelDeleted => Closing::ChannelDeleted,
            CloseReason::Kicked => Closing::Kicked,
            CloseReason::Refused => Closing::Refused,
            CloseReason::FollowTimeout => Closing::FollowTimeout,
            CloseReason::TooManyChannels => Closing::TooManyChannels,
            CloseReason::TokenExpired => Closing::TokenExpired,
            CloseReason::Lifetime => Closing::Lifetime,
            CloseReason::Revoked => Closing::Revoked,
            CloseReason::TlsInput => Closing::TlsInput,
            CloseReason::ClientClosed
            | CloseReason::ClientReset
            | CloseReason::WriteFailed
            | CloseReason::Stalled
            | CloseReason::Memory
            | CloseReason::LimitReached
            | CloseReason::InputFlood
            | CloseReason::ProtocolFault => return None,
        };
        let retry_ms = match closing {
            Closing::Refused | Closing::TooManyChannels => self.retry_when_full(),
            _ => self.retry_jittered(),
        };
        Some(closing_frame(self.control_events.then_some(closing), retry_ms, self.bare_blocks))
    }
}

impl Shard {
    /// A shard and its loop, which must run on this thread, in a runtime with IO and time, until the process ends.
    pub fn new(
        hub: Arc<Hub>,
        shard: u16,
        settings: ShardSettings,
        counters: Arc<ShardCounters>,
        admission: Arc<Admission>,
        commands: mpsc::Receiver<ShardCommand>,
    ) -> io::Result<(Self, impl Future<Output = io::Result<()>>)> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let poll = async_poll(poll)?;
        let engine = Engine::new(hub, shard, registry, settings, counters, admission);
        let shard = Self { engine: Rc::new(RefCell::new(engine)), handed_over: Rc::new(Notify::new()) };
        Ok((shard.clone(), shard.run(poll, commands)))
    }

    /// Counts a socket whose request is not decided: a drain waits until it is answered or a stream.
    pub fn undecided_socket(&self) -> UndecidedSocket {
        self.engine.borrow().undecided.open()
    }

    /// Hands a stream over. Its name may be that of one that is at its end already. None if its HTTP/2 stream is over.
    pub fn subscribe(&self, request: Subscribe) -> Option<ConnectionId> {
        let id = self.engine.borrow_mut().subscribe(request);
        self.handed_over.notify_one();
        id
    }

    /// Hands a connection over that speaks HTTP/2.
    pub fn serve_http2(&self, connection: Http2Connection) {
        self.engine.borrow_mut().serve_http2(connection);
        self.handed_over.notify_one();
    }

    /// Asks the client of a stream to open no more streams on its connection.
    pub fn ask_to_leave(&self, stream: Http2Stream) {
        let connections = &mut self.engine.borrow_mut().streams.outlets.connections;
        if connections.is_serving(stream) {
            connections.ask_to_leave(stream.connection);
        }
        self.handed_over.notify_one();
    }

    /// Answers a request of an HTTP/2 connection whole, with a header block.
    pub fn answer(&self, stream: Http2Stream, answer: WholeAnswer) {
        let engine = &mut *self.engine.borrow_mut();
        let now = engine.streams.clock.now();
        engine.streams.outlets.connections.answer(stream, &answer.head, answer.body, now);
        self.handed_over.notify_one();
    }

    /// Lets a task of this thread publish, and does one slice of the work that this makes, before the loop or anything else gets its
    /// turn. The loop is woken only for what is left.
    pub fn work_behind<T>(&self, publish: impl FnOnce() -> T) -> T {
        {
            // A borrow can only be of a caller further up, which goes on with this work itself.
            let Ok(engine) = self.engine.try_borrow() else { return publish() };
            engine.streams.hub().mailbox(engine.streams.shard()).hush();
        }
        let published = publish();
        let mut engine = self.engine.borrow_mut();
        if engine.turn() || engine.streams.outlets.connections.has_asked() {
            self.handed_over.notify_one();
        }
        published
    }

    /// The last words to a client whose stream cannot begin, and the milliseconds that they say to wait.
    pub fn words_instead(&self, reason: Closing) -> (Frame, u32) {
        let engine = self.engine.borrow();
        let settings = engine.streams.settings();
        let is_full = matches!(reason, Closing::Overloaded | Closing::TooManyStreams);
        let retry_ms = if is_full { settings.retry_when_full() } else { settings.retry_jittered() };
        (closing_frame(settings.control_events.then_some(reason), retry_ms, settings.bare_blocks), retry_ms)
    }

    /// Lets the requests of HTTP/2 connections be decided, while nothing is borrowed.
    fn ask(&self) {
        let asked = self.engine.borrow_mut().streams.outlets.connections.take_asked();
        for (requests, request) in asked {
            requests.decide(request);
        }
    }

    async fn run(self, mut poll: AsyncFd<Poll>, mut commands: mpsc::Receiver<ShardCommand>) -> io::Result<()> {
        let (hub, index, period) = {
            let engine = self.engine.borrow();
            (Arc::clone(engine.streams.hub()), engine.streams.shard(), engine.sweep.tick)
        };
        let mut events = Events::with_capacity(EVENTS_PER_POLL);
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut work_left = false;
        loop {
            // With work left nothing is waited for; everything that is ready is seen to.
            tokio::select! {
                biased;
                _ = ticks.tick() => self.engine.borrow_mut().tick(),
                Some(command) = commands.recv() => self.engine.borrow_mut().command(command),
                ready = poll.readable_mut() => drop(ready?), // readiness is kept: `look_at_sockets` clears it
                () = hub.mailbox(index).rung() => self.engine.borrow().streams.counters().wakes.add(1),
                () = self.handed_over.notified() => {}
                () = std::future::ready(()), if work_left => {}
            }
            look_at_sockets(&mut poll, &mut events, &mut self.engine.borrow_mut())?;
            work_left = self.engine.borrow_mut().turn();
            self.ask();
            // Always: wake-ups that come fast enough would find each wait above ready at once, and the thread's other
            // tasks (accepts, requests) and its timers would never get their turn.
            tokio::task::yield_now().await;
        }
    }
}

#[allow(
    deprecated,
    reason = "a mio Poll keeps its one descriptor while it lives, which is all that is asked of it; \
    the replacement is unsafe and missing from the oldest tokio that we support"
)]
fn async_poll(poll: Poll) -> io::Result<AsyncFd<Poll>> {
    AsyncFd::with_interest(poll, Interest::READABLE)
}

/// Takes the sockets' events. The readiness of the poll itself is cleared only after it returned nothing: an event that
/// came in between would raise no new edge, and its socket would sleep for ever.
fn look_at_sockets(poll: &mut AsyncFd<Poll>, events: &mut Events, engine: &mut Engine) -> io::Result<()> {
    let polled = poll.try_io_mut(Interest::READABLE, |poll| {
        poll.poll(events, Some(Duration::ZERO))?;
        if events.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    match polled {
        Ok(()) => {
            for event in &*events {
                input::socket_event(&mut engine.streams, event);
            }
            Ok(())
        }
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(()),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use fantail_wire::Framing;
    use fantail_wire::SlowPolicy;

    use super::*;

    fn last_words(control_events: bool, reason: CloseReason) -> Option<String> {
        let minute = Duration::from_mins(1);
        let settings = ShardSettings {
            keepalive_interval: minute,
            follow_deadline: minute,
            progress_deadline: minute,
            retry_ms: 1000,
            slow_policies: SlowPolicies::new([SlowPolicy::Disconnect]),
            control_events,
            http2: crate::harness::HTTP2,
            bare_blocks: BareBlocks::Closed,
        };
        let frame = settings.last_words(reason)?;
        Some(String::from_utf8(frame.bytes(Framing::CloseDelimited).to_vec()).expect("text"))
    }

    #[test]
    fn a_stream_that_the_node_ends_is_told_why_and_one_that_its_client_ends_is_not() {
        for reason in CloseReason::ALL {
            let told = match reason {
                CloseReason::Drained
                | CloseReason::Overrun
                | CloseReason::ChannelDeleted
                | CloseReason::Kicked
                | CloseReason::Refused
                | CloseReason::TooManyChannels
                | CloseReason::TokenExpired
                | CloseReason::Lifetime
                | CloseReason::Revoked
                | CloseReason::TlsInput
                | CloseReason::FollowTimeout => true,
                // There is nobody left to tell, nothing can be told any more, or it was asked for.
                _ => false,
            };
            let (words, silent) = (last_words(true, reason), last_words(false, reason));
            assert_eq!((words.is_some(), silent.is_some()), (told, told), "{reason}");
            let Some((words, silent)) = words.zip(silent) else { continue };
            let why = format!(
                "event: fantail.close\ndata: {{\"reason\":\"{}\"}}\nretry: ",
                reason.as_str().replace('_', "-")
            );
            assert!(words.starts_with(&why) && silent.starts_with("retry: "), "{words}{silent}");
        }
    }
}
