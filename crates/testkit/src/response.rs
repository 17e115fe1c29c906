//! An HTTP/1 response as it comes in: head, body, and whether the end was the promised one.
//!
//! Owns framing only. `head.rs` and `body.rs` read; this file keeps the results for the tests.

mod body;
mod head;

use std::fmt;

pub use body::Body;
pub use head::Head;

use crate::error::Result;

/// How a response ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As its framing promised: final chunk, full length, or a plain close where the close is the end.
    Clean,
    /// The connection was closed before the response was complete.
    Cut,
    /// The connection was reset.
    Reset,
}

impl fmt::Display for End {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Clean => "cleanly",
            Self::Cut => "cut: closed before it was complete",
            Self::Reset => "reset by the server",
        })
    }
}

/// How the end of the body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `Transfer-Encoding: chunked`
    Chunked,
    /// `Content-Length`
    Length(u64),
    /// The close of the connection.
    Close,
    /// There is no body: `HEAD`, 204, 304.
    None,
}

/// An incremental reader of one response.
#[derive(Debug)]
pub struct ResponseReader {
    answers_head_request: bool,
    /// Bytes of a head that is not complete yet.
    pending: Vec<u8>,
    head: Option<Head>,
    framing: Framing,
    body: Body,
    chunk_ends: Vec<u64>,
    body_bytes: u64,
    surplus: Vec<u8>,
}

impl ResponseReader {
    /// A reader for the answer to a request with this method.
    pub fn new(method: &str) -> Self {
        Self {
            answers_head_request: method.eq_ignore_ascii_case("HEAD"),
            pending: Vec::new(),
            head: None,
            framing: Framing::None,
            body: Body::new(Framing::None),
            chunk_ends: Vec::new(),
            body_bytes: 0,
            surplus: Vec::new(),
        }
    }

