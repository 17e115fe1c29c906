//! The encrypted listeners: their files, their handshakes, and what is left of a connection when it becomes a stream.
//!
//! A whole TLS connection keeps some 9 KiB while it is idle, so a stream does not keep it. When the request is read, rustls gives
//! out the key of our half, and the shard seals the stream's records with it (`crates/shard/src/tls_record.rs`).

mod certificates;
mod connection;
mod files;
mod tickets;

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use fantail_config::{ClientAuth, Internal, Tls, TlsStreamState};
use fantail_shard::kernel_seals;
use parking_lot::RwLock;
use rustls::crypto::aws_lc_rs;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{info, warn};

use self::certificates::Certificates;
pub(crate) use self::connection::{client_certificate, take_apart};
use self::files::{Files, Places};
use self::tickets::TicketKeys;

/// How long a handshake may take from the client's first byte, if the request deadline is not shorter.
pub(crate) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);

/// An encrypted listener's part of TLS: what its files say, and its handshakes.
pub(crate) struct TlsServer {
    places: Places,
    loaded: RwLock<Loaded>,
}

/// The rules in force, and the contents that they were made of.
struct Loaded {
    files: Files,
    acceptor: TlsAcceptor,
    /// Seals tickets with a key of this process, where no file gives one.
    own_tickets: Arc<dyn ProducesTickets>,
    certificates: Arc<Certificates>,
}

impl TlsServer {
    /// That of `tls_listen`, if there is one. An error names the setting and the file.
    pub(crate) fn public(tls: &Tls) -> anyhow::Result<Option<Self>> {
        Places::public(tls).map(Self::load).transpose()
    }

    /// That of `internal_listen`, if it has a certificate.
    pub(crate) fn internal(internal: &Internal) -> anyhow::Result<Option<Self>> {
        Places::internal(internal).map(Self::load).transpose()
    }

    fn load(places: Places) -> anyhow::Result<Self> {
        let loaded = RwLock::new(Loaded::new(Files::read(&places)?, &places, None)?);
        Ok(Self { places, loaded })
    }

    /// The handshake, within a deadline. It runs on threads of its own: a full one takes half a millisecond, and sixty of them at
    /// once would keep a shard from its streams for 30 ms. A place is given back when it is over.
    pub(crate) async fn handshake(
        &self,
        socket: TcpStream,
        deadline: Duration,
        place: Option<OwnedSemaphorePermit>,
    ) -> io::Result<TlsStream<TcpStream>> {
        let deadline = deadline.min(HANDSHAKE_DEADLINE);
        let (socket, acceptor) = (socket.into_std()?, self.loaded.read().acceptor.clone());
        let handshake = threads().spawn(async move {
            let _place = place;
            let socket = TcpStream::from_std(socket)?;
            timeout(deadline, acceptor.accept(socket)).await?
        });
        let mut handshake = AbortOnDrop(handshake);
        (&mut handshake.0).await.map_err(io::Error::other)?
    }

    /// When the first of the certificates expires, in seconds since 1970.
    pub(crate) fn expires_at(&self) -> Option<u64> {
        self.loaded.read().certificates.expires_at()
    }

    /// Reads the files again; while one of them is faulty the last good ones stay.
    pub(crate) fn read_files_again(&self) {
        if let Err(error) = self.take_newer() {
            let setting = self.places.setting;
            warn!(error = format!("{error:#}"), setting, "files for TLS cannot be read again, the last good ones stay");
        }
    }

    fn take_newer(&self) -> anyhow::Result<()> {
        let files = Files::read(&self.places)?;
        if files == self.loaded.read().files {
            return Ok(());
        }
        let newer = Loaded::new(files, &self.places, Some(&self.loaded.read()))?;
        info!(certificates = newer.certificates.len(), setting = self.places.setting, "the files for TLS have changed");
        *self.loaded.write() = newer;
        Ok(())
    }
}

impl Loaded {
    fn new(files: Files, places: &Places, older: Option<&Self>) -> anyhow::Result<Self> {
        let certificates = Arc::new(Certificates::of(&files)?);
        // A ticket holds the certificate that its client once showed. Other authorities must see it anew.
        let kept = older.filter(|older| older.files.client_ca == files.client_ca);
        let own_tickets = kept.map(|older| Ok(Arc::clone(&older.own_tickets)));
        let own_tickets = own_tickets.unwrap_or_else(aws_lc_rs::Ticketer::new);
        let own_tickets = own_tickets.context("there is no randomness for session tickets")?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .context("the provider knows TLS 1.2 and 1.3")?;
        let builder = match &files.client_ca {
            None => builder.with_no_client_auth(),
            Some(authorities) => {
                let mut roots = RootCertStore::empty();
                for authority in authorities.certificates()? {
                    roots.add(authority).with_context(|| authorities.told())?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                let verifier = match places.client_auth {
                    ClientAuth::Required => verifier,
                    ClientAuth::Optional => verifier.allow_unauthenticated(),
                };
                builder.with_client_cert_verifier(verifier.build().with_context(|| authorities.told())?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::clone(&certificates) as _);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = match TicketKeys::of(&files)? {
            Some(keys) => Arc::new(keys),
            None => Arc::clone(&own_tickets),
        };
        config.send_tls13_tickets = 1;
        // Anyone could send a request of another again.
        config.max_early_data_size = 0;
        config.enable_secret_extraction = true;
        Ok(Self { files, acceptor: TlsAcceptor::from(Arc::new(config)), own_tickets, certificates })
    }
}

/// The part of a TLS connection that streams keep here. Without kTLS in this kernel the streams seal for themselves.
pub(crate) fn stream_state(asked: TlsStreamState) -> TlsStreamState {
    if asked == TlsStreamState::Kernel && !kernel_seals() {
        warn!(
            "this kernel does not seal (it has no kTLS, or its module tls is not loaded): tls_stream_state is dissolved"
        );
        return TlsStreamState::Dissolved;
    }
    asked
}

/// Whether the files of the settings can be read and fit one another.
pub(crate) fn check(tls: &Tls, internal: &Internal) -> anyhow::Result<()> {
    TlsServer::public(tls)?;
    TlsServer::internal(internal).map(drop)
}

/// The threads that handshakes run on. They live as long as the process.
fn threads() -> &'static Runtime {
    static THREADS: OnceLock<Runtime> = OnceLock::new();
    THREADS.get_or_init(|| {
        let threads = Builder::new_multi_thread().thread_name("tls-handshake").enable_all().build();
        threads.expect("a process that has its shards can start a few threads more")
    })
}

/// A task that ends with the one that waits for it.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
