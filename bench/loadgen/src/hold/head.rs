//! The response head: is it a stream, and how is its body framed? Looks at status, content type and transfer
//! encoding only.

use std::fmt;

/// Largest head waited for.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How the body ends and whether its bytes are wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Chunked,
    UntilClose,
}

/// A whole head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) length: usize,
    pub(crate) framing: Framing,
}

/// Why an answer is not a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HeadFault {
    TooLong,
    Unreadable,
    Status(u16),
    NotEventStream,
}

impl fmt::Display for HeadFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(out, "head longer than {HEAD_BYTES_MAX} bytes"),
            Self::Unreadable => out.write_str("answer is not HTTP/1"),
            Self::Status(status) => write!(out, "answered with status {status}"),
            Self::NotEventStream => out.write_str("answer is not text/event-stream"),
        }
    }
}

/// Reads the head at the start of `bytes`; `None` while it is not whole.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<Head>, HeadFault> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return if bytes.len() > HEAD_BYTES_MAX { Err(HeadFault::TooLong) } else { Ok(None) };
    };
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| HeadFault::Unreadable)?;
    let mut lines = text.split("\r\n");
    match status(lines.next().unwrap_or_default()) {
        Some(200) => {}
        Some(status) => return Err(HeadFault::Status(status)),
        None => return Err(HeadFault::Unreadable),
    }
    let mut framing = Framing::UntilClose;
    let mut event_stream = false;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("transfer-encoding") && value.to_ascii_lowercase().contains("chunked") {
            framing = Framing::Chunked;
        } else if name.eq_ignore_ascii_case("content-type") {
            event_stream = value.trim().to_ascii_lowercase().starts_with("text/event-stream");
        }
    }
    if event_stream { Ok(Some(Head { length: end + 4, framing })) } else { Err(HeadFault::NotEventStream) }
}

fn status(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("HTTP/1.")?;
    rest.get(2..5)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n";

    #[test]
    fn head_is_read_only_when_whole() {
        for cut in 0..HEAD.len() {
            assert_eq!(read(&HEAD[..cut]), Ok(None), "cut at {cut}");
        }
        assert_eq!(read(HEAD), Ok(Some(Head { length: HEAD.len(), framing: Framing::Chunked })));
    }

    #[test]
    fn body_without_chunks_ends_with_the_connection() {
        let head = b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
        assert_eq!(read(head).map(|head| head.map(|head| head.framing)), Ok(Some(Framing::UntilClose)));
    }

    #[test]
    fn anything_but_a_stream_is_a_fault() {
        assert_eq!(read(b"HTTP/1.1 503 No\r\n\r\n"), Err(HeadFault::Status(503)));
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"), Err(HeadFault::NotEventStream));
        assert_eq!(read(b"SSH-2.0\r\n\r\n"), Err(HeadFault::Unreadable));
        assert_eq!(read(&vec![b'a'; HEAD_BYTES_MAX + 1]), Err(HeadFault::TooLong));
    }
}
