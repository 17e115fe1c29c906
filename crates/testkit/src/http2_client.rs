//! A client of HTTP/2, which is that of the crate `h2`: many requests over one connection, each read only when the test asks.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use h2::{
    RecvStream,
    client::{Builder, SendRequest},
};
use http::{HeaderMap, Method, Request, StatusCode};
use tokio::{net::TcpStream, task::JoinHandle};

use crate::{
    PATIENCE,
    error::{Doing, Error, Result, within},
    sse::{Event, Parser},
    transport::{Socket, TlsTrust},
};

/// The window of a connection, which is more than those of all its streams.
const CONNECTION_WINDOW: u32 = 1 << 30;

/// A connection.
#[derive(Debug)]
pub struct Http2Client {
    requests: SendRequest<Bytes>,
    /// Drives the connection. It goes on for as long as there are requests.
    driver: JoinHandle<std::result::Result<(), h2::Error>>,
}

/// The answer to a request: a stream of the connection.
#[derive(Debug)]
pub struct Tab {
    /// The status of the answer.
    pub status: StatusCode,
    /// The fields of the answer.
    pub headers: HeaderMap,
    body: RecvStream,
    parser: Parser,
    text: Vec<u8>,
}

/// The end of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TabEnd {
    /// In order.
    Clean,
    /// By `RST_STREAM`, with this code.
    Reset(u32),
    /// With its connection.
    Lost,
}

impl Http2Client {
    /// Connects, over TLS if there is an authority, with this window for each stream.
    pub async fn connect(address: SocketAddr, trust: Option<&TlsTrust>, window: u32) -> Result<Self> {
        let socket = TcpStream::connect(address).await.doing(format!("connecting to {address}"))?;
        socket.set_nodelay(true).doing("setting nodelay")?;
        match trust {
            Some(trust) => Self::over(trust.speaking_http2().handshake(socket).await?, window).await,
            None => Self::over(socket, window).await,
        }
    }

    async fn over<S: Socket + Send + 'static>(socket: S, window: u32) -> Result<Self> {
        let mut builder = Builder::new();
        builder.initial_window_size(window).initial_connection_window_size(CONNECTION_WINDOW);
        let (requests, connection) = builder.handshake(socket).await.map_err(told)?;
        Ok(Self { requests, driver: tokio::spawn(connection) })
    }

    /// A stream of the server's, by its path or by a whole URL.
    pub async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Tab> {
        self.ask(Method::GET, path, headers).await
    }

    /// Sends a request without a body, and waits for the head of its answer.
    pub async fn ask(&mut self, method: Method, path: &str, headers: &[(&str, &str)]) -> Result<Tab> {
        let url = if path.starts_with('/') { format!("https://localhost{path}") } else { path.to_owned() };
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).map_err(|error| Error::Protocol(error.to_string()))?;
        let asked = async {
            let mut requests = self.requests.clone().ready().await.map_err(told)?;
            let (answer, _) = requests.send_request(request, true).map_err(told)?;
            answer.await.map_err(told)
        };
        let (head, body) = within(PATIENCE, "the head of an answer", asked).await?.into_parts();
        let (status, headers) = (head.status, head.headers);
        Ok(Tab { status, headers, body, parser: Parser::default(), text: Vec::new() })
    }

    /// Waits until the server has ended the connection. Requests cannot be made any more.
    pub async fn ended(self) -> Result<()> {
        let Self { requests, driver } = self;
        let ended = async { driver.await.map_err(|error| Error::Protocol(error.to_string())) };
        let outcome = within(PATIENCE, "the end of the connection", ended).await?;
        drop(requests);
        outcome.map_err(told)
    }
}

impl Tab {
    /// Reads what comes next, and lets the server send as much again. None at the end.
    pub async fn read(&mut self) -> std::result::Result<Option<Bytes>, TabEnd> {
        let Some(data) = self.body.data().await else { return Ok(None) };
        let data = data.map_err(|error| end_of(&error))?;
        // It fails only where nothing was received.
        let _ = self.body.flow_control().release_capacity(data.len());
        Ok(Some(data))
    }

    /// Everything up to an end, which must come.
    pub async fn read_to_end(&mut self) -> Result<(Vec<Event>, TabEnd)> {
        let mut events = Vec::new();
        loop {
            match within(PATIENCE, "the end of a stream", async { Ok(self.read().await) }).await? {
                Ok(Some(data)) => events.extend(self.take(&data)),
                Ok(None) => return Ok((events, TabEnd::Clean)),
                Err(end) => return Ok((events, end)),
            }
        }
    }

    /// The next events, at least one.
    pub async fn next_events(&mut self) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        while events.is_empty() {
            match within(PATIENCE, "an event", async { Ok(self.read().await) }).await? {
                Ok(Some(data)) => events = self.take(&data),
                other => return Err(Error::Protocol(format!("no event, but {other:?}"))),
            }
        }
        Ok(events)
    }

    /// All text that was read.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.text).into_owned()
    }

    /// Whether nothing comes for a while.
    pub async fn is_silent_for(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.read()).await.is_err()
    }

    fn take(&mut self, data: &[u8]) -> Vec<Event> {
        self.text.extend_from_slice(data);
        self.parser.feed(data)
    }
}

fn end_of(error: &h2::Error) -> TabEnd {
    match error.reason() {
        Some(reason) if error.is_reset() => TabEnd::Reset(reason.into()),
        _ => TabEnd::Lost,
    }
}

#[allow(clippy::needless_pass_by_value)] // it is what `map_err` hands over
fn told(error: h2::Error) -> Error {
    Error::Protocol(format!("HTTP/2: {error}"))
}
