//! Takes HTTP/1.1 chunks apart, however the bytes are cut. Keeps a few bytes of state per stream and copies nothing:
//! chunk data is handed on as slices of what was read.

/// Where in the chunked body the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chunks {
    /// In the size line; the digits so far.
    Size { size: u64, digits: u8 },
    /// Behind the size, up to the line's end.
    SizeRest { size: u64 },
    /// In the data.
    Data { left: u64 },
    /// In the line end behind the data.
    DataEnd,
    /// Behind the last chunk; whatever follows is of no interest.
    End,
}

/// The bytes are not a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkFault;

/// No real chunk comes near this; it keeps the size from overflowing.
const DIGITS_MAX: u8 = 8;

impl Chunks {
    pub(crate) const START: Self = Self::Size { size: 0, digits: 0 };

    /// Reads `bytes` to their end, handing each piece of data to `each`.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), ChunkFault> {
        while let Some((&first, rest)) = bytes.split_first() {
            *self = match *self {
                Self::Data { left } => {
                    let here = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
                    let (data, behind) = bytes.split_at(here);
                    each(data);
                    bytes = behind;
                    let left = left - here as u64;
                    if left == 0 { Self::DataEnd } else { Self::Data { left } }
                }
                Self::End => return Ok(()),
                line => {
                    bytes = rest;
                    line.step(first)?
                }
            };
        }
        Ok(())
    }

    /// One byte of the lines between the data.
    fn step(self, byte: u8) -> Result<Self, ChunkFault> {
        match (self, byte) {
            (Self::Size { digits: 0, .. }, b'\r' | b'\n' | b';') => Err(ChunkFault),
            (Self::Size { size, .. } | Self::SizeRest { size }, b'\n') => {
                Ok(if size == 0 { Self::End } else { Self::Data { left: size } })
            }
            (Self::Size { size, .. }, b'\r' | b';' | b' ') | (Self::SizeRest { size }, _) => {
                Ok(Self::SizeRest { size })
            }
            (Self::Size { size, digits }, _) if digits < DIGITS_MAX => {
                let digit = char::from(byte).to_digit(16).ok_or(ChunkFault)?;
                Ok(Self::Size { size: size << 4 | u64::from(digit), digits: digits + 1 })
            }
            (Self::DataEnd, b'\r') => Ok(Self::DataEnd),
            (Self::DataEnd, b'\n') => Ok(Self::START),
            _ => Err(ChunkFault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken_apart(pieces: &[&[u8]]) -> (Result<Vec<u8>, ChunkFault>, Chunks) {
        let mut chunks = Chunks::START;
        let mut data = Vec::new();
        for piece in pieces {
            if let Err(fault) = chunks.feed(piece, |part| data.extend_from_slice(part)) {
                return (Err(fault), chunks);
            }
        }
        (Ok(data), chunks)
    }

    #[test]
    fn data_is_the_same_however_the_bytes_are_cut() {
        let body = b"5\r\nhello\r\nA;x=y\r\n, chunked \r\n5\r\nworld\r\n0\r\n\r\n";
        for cut in 0..=body.len() {
            let (front, back) = body.split_at(cut);
            let (data, end) = taken_apart(&[front, back]);
            assert_eq!(data.as_deref(), Ok(&b"hello, chunked world"[..]), "cut at {cut}");
            assert_eq!(end, Chunks::End);
        }
    }

    #[test]
    fn data_that_looks_like_a_chunk_stays_data() {
        let (data, _) = taken_apart(&[b"7\r\n0\r\n\r\n5\n\r\n"]);
        assert_eq!(data.as_deref(), Ok(&b"0\r\n\r\n5\n"[..]));
    }

    #[test]
    fn lines_that_are_no_size_are_a_fault() {
        for body in [&b"xyz\r\n"[..], b"\r\n", b"3\r\nabcd\r\n", b"123456789\r\n"] {
            assert_eq!(taken_apart(&[body]).0, Err(ChunkFault), "{body:?}");
        }
    }
}
