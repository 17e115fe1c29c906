//! Takes the framing off a body, in pieces of any size: chunks, a length, or the close of the connection.
//!
//! Keeps a few bytes of state and copies nothing: content is handed on as slices of the bytes that came. It is as
//! strict as a proxy or browser: a malformed chunk is an error.

use super::{End, Framing};
use crate::error::{Error, Result};

const SIZE_LINE_BYTES_MAX: u8 = 255;

/// A body that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body {
    phase: Phase,
    /// The bytes of a size line that came.
    line_bytes: u8,
    /// The size so far by the digits, or the bytes of content that are still to come.
    count: u64,
}

/// The place of the next byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// In the digits of a chunk's size.
    Size,
    /// In blanks behind them.
    Blanks,
    /// In a chunk's extension.
    Extension,
    /// Before the line feed behind the size.
    SizeLineFeed,
    Data,
    /// Before the carriage return behind a chunk's data, and before the line feed.
    DataReturn,
    DataLineFeed,
    /// At the beginning of a line behind the last chunk, and within it.
    Trailer,
    TrailerRest,
    /// Before the line feed that ends a chunked body.
    LastLineFeed,
    /// In a body with a length.
    Length,
    UntilClose,
    Done,
}

impl Body {
    /// At the beginning of a body.
    pub const fn new(framing: Framing) -> Self {
        let (phase, count) = match framing {
            Framing::Chunked => (Phase::Size, 0),
            Framing::Length(length @ 1..) => (Phase::Length, length),
            Framing::Close => (Phase::UntilClose, u64::MAX),
            Framing::None | Framing::Length(0) => (Phase::Done, 0),
        };
        Self { phase, line_bytes: 0, count }
    }

    /// Reads up to the end of the body, and returns how many bytes that took. Each piece of content goes to `each`,
    /// with whether a chunk ends behind it.
    pub fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8], bool)) -> Result<usize> {
        // In registers: storing and loading it for each byte would cost three times as much.
        let mut body = *self;
        let mut rest = bytes;
        while let Some((&first, behind)) = rest.split_first() {
            match body.phase {
                Phase::Data | Phase::Length | Phase::UntilClose => {
                    let length = usize::try_from(body.count).map_or(rest.len(), |count| count.min(rest.len()));
                    let piece = &rest[..length];
                    rest = &rest[length..];
                    body.take(length as u64);
                    each(piece, body.phase == Phase::DataReturn);
                }
                Phase::Done => break,
                _ => {
                    rest = behind;
                    body.phase = body.step(first).ok_or_else(|| {
                        Error::Protocol(format!("{:?} is no part of a chunk's frame ({:?})", first as char, body.phase))
                    })?;
                }
            }
        }
        *self = body;
        Ok(bytes.len() - rest.len())
    }

    /// Whether the body is complete by its own framing.
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// The kind of end, if the connection closes now.
    pub const fn end_at_close(&self) -> End {
        match self.phase {
            Phase::Done | Phase::UntilClose => End::Clean,
            _ => End::Cut,
        }
    }

    #[inline]
    fn take(&mut self, bytes: u64) {
        match self.phase {
            Phase::UntilClose => {}
            _ if bytes < self.count => self.count -= bytes,
            Phase::Data => *self = Self { phase: Phase::DataReturn, line_bytes: 0, count: 0 },
            _ => self.phase = Phase::Done,
        }
    }

    /// One byte of the framing between the chunks' data.
    #[inline]
    fn step(&mut self, byte: u8) -> Option<Phase> {
        match (self.phase, byte) {
            (Phase::Size, b'\r' | b';' | b' ' | b'\t') if self.line_bytes == 0 => None,
            (Phase::Size | Phase::Blanks | Phase::Extension, b'\r') => Some(Phase::SizeLineFeed),
            (Phase::Size | Phase::Blanks, b';') => Some(Phase::Extension),
            (Phase::Size | Phase::Blanks, b' ' | b'\t') | (Phase::Extension, _) => {
                self.line_bytes = self.line_bytes.checked_add(1)?;
                Some(if self.phase == Phase::Extension { Phase::Extension } else { Phase::Blanks })
            }
            (Phase::Size, _) if self.count <= u64::MAX >> 4 && self.line_bytes < SIZE_LINE_BYTES_MAX => {
                let digit = char::from(byte).to_digit(16)?;
                self.count = self.count << 4 | u64::from(digit);
                self.line_bytes += 1;
                Some(Phase::Size)
            }
            (Phase::SizeLineFeed, b'\n') => Some(if self.count == 0 { Phase::Trailer } else { Phase::Data }),
            (Phase::DataReturn, b'\r') => Some(Phase::DataLineFeed),
            (Phase::DataLineFeed, b'\n') => Some(Phase::Size),
            (Phase::Trailer, b'\r') => Some(Phase::LastLineFeed),
            (Phase::LastLineFeed, b'\n') => Some(Phase::Done),
            (Phase::TrailerRest, b'\n') => Some(Phase::Trailer),
            (Phase::Trailer | Phase::TrailerRest, _) => Some(Phase::TrailerRest),
            _ => None,
        }
    }
}
