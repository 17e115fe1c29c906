//! Answers on a publishing connection, one after the other. Reads status and body; knows nothing of events.

use std::io::{self, BufRead, Read as _};

use fantail_testkit::End;
use fantail_testkit::response::ResponseReader;

/// The most of a body that is kept, for error texts.
const BODY_BYTES_KEPT: usize = 300;

/// One whole answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PublishAnswer {
    pub(crate) status: u16,
    /// The beginning of the body.
    pub(crate) body: String,
}

impl PublishAnswer {
    /// Whether the publish was accepted; else the server's reason.
    pub(crate) fn into_outcome(self) -> Result<(), String> {
        if (200..300).contains(&self.status) { Ok(()) } else { Err(format!("status {}, {:?}", self.status, self.body)) }
    }
}

/// Reads one answer and keeps its whole body, which must be one of a success.
pub(crate) fn read_whole(input: &mut impl BufRead) -> io::Result<String> {
    match read_keeping(usize::MAX, input)? {
        Some(PublishAnswer { status: 200, body }) => Ok(body),
        other => Err(unreadable(&format!("{other:?}"))),
    }
}

/// Reads the answer of Redis to one `PUBLISH`: `:3` for three receivers, `-ERR …` for a refusal.
pub(crate) fn read_redis(input: &mut impl BufRead) -> io::Result<Option<Result<(), String>>> {
    let Some(line) = read_line(input)? else { return Ok(None) };
    Ok(Some(if line.starts_with(':') { Ok(()) } else { Err(line) }))
}

/// Reads the next answer; `None` when the server closed between two.
pub(crate) fn read(input: &mut impl BufRead) -> io::Result<Option<PublishAnswer>> {
    read_keeping(BODY_BYTES_KEPT, input)
}

/// Reads a whole answer, and keeps so many bytes of its body.
fn read_keeping(kept: usize, input: &mut impl BufRead) -> io::Result<Option<PublishAnswer>> {
    let mut reader = ResponseReader::new("POST");
    let mut body = Vec::new();
    let mut has_begun = false;
    while !reader.is_done() {
        let bytes = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            bytes => bytes?,
        };
        if bytes.is_empty() {
            match reader.end_at_close() {
                End::Clean => break,
                _ if has_begun => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => return Ok(None),
            }
        }
        has_begun = true;
        let keep = |piece: &[u8]| body.extend(&piece[..piece.len().min(kept - body.len())]);
        let taken = reader.read(bytes, keep).map_err(|error| unreadable(&error.to_string()))?;
        input.consume(taken);
    }
    let status = reader.head().map_or(0, |head| head.status);
    Ok(Some(PublishAnswer { status, body: String::from_utf8_lossy(&body).into_owned() }))
}

fn read_line(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    if input.take(16 * 1024).read_line(&mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
}

fn unreadable(line: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("answer is not understood: {line}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "the inputs are constants")]
    use super::*;

    #[test]
    fn answers_follow_each_other_whatever_their_framing() {
        let mut input = &b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}\
            HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n\
            HTTP/1.1 503 No\r\n\r\n"[..];
        let mut next = || read(&mut input).unwrap().map(|answer| (answer.status, answer.body));
        assert_eq!(next(), Some((202, "{}".to_owned())));
        assert_eq!(next(), Some((200, "abcde".to_owned())));
        assert_eq!(next(), Some((503, String::new())));
        assert_eq!(next(), None);
    }

    #[test]
    fn long_bodies_are_read_whole_and_kept_in_part() {
        let long = "x".repeat(1000);
        let text = format!("HTTP/1.1 500 X\r\nContent-Length: 1000\r\n\r\n{long}HTTP/1.1 202 A\r\n\r\n");
        let mut input = text.as_bytes();
        assert_eq!(read(&mut input).unwrap().unwrap().body.len(), 300);
        assert_eq!(read(&mut input).unwrap().unwrap().status, 202);
    }

    #[test]
    fn redis_tells_receivers_or_a_refusal() {
        let mut input = &b":3\r\n-NOAUTH no\r\n"[..];
        assert_eq!(read_redis(&mut input).unwrap(), Some(Ok(())));
        assert_eq!(read_redis(&mut input).unwrap(), Some(Err("-NOAUTH no".to_owned())));
        assert_eq!(read_redis(&mut input).unwrap(), None);
    }

    #[test]
    fn broken_answer_is_an_error() {
        assert!(read(&mut &b"HTTP/1.1 202 A\r\nContent-Length: 5\r\n\r\nab"[..]).is_err());
        assert!(read(&mut &b"nonsense\r\n\r\n"[..]).is_err());
    }
}
