//! From the bytes of one connection to events: head, then chunks, then SSE text. Pure: it owns no socket and no clock.

use std::fmt;

use crate::hold::chunks::Chunks;
use crate::hold::events::{Event, Events};
use crate::hold::head::{self, Framing, HeadFault};

/// The decoding state of one connection.
#[derive(Debug)]
pub(crate) struct Decoder {
    phase: Phase,
    events: Events,
}

#[derive(Debug)]
enum Phase {
    Head(Vec<u8>),
    Chunked(Chunks),
    Plain,
}

/// Why a connection cannot be decoded further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DecodeFault {
    Head(HeadFault),
    Chunks,
    EventTooLong,
}

impl fmt::Display for DecodeFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(fault) => fault.fmt(out),
            Self::Chunks => out.write_str("body is not chunked as the head says"),
            Self::EventTooLong => out.write_str("event does not end"),
        }
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self { phase: Phase::Head(Vec::new()), events: Events::default() }
    }
}

impl Decoder {
    /// Whether the head has come and said that this is a stream.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.phase, Phase::Head(_))
    }

    /// Whether the server said that nothing more will come.
    pub(crate) fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Chunked(Chunks::End))
    }

    /// Reads what came, handing each whole event to `each`.
    pub(crate) fn feed(&mut self, bytes: &[u8], each: &mut impl FnMut(Event<'_>)) -> Result<(), DecodeFault> {
        let Phase::Head(head) = &mut self.phase else { return self.feed_body(bytes, each) };
        head.extend_from_slice(bytes);
        let Some(found) = head::read(head).map_err(DecodeFault::Head)? else { return Ok(()) };
        let body = head.split_off(found.length);
        self.phase = match found.framing {
            Framing::Chunked => Phase::Chunked(Chunks::START),
            Framing::UntilClose => Phase::Plain,
        };
        self.feed_body(&body, each)
    }

    fn feed_body(&mut self, bytes: &[u8], each: &mut impl FnMut(Event<'_>)) -> Result<(), DecodeFault> {
        let Self { phase, events } = self;
        let mut fed = Ok(());
        match phase {
            Phase::Chunked(chunks) => chunks
                .feed(bytes, |text| {
                    if fed.is_ok() {
                        fed = events.feed(text, each);
                    }
                })
                .map_err(|_| DecodeFault::Chunks)?,
            Phase::Plain | Phase::Head(_) => fed = events.feed(bytes, each),
        }
        fed.map_err(|_| DecodeFault::EventTooLong)
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
                let fed = decoder.feed(piece, &mut |event| seen.push(event.data.to_vec()));
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

    #[test]
    fn refusal_is_told_with_its_status() {
        let fault = Decoder::default().feed(b"HTTP/1.1 429 Slow\r\n\r\n", &mut |_| ());
        assert_eq!(fault, Err(DecodeFault::Head(HeadFault::Status(429))));
    }
}
