//! One write of a connection: what was begun before, control frames, and the text of its tabs.
//!
//! The text is gathered for the write and not kept for the next one. Of what the socket takes, the frame that it took last is begun, and the
//! rest of it is kept. Frames behind that were never seen by anyone. They are dropped, their tabs stay at their cursors, and no
//! window has moved for them. Over TLS the same holds for records of at most 16 KiB in the place of frames.
//!
//! Example: tabs 1, 3 and 5 are to get an event of 100 bytes, so three frames of 109 bytes are gathered. The socket takes 150. Tabs 1 and 3 have
//! got the event, 68 bytes of the second frame are kept, and tab 5 reads the event from the log when the socket takes bytes again.

use std::io::{self, IoSlice};

use fantail_http2::{HEAD_BYTES, PAYLOAD_BYTES_MAX, data_head};

use super::connection::{Connection, Unsent};
use super::{ConnectionKey, Connections, reason_of};
use crate::streams::Key;
use crate::tick::Tick;
use crate::tls_record::TEXT_BYTES_MAX;

/// Text is assembled up to about so much for one write. A socket hardly ever has room for more.
const WRITE_BYTES: usize = 64 * 1024;

/// The buffers that all connections share while they write.
#[derive(Default)]
pub(super) struct Assembly {
    /// Frames in a row, control frames first.
    bytes: Vec<u8>,
    control_bytes: usize,
    frames: Vec<TextFrame>,
    /// Bytes of text in the frames.
    text_bytes: usize,
    records: Vec<u8>,
}

struct TextFrame {
    /// Where it ends among all bytes.
    end: usize,
    /// The place of its tab among those of the write.
    tab: usize,
    stream: u32,
    text_bytes: usize,
}

/// The outcome of a write.
struct Begun {
    /// Bytes of the assembly whose frames or records were begun.
    bytes: usize,
    /// Those of them that are still to be sent, as they go on the wire.
    rest: Vec<u8>,
}

/// A write under way.
struct Write<'a> {
    connection: &'a mut Connection,
    assembly: &'a mut Assembly,
    taken: &'a mut [usize],
    now: Tick,
    calls: u64,
}

/// The place in pieces that are copied from their beginning.
struct Text<'a> {
    pieces: &'a [IoSlice<'a>],
    at: usize,
}

impl Connections {
    /// Gives each of the tabs the same pieces, as far as its windows and the socket let. `taken` tells how many bytes of them each was
    /// given: they are on the wire, or will be before anything else. If the socket fails, the connection is marked.
    pub(crate) fn put(
        &mut self,
        key: ConnectionKey,
        tabs: &[Key],
        pieces: &[IoSlice<'_>],
        taken: &mut Vec<usize>,
        now: Tick,
    ) {
        taken.clear();
        taken.resize(tabs.len(), 0);
        let Self { slab, ids, assembly, .. } = self;
        let connection = &mut slab[key];
        if connection.failed.is_some() || connection.is_blocked {
            return;
        }
        let ids = tabs.iter().map(|tab| ids.get(*tab).map_or(0, std::num::NonZeroU32::get));
        let mut write = Write { connection, assembly, taken, now, calls: 0 };
        let outcome = write.all(ids, pieces);
        let calls = write.calls;
        self.counters.write_calls.add(calls);
        if let Err(error) = outcome {
            self.fail(key, reason_of(&error));
        }
    }

    /// Sends the bytes that wait.
    pub(crate) fn flush(&mut self, key: ConnectionKey, now: Tick) {
        if self.slab[key].unsent.is_some() {
            self.put(key, &[], &[], &mut Vec::new(), now);
        }
    }
}

impl Write<'_> {
    fn all(&mut self, streams: impl Iterator<Item = u32>, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        if !self.send_rest()? {
            return Ok(());
        }
        self.assembly.begin(self.connection.unsent.as_deref());
        let whole: usize = pieces.iter().map(|piece| piece.len()).sum();
        for (tab, stream) in streams.enumerate() {
            let mut left = self.connection.protocol.room(stream, self.assembly.text_bytes).min(whole);
            let mut text = Text { pieces, at: 0 };
            while left > 0 {
                let text_bytes = left.min(PAYLOAD_BYTES_MAX);
                left -= text_bytes;
                self.assembly.add(tab, stream, text_bytes, &mut text);
                if self.assembly.bytes.len() >= WRITE_BYTES && !self.send()? {
                    return Ok(());
                }
            }
        }
        self.send().map(drop)
    }

