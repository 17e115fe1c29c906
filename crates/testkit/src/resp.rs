//! The part of the Redis protocol that tests need: one command out, one RESP2 reply in.
//!
//! The tested program uses a Redis library, and a judge must not share its mistakes.

use std::io;
use std::net::SocketAddr;

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::{
    PATIENCE,
    error::{Doing, Error, Result, within},
};

/// One RESP2 reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `+OK` and its like.
    Simple(String),
    /// `-ERR ...`: Redis understood and refused.
    Error(String),
    /// `:1`
    Integer(i64),
    /// A counted string of bytes.
    Bulk(Vec<u8>),
    /// The null string or null array.
    Nil,
    /// Replies within a reply.
    Array(Vec<Reply>),
}

impl Reply {
    /// The reply as text, whatever kind of string it is; integers are written out.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Simple(text) | Self::Error(text) => Some(text.clone()),
            Self::Integer(number) => Some(number.to_string()),
            Self::Bulk(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            Self::Nil | Self::Array(_) => None,
        }
    }

    /// The number in an integer reply.
    pub const fn integer(&self) -> Option<i64> {
        if let Self::Integer(number) = self { Some(*number) } else { None }
    }

    /// The replies within an array reply.
    pub fn array(&self) -> Option<&[Self]> {
        if let Self::Array(replies) = self { Some(replies) } else { None }
    }
}

/// One connection to Redis. It runs commands in the order in which they are given.
#[derive(Debug)]
pub struct RespConnection {
    stream: BufReader<TcpStream>,
}

impl RespConnection {
    /// Connects.
    pub async fn connect(addr: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(addr).await.doing(format!("connecting to redis at {addr}"))?;
        stream.set_nodelay(true).doing("setting nodelay")?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends one command and waits for its reply. A refusal is a `Reply::Error`, not an `Err`.
    pub async fn command<A: AsRef<[u8]>>(&mut self, arguments: &[A]) -> Result<Reply> {
        self.send(arguments).await?;
        self.reply().await
    }

    /// Sends one command without waiting, for pipelines and for subscribing.
    pub async fn send<A: AsRef<[u8]>>(&mut self, arguments: &[A]) -> Result<()> {
        let bytes = encode(arguments);
        self.stream.get_mut().write_all(&bytes).await.doing("sending a redis command")
    }

    /// Waits for the next reply or pushed message.
    pub async fn reply(&mut self) -> Result<Reply> {
        within(PATIENCE, "a redis reply", read_reply(&mut self.stream)).await
    }

    /// Publishes and returns the number of subscribers that Redis counted.
    pub async fn publish(&mut self, channel: &str, payload: &[u8]) -> Result<i64> {
        match self.command(&[b"PUBLISH".as_slice(), channel.as_bytes(), payload]).await? {
            Reply::Integer(count) => Ok(count),
            other => Err(Error::Protocol(format!("redis answered PUBLISH with {other:?}"))),
        }
    }
}

fn encode<A: AsRef<[u8]>>(arguments: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        let argument = argument.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

async fn read_reply(stream: &mut BufReader<TcpStream>) -> Result<Reply> {
    let line = read_line(stream).await?;
    let (kind, rest) = line.split_at_checked(1).ok_or_else(|| violation(&line))?;
    Ok(match kind {
        "+" => Reply::Simple(rest.into()),
        "-" => Reply::Error(rest.into()),
        ":" => Reply::Integer(rest.parse().map_err(|_| violation(&line))?),
        "$" => match length(rest, &line)? {
            None => Reply::Nil,
            Some(length) => Reply::Bulk(read_bulk(stream, length).await?),
        },
        "*" => match length(rest, &line)? {
            None => Reply::Nil,
            Some(length) => {
                let mut replies = Vec::new();
                for _ in 0..length {
                    replies.push(Box::pin(read_reply(stream)).await?);
                }
                Reply::Array(replies)
            }
        },
        _ => return Err(violation(&line)),
    })
}

async fn read_line(stream: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await.doing("reading a redis reply")?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(line.into()),
        None => Err(io::Error::from(io::ErrorKind::UnexpectedEof)).doing("reading a redis reply"),
    }
}

async fn read_bulk(stream: &mut BufReader<TcpStream>, length: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length + 2];
    stream.read_exact(&mut bytes).await.doing("reading a redis reply")?;
    if bytes.split_off(length) != b"\r\n" {
        return Err(Error::Protocol("a redis string does not end where it said".into()));
    }
    Ok(bytes)
}

/// A length, or none for the null marker `-1`.
fn length(text: &str, line: &str) -> Result<Option<usize>> {
    if text == "-1" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| violation(line))
}

fn violation(line: &str) -> Error {
    Error::Protocol(format!("not a redis reply: {line:?}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

    use super::*;
    use tokio::net::TcpListener;

    /// Plays a server that answers anything with `bytes` and closes.
    async fn answered(bytes: &'static [u8]) -> Result<Reply> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut connection = RespConnection::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        server.write_all(bytes).await.unwrap();
        drop(server);
        connection.reply().await
    }

    #[tokio::test]
    async fn every_kind_of_reply_is_understood() {
        assert_eq!(answered(b"+OK\r\n").await.unwrap(), Reply::Simple("OK".into()));
        assert_eq!(answered(b"-ERR no\r\n").await.unwrap(), Reply::Error("ERR no".into()));
        assert_eq!(answered(b":-7\r\n").await.unwrap().integer(), Some(-7));
        assert_eq!(answered(b"$4\r\na\r\nb\r\n").await.unwrap(), Reply::Bulk(b"a\r\nb".to_vec()));
        assert_eq!(answered(b"$-1\r\n").await.unwrap(), Reply::Nil);
        assert_eq!(answered(b"*-1\r\n").await.unwrap(), Reply::Nil);
        let nested = Reply::Array(vec![Reply::Integer(1), Reply::Array(vec![]), Reply::Bulk(vec![])]);
        assert_eq!(answered(b"*3\r\n:1\r\n*0\r\n$0\r\n\r\n").await.unwrap(), nested);
    }

    #[tokio::test]
    async fn nonsense_and_cut_replies_are_errors() {
        for bytes in [b"what\r\n".as_slice(), b"\r\n", b":x\r\n", b"$4\r\nab", b"$1\r\nabc\r\n", b"+OK", b""] {
            assert!(answered(bytes).await.is_err(), "{bytes:?} was accepted");
        }
    }

    #[test]
    fn commands_carry_any_bytes() {
        assert_eq!(encode(&[b"A".as_slice(), b"\r\n\0"]), b"*2\r\n$1\r\nA\r\n$3\r\n\r\n\0\r\n");
    }
}
