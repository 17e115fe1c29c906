//! Answers on a publishing connection, one after the other. Reads status and body; knows nothing of events.

use std::io::{self, BufRead, Read as _};

/// The most of a body that is kept, for error texts.
const BODY_BYTES_KEPT: u64 = 300;

/// One whole answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The beginning of the body.
    pub(crate) body: String,
}

impl Answer {
    /// Whether the publish was taken; else what was said.
    pub(crate) fn into_outcome(self) -> Result<(), String> {
        if (200..300).contains(&self.status) { Ok(()) } else { Err(format!("status {}, {:?}", self.status, self.body)) }
    }
}

/// Reads one answer with its whole body, which must have a length or be the last thing on the connection.
pub(crate) fn read_whole(input: &mut impl BufRead) -> io::Result<String> {
    let mut text = String::new();
    input.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| unreadable(&text))?;
    if !head.starts_with("HTTP/1.1 200") || head.to_ascii_lowercase().contains("transfer-encoding") {
        return Err(unreadable(head));
    }
    Ok(body.to_owned())
}

/// Reads the answer of Redis to one `PUBLISH`: `:3` for three receivers, `-ERR …` for a refusal.
pub(crate) fn read_redis(input: &mut impl BufRead) -> io::Result<Option<Result<(), String>>> {
    let Some(line) = read_line(input)? else { return Ok(None) };
    Ok(Some(if line.starts_with(':') { Ok(()) } else { Err(line) }))
}

/// Reads the next answer; `None` when the server closed between two.
pub(crate) fn read(input: &mut impl BufRead) -> io::Result<Option<Answer>> {
    let Some(status_line) = read_line(input)? else { return Ok(None) };
    let status = status_line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5)?.parse().ok())
        .ok_or_else(|| unreadable(&status_line))?;
    let (mut length, mut chunked) = (0, false);
    loop {
        let line = read_line(input)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let Some((name, value)) = line.split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(|_| unreadable(&line))?;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = value.to_ascii_lowercase().contains("chunked");
        }
    }
    let mut body = Vec::new();
    if chunked {
        read_chunks(input, &mut body)?;
    } else {
        read_part(input, length, &mut body)?;
    }
    Ok(Some(Answer { status, body: String::from_utf8_lossy(&body).into_owned() }))
}

fn read_chunks(input: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let line = read_line(input)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(digits, 16).map_err(|_| unreadable(&line))?;
        read_part(input, size, body)?;
        read_line(input)?;
        if size == 0 {
            return Ok(());
        }
    }
}

/// Reads `length` bytes and keeps the first of them.
fn read_part(input: &mut impl BufRead, length: u64, body: &mut Vec<u8>) -> io::Result<()> {
    let room = BODY_BYTES_KEPT.saturating_sub(body.len() as u64);
    let kept = io::copy(&mut input.take(length.min(room)), body)?;
    let dropped = io::copy(&mut input.take(length - kept), &mut io::sink())?;
    if kept + dropped == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn read_line(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    if input.take(16 * 1024).read_line(&mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
}

fn unreadable(line: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("answer to a publish is not understood at {line:?}"))
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