    /// Finishes what was begun before. False if the socket does not take all of it.
    fn send_rest(&mut self) -> io::Result<bool> {
        let Some(unsent) = &mut self.connection.unsent else { return Ok(true) };
        while !unsent.rest.is_empty() {
            self.calls += 1;
            match self.connection.socket.put(&[IoSlice::new(&unsent.rest)]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => {
                    drop(unsent.rest.drain(..sent));
                    self.connection.written = self.now;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.connection.is_blocked = true;
                    self.connection.written = self.now; // the deadline on progress runs from here
                    return Ok(false);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Sends the assembly with one call, and keeps what was begun of it. False if that was not all.
    fn send(&mut self) -> io::Result<bool> {
        if self.assembly.bytes.is_empty() {
            self.connection.unsent = None;
            return Ok(true);
        }
        let begun = loop {
            self.calls += 1;
            match self.assembly.put(self.connection) {
                Ok(begun) => break begun,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Begun { bytes: 0, rest: Vec::new() },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        Ok(self.settle(begun))
    }

    /// Windows and cursors move for what was begun, and for nothing else.
    fn settle(&mut self, begun: Begun) -> bool {
        let Self { connection, assembly, taken, now, .. } = self;
        let is_whole = begun.bytes == assembly.bytes.len() && begun.rest.is_empty();
        for frame in assembly.frames.iter().take_while(|frame| frame.end <= begun.bytes) {
            connection.protocol.spend(frame.stream, frame.text_bytes);
            taken[frame.tab] += frame.text_bytes;
        }
        let control = &assembly.bytes[begun.bytes.min(assembly.control_bytes)..assembly.control_bytes];
        let is_empty = begun.rest.is_empty() && control.is_empty();
        connection.unsent = (!is_empty).then(|| Box::new(Unsent { rest: begun.rest, control: control.to_vec() }));
        connection.is_blocked = !is_whole;
        // Bytes were taken, or the deadline on progress runs from here.
        connection.written = *now;
        assembly.begin(None);
        is_whole
    }
}

impl Assembly {
    fn begin(&mut self, unsent: Option<&Unsent>) {
        self.bytes.clear();
        self.frames.clear();
        self.text_bytes = 0;
        self.bytes.extend_from_slice(unsent.map_or(&[], |unsent| &unsent.control));
        self.control_bytes = self.bytes.len();
    }

    fn add(&mut self, tab: usize, stream: u32, text_bytes: usize, text: &mut Text<'_>) {
        self.bytes.reserve(HEAD_BYTES + text_bytes);
        self.bytes.extend_from_slice(&data_head(stream, text_bytes));
        text.copy(text_bytes, &mut self.bytes);
        self.text_bytes += text_bytes;
        self.frames.push(TextFrame { end: self.bytes.len(), tab, stream, text_bytes });
    }

    fn put(&mut self, connection: &mut Connection) -> io::Result<Begun> {
        let Connection { socket, tls, .. } = connection;
        if let Some(tls) = tls {
            let Self { bytes, control_bytes, frames, records, .. } = self;
            let pieces = records_of(bytes, *control_bytes, frames);
            let put = tls.sealer.put(pieces, records, |records| socket.put(&[IoSlice::new(records)]))?;
            return Ok(Begun { bytes: put.taken, rest: put.rest.into() });
        }
        let sent = socket.put(&[IoSlice::new(&self.bytes)])?;
        // Control frames are all kept, so none of them has to be begun.
        let frame = self.frames.iter().map(|frame| frame.end).find(|end| *end >= sent);
        let begun = frame.filter(|_| sent > self.control_bytes).unwrap_or(sent);
        Ok(Begun { bytes: begun, rest: self.bytes[sent..begun].to_vec() })
    }
}

/// The frames in pieces for one record each, of whole frames where they fit. The first holds all control frames.
fn records_of<'a>(bytes: &'a [u8], control_bytes: usize, frames: &'a [TextFrame]) -> impl Iterator<Item = &'a [u8]> {
    let mut start = 0;
    let mut next = 0;
    std::iter::from_fn(move || {
        if start == bytes.len() {
            return None;
        }
        let mut end = control_bytes.max(start);
        while let Some(frame) = frames.get(next)
            && (end == start || frame.end - start <= TEXT_BYTES_MAX)
        {
            end = frame.end;
            next += 1;
        }
        Some(&bytes[std::mem::replace(&mut start, end)..end])
    })
}

impl Text<'_> {
    fn copy(&mut self, mut bytes: usize, out: &mut Vec<u8>) {
        while bytes > 0 {
            let Some(piece) = self.pieces.first() else { return };
            let part = &piece[self.at..(self.at + bytes).min(piece.len())];
            out.extend_from_slice(part);
            bytes -= part.len();
            self.at += part.len();
            if self.at == piece.len() {
                (self.pieces, self.at) = (&self.pieces[1..], 0);
            }
        }
    }
}
