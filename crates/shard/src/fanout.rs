//! The hot loop: one channel's new frames to each of its subscribers, one `send` or `writev` apiece.
//!
//! It owns nothing and decides nothing: each stream that is not plain is noted as an exception, and is seen to between
//! slices.

use std::io::{self, IoSlice};

use bytes::Bytes;
use fantail_hub::{Delivery, Position};
use fantail_wire::Framing;
use smallvec::SmallVec;

use crate::connections::ConnectionKey;
use crate::slice::Slice;
use crate::streams::{Key, Outlets, Stream, StreamState, Wires};
use crate::tick::Tick;

/// The tabs of one connection share a write of about so much text. Those beyond it are visited by themselves.
const TEXT_BYTES_PER_CONNECTION: usize = 256 * 1024;

/// The new entries of one channel, copied from its log once for a whole pass.
pub(crate) struct Batch {
    /// A stream whose cursor is here or above, and below the first entry, gets all of it.
    pub(crate) from: Position,
    /// Where the stream's cursor is afterwards.
    pub(crate) to: Position,
    pub(crate) entries: Vec<Delivery>,
}

/// The batch as the bytes that streams of one framing get.
struct Image<'a> {
    pieces: SmallVec<[IoSlice<'a>; 8]>,
    bytes: usize,
}

/// The figures of one slice of a pass.
#[derive(Default)]
pub(crate) struct PassTally {
    /// Streams that took the whole batch.
    pub(crate) whole: u64,
    pub(crate) bytes: u64,
    pub(crate) writes: u64,
    /// Streams that need a closer look, each with its generation: the slot may be another's by then.
    pub(crate) exceptions: Vec<(Key, u32, Exception)>,
    /// The tabs of one write; reused.
    tabs: Vec<Key>,
}

/// Why a pass did not serve a stream, or not wholly.
pub(crate) enum Exception {
    /// Its cursor is not where the batch begins, or it is always served alone.
    Alone,
    /// The socket took only so many bytes; the rest of a frame that was sealed already.
    Short(usize, Option<Bytes>),
    /// The socket failed.
    Failed(io::Error),
}

/// Writes `batch` to the subscribers below `*next`, the last first, until the slice is over. True when all are visited.
pub(crate) fn fan_out(
    wires: Wires<'_>,
    (slot, subscribers): (u32, &[Key]),
    next: &mut usize,
    batch: &Batch,
    now: Tick,
    slice: &mut Slice,
    tally: &mut PassTally,
) -> bool {
    let Wires { streams, outlets } = wires;
    let images = [batch.image(Framing::Chunked), batch.image(Framing::CloseDelimited)];
    while *next > 0 {
        if slice.is_over() {
            return false;
        }
        *next -= 1;
        let key = subscribers[*next];
        let stream = &mut streams[key];
        if stream.state() != StreamState::Live || stream.cursor() >= batch.to {
            continue;
        }
        if !batch.is_for(stream) {
            tally.exceptions.push((key, stream.generation(), Exception::Alone));
            continue;
        }
        if let Some(connection) = stream.connection() {
            put_tabs(Wires { streams, outlets }, connection, (slot, key), batch, &images[1], now, tally);
            continue;
        }
        let image = &images[usize::from(stream.framing() == Framing::CloseDelimited)];
        tally.writes += 1;
        let (put, rest) = stream.put_pieces(key, &image.pieces, outlets, now);
        let exception = match put {
            Ok(taken) if taken == image.bytes && rest.is_none() => {
                stream.advance(batch.to, now);
                tally.whole += 1;
                tally.bytes += taken as u64;
                continue;
            }
            Ok(taken) => Exception::Short(taken, rest),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Exception::Short(0, None),
            Err(e) => Exception::Failed(e),
        };
        tally.exceptions.push((key, stream.generation(), exception));
    }
    true
}

/// The same for the tabs of an HTTP/2 connection, all of which share a write: the one that is visited, and the others that the batch is for. When
/// their own turn comes their cursors are behind it.
fn put_tabs(
    wires: Wires<'_>,
    connection: ConnectionKey,
    (slot, visited): (u32, Key),
    batch: &Batch,
    image: &Image<'_>,
    now: Tick,
    tally: &mut PassTally,
) {
    let Wires { streams, outlets: Outlets { connections, taken, .. } } = wires;
    let others = connections.tabs(connection).filter(|&tab| {
        let stream = &streams[tab];
        tab != visited && stream.state() == StreamState::Live && stream.follows_only(slot) && batch.is_for(stream)
    });
    tally.tabs.clear();
    tally.tabs.push(visited);
    tally.tabs.extend(others.take(TEXT_BYTES_PER_CONNECTION / image.bytes.max(1)));
    connections.put(connection, &tally.tabs, &image.pieces, taken, now);
    for (&tab, &taken) in tally.tabs.iter().zip(&*taken) {
        let stream = &mut streams[tab];
        if taken == image.bytes {
            stream.advance(batch.to, now);
            tally.whole += 1;
            tally.bytes += taken as u64;
        } else {
            stream.set_aside();
            tally.exceptions.push((tab, stream.generation(), Exception::Short(taken, None)));
        }
    }
}

impl Batch {
    /// Without entries, and for nobody.
    pub(crate) fn empty() -> Self {
        Self { from: Position::ORIGIN, to: Position::ORIGIN, entries: Vec::new() }
    }

    /// The first entry's place. Without entries nobody is plain: something was evicted before it could be sent.
    fn first(&self) -> Position {
        self.entries.first().map_or(Position::ORIGIN, |entry| entry.position)
    }

    /// Whether a live stream that is not behind it is to get all of it.
    #[inline]
    fn is_for(&self, stream: &Stream) -> bool {
        let cursor = stream.cursor();
        (self.from..self.first().min(self.to)).contains(&cursor) && !stream.is_served_alone()
    }

    /// How many of the entries are events; the others are gaps.
    pub(crate) fn events(&self) -> u64 {
        self.entries.iter().filter(|entry| entry.kind.is_event()).count() as u64
    }

    fn image(&self, framing: Framing) -> Image<'_> {
        let pieces: SmallVec<[IoSlice<'_>; 8]> =
            self.entries.iter().map(|entry| IoSlice::new(entry.frame.bytes(framing))).collect();
        Image { bytes: pieces.iter().map(|piece| piece.len()).sum(), pieces }
    }
}
