//! The encrypted listener: certificates, handshakes, and what is left of a connection when it becomes a stream.
//!
//! A whole TLS connection keeps 8 KiB while it is idle, so a stream does not keep it. When the request is read, rustls gives
//! out the key of our half, and the shard seals the stream's records with it (`crates/shard/src/tls_record.rs`).

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use fantail_config::Tls;
use fantail_shard::{TlsCipher, TlsSealer, TlsVersion};
use parking_lot::RwLock;
use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ConnectionTrafficSecrets, ProtocolVersion, ServerConfig, ServerConnection};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{info, warn};

use crate::access::read_file;

/// How long a handshake may take from the client's first byte, if the request deadline is not shorter.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);

/// How long the last bytes of rustls may take into the socket.
const FLUSH_DEADLINE: Duration = Duration::from_secs(5);

/// The certificates in force, and the handshakes with them.
pub(crate) struct TlsServer {
    certificates: Arc<Certificates>,
    acceptor: TlsAcceptor,
    /// The threads that handshakes run on. They live as long as the process.
    threads: &'static Runtime,
}

/// The operator's certificates.
#[derive(Debug)]
struct Certificates {
    /// Each certificate's file with its key's.
    files: Vec<(PathBuf, PathBuf)>,
    loaded: RwLock<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    /// The files' contents, by which a change is noticed.
    contents: Vec<Vec<u8>>,
    pairs: Vec<Arc<CertifiedKey>>,
}

impl TlsServer {
    /// Reads the files. An error names the setting and the file.
    pub(crate) fn load(tls: &Tls) -> anyhow::Result<Self> {
        let files = files(tls);
        let certificates = Arc::new(Certificates { loaded: RwLock::new(load(&files)?), files });
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("the provider knows TLS 1.2 and 1.3")?;
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(&certificates) as _;
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.ticketer = aws_lc_rs::Ticketer::new().context("there is no randomness for session tickets")?;
        config.send_tls13_tickets = 1;
        // Anyone could send a request of another again.
        config.max_early_data_size = 0;
        config.enable_secret_extraction = true;
        let threads = Builder::new_multi_thread().thread_name("tls-handshake").enable_all().build();
        let threads = Box::leak(Box::new(threads.context("cannot start the threads for handshakes")?));
        Ok(Self { certificates, acceptor: TlsAcceptor::from(Arc::new(config)), threads })
    }

    /// The handshake, within a deadline. It runs on threads of its own: a full one takes half a millisecond, and sixty of them at
    /// once would keep a shard from its streams for 30 ms.
    pub(crate) async fn handshake(
        &self,
        socket: TcpStream,
        deadline: Duration,
        place: OwnedSemaphorePermit,
    ) -> io::Result<TlsStream<TcpStream>> {
        let deadline = deadline.min(HANDSHAKE_DEADLINE);
        let (socket, acceptor) = (socket.into_std()?, self.acceptor.clone());
        let handshake = self.threads.spawn(async move {
            let _place = place;
            let socket = TcpStream::from_std(socket)?;
            timeout(deadline, acceptor.accept(socket)).await?
        });
        let mut handshake = AbortOnDrop(handshake);
        (&mut handshake.0).await.map_err(io::Error::other)?
    }

    /// When the first of the certificates expires, in seconds since 1970.
    pub(crate) fn expires_at(&self) -> u64 {
        let loaded = self.certificates.loaded.read();
        let expiry = |pair: &Arc<CertifiedKey>| {
            let (_, certificate) = x509_parser::parse_x509_certificate(pair.end_entity_cert().ok()?).ok()?;
            u64::try_from(certificate.validity().not_after.timestamp()).ok()
        };
        loaded.pairs.iter().filter_map(expiry).min().unwrap_or(0)
    }

    /// Reads the files again; while one of them is faulty the last good ones stay.
    pub(crate) fn read_files_again(&self) {
        let Certificates { files, loaded } = &*self.certificates;
        match contents(files) {
            Ok(contents) if contents == loaded.read().contents => {}
            Ok(_) => match load(files) {
                Ok(newer) => {
                    info!(certificates = newer.pairs.len(), "the certificates have changed");
                    *loaded.write() = newer;
                }
                Err(error) => warn_of(&error),
            },
            Err(error) => warn_of(&error),
        }
    }
}

