//! An HTTP/1 response as it comes in: head, body, and whether the end was the promised one.
//!
//! Owns framing only. Strict where a proxy or browser would be: a malformed chunk is an error.

use std::fmt;

use crate::error::{Error, Result};

const HEAD_BYTES_MAX: usize = 64 << 10;
const CHUNK_LINE_BYTES_MAX: usize = 256;

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

/// The first part of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The minor version of HTTP/1 that the server spoke.
    pub minor_version: u8,
    /// The status code.
    pub status: u16,
    /// Names as sent, values without surrounding blanks, in order.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// All headers of that name.
    pub fn headers_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let found = self.headers.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    Length(u64),
    UntilClose,
    Done,
}

/// An incremental reader of one response.
#[derive(Debug)]
pub struct ResponseReader {
    answers_head_request: bool,
    state: State,
    /// Bytes of a head, chunk line or trailer that is not complete yet.
    pending: Vec<u8>,
    head: Option<Head>,
    framing: Framing,
    chunk_ends: Vec<u64>,
    body_bytes: u64,
    surplus: Vec<u8>,
}

impl ResponseReader {
    /// A reader for the answer to a request with this method.
    pub fn new(method: &str) -> Self {
        Self {
            answers_head_request: method.eq_ignore_ascii_case("HEAD"),
            state: State::Head,
            pending: Vec::new(),
            head: None,
            framing: Framing::None,
            chunk_ends: Vec::new(),
            body_bytes: 0,
            surplus: Vec::new(),
        }
    }

    /// Takes more bytes and returns the body bytes among them.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        while !bytes.is_empty() {
            match self.state {
                State::Head => self.read_head_byte(take_byte(&mut bytes))?,
                State::ChunkSize => self.read_chunk_size_byte(take_byte(&mut bytes))?,
                State::ChunkEnd => self.read_chunk_end_byte(take_byte(&mut bytes))?,
                State::Trailers => self.read_trailer_byte(take_byte(&mut bytes))?,
                State::ChunkData(left) => {
                    let left = self.take_body(left, &mut bytes, &mut body);
                    self.state = if left == 0 { self.end_chunk() } else { State::ChunkData(left) };
                }
                State::Length(left) => {
                    let left = self.take_body(left, &mut bytes, &mut body);
                    self.state = if left == 0 { State::Done } else { State::Length(left) };
                }
                State::UntilClose => {
                    self.take_body(u64::MAX, &mut bytes, &mut body);
                }
                State::Done => {
                    self.surplus.extend_from_slice(bytes);
                    bytes = &[];
                }
            }
        }
        Ok(body)
    }

    /// What the close of the connection means at this point.
    pub const fn end_at_close(&self) -> End {
        match self.state {
            State::Done | State::UntilClose => End::Clean,
            _ => End::Cut,
        }
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
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Body offsets at which a chunk ended. With one chunk per event each is an event's end.
    pub fn chunk_ends(&self) -> &[u64] {
        &self.chunk_ends
    }

    /// How many body bytes came.
    pub const fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Bytes behind the end of the response, which should not be there.
    pub fn surplus(&self) -> &[u8] {
        &self.surplus
    }

    fn read_head_byte(&mut self, byte: u8) -> Result<()> {
        self.pending.push(byte);
        if !self.pending.ends_with(b"\r\n\r\n") {
            return bounded(&self.pending, HEAD_BYTES_MAX, "response head");
        }
        let head = parse_head(&std::mem::take(&mut self.pending))?;
        // An interim answer such as 100 announces another head.
        if head.status >= 200 {
            self.framing = framing(&head, self.answers_head_request)?;
            self.state = match self.framing {
                Framing::Chunked => State::ChunkSize,
                Framing::Length(length @ 1..) => State::Length(length),
                Framing::Close => State::UntilClose,
                Framing::None | Framing::Length(0) => State::Done,
            };
            self.head = Some(head);
        }
        Ok(())
    }

    fn read_chunk_size_byte(&mut self, byte: u8) -> Result<()> {
        self.pending.push(byte);
        let Some(line) = self.pending.strip_suffix(b"\r\n") else {
            return bounded(&self.pending, CHUNK_LINE_BYTES_MAX, "chunk size line");
        };
        let text = String::from_utf8_lossy(line).into_owned();
        let digits = text.split(';').next().unwrap_or_default().trim_end();
        // `from_str_radix` would accept a plus sign, HTTP does not.
        let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = valid.then(|| u64::from_str_radix(digits, 16).ok()).flatten();
        let size = size.ok_or_else(|| Error::Protocol(format!("bad chunk size line {text:?}")))?;
        self.pending.clear();
        self.state = if size == 0 { State::Trailers } else { State::ChunkData(size) };
        Ok(())
    }

    fn read_chunk_end_byte(&mut self, byte: u8) -> Result<()> {
        self.pending.push(byte);
        match self.pending.as_slice() {
            b"\r" => Ok(()),
            b"\r\n" => {
                self.pending.clear();
                self.state = State::ChunkSize;
                Ok(())
            }
            other => Err(Error::Protocol(format!("a chunk ends with {other:?} instead of CRLF"))),
        }
    }

    fn read_trailer_byte(&mut self, byte: u8) -> Result<()> {
        self.pending.push(byte);
        if self.pending == b"\r\n" || self.pending.ends_with(b"\r\n\r\n") {
            self.pending.clear();
            self.state = State::Done;
        }
        bounded(&self.pending, HEAD_BYTES_MAX, "trailers")
    }

    fn take_body(&mut self, left: u64, bytes: &mut &[u8], body: &mut Vec<u8>) -> u64 {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let (taken, rest) = bytes.split_at(count);
        body.extend_from_slice(taken);
        *bytes = rest;
        self.body_bytes += count as u64;
        left - count as u64
    }

    fn end_chunk(&mut self) -> State {
        self.chunk_ends.push(self.body_bytes);
        State::ChunkEnd
    }
}

