//! A client's side of a connection: a bare socket, or TLS on it.
//!
//! The client opens records with rustls, which shares no line with the code that seals them for streams. A record that is not
//! the next one, or not whole, is an error of the protocol.

use std::{
    fs, io,
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, SupportedProtocolVersion,
    client::WantsClientCert,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    PATIENCE,
    error::{Doing, Error, Result, within},
};

/// The authorities that a client trusts, and the versions of TLS that it speaks. Its clones share session tickets.
#[derive(Debug, Clone)]
pub struct TlsTrust {
    config: Arc<ClientConfig>,
}

/// A socket that TLS can run on, of TCP or a unix one.
pub trait Socket: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket for S {}

/// A connection.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl TlsTrust {
    /// Trusts the authorities in a PEM file, and speaks every version that rustls knows.
    pub fn new(ca: &Path) -> Result<Self> {
        Self::with_versions(ca, rustls::ALL_VERSIONS)
    }

    /// The same with some versions alone.
    pub fn with_versions(ca: &Path, versions: &[&'static SupportedProtocolVersion]) -> Result<Self> {
        let config = trusting(ca, versions)?.with_no_client_auth();
        Ok(Self { config: Arc::new(config) })
    }

    /// The same for a client that shows a certificate of its own, if the server asks for one.
    pub fn with_certificate(
        ca: &Path,
        versions: &[&'static SupportedProtocolVersion],
        certificate: &Path,
        key: &Path,
    ) -> Result<Self> {
        let key = PrivateKeyDer::from_pem_slice(&fs::read(key).doing("reading the client's key")?);
        let key = key.map_err(|error| Error::Protocol(format!("the client's key: {error}")))?;
        let config = trusting(ca, versions)?.with_client_auth_cert(certificates(certificate)?, key);
        Ok(Self { config: Arc::new(config.map_err(unusable)?) })
    }

    /// The same, and asks for HTTP/2 alone.
    #[must_use]
    pub fn speaking_http2(&self) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self { config: Arc::new(config) }
    }

    /// Shakes hands with a server whose certificate is for `localhost`.
    pub async fn handshake<S: Socket>(&self, socket: S) -> Result<TlsStream<S>> {
        self.handshake_with("localhost", socket).await
    }

    /// The same with a server of another name.
    pub async fn handshake_with<S: Socket>(&self, name: &str, socket: S) -> Result<TlsStream<S>> {
        let name = ServerName::try_from(name.to_owned()).map_err(|error| Error::Protocol(error.to_string()))?;
        let handshake = async {
            let connector = TlsConnector::from(Arc::clone(&self.config));
            connector.connect(name, socket).await.doing("the TLS handshake")
        };
        within(PATIENCE, "a TLS handshake", handshake).await
    }
}

fn trusting(
    ca: &Path,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(unusable)?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    Ok(config.with_protocol_versions(versions).map_err(unusable)?.with_root_certificates(roots))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let pem = fs::read(path).doing("reading certificates")?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<std::result::Result<_, _>>();
    certificates.map_err(|error| Error::Protocol(format!("{}: {error}", path.display())))
}

#[allow(clippy::needless_pass_by_value)] // it is what `map_err` hands over
fn unusable(error: rustls::Error) -> Error {
    Error::Protocol(format!("rustls takes no such authorities or versions: {error}"))
}

impl Transport {
    /// The socket below.
    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket().local_addr()
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
