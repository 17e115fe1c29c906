//! TLS for the peers in Rust, as the documentation of tokio-rustls shows it: each connection keeps its whole rustls
//! connection. The settings are those of Fantail, so that only the keeping differs.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
pub use tokio_rustls::server::TlsStream;

/// Connections that wait to be taken behind their handshake.
const READY_MAX: usize = 1024;

/// The name of HTTP/2 in a handshake.
const HTTP2: &[u8] = b"h2";

/// Takes connections, and hands them out behind their handshake.
#[derive(Debug)]
pub struct TlsListener {
    /// `None` if there is no certificate, so that nothing ever comes.
    ready: Option<mpsc::Receiver<TlsStream<TcpStream>>>,
}

impl TlsListener {
    /// Listens with the certificate and key whose files `FANTAIL_BENCH_TLS_CERT` and `FANTAIL_BENCH_TLS_KEY` name. Without
    /// them it does not listen.
    pub async fn bind(address: &str) -> io::Result<Self> {
        let file = |name| std::env::var_os(name).map(PathBuf::from);
        let (Some(certificate), Some(key)) = (file("FANTAIL_BENCH_TLS_CERT"), file("FANTAIL_BENCH_TLS_KEY")) else {
            return Ok(Self { ready: None });
        };
        let acceptor = TlsAcceptor::from(Arc::new(config(certificate, key).map_err(io::Error::other)?));
        let (sender, ready) = mpsc::channel(READY_MAX);
        tokio::spawn(take_all(TcpListener::bind(address).await?, acceptor, sender));
        Ok(Self { ready: Some(ready) })
    }

    /// The next connection whose handshake is done.
    pub async fn accept(&mut self) -> TlsStream<TcpStream> {
        if let Some(ready) = &mut self.ready
            && let Some(stream) = ready.recv().await
        {
            return stream;
        }
        std::future::pending().await
    }
}

/// Whether the client has chosen HTTP/2.
pub fn speaks_http2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(HTTP2)
}

fn config(certificate: PathBuf, key: PathBuf) -> Result<ServerConfig, Box<dyn std::error::Error + Send + Sync>> {
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
    let mut config = builder.with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    Ok(config)
}

/// Each handshake has a task of its own, so that a slow client holds up no other.
async fn take_all(listener: TcpListener, acceptor: TlsAcceptor, ready: mpsc::Sender<TlsStream<TcpStream>>) {
    loop {
        // Out of descriptors: the next client may find some.
        let Ok((socket, _)) = listener.accept().await else { continue };
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            // A socket that is already dead says so on its next use, and a client that goes away in the middle is normal.
            let _ = socket.set_nodelay(true);
            if let Ok(stream) = acceptor.accept(socket).await {
                let _ = ready.send(stream).await;
            }
        });
    }
}
