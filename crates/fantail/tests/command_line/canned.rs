//! A server with the answers of a test, for one connection after the other.

use std::net::SocketAddr;

use fantail_testkit::PATIENCE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// The head of a stream whose end is its final chunk.
pub(crate) const STREAM: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// The end of a chunked stream.
pub(crate) const CLEAN_END: &str = "0\r\n\r\n";

pub(crate) struct Canned(TcpListener);

/// One connection to it.
pub(crate) struct Conversation {
    socket: TcpStream,
    /// Read, and not yet part of a request.
    ahead: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct SeenRequest {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Canned {
    pub(crate) async fn listen() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr())
    }

    pub(crate) async fn accept(&self) -> Conversation {
        let (socket, _) = timeout(PATIENCE, self.0.accept()).await.expect("nobody connects").unwrap();
        Conversation { socket, ahead: Vec::new() }
    }

    /// Accepts, reads one request, answers and closes.
    pub(crate) async fn answer(&self, text: impl AsRef<[u8]>) -> SeenRequest {
        let mut conversation = self.accept().await;
        let request = conversation.request().await;
        conversation.say(text).await;
        request
    }
}

impl Conversation {
    /// The next request, whole.
    pub(crate) async fn request(&mut self) -> SeenRequest {
        timeout(PATIENCE, self.read_request()).await.expect("no request comes")
    }

    pub(crate) async fn say(&mut self, text: impl AsRef<[u8]>) {
        self.socket.write_all(text.as_ref()).await.unwrap();
    }

    /// Ends the connection and waits until the other side has seen it and closed its own.
    pub(crate) async fn end(mut self) {
        self.socket.shutdown().await.unwrap();
        let read = timeout(PATIENCE, self.socket.read_buf(&mut self.ahead)).await.expect("it is not closed");
        assert_eq!(read.unwrap(), 0);
    }

    async fn read_request(&mut self) -> SeenRequest {
        loop {
            let text = String::from_utf8(self.ahead.clone()).unwrap();
            if let Some((head, rest)) = text.split_once("\r\n\r\n") {
                let head = head.to_ascii_lowercase();
                let length = value_of(&head, "content-length").map_or(0, |length| length.parse().unwrap());
                if rest.len() >= length {
                    self.ahead = rest.as_bytes()[length..].to_vec();
                    return SeenRequest { body: rest[..length].to_owned(), head };
                }
            }
            assert_ne!(self.socket.read_buf(&mut self.ahead).await.unwrap(), 0, "closed within a request: {text:?}");
        }
    }
}

impl SeenRequest {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        value_of(&self.head, name)
    }
}

fn value_of<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// One chunk.
pub(crate) fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// A whole answer.
pub(crate) fn answer(status: &str, content_type: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}")
}
