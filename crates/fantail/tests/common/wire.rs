//! A bare connection for tests about bytes: sends anything, reads one response after another.
#![allow(dead_code)] // each test program uses its part of this file

use std::io;
use std::net::SocketAddr;

use fantail_testkit::response::{Framing, Head, ResponseReader};
use fantail_testkit::sse::Parser;
use fantail_testkit::{Close, End, Event, PATIENCE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

pub(crate) struct Wire {
    socket: TcpStream,
    /// Read, and not yet part of a response.
    ahead: Vec<u8>,
    close: Option<Close>,
}

/// One response, whole or as far as it came.
#[derive(Debug)]
pub(crate) struct WireAnswer {
    pub(crate) head: Head,
    pub(crate) framing: Framing,
    pub(crate) body: Vec<u8>,
    pub(crate) end: End,
}

impl Wire {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self::connect_socket(TcpSocket::new_v4().unwrap(), addr).await
    }

    /// Connects with a small receive buffer, so that a peer soon finds it full.
    pub(crate) async fn connect_narrow(addr: SocketAddr, receive_buffer_bytes: u32) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(receive_buffer_bytes).unwrap();
        Self::connect_socket(socket, addr).await
    }

    async fn connect_socket(socket: TcpSocket, addr: SocketAddr) -> Self {
        let socket = socket.connect(addr).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket, ahead: Vec::new(), close: None }
    }

    /// Sends bytes. An error counts as sent: if the other side has closed already, the test looks at its answer.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        match timeout(PATIENCE, self.socket.write_all(bytes.as_ref())).await.expect("sending stalls") {
            Err(error) if !is_closed(&error) => panic!("sending: {error}"),
            _ => {}
        }
    }

    /// Says that nothing more will be sent. The other side may have closed already.
    pub(crate) async fn half_close(&mut self) {
        let _ = self.socket.shutdown().await;
    }

    /// This side's address.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// The next response, to a request with `method`, up to its end. Nothing if the connection closes before its head.
    pub(crate) async fn answer(&mut self, method: &str) -> Option<WireAnswer> {
        timeout(PATIENCE, self.read_answer(method)).await.expect("the answer does not end")
    }

    /// Everything else that comes, and how the connection was closed.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, Close) {
        timeout(PATIENCE, self.read_rest()).await.expect("the connection is not closed")
    }

    async fn read_answer(&mut self, method: &str) -> Option<WireAnswer> {
        let mut reader = ResponseReader::new(method);
        let mut body = Vec::new();
        loop {
            let ahead = std::mem::take(&mut self.ahead);
            body.extend(reader.feed(&ahead).unwrap());
            if reader.is_done() {
                self.ahead = reader.surplus().to_vec();
                break;
            }
            if self.close.is_some() {
                break;
            }
            self.read().await;
        }
        let end = match self.close {
            Some(Close::Reset) if !reader.is_done() => End::Reset,
            _ => reader.end_at_close(),
        };
        let head = reader.head()?.clone();
        Some(WireAnswer { head, framing: reader.framing(), body, end })
    }

    async fn read_rest(&mut self) -> (Vec<u8>, Close) {
        loop {
            if let Some(close) = self.close {
                return (std::mem::take(&mut self.ahead), close);
            }
            self.read().await;
        }
    }

    async fn read(&mut self) {
        match self.socket.read_buf(&mut self.ahead).await {
            Ok(0) => self.close = Some(Close::Fin),
            Ok(_) => {}
            Err(error) if is_closed(&error) => self.close = Some(Close::Reset),
            Err(error) => panic!("reading: {error}"),
        }
    }
}

impl WireAnswer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// The body as a browser reads it, which must end between two events.
    pub(crate) fn events(&self) -> Vec<Event> {
        let mut parser = Parser::default();
        let events = parser.feed(&self.body);
        assert!(!parser.in_mid_block() && parser.unknown_lines() == 0, "{:?}", String::from_utf8_lossy(&self.body));
        events
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}
