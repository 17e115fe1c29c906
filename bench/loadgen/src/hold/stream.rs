//! One stream: its socket, the bytes so far and the event that it waits for. The checker does the checking.

use std::io::{self, Read as _, Write as _};
use std::rc::Rc;

use mio::event::Event as Readiness;
use mio::net::TcpStream;

use crate::clock::now_nanos;
use crate::hold::decoder::Decoder;
use crate::hold::order::{Checker, Expectation};

/// A connection on its way.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) socket: TcpStream,
    pub(crate) expectation: Expectation,
    pub(crate) request: String,
}

/// An opening, open or ended stream.
#[derive(Debug)]
pub(crate) struct Stream {
    /// None once the stream is over.
    socket: Option<TcpStream>,
    decoder: Decoder,
    expectation: Expectation,
    begun_nanos: u64,
    /// The request, until it is sent.
    request: Option<String>,
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
    /// The head has come, so many nanoseconds after the connection began.
    Opened { nanos: u64 },
    /// It never became a stream.
    Failed { reason: String },
    /// It was one and is over.
    Ended,
}

/// The receive buffer of a stream that stopped reading.
const STOPPED_RECEIVE_BYTES: usize = 4096;

/// The reason why reading stopped for good.
type Over = String;

impl Stream {
    pub(crate) fn new(begun: Begun) -> Self {
        let Begun { socket, expectation, request } = begun;
        let begun_nanos = now_nanos();
        let decoder = Decoder::default();
        Self {
            socket: Some(socket),
            decoder,
            expectation,
            begun_nanos,
            request: Some(request),
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
        let reads = self.socket.is_some() && self.opened && !self.stopped;
        self.stopped = true;
        if let Some(socket) = &self.socket {
            // A real client's own buffer is on another machine; here the server would pay for filling it.
            let _ = socket2::SockRef::from(socket).set_recv_buffer_size(STOPPED_RECEIVE_BYTES);
        }
        reads
    }

    /// Resets the connection, which every socket here does when it is closed; true if it was open.
    pub(crate) fn reset(&mut self) -> bool {
        self.socket.take().is_some()
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
        self.socket = None;
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
        let Some(mut socket) = self.socket.take() else { return StreamChange::Same };
        match self.advance(&mut socket, event, buffer, checker, ids) {
            Ok(()) => {
                self.socket = Some(socket);
                self.announce()
            }
            Err(_) if self.opened => StreamChange::Ended,
            Err(reason) => StreamChange::Failed { reason },
        }
    }

    fn advance(
        &mut self,
        socket: &mut TcpStream,
        event: &Readiness,
        buffer: &mut [u8],
        checker: &mut Checker,
        ids: &mut Ids,
    ) -> Result<(), Over> {
        if event.is_writable()
            && let Some(request) = self.request.take()
        {
            send(socket, &request).map_err(|error| error.to_string())?;
        }
        let closing = event.is_read_closed() || event.is_error();
        if event.is_readable() || closing { self.receive(socket, closing, buffer, checker, ids) } else { Ok(()) }
    }

    /// Readiness is edge-triggered, but a read that did not fill the buffer has emptied the socket. Only a full buffer
    /// or a closed peer makes a second read necessary, which saves half of all system calls.
    fn receive(
        &mut self,
        socket: &mut TcpStream,
        closing: bool,
        buffer: &mut [u8],
        checker: &mut Checker,
        ids: &mut Ids,
    ) -> Result<(), Over> {
        loop {
            let count = match socket.read(buffer) {
                Ok(0) => return Err("connection closed before the head".to_owned()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.to_string()),
            };
            let now = now_nanos();
            let Self { expectation, last_id, decoder, .. } = self;
            let fed = decoder.feed(&buffer[..count], &mut |event| {
                ids.note(event.id, last_id);
                checker.check(expectation, event, now);
            });
            fed.map_err(|fault| fault.to_string())?;
            if self.decoder.is_ended() {
                return Err("stream ended with its head".to_owned());
            }
            if count < buffer.len() && !closing {
                return Ok(());
            }
        }
    }

    fn announce(&mut self) -> StreamChange {
        if self.opened || !self.decoder.is_open() {
            return StreamChange::Same;
        }
        self.opened = true;
        StreamChange::Opened { nanos: now_nanos().saturating_sub(self.begun_nanos) }
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

fn send(socket: &mut TcpStream, request: &str) -> io::Result<()> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    // A new socket has room for any request; if it has not, something is badly wrong.
    let sent = socket.write(request.as_bytes())?;
    if sent == request.len() { Ok(()) } else { Err(io::Error::other("request did not fit the socket")) }
}