/// A task that ends with the one that waits for it.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn warn_of(error: &anyhow::Error) {
    warn!(error = format!("{error:#}"), "certificates cannot be read again, the last good ones stay");
}

/// Whether the settings' certificates can be read and belong to their keys.
pub(crate) fn check(tls: &Tls) -> anyhow::Result<()> {
    load(&files(tls)).map(drop)
}

fn files(tls: &Tls) -> Vec<(PathBuf, PathBuf)> {
    tls.tls_cert.iter().cloned().zip(tls.tls_key.iter().cloned()).collect()
}

fn contents(files: &[(PathBuf, PathBuf)]) -> anyhow::Result<Vec<Vec<u8>>> {
    let paths = files.iter().flat_map(|(certificate, key)| [certificate, key]);
    paths.map(|path| read_file(path).with_context(|| path.display().to_string())).collect()
}

fn load(files: &[(PathBuf, PathBuf)]) -> anyhow::Result<Loaded> {
    let contents = contents(files).context("tls_cert and tls_key")?;
    let pairs = files.iter().map(|(certificate, key)| {
        let pair = pair(certificate, key);
        pair.with_context(|| format!("tls_cert {} with tls_key {}", certificate.display(), key.display()))
    });
    Ok(Loaded { pairs: pairs.collect::<Result<_, _>>()?, contents })
}

fn pair(certificate: &Path, key: &Path) -> anyhow::Result<Arc<CertifiedKey>> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&fs::read(certificate)?).collect::<Result<_, _>>()?;
    if chain.is_empty() {
        bail!("the file holds no PEM block of a CERTIFICATE");
    }
    let key = PrivateKeyDer::from_pem_slice(&fs::read(key)?).context("the key is no private key in PEM form")?;
    let pair = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
    Ok(Arc::new(pair.context("the key does not belong to the certificate")?))
}

/// The first certificate that is made for the name that the client asks for, or else the first.
impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let loaded = self.loaded.read();
        let asked = hello.server_name().and_then(|name| ServerName::try_from(name.to_owned()).ok());
        let is_for = |pair: &&Arc<CertifiedKey>| {
            let parsed = pair.end_entity_cert().ok().and_then(|der| ParsedCertificate::try_from(der).ok());
            parsed.zip(asked.as_ref()).is_some_and(|(parsed, asked)| verify_server_name(&parsed, asked).is_ok())
        };
        loaded.pairs.iter().find(is_for).or(loaded.pairs.first()).map(Arc::clone)
    }
}

/// Takes a connection apart: the bare socket, and what seals the rest of our half.
pub(crate) async fn dissolve(mut stream: TlsStream<TcpStream>) -> io::Result<(TcpStream, TlsSealer)> {
    // The bytes that rustls still holds, a session ticket for example, are sealed already and go out first.
    // An answer to a client's change of keys goes out with the next text, and an empty one will do.
    let _ = stream.get_mut().1.writer().write(&[])?;
    timeout(FLUSH_DEADLINE, stream.flush()).await??;
    let (socket, connection) = stream.into_inner();
    Ok((socket, sealer(connection)?))
}

fn sealer(connection: ServerConnection) -> io::Result<TlsSealer> {
    let unknown = || io::Error::other("a version or cipher of TLS that streams do not know");
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => TlsVersion::V1_3,
        Some(ProtocolVersion::TLSv1_2) => TlsVersion::V1_2,
        _ => return Err(unknown()),
    };
    let (sequence, secrets) = connection.dangerous_extract_secrets().map_err(io::Error::other)?.tx;
    let sealer = |cipher, key: &[u8], iv: &[u8]| TlsSealer::new(version, cipher, key, iv.try_into().ok()?, sequence);
    let sealer = match &secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => sealer(TlsCipher::Aes128Gcm, key.as_ref(), iv.as_ref()),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => sealer(TlsCipher::Aes256Gcm, key.as_ref(), iv.as_ref()),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
            sealer(TlsCipher::ChaCha20Poly1305, key.as_ref(), iv.as_ref())
        }
        _ => None,
    };
    sealer.ok_or_else(unknown)
}
