//! A server in front of a node that makes connections of HTTP/1 streams of few HTTP/2 connections, as proxies do.
//!
//! A reader that stops shuts its window, and no other's. The ends of streams are passed on: a clean one as the last chunk, any other as a
//! reset.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::{Request, Response};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    PATIENCE,
    error::{Doing, Error, Result},
    transport::TlsTrust,
};

/// A slow reader keeps so much, beside its socket.
const WINDOW: u32 = 16 * 1024;

const CONNECTION_WINDOW: u32 = 1 << 30;

/// How long a client may take to close its side behind the last chunk.
const LINGER: Duration = Duration::from_secs(2);

/// The server; stopped on drop.
#[derive(Debug)]
pub struct Http2Front {
    address: SocketAddr,
    pool: Arc<Pool>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Pool {
    node: SocketAddr,
    trust: Option<TlsTrust>,
    tabs_max: usize,
    connections: tokio::sync::Mutex<Vec<Arc<Pooled>>>,
    /// Streams that came to share a connection with others.
    shared: AtomicU64,
}

/// A connection to the node. It is closed with its last tab.
#[derive(Debug)]
struct Pooled {
    requests: SendRequest<Bytes>,
    tabs: Mutex<usize>,
}

impl Http2Front {
    /// Listens on loopback, and lets so many streams share a connection to the node, over TLS if there is an authority.
    pub async fn start(node: SocketAddr, trust: Option<&TlsTrust>, tabs_max: usize) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.doing("binding the front")?;
        let address = listener.local_addr().doing("asking for the front's address")?;
        let trust = trust.map(TlsTrust::speaking_http2);
        let pool = Arc::new(Pool {
            node,
            trust,
            tabs_max,
            connections: tokio::sync::Mutex::default(),
            shared: AtomicU64::new(0),
        });
        let serving = Arc::clone(&pool);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let pool = Arc::clone(&serving);
                tokio::spawn(async move {
                    // A client that is lost finds out by its socket.
                    let _ = pool.serve(client).await;
                });
            }
        });
        Ok(Self { address, pool, accepting })
    }

    /// How many streams came to share a connection with others.
    pub fn shared(&self) -> u64 {
        self.pool.shared.load(Ordering::Relaxed)
    }

    /// The address of the front.
    pub const fn addr(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Http2Front {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Pool {
    async fn serve(&self, mut client: TcpStream) -> Result<()> {
        client.set_nodelay(true).doing("setting nodelay")?;
        let request = read_request(&mut client).await?;
        let pooled = self.connection().await?;
        let served = pass_on(&pooled, request, &mut client).await;
        self.leave(pooled).await;
        if served.is_err() {
            let _ = client.set_zero_linger();
        }
        served
    }

    /// A connection with room for another stream, which is taken.
    async fn connection(&self) -> Result<Arc<Pooled>> {
        let mut connections = self.connections.lock().await;
        for pooled in connections.iter() {
            let mut tabs = pooled.tabs.lock().expect("nobody panics with it");
            if *tabs < self.tabs_max && pooled.requests.clone().current_max_send_streams() > *tabs {
                *tabs += 1;
                self.shared.fetch_add(1, Ordering::Relaxed);
                return Ok(Arc::clone(pooled));
            }
        }
        let socket = TcpStream::connect(self.node).await.doing("connecting to the node")?;
        socket.set_nodelay(true).doing("setting nodelay")?;
        let requests = match &self.trust {
            Some(trust) => drive(trust.handshake(socket).await?).await?,
            None => drive(socket).await?,
        };
        let pooled = Arc::new(Pooled { requests, tabs: Mutex::new(1) });
        connections.push(Arc::clone(&pooled));
        Ok(pooled)
    }

    async fn leave(&self, pooled: Arc<Pooled>) {
        let mut connections = self.connections.lock().await;
        let is_unused = {
            let mut tabs = pooled.tabs.lock().expect("nobody panics with it");
            *tabs -= 1;
            *tabs == 0
        };
        if is_unused {
            connections.retain(|other| !Arc::ptr_eq(other, &pooled));
        }
    }
}

async fn drive<S: crate::transport::Socket + Send + 'static>(socket: S) -> Result<SendRequest<Bytes>> {
    let mut builder = Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
    let (requests, connection) = builder.handshake(socket).await.map_err(told)?;
    tokio::spawn(connection);
    Ok(requests)
}

async fn read_request(client: &mut TcpStream) -> Result<Request<()>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if client.read_buf(&mut head).await.doing("reading a request")? == 0 {
            return Err(Error::Protocol("a client left before its request".into()));
        }
    }
    let text = String::from_utf8_lossy(&head);
    let mut lines = text.lines();
    let path = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or("/");
    let mut request = Request::get(format!("https://localhost{path}"));
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        if !["host", "connection"].contains(&name.to_ascii_lowercase().as_str()) {
            request = request.header(name, value);
        }
    }
    request.body(()).map_err(|error| Error::Protocol(error.to_string()))
}

async fn pass_on(pooled: &Pooled, request: Request<()>, client: &mut TcpStream) -> Result<()> {
    let mut requests = pooled.requests.clone().ready().await.map_err(told)?;
    let (answer, _) = requests.send_request(request, true).map_err(told)?;
    let answer = answer.await.map_err(told)?;
    client.write_all(head_of(&answer).as_bytes()).await.doing("passing a head on")?;
    let mut body = answer.into_body();
    loop {
        let (mut from, _) = client.split();
        let mut byte = [0; 64];
        let data = tokio::select! {
            data = body.data() => data,
            read = from.read(&mut byte) => match read {
                Ok(1..) => continue,
                Ok(0) => None,
                Err(error) => return Err(error).doing("reading from a client"),
            },
        };
        let Some(data) = data else { break };
        let data = data.map_err(told)?;
        let chunk = [format!("{:x}\r\n", data.len()).as_bytes(), &data, b"\r\n"].concat();
        if !data.is_empty() {
            client.write_all(&chunk).await.doing("passing text on")?;
        }
        // It fails only where nothing was received.
        let _ = body.flow_control().release_capacity(data.len());
    }
    drop(body);
    client.write_all(b"0\r\n\r\n").await.doing("passing an end on")?;
    client.shutdown().await.doing("closing a side")?;
    let _ =
        timeout(LINGER.min(PATIENCE), async { while client.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {} })
            .await;
    Ok(())
}

fn head_of<B>(answer: &Response<B>) -> String {
    let mut head = format!("HTTP/1.1 {}\r\nconnection: close\r\ntransfer-encoding: chunked\r\n", answer.status());
    for (name, value) in answer.headers() {
        head.extend([name.as_str(), ": ", &String::from_utf8_lossy(value.as_bytes()), "\r\n"]);
    }
    head.push_str("\r\n");
    head
}

#[allow(clippy::needless_pass_by_value)] // it is what `map_err` hands over
fn told(error: h2::Error) -> Error {
    Error::Protocol(format!("HTTP/2: {error}"))
}
