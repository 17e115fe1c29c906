//! HTTP/2 in front of a server that speaks none: each of its streams is a connection to that server. The protocol is that of the
//! crate `h2`, which shares nothing with the client under test.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use fantail_testkit::Certificates;
use fantail_testkit::response::ResponseReader;
use h2::server::SendResponse;
use http::Response;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::tls_front::server_config;

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Listens in a detached thread that ends with the test.
pub(crate) struct Http2Front {
    pub(crate) address: String,
    certificates: Option<Certificates>,
    connections: Arc<AtomicU32>,
}

impl Http2Front {
    /// For clients that know beforehand that it speaks HTTP/2.
    pub(crate) fn before(inner: &str) -> Self {
        Self::start(inner, None)
    }

    /// For clients that choose HTTP/2 in their handshake.
    pub(crate) fn encrypted_before(inner: &str) -> Self {
        Self::start(inner, Some(Certificates::make().unwrap()))
    }

    fn start(inner: &str, certificates: Option<Certificates>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let acceptor = certificates.as_ref().map(|certificates| TlsAcceptor::from(Arc::new(config(certificates))));
        let connections = Arc::new(AtomicU32::new(0));
        let (inner, counted) = (inner.to_owned(), Arc::clone(&connections));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(accept_all(listener, acceptor, inner, counted));
        });
        Self { address, certificates, connections }
    }

    /// The authority that clients must trust.
    pub(crate) fn ca(&self) -> PathBuf {
        self.certificates.as_ref().unwrap().ca()
    }

    /// The connections that have come.
    pub(crate) fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }
}

fn config(certificates: &Certificates) -> ServerConfig {
    let mut config = server_config(certificates);
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

async fn accept_all(
    listener: std::net::TcpListener,
    acceptor: Option<TlsAcceptor>,
    inner: String,
    connections: Arc<AtomicU32>,
) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        connections.fetch_add(1, Ordering::Relaxed);
        let (acceptor, inner) = (acceptor.clone(), inner.clone());
        // A client that leaves, or that does not trust us, ends this task and nothing else.
        tokio::spawn(async move {
            match acceptor {
                None => serve(socket, inner).await,
                Some(acceptor) => serve(acceptor.accept(socket).await?, inner).await,
            }
        });
    }
}

async fn serve(socket: impl AsyncRead + AsyncWrite + Unpin, inner: String) -> Outcome {
    let mut connection = h2::server::handshake(socket).await?;
    while let Some(request) = connection.accept().await {
        let (request, answer) = request?;
        tokio::spawn(pass_on(request.uri().path().to_owned(), answer, inner.clone()));
    }
    Ok(())
}

/// Passes a request on, and then whatever comes back. A stream ends with its connection.
async fn pass_on(path: String, mut answer: SendResponse<Bytes>, inner: String) -> Outcome {
    let mut inner = TcpStream::connect(inner).await?;
    inner.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).await?;
    let (mut reader, mut body) = (ResponseReader::new("GET"), None);
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let count = inner.read(&mut bytes).await?;
        if count == 0 && body.is_none() {
            return Ok(());
        }
        let Some(stream) = &mut body else {
            let text = reader.feed(&bytes[..count])?;
            let Some(head) = reader.head() else { continue };
            let head = Response::builder().status(head.status).header("content-type", "text/event-stream").body(())?;
            let stream = body.insert(answer.send_response(head, reader.is_done())?);
            if !reader.is_done() {
                stream.send_data(text.into(), false)?;
            }
            continue;
        };
        if count == 0 {
            return Ok(stream.send_data(Bytes::new(), true)?);
        }
        stream.send_data(reader.feed(&bytes[..count])?.into(), false)?;
    }
}
