//! One kept connection to publish on: it writes requests and counts answers, and never blocks. The first refusal ends the
//! run.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use fantail_testkit::response::ResponseReader;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::unicast::requests::NATS_ANSWERS;
use crate::url_template::Scheme;

const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
/// The most of a refusal's body that is kept.
const BODY_BYTES_KEPT: usize = 300;

/// A connection with its unsent requests and its unfinished answer.
#[derive(Debug)]
pub(crate) struct PublishConnection {
    socket: TcpStream,
    outgoing: Vec<u8>,
    answers: AnswerCounter,
}

#[derive(Debug)]
enum AnswerCounter {
    Http {
        reader: ResponseReader,
        body: Vec<u8>,
    },
    /// The beginning of a line.
    Redis {
        line: Vec<u8>,
    },
    Nats {
        line: Vec<u8>,
    },
}

impl PublishConnection {
    pub(crate) fn connect(
        address: SocketAddr,
        scheme: Scheme,
        registry: &Registry,
        token: Token,
    ) -> anyhow::Result<Self> {
        let socket = std::net::TcpStream::connect_timeout(&address, CONNECT_PATIENCE)
            .with_context(|| format!("cannot connect to {address} to publish"))?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let mut socket = TcpStream::from_std(socket);
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        let (mut outgoing, line) = (Vec::new(), Vec::new());
        let answers = match scheme {
            Scheme::Redis => AnswerCounter::Redis { line },
            Scheme::Nats => {
                outgoing.extend_from_slice(b"CONNECT {\"verbose\":false}\r\n");
                // Writing into a Vec cannot fail.
                let _ = write!(outgoing, "SUB {NATS_ANSWERS} 1\r\n");
                AnswerCounter::Nats { line }
            }
            Scheme::Http | Scheme::Https => {
                AnswerCounter::Http { reader: ResponseReader::new("POST"), body: Vec::new() }
            }
        };
        Ok(Self { socket, outgoing, answers })
    }

    /// Where requests are written before they are sent.
    pub(crate) fn outgoing(&mut self) -> &mut Vec<u8> {
        &mut self.outgoing
    }

    /// Sends what the socket takes. The rest goes when it becomes writable.
    pub(crate) fn send(&mut self) -> anyhow::Result<()> {
        while !self.outgoing.is_empty() {
            match self.socket.write(&self.outgoing) {
                Ok(count) if count == self.outgoing.len() => self.outgoing.clear(),
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("the server did not take a publish request"),
            }
        }
        Ok(())
    }

    /// Reads what has come and returns how many answers that were.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> anyhow::Result<u64> {
        let mut answers = 0;
        loop {
            match self.socket.read(buffer) {
                Ok(0) => bail!("the server closed the publishing connection"),
                Ok(count) => {
                    answers += self.answers.count(&buffer[..count], &mut self.outgoing)?;
                    // Readiness is edge-triggered, but a read that did not fill the buffer has emptied the socket.
                    if count < buffer.len() {
                        return Ok(answers);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(answers),
                Err(error) => return Err(error).context("the publishing connection broke"),
            }
        }
    }
}

impl AnswerCounter {
    /// Counts answers, and appends to `outgoing` what the server wants to hear.
    fn count(&mut self, bytes: &[u8], outgoing: &mut Vec<u8>) -> anyhow::Result<u64> {
        match self {
            Self::Http { reader, body } => count_responses(reader, body, bytes),
            Self::Redis { line } => count_lines(line, bytes, |line| {
                if !line.starts_with(b":") {
                    bail!("publishing failed: {}", String::from_utf8_lossy(line).trim_end());
                }
                Ok(true)
            }),
            Self::Nats { line } => count_lines(line, bytes, |line| take_line_of_nats(line, outgoing)),
        }
    }
}

fn count_responses(reader: &mut ResponseReader, body: &mut Vec<u8>, mut bytes: &[u8]) -> anyhow::Result<u64> {
    let mut answers = 0;
    while !bytes.is_empty() {
        let keep = |piece: &[u8]| body.extend(&piece[..piece.len().min(BODY_BYTES_KEPT - body.len())]);
        let taken = reader.read(bytes, keep).context("an answer is not understood")?;
        bytes = &bytes[taken..];
        if !reader.is_done() {
            continue;
        }
        let status = reader.head().map_or(0, |head| head.status);
        if !(200..300).contains(&status) {
            bail!("publishing failed: status {status}, {:?}", String::from_utf8_lossy(body));
        }
        answers += 1;
        body.clear();
        *reader = ResponseReader::new("POST");
    }
    Ok(answers)
}

/// Counts the lines that are answers, as `is_answer` says.
fn count_lines(
    line: &mut Vec<u8>,
    bytes: &[u8],
    mut is_answer: impl FnMut(&[u8]) -> anyhow::Result<bool>,
) -> anyhow::Result<u64> {
    let mut answers = 0;
    for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
        line.extend_from_slice(piece);
        if !piece.ends_with(b"\n") {
            break;
        }
        answers += u64::from(is_answer(line)?);
        line.clear();
    }
    Ok(answers)
}

