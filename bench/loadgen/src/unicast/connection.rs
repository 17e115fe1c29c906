//! One kept connection to publish on: it writes requests and counts answers, and never blocks. The first refusal ends the
//! run.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use fantail_testkit::response::ResponseReader;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

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
        let answers = if scheme == Scheme::Redis {
            AnswerCounter::Redis { line: Vec::new() }
        } else {
            AnswerCounter::Http { reader: ResponseReader::new("POST"), body: Vec::new() }
        };
        Ok(Self { socket, outgoing: Vec::new(), answers })
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
                    answers += self.answers.count(&buffer[..count])?;
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
    fn count(&mut self, bytes: &[u8]) -> anyhow::Result<u64> {
        match self {
            Self::Http { reader, body } => count_responses(reader, body, bytes),
            Self::Redis { line } => count_lines(line, bytes),
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

fn count_lines(line: &mut Vec<u8>, bytes: &[u8]) -> anyhow::Result<u64> {
    let mut answers = 0;
    for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
        line.extend_from_slice(piece);
        if !piece.ends_with(b"\n") {
            break;
        }
        if !line.starts_with(b":") {
            bail!("publishing failed: {}", String::from_utf8_lossy(line).trim_end());
        }
        answers += 1;
        line.clear();
    }
    Ok(answers)
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
            let mut line = Vec::new();
            let counts = b":1\r\n:0\r\n:12\r\n".chunks(size).map(|piece| count_lines(&mut line, piece).unwrap());
            assert_eq!(counts.sum::<u64>(), 3, "pieces of {size}");
        }
    }

    #[test]
    fn refusal_is_an_error_with_its_reason() {
        let refused = b"HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\nnope";
        let error = count_responses(&mut ResponseReader::new("POST"), &mut Vec::new(), refused).unwrap_err();
        assert_eq!(error.to_string(), "publishing failed: status 403, \"nope\"");
        let error = count_lines(&mut Vec::new(), b"-NOAUTH no\r\n").unwrap_err();
        assert_eq!(error.to_string(), "publishing failed: -NOAUTH no");
    }
}