fn take_byte(bytes: &mut &[u8]) -> u8 {
    let (first, rest) = bytes.split_first().expect("only called while bytes are left");
    *bytes = rest;
    *first
}

fn bounded(pending: &[u8], max: usize, what: &str) -> Result<()> {
    if pending.len() <= max { Ok(()) } else { Err(Error::Protocol(format!("{what} is longer than {max} bytes"))) }
}

fn parse_head(bytes: &[u8]) -> Result<Head> {
    let text = String::from_utf8_lossy(bytes);
    let bad = |line: &str| Error::Protocol(format!("bad line {line:?} in the response head"));
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let first = lines.next().unwrap_or_default();
    let (version, rest) = first.split_once(' ').ok_or_else(|| bad(first))?;
    let minor_version = match version {
        "HTTP/1.1" => 1,
        "HTTP/1.0" => 0,
        _ => return Err(bad(first)),
    };
    let status = rest.get(..3).and_then(|code| code.parse().ok()).ok_or_else(|| bad(first))?;
    let header = |line: &str| match line.split_once(':') {
        Some((name, value)) if !name.is_empty() && !name.ends_with([' ', '\t']) => {
            Ok((name.to_owned(), value.trim().to_owned()))
        }
        _ => Err(bad(line)),
    };
    Ok(Head { minor_version, status, headers: lines.map(header).collect::<Result<_>>()? })
}

fn framing(head: &Head, answers_head_request: bool) -> Result<Framing> {
    if answers_head_request || head.status == 204 || head.status == 304 {
        return Ok(Framing::None);
    }
    let encoding = head.header("transfer-encoding");
    let length = head.header("content-length");
    match (encoding, length) {
        (Some(_), _) if head.minor_version == 0 => {
            Err(Error::Protocol("Transfer-Encoding in an HTTP/1.0 response".into()))
        }
        (Some(_), Some(_)) => Err(Error::Protocol("both Transfer-Encoding and Content-Length".into())),
        (Some(encoding), None) if encoding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
        (Some(encoding), None) => Err(Error::Protocol(format!("unknown Transfer-Encoding {encoding:?}"))),
        (None, Some(length)) => {
            let parsed = length.parse().map_err(|_| Error::Protocol(format!("bad Content-Length {length:?}")))?;
            Ok(Framing::Length(parsed))
        }
        (None, None) => Ok(Framing::Close),
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
        for body in
            ["+5\r\nhello", "5 x\r\nhello", "\r\n", "-1\r\n", "5\r\nhello!!", "5\r\nhello\n", "11111111111111111\r\n"]
        {
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
