//! The streams of a unicast run: opened at a bounded rate, each on a channel of its own, and checked.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mio::event::Event as Readiness;
use mio::{Events, Poll, Registry, Token};

use crate::hold::opener::Opener;
use crate::hold::order::Checker;
use crate::hold::stream::{Ids, Stream, StreamChange};
use crate::hold::tls::TlsClient;
use crate::message::{Open, Opened, WorkerTally};

const EVENTS_PER_POLL: usize = 1024;
/// One buffer for all streams. An event is a few hundred bytes.
const READ_BUFFER_BYTES: usize = 64 * 1024;
/// How often pending connections are looked at.
const CONNECT_TICK: Duration = Duration::from_millis(1);
/// How long the last head may be ahead of the last subscription; some servers send the head first.
const SETTLE: Duration = Duration::from_millis(300);

/// Open streams; stream n has channel n and token n.
#[derive(Debug)]
pub(crate) struct UnicastStreams {
    streams: Vec<Stream>,
    checker: Checker,
    ids: Ids,
    buffer: Vec<u8>,
    ended: u64,
}

impl UnicastStreams {
    /// Opens all streams of the plan, or gives up at its deadline.
    pub(crate) fn open(poll: &mut Poll, plan: Open) -> anyhow::Result<(Self, Opened)> {
        let mut streams = Self {
            streams: Vec::with_capacity(plan.streams as usize),
            checker: Checker::new()?,
            ids: Ids::default(),
            buffer: vec![0; READ_BUFFER_BYTES],
            ended: 0,
        };
        streams.checker.expect_form(plan.event.clone());
        let tls = plan.tls.as_ref().map(|options| TlsClient::new(&plan.subscribe, options, plan.keep_tickets));
        let mut opener = Opener::new(plan, tls.transpose()?.map(Rc::new))?;
        let mut events = Events::with_capacity(EVENTS_PER_POLL);
        while !opener.is_done() {
            streams.begin_more(&mut opener, poll.registry());
            wait(poll, &mut events, CONNECT_TICK)?;
            for event in &events {
                streams.note_opening(event, &mut opener);
            }
            if opener.is_overdue() {
                opener.give_up();
            }
        }
        let until = Instant::now() + SETTLE;
        while Instant::now() < until {
            wait(poll, &mut events, SETTLE)?;
            for event in &events {
                streams.ready(event);
            }
        }
        Ok((streams, opener.outcome()))
    }

    pub(crate) fn count(&self) -> usize {
        self.streams.len()
    }

    /// Events that came whole since the last tally.
    pub(crate) fn deliveries(&self) -> u64 {
        self.checker.deliveries()
    }

    /// Reads and checks what has come. True if that was an event which the stream waited for.
    pub(crate) fn ready(&mut self, event: &Readiness) -> bool {
        let Some(stream) = self.streams.get_mut(event.token().0) else { return false };
        let before = self.checker.deliveries();
        let change = stream.ready(event, &mut self.buffer, &mut self.checker, &mut self.ids);
        if matches!(change, StreamChange::Ended) {
            self.ended += 1;
        }
        self.checker.deliveries() > before
    }

    /// Counts the events that have not come as lost. `sent` tells how many each channel has got.
    pub(crate) fn count_lost(&mut self, sent: &[u64]) {
        for (stream, sent) in self.streams.iter_mut().zip(sent) {
            self.checker.skip(stream.expectation(), sent + 1);
        }
    }

    pub(crate) fn take_tally(&mut self) -> WorkerTally {
        WorkerTally { ended: self.ended, ..self.checker.take_tally() }
    }

    fn begin_more(&mut self, opener: &mut Opener, registry: &Registry) {
        while let Some(number) = opener.next_number() {
            let at = Token(self.streams.len());
            let registered = opener.begin_new(number).and_then(|mut begun| {
                begun.connection.register(registry, at)?;
                Ok(begun)
            });
            match registered {
                Ok(begun) => self.streams.push(Stream::new(begun)),
                Err(error) => opener.note_failed(error.to_string()),
            }
        }
    }

    fn note_opening(&mut self, event: &Readiness, opener: &mut Opener) {
        let Some(stream) = self.streams.get_mut(event.token().0) else { return };
        match stream.ready(event, &mut self.buffer, &mut self.checker, &mut self.ids) {
            StreamChange::Opened { nanos, handshake } => opener.note_opened(nanos, handshake),
            StreamChange::Failed { reason } => opener.note_failed(reason),
            StreamChange::Ended => self.ended += 1,
            StreamChange::Same => {}
        }
    }
}

/// Waits for readiness; a signal is no reason to end.
pub(crate) fn wait(poll: &mut Poll, events: &mut Events, timeout: Duration) -> anyhow::Result<()> {
    match poll.poll(events, Some(timeout)) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            events.clear();
            Ok(())
        }
        other => other.context("poll failed"),
    }
}
