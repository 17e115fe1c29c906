//! From the bytes of one stream to events: head, then body, then SSE text. Over HTTP/2 frames have the head, and the bytes
//! are text. Pure: it owns no socket and no clock.

use std::fmt;

use fantail_testkit::response::{Body, Framing, Head};
use fantail_testkit::sse::{SseBlock, SseBlocks};

/// The most unfinished bytes kept for one stream.
const UNFINISHED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The decoding state of one stream.
#[derive(Debug)]
pub(crate) struct Decoder {
    phase: Phase,
    blocks: SseBlocks,
}

#[derive(Debug)]
enum Phase {
    Head(Vec<u8>),
    Body(Body),
}

/// The reason why a stream cannot be decoded further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DecodeFault {
    Http(String),
    Status(u16),
    NotEventStream,
    EventTooLong,
}

impl fmt::Display for DecodeFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(fault) => out.write_str(fault),
            Self::Status(status) => write!(out, "answered with status {status}"),
            Self::NotEventStream => out.write_str("answer is not text/event-stream"),
            Self::EventTooLong => out.write_str("event does not end"),
        }
    }
}

impl From<fantail_testkit::Error> for DecodeFault {
    fn from(error: fantail_testkit::Error) -> Self {
        Self::Http(error.to_string())
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self { phase: Phase::Head(Vec::new()), blocks: SseBlocks::default() }
    }
}

impl Decoder {
    /// A head of HTTP/2 has come with this status: all that follows is text.
    pub(crate) fn open(&mut self, status: Option<u16>) -> Result<(), DecodeFault> {
        match status {
            Some(200) => {
                self.phase = Phase::Body(Body::new(Framing::Close));
                Ok(())
            }
            Some(status) => Err(DecodeFault::Status(status)),
            None => Err(DecodeFault::Http("answered with a head that is not understood".to_owned())),
        }
    }

    /// Whether the head has come and names a stream.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.phase, Phase::Head(_))
    }

    /// Whether the server has ended the stream.
    pub(crate) fn is_ended(&self) -> bool {
        matches!(&self.phase, Phase::Body(body) if body.is_done())
    }

    /// Reads these bytes, and hands each whole block to `each`.
    pub(crate) fn feed(&mut self, bytes: &[u8], each: &mut impl FnMut(SseBlock<'_>)) -> Result<(), DecodeFault> {
        let Phase::Head(head) = &mut self.phase else { return self.feed_body(bytes, each) };
        head.extend_from_slice(bytes);
        let Some((found, length)) = Head::read(head)? else { return Ok(()) };
        if found.status != 200 {
            return Err(DecodeFault::Status(found.status));
        }
        let is_stream = |kind: &str| kind.to_ascii_lowercase().starts_with("text/event-stream");
        if !found.header("content-type").is_some_and(is_stream) {
            return Err(DecodeFault::NotEventStream);
        }
        let body = head.split_off(length);
        self.phase = Phase::Body(Body::new(found.framing(false)?));
        self.feed_body(&body, each)
    }

    fn feed_body(&mut self, bytes: &[u8], each: &mut impl FnMut(SseBlock<'_>)) -> Result<(), DecodeFault> {
        let Self { phase: Phase::Body(body), blocks } = self else { return Ok(()) };
        body.feed(bytes, |text, _| blocks.feed(text, &mut *each))?;
        if blocks.unfinished_bytes() > UNFINISHED_BYTES_MAX { Err(DecodeFault::EventTooLong) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
        9\r\n: hello\n\n\r\n17\r\nid: a.1.1\ndata: first\n\n\r\n3\r\n:\n\n\r\n9\r\ndata: sec\r\n5\r\nond\n\n\r\n0\r\n\r\n";

    #[test]
    fn events_are_the_same_however_the_connection_is_cut() {
        for cut in 0..=ANSWER.len() {
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            let (front, back) = ANSWER.split_at(cut);
            for piece in [front, back] {
                let fed = decoder.feed(piece, &mut |block| {
                    if block.data_lines > 0 {
                        seen.push(block.data.to_vec());
                    }
                });
                assert_eq!(fed, Ok(()), "cut at {cut}");
            }
            assert_eq!(seen, [b"first".to_vec(), b"second".to_vec()], "cut at {cut}");
            assert!(decoder.is_open() && decoder.is_ended());
        }
    }

    #[test]
    fn stream_is_not_open_before_its_head_is_whole() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.feed(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n", &mut |_| ()), Ok(()));
        assert!(!decoder.is_open());
        assert_eq!(decoder.feed(b"\r\n", &mut |_| ()), Ok(()));
        assert!(decoder.is_open() && !decoder.is_ended());
    }

    fn fault_of(bytes: &[u8]) -> Option<DecodeFault> {
        Decoder::default().feed(bytes, &mut |_| ()).err()
    }

    #[test]
    fn anything_but_a_stream_is_a_fault() {
        assert_eq!(fault_of(b"HTTP/1.1 429 Slow\r\n\r\n"), Some(DecodeFault::Status(429)));
        assert_eq!(fault_of(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"), Some(DecodeFault::NotEventStream));
        assert!(matches!(fault_of(b"SSH-2.0\r\n\r\n"), Some(DecodeFault::Http(_))));
        assert!(matches!(fault_of(&vec![b'a'; 64 * 1024 + 1]), Some(DecodeFault::Http(_))));
    }

    #[test]
    fn body_without_chunks_ends_with_the_connection() {
        let mut decoder = Decoder::default();
        let mut events = 0;
        let bytes = b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: x\n\n";
        assert_eq!(decoder.feed(bytes, &mut |block| events += block.data_lines), Ok(()));
        assert!(events == 1 && !decoder.is_ended());
    }

    #[test]
    fn text_over_http2_needs_no_framing() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.open(Some(200)), Ok(()));
        assert!(decoder.is_open());
        let mut events = 0;
        for piece in [&b"data: 4\r\nabc"[..], b"\n\ndata: y\n\n"] {
            assert_eq!(decoder.feed(piece, &mut |block| events += block.data_lines), Ok(()));
        }
        assert!(events == 2 && !decoder.is_ended());
        assert_eq!(Decoder::default().open(Some(429)), Err(DecodeFault::Status(429)));
        assert!(matches!(Decoder::default().open(None), Err(DecodeFault::Http(_))));
    }

    #[test]
    fn endless_event_is_a_fault() {
        let mut decoder = Decoder::default();
        let head = b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
        assert_eq!(decoder.feed(head, &mut |_| ()), Ok(()));
        let fed = decoder.feed(&vec![b'x'; UNFINISHED_BYTES_MAX + 1], &mut |_| ());
        assert_eq!(fed, Err(DecodeFault::EventTooLong));
    }
}
