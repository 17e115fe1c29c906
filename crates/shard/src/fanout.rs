//! The hot loop: one channel's new frames to each of its subscribers, one `send` or `writev` apiece.
//!
//! It owns nothing and decides nothing: each stream that is not plain is noted as an exception, and is seen to between
//! slices.

use std::io::{self, IoSlice};

use bytes::Bytes;
use fantail_hub::{Delivery, Position};
use fantail_wire::Framing;
use smallvec::SmallVec;

use crate::slice::Slice;
use crate::streams::{Key, StreamState, Wires};
use crate::tick::Tick;

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
    subscribers: &[Key],
    next: &mut usize,
    batch: &Batch,
    now: Tick,
    slice: &mut Slice,
    tally: &mut PassTally,
) -> bool {
    let Wires { streams, sealers } = wires;
    let images = [batch.image(Framing::Chunked), batch.image(Framing::CloseDelimited)];
    let first = batch.first();
    while *next > 0 {
        if slice.is_over() {
            return false;
        }
        *next -= 1;
        let key = subscribers[*next];
        let stream = &mut streams[key];
        let cursor = stream.cursor();
        if stream.state() != StreamState::Live || cursor >= batch.to {
            continue;
        }
        if cursor < batch.from || cursor >= first || stream.is_served_alone() {
            tally.exceptions.push((key, stream.generation(), Exception::Alone));
            continue;
        }
        let image = &images[usize::from(stream.framing() == Framing::CloseDelimited)];
        tally.writes += 1;
        let (put, rest) = stream.put_pieces(key, &image.pieces, sealers);
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

impl Batch {
    /// Without entries, and for nobody.
    pub(crate) fn empty() -> Self {
        Self { from: Position::ORIGIN, to: Position::ORIGIN, entries: Vec::new() }
    }

    /// The first entry's place. Without entries nobody is plain: something was evicted before it could be sent.
    fn first(&self) -> Position {
        self.entries.first().map_or(Position::ORIGIN, |entry| entry.position)
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
