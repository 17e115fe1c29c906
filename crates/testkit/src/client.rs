//! One event stream over one raw TCP connection, or over TLS on it, read only when the test asks.
//!
//! That makes it a slow reader too: between two calls it reads nothing, and the server meets a full socket. It does no
//! reconnecting; a test that resumes does so itself, with the id of its choice.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
};

use crate::{
    PATIENCE,
    error::{Doing, Error, Result, within},
    response::{End, Head, ResponseReader},
    sse::{Event, Parser},
    transport::{TlsTrust, Transport},
};

const READ_BYTES: usize = 16 << 10;

/// The end of the connection itself, apart from the response on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// The server sent FIN: nothing more comes. Over TLS its `close_notify` came first.
    Fin,
    /// The server sent FIN over TLS without a `close_notify`. Anyone on the way could have cut the connection.
    Unannounced,
    /// The server reset the connection; bytes in flight may be lost.
    Reset,
}

/// A subscribe request to be sent.
#[derive(Debug, Clone)]
pub struct SubscribeRequest {
    addr: SocketAddr,
    path: String,
    version: &'static str,
    headers: Vec<(String, String)>,
    from: Option<IpAddr>,
    receive_buffer_bytes: Option<u32>,
    raw: Option<Vec<u8>>,
    keeps_body: bool,
    trust: Option<TlsTrust>,
}

impl SubscribeRequest {
    /// Adds a header. `Host` and `Accept` are sent unless given.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Resumes behind this id.
    #[must_use]
    pub fn last_event_id(self, id: &str) -> Self {
        self.header("Last-Event-ID", id)
    }

    /// Speaks HTTP/1.0, as an nginx with default settings does.
    #[must_use]
    pub const fn http_1_0(mut self) -> Self {
        self.version = "HTTP/1.0";
        self
    }

    /// Connects from this address; loopback has a whole /8 of them.
    #[must_use]
    pub const fn from(mut self, source: IpAddr) -> Self {
        self.from = Some(source);
        self
    }

    /// Bounds the kernel's receive buffer, so that a reader that stops fills up soon.
    #[must_use]
    pub const fn receive_buffer(mut self, bytes: u32) -> Self {
        self.receive_buffer_bytes = Some(bytes);
        self
    }

    /// Sends these bytes instead of a request made from the other settings.
    #[must_use]
    pub fn raw(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.raw = Some(bytes.into());
        self
    }

    /// Connects over TLS.
    #[must_use]
    pub fn over_tls(mut self, trust: &TlsTrust) -> Self {
        self.trust = Some(trust.clone());
        self
    }

    /// Keeps every body byte for [`SseClient::body`].
    #[must_use]
    pub const fn keep_body(mut self) -> Self {
        self.keeps_body = true;
        self
    }

    /// Connects, sends and waits for the response head, whatever its status.
    pub async fn connect(self) -> Result<SseClient> {
        let mut client = self.send().await?;
        client.wait_for_head(PATIENCE).await?;
        Ok(client)
    }

    /// Connects and sends without waiting for an answer.
    pub async fn send(self) -> Result<SseClient> {
        let socket = match self.addr {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        };
        let socket = socket.doing("making a socket")?;
        // Before connecting: the window that the handshake offers is chosen from it.
        if let Some(bytes) = self.receive_buffer_bytes {
            socket.set_recv_buffer_size(bytes).doing("setting the receive buffer")?;
        }
        if let Some(source) = self.from {
            socket.bind(SocketAddr::new(source, 0)).doing(format!("binding to {source}"))?;
        }
        let stream = socket.connect(self.addr).await.doing(format!("connecting to {}", self.addr))?;
        stream.set_nodelay(true).doing("setting nodelay")?;
        let stream = match &self.trust {
            Some(trust) => Transport::Tls(Box::new(trust.handshake(stream).await?)),
            None => Transport::Plain(stream),
        };
        let mut client = SseClient {
            stream,
            response: ResponseReader::new("GET"),
            parser: Parser::default(),
            events: VecDeque::new(),
            end: None,
            close: None,
            body: self.keeps_body.then(Vec::new),
        };
        client.send_raw(&self.bytes()).await?;
        Ok(client)
    }

