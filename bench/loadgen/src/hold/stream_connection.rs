//! A connection with its streams: one over HTTP/1.1, or the tabs of one over HTTP/2. It leads what its socket tells to them, and
//! tells what becomes of them.

use std::io;

use mio::event::Event as Readiness;
use mio::{Registry, Token};

use crate::clock::now_nanos;
use crate::hold::connection::{Connection, Over};
use crate::hold::stream::{Identity, Stream, StreamChange, StreamReader};
use crate::hold::tabs::{Sink, Tabs};

/// A connection on its way, open, or over.
#[derive(Debug)]
pub(crate) struct StreamConnection {
    /// None once it is over.
    connection: Option<Connection>,
    begun_nanos: u64,
    streams: Streams,
}

#[derive(Debug)]
enum Streams {
    Http1(Stream),
    Http2(Box<Tabs>),
}

impl StreamConnection {
    /// One stream over HTTP/1.1, whose request is the connection's first words.
    pub(crate) fn http1(connection: Connection, identity: Identity) -> Self {
        Self::new(connection, Streams::Http1(Stream::new(identity)))
    }

    /// Several streams over HTTP/2. Each has this window, and the requests of all are the connection's first words.
    pub(crate) fn http2(connection: Connection, window: u32, identities: Vec<Identity>) -> Self {
        Self::new(connection, Streams::Http2(Box::new(Tabs::new(window, identities))))
    }

    fn new(connection: Connection, streams: Streams) -> Self {
        Self { connection: Some(connection), begun_nanos: now_nanos(), streams }
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.connection.as_mut().map_or(Ok(()), |connection| connection.register(registry, token))
    }

    pub(crate) fn streams(&self) -> impl Iterator<Item = &Stream> {
        let (one, tabs) = match &self.streams {
            Streams::Http1(stream) => (Some(stream), None),
            Streams::Http2(tabs) => (None, Some(tabs.streams())),
        };
        one.into_iter().chain(tabs.into_iter().flatten())
    }

    pub(crate) fn streams_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        let (one, tabs) = match &mut self.streams {
            Streams::Http1(stream) => (Some(stream), None),
            Streams::Http2(tabs) => (None, Some(tabs.streams_mut())),
        };
        one.into_iter().chain(tabs.into_iter().flatten())
    }

    /// Makes the chosen ones of its streams read no more, and tells how many did until now. Over HTTP/1.1 that is the
    /// connection, over HTTP/2 the window of the stream.
    pub(crate) fn stop(&mut self, is_chosen: &mut impl FnMut() -> bool) -> usize {
        let stopped = self.streams_mut().filter(|_| is_chosen()).map(Stream::stop).filter(|stopped| *stopped).count();
        if let (Some(connection), Streams::Http1(stream)) = (&self.connection, &self.streams)
            && stream.is_stopped()
        {
            connection.shrink_receive_buffer();
        }
        stopped
    }

    /// Resets the connection, which every socket here does when it is closed; tells how many of its streams were open.
    pub(crate) fn reset(&mut self) -> usize {
        let was_open = self.connection.take().is_some();
        self.streams().filter(|stream| was_open && !stream.is_ended()).count()
    }

    /// Closes the connection if not one of its streams was ever opened.
    pub(crate) fn close_unopened(&mut self) {
        if !self.streams().any(Stream::was_opened) {
            self.connection = None;
        }
    }

    /// Sends what waits, reads what is there and checks it. News of streams go to `tell`.
    pub(crate) fn ready(&mut self, event: &Readiness, reader: &mut StreamReader, tell: &mut impl FnMut(StreamChange)) {
        let Self { connection: kept, begun_nanos, streams } = self;
        let Some(connection) = kept else { return };
        let outcome = match streams {
            Streams::Http1(stream) => {
                if stream.is_stopped() {
                    return;
                }
                let outcome = advance_http1(connection, stream, event, reader);
                if outcome.is_ok() {
                    stream.announce(*begun_nanos, connection.handshake()).into_iter().for_each(&mut *tell);
                }
                outcome
            }
            Streams::Http2(tabs) => advance_http2(connection, tabs, *begun_nanos, event, reader, tell),
        };
        if let Err(reason) = outcome {
            *kept = None;
            self.streams_mut().filter_map(|stream| stream.end(reason.clone())).for_each(tell);
        }
    }
}

fn advance_http1(
    connection: &mut Connection,
    stream: &mut Stream,
    event: &Readiness,
    reader: &mut StreamReader,
) -> Result<(), Over> {
    if event.is_writable() {
        connection.writable()?;
    }
    let Some(is_closing) = readable(event) else { return Ok(()) };
    let StreamReader { buffer, checker, ids } = reader;
    connection.receive(is_closing, buffer, &mut |text| stream.read(text, now_nanos(), checker, ids))
}

fn advance_http2(
    connection: &mut Connection,
    tabs: &mut Tabs,
    begun_nanos: u64,
    event: &Readiness,
    reader: &mut StreamReader,
    tell: &mut impl FnMut(StreamChange),
) -> Result<(), Over> {
    if event.is_writable() {
        connection.writable()?;
    }
    let Some(is_closing) = readable(event) else { return Ok(()) };
    let StreamReader { buffer, checker, ids } = reader;
    let (mut out, mut changes) = (Vec::new(), Vec::new());
    let is_first = !tabs.streams().any(Stream::was_opened);
    let received = connection.receive(is_closing, buffer, &mut |text| {
        let mut sink = Sink {
            checker: &mut *checker,
            ids: &mut *ids,
            now_nanos: now_nanos(),
            begun_nanos,
            out: &mut out,
            changes: &mut changes,
        };
        tabs.receive(text, &mut sink)
    });
    if is_first
        && let Some(StreamChange::Opened { handshake, .. }) =
            changes.iter_mut().find(|change| matches!(change, StreamChange::Opened { .. }))
    {
        *handshake = connection.handshake();
    }
    let has_ended = changes.iter().any(|change| !matches!(change, StreamChange::Opened { .. }));
    changes.into_iter().for_each(tell);
    received?;
    if has_ended && tabs.are_over() {
        return Err("all streams have ended".to_owned());
    }
    if out.is_empty() { Ok(()) } else { connection.send(&out) }
}

/// Whether there is something to read, and whether the server has closed its side.
fn readable(event: &Readiness) -> Option<bool> {
    let is_closing = event.is_read_closed() || event.is_error();
    (event.is_readable() || is_closing).then_some(is_closing)
}
