//! A frame: one piece of SSE text, built once, shared by every stream that gets it.

use bytes::Bytes;

use crate::BareBlocks;

/// How a response body is delimited, which decides the bytes of a frame that a stream gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// HTTP/1.1 chunked transfer coding: the frame is one whole chunk.
    Chunked,
    /// HTTP/1.0: the body ends with the connection; the frame is the bare text.
    CloseDelimited,
}

/// SSE text wrapped as one HTTP/1.1 chunk, `<hex>CRLF text CRLF`, in one allocation. Cloning moves a reference count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    chunk: Bytes,
    /// Where the text begins: behind `<hex>CRLF`.
    text_start: u32,
}

/// A comment that keeps proxies from closing an idle stream (WHATWG HTML, 9.2.7). Safe between frames only.
pub fn keepalive(framing: Framing, bare: BareBlocks) -> &'static [u8] {
    match (framing, bare) {
        (Framing::Chunked, BareBlocks::Closed) => b"3\r\n:\n\n\r\n",
        (Framing::Chunked, BareBlocks::Joined) => b"2\r\n:\n\r\n",
        (Framing::CloseDelimited, BareBlocks::Closed) => b":\n\n",
        (Framing::CloseDelimited, BareBlocks::Joined) => b":\n",
    }
}

/// The clean end of a body: the last chunk of a chunked body (RFC 9112, section 7.1), or nothing.
pub fn end_of_body(framing: Framing) -> &'static [u8] {
    match framing {
        Framing::Chunked => b"0\r\n\r\n",
        Framing::CloseDelimited => b"",
    }
}

impl Frame {
    /// Builds a frame of `text_len` bytes of text, which `write` appends.
    ///
    /// # Panics
    /// If `write` appends another number of bytes than it said: the chunk would be torn.
    pub(crate) fn build(text_len: usize, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        debug_assert!(text_len > 0, "an empty chunk would end the body");
        let hex_len = text_len.ilog2() as usize / 4 + 1;
        let mut chunk = Vec::with_capacity(hex_len + 2 + text_len + 2);
        chunk.extend((0..hex_len).rev().map(|digit| b"0123456789abcdef"[text_len >> (4 * digit) & 15]));
        chunk.extend_from_slice(b"\r\n");
        let text_start = chunk.len();
        write(&mut chunk);
        assert_eq!(chunk.len(), text_start + text_len, "the text has the length that its chunk announces");
        chunk.extend_from_slice(b"\r\n");
        Self { chunk: chunk.into(), text_start: u32::try_from(text_start).expect("a few bytes") }
    }

    /// The bytes that a stream with this framing gets: the one place where that is decided.
    #[inline]
    pub fn bytes(&self, framing: Framing) -> &[u8] {
        match framing {
            Framing::Chunked => &self.chunk,
            Framing::CloseDelimited => &self.chunk[self.text_start as usize..self.chunk.len() - 2],
        }
    }

    /// The same bytes as a handle of their own, for what must outlive this call.
    pub fn share(&self, framing: Framing) -> Bytes {
        self.chunk.slice_ref(self.bytes(framing))
    }

    /// Whether both are one frame: not equal bytes, but the same.
    pub fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(self.chunk.as_ptr(), other.chunk.as_ptr())
    }

    /// The memory of the frame's bytes.
    pub fn len(&self) -> usize {
        self.chunk.len()
    }

    /// Never: a frame holds at least its chunk's frame.
    pub fn is_empty(&self) -> bool {
        self.chunk.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_one_chunk_around_its_text() {
        for len in [1, 9, 15, 16, 255, 256, 4095, 4096, 70_000] {
            let text = "x".repeat(len);
            let frame = Frame::build(len, |out| out.extend_from_slice(text.as_bytes()));
            assert_eq!(frame.bytes(Framing::Chunked), format!("{len:x}\r\n{text}\r\n").as_bytes());
            assert_eq!(frame.bytes(Framing::CloseDelimited), text.as_bytes());
        }
    }

    #[test]
    fn the_keepalive_is_the_same_comment_in_both_framings() {
        for bare in [BareBlocks::Closed, BareBlocks::Joined] {
            let text = keepalive(Framing::CloseDelimited, bare);
            let frame = Frame::build(text.len(), |out| out.extend_from_slice(text));
            assert_eq!(frame.bytes(Framing::Chunked), keepalive(Framing::Chunked, bare));
        }
    }

    #[test]
    #[should_panic(expected = "the text has the length")]
    fn a_torn_chunk_is_never_built() {
        let _ = Frame::build(3, |out| out.push(b'x'));
    }
}