    fn bytes(&self) -> Vec<u8> {
        if let Some(raw) = &self.raw {
            return raw.clone();
        }
        let mut text = format!("GET {} {}\r\n", self.path, self.version);
        for (name, value) in &self.headers {
            text.extend([name.as_str(), ": ", value.as_str(), "\r\n"]);
        }
        let host = self.addr.to_string();
        for (name, value) in [("Host", host.as_str()), ("Accept", "text/event-stream")] {
            if !self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                text.extend([name, ": ", value, "\r\n"]);
            }
        }
        text.push_str("\r\n");
        text.into_bytes()
    }
}

/// An open event stream.
#[derive(Debug)]
pub struct SseClient {
    stream: Transport,
    response: ResponseReader,
    parser: Parser,
    events: VecDeque<Event>,
    end: Option<End>,
    close: Option<Close>,
    body: Option<Vec<u8>>,
}

impl SseClient {
    /// Subscribes with a plain HTTP/1.1 request and waits for the response head.
    pub async fn connect(addr: SocketAddr, path_and_query: &str) -> Result<Self> {
        Self::request(addr, path_and_query).connect().await
    }

    /// A request to adjust before it is sent.
    pub fn request(addr: SocketAddr, path_and_query: &str) -> SubscribeRequest {
        SubscribeRequest {
            addr,
            path: path_and_query.into(),
            version: "HTTP/1.1",
            headers: Vec::new(),
            from: None,
            receive_buffer_bytes: None,
            raw: None,
            keeps_body: false,
            trust: None,
        }
    }

    /// Waits for the response head; for a client that was only sent.
    pub async fn wait_for_head(&mut self, limit: Duration) -> Result<&Head> {
        within(limit, "a response head", async {
            while self.response.head().is_none() {
                self.read_or_end().await?;
            }
            Ok(())
        })
        .await?;
        Ok(self.head())
    }

    /// The response head. Panics when it has not come: wait for it first.
    pub const fn head(&self) -> &Head {
        self.response.head().expect("the head has come: `connect` or `wait_for_head` returned")
    }

    /// The status code of the response.
    pub const fn status(&self) -> u16 {
        self.head().status
    }

