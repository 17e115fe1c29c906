//! The streams of a unicast run: opened at a bounded rate, each on a channel of its own, and checked.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mio::event::Event as Readiness;
use mio::{Events, Poll, Registry, Token};

use crate::hold::opener::Opener;
use crate::hold::stream::{StreamChange, StreamReader};
use crate::hold::stream_connection::StreamConnection;
use crate::hold::tls::TlsClient;
use crate::message::{Open, Opened, WorkerTally};

const EVENTS_PER_POLL: usize = 1024;
/// One buffer for all streams. An event is a few hundred bytes.
const READ_BUFFER_BYTES: usize = 64 * 1024;
/// How often pending connections are looked at.
const CONNECT_TICK: Duration = Duration::from_millis(1);
/// How long the last head may be ahead of the last subscription; some servers send the head first.
const SETTLE: Duration = Duration::from_millis(300);

/// Open streams, each with a connection of its own; stream n has channel n and token n.
#[derive(Debug)]
pub(crate) struct UnicastStreams {
    connections: Vec<StreamConnection>,
    reader: StreamReader,
    ended: u64,
}

impl UnicastStreams {
    /// Opens all streams of the plan, or gives up at its deadline.
    pub(crate) fn open(poll: &mut Poll, plan: Open) -> anyhow::Result<(Self, Opened)> {
        let mut streams = Self {
            connections: Vec::with_capacity(plan.streams as usize),
            reader: StreamReader::new(READ_BUFFER_BYTES)?,
            ended: 0,
        };
        streams.reader.checker.expect_form(plan.event.clone());
        let client = |options| TlsClient::new(&plan.subscribe, options, plan.http2, plan.keep_tickets);
        let tls = plan.tls.as_ref().map(client);
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
        self.connections.len()
    }

    /// Events that came whole since the last tally.
    pub(crate) fn deliveries(&self) -> u64 {
        self.reader.checker.deliveries()
    }

    /// Reads and checks what has come. True if that was an event which the stream waited for.
    pub(crate) fn ready(&mut self, event: &Readiness) -> bool {
        let Self { connections, reader, ended } = self;
        let Some(connection) = connections.get_mut(event.token().0) else { return false };
        let before = reader.checker.deliveries();
        connection.ready(event, reader, &mut |change| *ended += u64::from(matches!(change, StreamChange::Ended)));
        reader.checker.deliveries() > before
    }

    /// Counts the events that have not come as lost. `sent` tells how many each channel has got.
    pub(crate) fn count_lost(&mut self, sent: &[u64]) {
        let streams = self.connections.iter_mut().flat_map(StreamConnection::streams_mut);
        for (stream, sent) in streams.zip(sent) {
            self.reader.checker.skip(stream.expectation(), sent + 1);
        }
    }

    pub(crate) fn take_tally(&mut self) -> WorkerTally {
        WorkerTally { ended: self.ended, ..self.reader.checker.take_tally() }
    }

    fn begin_more(&mut self, opener: &mut Opener, registry: &Registry) {
        while opener.next_number().is_some() {
            let at = Token(self.connections.len());
            let registered = opener.begin(opener.next_streams()).and_then(|mut begun| {
                begun.register(registry, at)?;
                Ok(begun)
            });
            match registered {
                Ok(begun) => self.connections.push(begun),
                Err(error) => opener.note_failed(error.to_string()),
            }
        }
    }

    fn note_opening(&mut self, event: &Readiness, opener: &mut Opener) {
        let Self { connections, reader, ended } = self;
        let Some(connection) = connections.get_mut(event.token().0) else { return };
        connection.ready(event, reader, &mut |change| match change {
            StreamChange::Opened { nanos, handshake } => opener.note_opened(nanos, handshake),
            StreamChange::Failed { reason } => opener.note_failed(reason),
            StreamChange::Ended => *ended += 1,
        });
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
