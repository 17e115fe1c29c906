//! Bytes on their way to one socket that could not go out at once.

use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};
use smallvec::SmallVec;

/// The most pieces that one `writev` takes. The kernel's bound is 1,024; beyond a few dozen a larger call saves nothing.
pub(crate) const PIECES_PER_WRITE: usize = 64;

/// The most that one stream or pass takes out of a log at a time: one `writev`, and a bound on the bytes that it keeps alive
/// while the log moves on.
pub(crate) const READ_LIMIT: fantail_hub::ReadLimit =
    fantail_hub::ReadLimit { entries: PIECES_PER_WRITE, bytes: 256 * 1024 };

/// Shared pieces, oldest first: nearly always the rest of a single frame.
#[derive(Default)]
pub(crate) struct Outgoing {
    pieces: SmallVec<[Bytes; 1]>,
}

/// The result of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flush {
    /// Everything is with the kernel.
    Done,
    /// The socket takes nothing more; the poll will tell when it does. True if it took some.
    Blocked(bool),
}

impl Outgoing {
    pub(crate) fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.pieces.push(piece);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Bytes left.
    pub(crate) fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// Puts everything out, or as much as is taken until the socket blocks.
    pub(crate) fn flush(&mut self, mut put: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>) -> io::Result<Flush> {
        let mut progress = false;
        while !self.pieces.is_empty() {
            let slices: SmallVec<[IoSlice<'_>; 4]> =
                self.pieces.iter().take(PIECES_PER_WRITE).map(|piece| IoSlice::new(piece)).collect();
            let taken = put(&slices);
            drop(slices);
            match taken {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    progress = true;
                    self.advance(taken);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Flush::Blocked(progress)),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Flush::Done)
    }

    fn advance(&mut self, mut taken: usize) {
        let mut whole = 0;
        for piece in &mut self.pieces {
            if taken < piece.len() {
                piece.advance(taken);
                break;
            }
            taken -= piece.len();
            whole += 1;
        }
        self.pieces.drain(..whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `room` bytes at a time, blocks after each, and remembers them.
    struct Narrow {
        room: usize,
        open: bool,
        got: Vec<u8>,
    }

    impl Narrow {
        fn put(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
            if !std::mem::replace(&mut self.open, false) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let before = self.got.len();
            self.got.extend(pieces.iter().flat_map(|piece| piece.iter()).take(self.room));
            Ok(self.got.len() - before)
        }
    }

    #[test]
    fn pieces_go_out_whole_and_in_order_however_little_the_socket_takes() {
        for room in 1..12 {
            let mut outgoing = Outgoing::default();
            for piece in ["abc", "", "defg", "h"] {
                outgoing.push(Bytes::from_static(piece.as_bytes()));
            }
            let mut socket = Narrow { room, open: true, got: Vec::new() };
            while outgoing.flush(|pieces| socket.put(pieces)).expect("no error") != Flush::Done {
                socket.open = true;
            }
            assert_eq!(socket.got, b"abcdefgh");
            assert!(outgoing.is_empty());
        }
    }
}