    /// Takes more bytes and returns the body bytes among them.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        let taken = self.read(bytes, |piece| content.extend_from_slice(piece))?;
        self.surplus.extend_from_slice(&bytes[taken..]);
        Ok(content)
    }

    /// Reads up to the end of the response, and returns how many bytes that took. Each piece of the body goes to
    /// `each`.
    pub fn read(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) -> Result<usize> {
        let mut rest = bytes;
        while self.head.is_none() {
            let before = self.pending.len();
            self.pending.extend_from_slice(rest);
            let Some((head, length)) = Head::read(&self.pending)? else { return Ok(bytes.len()) };
            rest = &rest[length - before..];
            self.pending.clear();
            // An interim answer such as 100 announces another head.
            if head.status >= 200 {
                self.framing = head.framing(self.answers_head_request)?;
                self.body = Body::new(self.framing);
                self.head = Some(head);
            }
        }
        let Self { body, body_bytes, chunk_ends, .. } = self;
        let taken = body.feed(rest, |piece, ends_chunk| {
            *body_bytes += piece.len() as u64;
            chunk_ends.extend(ends_chunk.then_some(*body_bytes));
            each(piece);
        })?;
        Ok(bytes.len() - rest.len() + taken)
    }

    /// The kind of end, if the connection closes now.
    pub const fn end_at_close(&self) -> End {
        if self.head.is_some() { self.body.end_at_close() } else { End::Cut }
    }

    /// The head, once it is complete.
    pub const fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// How the body is framed; meaningful once the head is complete.
    pub const fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether the response is complete by its own framing, before any close.
    pub fn is_done(&self) -> bool {
        self.head.is_some() && self.body.is_done()
    }

    /// Body offsets at which a chunk ended. With one chunk per event each is an event's end.
    pub fn chunk_ends(&self) -> &[u64] {
        &self.chunk_ends
    }

    /// The body bytes so far.
    pub const fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Bytes behind the end of the response, which should not be there.
    pub fn surplus(&self) -> &[u8] {
        &self.surplus
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

    use super::*;

    /// Reads `bytes` cut in two at every offset and byte by byte; all must agree on body and end.
    fn read(method: &str, bytes: &[u8]) -> (Vec<u8>, ResponseReader) {
        let mut whole = ResponseReader::new(method);
        let body = whole.feed(bytes).unwrap();
        for offset in 0..=bytes.len() {
            let mut reader = ResponseReader::new(method);
            let mut halves = reader.feed(&bytes[..offset]).unwrap();
            halves.extend(reader.feed(&bytes[offset..]).unwrap());
            assert_eq!(halves, body, "a cut at {offset} gives another body");
            assert_eq!(reader.chunk_ends(), whole.chunk_ends());
            assert_eq!(reader.head(), whole.head());
            assert_eq!(reader.end_at_close(), whole.end_at_close());
        }
        let mut single = ResponseReader::new(method);
        let singly: Vec<u8> = bytes.iter().flat_map(|byte| single.feed(&[*byte]).unwrap()).collect();
        assert_eq!(singly, body);
        (body, whole)
    }

    fn refused(bytes: &[u8]) -> String {
        ResponseReader::new("GET").feed(bytes).unwrap_err().to_string()
    }

    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

    #[test]
    fn chunks_are_joined_and_their_ends_remembered() {
        let wire = [CHUNKED, b"5\r\nhello\r\nA;x=y\r\n, \r\n world\r\n0\r\nX: y\r\n\r\n"].concat();
        let (body, reader) = read("GET", &wire);
        assert_eq!(body, b"hello, \r\n world");
        assert_eq!(reader.chunk_ends(), [5, 15]);
        assert!(reader.is_done());
        assert_eq!(reader.end_at_close(), End::Clean);
    }

    #[test]
    fn data_that_looks_like_a_chunk_stays_data() {
        let wire = [CHUNKED, b"7\r\n0\r\n\r\n5\n\r\n0\r\n\r\n"].concat();
        assert_eq!(read("GET", &wire).0, b"0\r\n\r\n5\n");
    }

    #[test]
    fn a_chunked_body_without_its_final_chunk_is_cut_at_every_offset() {
        let wire = [CHUNKED, b"5\r\nhello\r\n0\r\n\r\n"].concat();
        for end in 0..wire.len() {
            assert_eq!(read("GET", &wire[..end]).1.end_at_close(), End::Cut, "cut at {end}");
        }
        assert_eq!(read("GET", &wire).1.end_at_close(), End::Clean);
    }

    #[test]
    fn without_length_or_chunks_the_close_is_the_end() {
        let (body, reader) = read("GET", b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: x\n\n");
        assert_eq!((body.as_slice(), reader.end_at_close()), (b"data: x\n\n".as_slice(), End::Clean));
        assert_eq!(reader.framing(), Framing::Close);
        let head = reader.head().unwrap();
        assert_eq!((head.status, head.minor_version), (200, 0));
        assert_eq!(head.header("content-TYPE"), Some("text/event-stream"));
    }

    #[test]
    fn a_counted_body_ends_by_its_count() {
        let (body, reader) = read("GET", b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno, and more");
        assert_eq!(body, b"no");
        assert_eq!(reader.surplus(), b", and more");
        let (_, short) = read("GET", b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nn");
        assert_eq!(short.end_at_close(), End::Cut);
    }

    #[test]
    fn answers_without_a_body_are_done_with_their_head() {
        assert!(read("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").1.is_done());
        assert!(read("GET", b"HTTP/1.1 204 No Content\r\n\r\n").1.is_done());
        assert!(read("GET", b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n").1.is_done());
    }

    #[test]
    fn an_interim_answer_is_passed_over() {
        let (body, reader) =
            read("POST", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 OK\r\nContent-Length: 1\r\n\r\nx");
        assert_eq!((body.as_slice(), reader.head().unwrap().status), (b"x".as_slice(), 202));
    }

    #[test]
    fn bad_framing_is_refused_and_not_guessed_at() {
        for body in [
            "+5\r\nhello",
            "5 x\r\nhello",
            "\r\n",
            "-1\r\n",
            "5\r\nhello!!",
            "5\r\nhello\n",
            "11111111111111111\r\n",
            "xyz\r\n",
        ] {
            let wire = [CHUNKED, body.as_bytes()].concat();
            assert!(ResponseReader::new("GET").feed(&wire).is_err(), "{body:?} was accepted");
        }
        assert!(refused(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").contains("HTTP/1.0"));
        let both = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n";
        assert!(refused(both).contains("both"));
        assert!(refused(b"SPDY/1 200\r\n\r\n").contains("SPDY"));
        assert!(refused(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n").contains("no colon"));
    }
}
