//! One stream: its connection, the bytes so far and the event that it waits for. The checker does the checking.

use std::rc::Rc;

use mio::event::Event as Readiness;

use crate::clock::now_nanos;
use crate::hold::connection::{Connection, Over};
use crate::hold::decoder::Decoder;
use crate::hold::order::{Checker, Expectation};
use crate::message::Handshake;

/// A connection on its way.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) connection: Connection,
    pub(crate) expectation: Expectation,
}

/// An opening, open or ended stream.
#[derive(Debug)]
pub(crate) struct Stream {
    /// None once the stream is over.
    connection: Option<Connection>,
    decoder: Decoder,
    expectation: Expectation,
    begun_nanos: u64,
    /// Whether the opening was reported.
    opened: bool,
    /// Whether it was told to read no more.
    stopped: bool,
    /// The last id it saw, if it is to come back. Streams of one channel share the text.
    last_id: Option<Rc<[u8]>>,
}

/// The latest ids, shared by the streams that saw them: thousands of streams with the same event hold one text. It does
/// nothing unless it is asked to remember.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    latest: Option<Rc<[u8]>>,
    remember: bool,
}

/// The outcome of a ready socket.
#[derive(Debug)]
pub(crate) enum StreamChange {
    /// Nothing to report.
    Same,
    /// The head has come, so many nanoseconds after the connection began, and behind such a handshake.
    Opened { nanos: u64, handshake: Option<Handshake> },
    /// It never became a stream.
    Failed { reason: String },
    /// It was one and is over.
    Ended,
}

/// The receive buffer of a stream that stopped reading.
pub(crate) const STOPPED_RECEIVE_BYTES: usize = 4096;

impl Stream {
    pub(crate) fn new(begun: Begun) -> Self {
        let Begun { connection, expectation } = begun;
        let begun_nanos = now_nanos();
        let decoder = Decoder::default();
        Self {
            connection: Some(connection),
            decoder,
            expectation,
            begun_nanos,
            opened: false,
            stopped: false,
            last_id: None,
        }
    }

    /// Goes on with a new connection where the old one ended.
    pub(crate) fn reconnect(&mut self, begun: Begun) {
        let last_id = self.last_id.take();
        *self = Self { last_id, ..Self::new(begun) };
    }

    pub(crate) fn identity(&self) -> (Expectation, Option<Rc<[u8]>>) {
        (self.expectation, self.last_id.clone())
    }

    /// Reads no more from now on; true unless it already did not.
    pub(crate) fn stop(&mut self) -> bool {
        let reads = self.connection.is_some() && self.opened && !self.stopped;
        self.stopped = true;
        if let Some(connection) = &self.connection {
            connection.shrink_receive_buffer();
        }
        reads
    }

    /// Resets the connection, which every socket here does when it is closed; true if it was open.
    pub(crate) fn reset(&mut self) -> bool {
        self.connection.take().is_some()
    }

    pub(crate) fn expectation(&mut self) -> &mut Expectation {
        &mut self.expectation
    }

    /// Whether it has ever been a stream, so that events were due to it.
    pub(crate) fn was_opened(&self) -> bool {
        self.opened
    }

    /// Whether events are due to it.
    pub(crate) fn is_due(&self) -> bool {
        self.opened && !self.stopped
    }

    /// Closes the connection.
    pub(crate) fn close(&mut self) {
        self.connection = None;
    }

    /// Sends the request, reads what is there and checks it.
    pub(crate) fn ready(
        &mut self,
        event: &Readiness,
        buffer: &mut [u8],
        checker: &mut Checker,
        ids: &mut Ids,
    ) -> StreamChange {
        if self.stopped {
            return StreamChange::Same;
        }
        let Some(mut connection) = self.connection.take() else { return StreamChange::Same };
        match self.advance(&mut connection, event, buffer, checker, ids) {
            Ok(()) => {
                let change = self.announce(&connection);
                self.connection = Some(connection);
                change
            }
            Err(_) if self.opened => StreamChange::Ended,
            Err(reason) => StreamChange::Failed { reason },
        }
    }

    fn advance(
        &mut self,
        connection: &mut Connection,
        event: &Readiness,
        buffer: &mut [u8],
        checker: &mut Checker,
        ids: &mut Ids,
    ) -> Result<(), Over> {
        if event.is_writable() {
            connection.begin()?;
        }
        let is_closing = event.is_read_closed() || event.is_error();
        if !event.is_readable() && !is_closing {
            return Ok(());
        }
        connection.receive(is_closing, buffer, &mut |text| self.read(text, checker, ids))
    }

    /// Reads the events in this text, and checks them.
    fn read(&mut self, text: &[u8], checker: &mut Checker, ids: &mut Ids) -> Result<(), Over> {
        let now = now_nanos();
        let Self { expectation, last_id, decoder, .. } = self;
        let fed = decoder.feed(text, &mut |event| {
            ids.note(event.id, last_id);
            checker.check(expectation, event, now);
        });
        fed.map_err(|fault| fault.to_string())?;
        if decoder.is_ended() { Err("stream ended with its head".to_owned()) } else { Ok(()) }
    }

    fn announce(&mut self, connection: &Connection) -> StreamChange {
        if self.opened || !self.decoder.is_open() {
            return StreamChange::Same;
        }
        self.opened = true;
        let nanos = now_nanos().saturating_sub(self.begun_nanos);
        StreamChange::Opened { nanos, handshake: connection.handshake() }
    }
}

impl Ids {
    pub(crate) fn remember(&mut self) {
        self.remember = true;
    }

    /// Makes `id` the last one a stream saw.
    fn note(&mut self, id: Option<&[u8]>, last: &mut Option<Rc<[u8]>>) {
        let Some(id) = id.filter(|_| self.remember) else { return };
        if self.latest.as_deref() != Some(id) {
            self.latest = Some(id.into());
        }
        last.clone_from(&self.latest);
    }
}