    /// The first response header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head().header(name)
    }

    /// The next event, read from the connection if none is waiting already.
    ///
    /// May be dropped while it waits: nothing that was read is lost.
    pub async fn next_event(&mut self, limit: Duration) -> Result<Event> {
        within(limit, "an event", async {
            loop {
                if let Some(event) = self.events.pop_front() {
                    return Ok(event);
                }
                self.read_or_end().await?;
            }
        })
        .await
    }

    /// The next `count` events, each within `limit`.
    pub async fn next_events(&mut self, count: usize, limit: Duration) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        while events.len() < count {
            events.push(self.next_event(limit).await?);
        }
        Ok(events)
    }

    /// The events so far, once an id has come or the stream has ended. A browser that left now would come back with
    /// [`last_event_id`](Self::last_event_id).
    pub async fn take_up_to_now(&mut self, limit: Duration) -> Vec<Event> {
        while self.last_event_id().is_empty() && self.read_more(limit).await.is_ok() {}
        let mut events = Vec::new();
        while let Ok(event) = self.next_event(Duration::ZERO).await {
            events.push(event);
        }
        events
    }

    /// Everything up to the end of the response, and how it ended.
    pub async fn read_until_end(&mut self, limit: Duration) -> Result<(Vec<Event>, End)> {
        within(limit, "the end of the stream", async {
            loop {
                match self.end {
                    Some(end) => return Ok((self.events.drain(..).collect(), end)),
                    None => self.read().await?,
                }
            }
        })
        .await
    }

    /// Reads until the server has closed the connection itself, which comes after the response's end.
    pub async fn read_until_closed(&mut self, limit: Duration) -> Result<Close> {
        within(limit, "the close of the connection", async {
            loop {
                match self.close {
                    Some(close) => return Ok(close),
                    None => self.read().await?,
                }
            }
        })
        .await
    }

    /// Waits for one more read's worth of bytes, for tests about what is on the wire besides events.
    pub async fn read_more(&mut self, limit: Duration) -> Result<()> {
        within(limit, "more bytes", self.read_or_end()).await
    }

    /// The id that a browser would send as `Last-Event-ID` now, events not yet taken by the test included.
    pub fn last_event_id(&self) -> &str {
        self.parser.last_event_id()
    }

    /// The text parser, for its counts of comments, unknown lines and bytes.
    pub const fn parser(&self) -> &Parser {
        &self.parser
    }

    /// The response reader, for its framing and chunk ends.
    pub const fn response(&self) -> &ResponseReader {
        &self.response
    }

    /// The body so far, when the request said to keep it.
    pub fn body(&self) -> &[u8] {
        self.body.as_deref().unwrap_or_default()
    }

    /// How the response ended, if it has.
    pub const fn end(&self) -> Option<End> {
        self.end
    }

    /// Whether it came over TLS.
    pub const fn is_encrypted(&self) -> bool {
        matches!(self.stream, Transport::Tls(_))
    }

    /// This side's address, as the server sees it.
    pub fn local_addr(&self) -> Result<SocketAddr> {
        self.stream.local_addr().doing("asking for the local address")
    }

    /// Sends more bytes, where a well-behaved client would send none.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await.doing("sending to the server")?;
        self.stream.flush().await.doing("sending to the server")
    }

    /// Sends bytes past TLS, as a client without the key would.
    pub async fn send_below_tls(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.stream {
            Transport::Plain(socket) => socket.write_all(bytes).await,
            Transport::Tls(stream) => stream.get_mut().0.write_all(bytes).await,
        }
        .doing("sending to the server")
    }

    /// Changes the keys of both sides (TLS 1.3, `KeyUpdate`). Without TLS it is an error.
    pub async fn change_keys(&mut self) -> Result<()> {
        let Transport::Tls(stream) = &mut self.stream else {
            return Err(Error::Protocol("a plain connection has no keys".to_owned()));
        };
        let changed = stream.get_mut().1.refresh_traffic_keys();
        changed.map_err(|error| Error::Protocol(format!("a change of keys: {error}")))?;
        stream.flush().await.doing("sending to the server")
    }

    /// Says that nothing more will be sent, over TLS with a `close_notify`, and goes on reading.
    pub async fn half_close(&mut self) -> Result<()> {
        self.stream.shutdown().await.doing("closing the sending side")
    }

    /// Resets the connection, as a crashed or hostile client does.
    pub fn reset(self) -> Result<()> {
        self.stream.socket().set_zero_linger().doing("preparing a reset")
    }

    /// Reads once, or returns an error if there is nothing more to read.
    async fn read_or_end(&mut self) -> Result<()> {
        match self.end {
            Some(end) => Err(Error::Ended(end)),
            None => self.read().await,
        }
    }

    async fn read(&mut self) -> Result<()> {
        let mut buffer = Vec::with_capacity(READ_BYTES);
        // This is the only await: the bytes are fed without another, so dropping the future loses nothing.
        match self.stream.read_buf(&mut buffer).await {
            Ok(0) => self.closed(Close::Fin, self.response.end_at_close()),
            Ok(_) => self.take(&buffer)?,
            Err(error) if is_reset(&error) => self.closed(Close::Reset, End::Reset),
            // Both are said by TLS alone.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => self.closed(Close::Unannounced, End::Cut),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(Error::Protocol(format!("a record of TLS is faulty: {error}")));
            }
            Err(source) => return Err(source).doing("reading the stream"),
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        let body = self.response.feed(bytes)?;
        self.events.extend(self.parser.feed(&body));
        if let Some(kept) = &mut self.body {
            kept.extend_from_slice(&body);
        }
        if self.response.is_done() {
            self.end.get_or_insert(End::Clean);
        }
        Ok(())
    }

    fn closed(&mut self, close: Close, end: End) {
        self.close = Some(close);
        // A reset behind a complete response does not make that response incomplete.
        self.end.get_or_insert(end);
    }
}

fn is_reset(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}
