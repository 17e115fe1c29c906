//! Events from Redis: one connection follows the pattern `fantail:*`, and each message goes to its channel's streams at
//! once. There is no second connection and no way back: when Redis closes, the run ends.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::frame::Framer;
use crate::streams::Streams;

const PREFIX: &[u8] = b"fantail:";
const FOLLOW: &[u8] = b"*2\r\n$10\r\nPSUBSCRIBE\r\n$9\r\nfantail:*\r\n";
/// The beginning of each message, up to the length of its channel's name.
const MESSAGE: &[u8] = b"*4\r\n$8\r\npmessage\r\n$9\r\nfantail:*\r\n";
const CONFIRMED: &[u8] = b"*3\r\n$10\r\npsubscribe\r\n$9\r\nfantail:*\r\n:1\r\n";
/// Longer messages end the run.
const MESSAGE_BYTES_MAX: usize = 2 * 1024 * 1024;
const READ_BYTES: usize = 64 * 1024;
const CONFIRM_PATIENCE: Duration = Duration::from_secs(10);

/// The connection to Redis.
#[derive(Debug)]
pub(crate) struct RedisFeed {
    socket: TcpStream,
    inbox: Vec<u8>,
    buffer: Vec<u8>,
    framer: Framer,
}

/// One message at the start of a buffer.
#[derive(Debug, PartialEq, Eq)]
enum ParsedMessage {
    /// More bytes are needed.
    Partial,
    /// Not a message of our pattern.
    Refused,
    /// The next message begins at `end`.
    Whole { channel: Range<usize>, data: Range<usize>, end: usize },
}

impl RedisFeed {
    /// Connects and waits until Redis has confirmed the pattern: events of streams that open later cannot be missed.
    pub(crate) fn follow(address: SocketAddr, registry: &Registry, token: Token) -> io::Result<Self> {
        let mut socket = std::net::TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(CONFIRM_PATIENCE))?;
        socket.write_all(FOLLOW)?;
        confirm(&mut socket)?;
        socket.set_nonblocking(true)?;
        let mut socket = TcpStream::from_std(socket);
        registry.register(&mut socket, token, Interest::READABLE)?;
        Ok(Self { socket, inbox: Vec::new(), buffer: vec![0; READ_BYTES], framer: Framer::default() })
    }

    /// Delivers every whole message that has come. A read that did not fill the buffer has emptied the socket.
    pub(crate) fn receive(&mut self, streams: &mut Streams) -> io::Result<()> {
        loop {
            match self.socket.read(&mut self.buffer) {
                Ok(0) => return Err(io::Error::other("redis closed the connection")),
                Ok(count) => {
                    self.inbox.extend_from_slice(&self.buffer[..count]);
                    self.deliver(streams)?;
                    if count < self.buffer.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn deliver(&mut self, streams: &mut Streams) -> io::Result<()> {
        let mut taken = 0;
        loop {
            let rest = &self.inbox[taken..];
            match read(rest) {
                ParsedMessage::Partial => break,
                ParsedMessage::Refused => return Err(io::Error::other("redis sent something else than a message")),
                ParsedMessage::Whole { channel, data, end } => {
                    let name = rest[channel].strip_prefix(PREFIX).unwrap_or_default();
                    streams.deliver(name, self.framer.frame(&rest[data]));
                    taken += end;
                }
            }
        }
        self.inbox.drain(..taken);
        Ok(())
    }
}

/// Reads the confirmation, and nothing behind it. A refusal is one line.
fn confirm(socket: &mut std::net::TcpStream) -> io::Result<()> {
    let mut answer = Vec::new();
    while answer != CONFIRMED {
        let mut byte = [0];
        socket.read_exact(&mut byte)?;
        answer.push(byte[0]);
        if !CONFIRMED.starts_with(&answer) && byte == *b"\n" {
            return Err(io::Error::other(format!("redis answered {:?}", String::from_utf8_lossy(&answer))));
        }
    }
    Ok(())
}

/// Reads the first message of `bytes`.
fn read(bytes: &[u8]) -> ParsedMessage {
    let common = bytes.len().min(MESSAGE.len());
    if bytes[..common] != MESSAGE[..common] {
        return ParsedMessage::Refused;
    }
    let outcome = read_text(bytes, common).and_then(|channel| {
        let data = read_text(bytes, channel.end + 2)?;
        let end = data.end + 2;
        if bytes.len() < end { Err(ParsedMessage::Partial) } else { Ok(ParsedMessage::Whole { channel, data, end }) }
    });
    outcome.unwrap_or_else(|other| other)
}

/// A string behind `$`, its length and a line break. Its own line break may not have come yet.
fn read_text(bytes: &[u8], at: usize) -> Result<Range<usize>, ParsedMessage> {
    let rest = bytes.get(at..).filter(|rest| !rest.is_empty()).ok_or(ParsedMessage::Partial)?;
    let digits = rest.strip_prefix(b"$").ok_or(ParsedMessage::Refused)?;
    let mut length = 0_usize;
    for (offset, byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' if length <= MESSAGE_BYTES_MAX => length = length * 10 + usize::from(byte - b'0'),
            b'\r' if offset > 0 && length <= MESSAGE_BYTES_MAX => {
                let start = at + 1 + offset + 2;
                return if bytes.len() < start + length {
                    Err(ParsedMessage::Partial)
                } else {
                    Ok(start..start + length)
                };
            }
            _ => return Err(ParsedMessage::Refused),
        }
    }
    Err(ParsedMessage::Partial)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &[u8] = b"*4\r\n$8\r\npmessage\r\n$9\r\nfantail:*\r\n$9\r\nfantail:x\r\n$12\r\nfirst\r\nlines\r\n";

    #[test]
    fn message_is_found_however_the_bytes_arrive() {
        for cut in 0..ONE.len() {
            assert_eq!(read(&ONE[..cut]), ParsedMessage::Partial, "cut at {cut}");
        }
        let both = [ONE, ONE].concat();
        let ParsedMessage::Whole { channel, data, end } = read(&both) else { panic!("whole message not seen") };
        assert_eq!((&both[channel], &both[data]), (&b"fantail:x"[..], &b"first\r\nlines"[..]));
        assert_eq!(&both[end..], ONE);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["-ERR no\r\n", "+PONG\r\n", "*3\r\n$7\r\nmessage\r\n"] {
            assert_eq!(read(text.as_bytes()), ParsedMessage::Refused, "{text:?}");
        }
        let endless = [MESSAGE, b"$99999999999999999999999"].concat();
        assert_eq!(read(&endless), ParsedMessage::Refused);
    }
}