/// Whether this line says that the stream has an event. Such a line is the JSON of a message, which has a line before it.
fn take_line_of_nats(line: &[u8], outgoing: &mut Vec<u8>) -> anyhow::Result<bool> {
    const REFUSAL: &[u8] = b"\"error\"";
    if line.starts_with(b"PING") {
        outgoing.extend_from_slice(b"PONG\r\n");
    }
    let is_json = line.starts_with(b"{");
    if line.starts_with(b"-ERR") || (is_json && line.windows(REFUSAL.len()).any(|window| window == REFUSAL)) {
        bail!("publishing failed: {}", String::from_utf8_lossy(line).trim_end());
    }
    Ok(is_json)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "the inputs are constants")]
    use super::*;

    #[test]
    fn answers_are_counted_however_they_are_cut() {
        let http =
            b"HTTP/1.1 202 A\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
            3\r\nabc\r\n0\r\n\r\nHTTP/1.1 202 A\r\nContent-Length: 0\r\n\r\n";
        for size in 1..http.len() {
            let (mut reader, mut body) = (ResponseReader::new("POST"), Vec::new());
            let counts = http.chunks(size).map(|piece| count_responses(&mut reader, &mut body, piece).unwrap());
            assert_eq!(counts.sum::<u64>(), 3, "pieces of {size}");
            let (mut redis, mut out) = (AnswerCounter::Redis { line: Vec::new() }, Vec::new());
            let counts = b":1\r\n:0\r\n:12\r\n".chunks(size).map(|piece| redis.count(piece, &mut out).unwrap());
            assert_eq!(counts.sum::<u64>(), 3, "pieces of {size}");
            let mut nats = AnswerCounter::Nats { line: Vec::new() };
            let lines = b"INFO {\"port\":1}\r\nMSG answers 1 24\r\n{\"stream\":\"q\", \"seq\":7}\r\nPING\r\n";
            let counts = lines.chunks(size).map(|piece| nats.count(piece, &mut out).unwrap());
            assert_eq!(counts.sum::<u64>(), 1, "pieces of {size}");
            assert_eq!(out, b"PONG\r\n");
        }
    }

    #[test]
    fn refusal_is_an_error_with_its_reason() {
        let refused = b"HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\nnope";
        let error = count_responses(&mut ResponseReader::new("POST"), &mut Vec::new(), refused).unwrap_err();
        assert_eq!(error.to_string(), "publishing failed: status 403, \"nope\"");
        let refused =
            |mut counter: AnswerCounter, line: &[u8]| counter.count(line, &mut Vec::new()).unwrap_err().to_string();
        let redis = refused(AnswerCounter::Redis { line: Vec::new() }, b"-NOAUTH no\r\n");
        assert_eq!(redis, "publishing failed: -NOAUTH no");
        for line in [&b"-ERR 'Permissions Violation'\r\n"[..], b"{\"error\":{\"code\":503}}\r\n"] {
            let nats = refused(AnswerCounter::Nats { line: Vec::new() }, line);
            assert_eq!(nats, format!("publishing failed: {}", String::from_utf8_lossy(line).trim_end()));
        }
    }
}
