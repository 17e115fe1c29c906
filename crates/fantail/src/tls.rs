//! The encrypted listeners: their files, their handshakes, and what is left of a connection when it becomes a stream.
//!
//! A whole TLS connection keeps some 9 KiB while it is idle, so a stream does not keep it. When the request is read, rustls gives
//! out the key of our half, and the shard seals the stream's records with it (`crates/shard/src/tls_record.rs`).

mod certificates;
mod clients;
mod connection;
mod failure;
mod files;
mod record_edges;
mod tickets;

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::Context as _;
use fantail_access::ClientCertificate;
use fantail_config::{Http2, Internal, Tls, TlsStreamState};
use fantail_shard::kernel_seals;
use parking_lot::{Mutex, RwLock};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{info, warn};

use self::certificates::Certificates;
use self::clients::ClientRule;
pub(crate) use self::connection::{Halves, speaks_http2, take_apart, take_both_halves};
pub(crate) use self::failure::FailedHandshakes;
use self::files::{Files, FilesRead, Places};
pub(crate) use self::record_edges::RecordEdges;
use self::tickets::TicketKeys;
use crate::access::unix_second;

/// How long a handshake may take from the client's first byte, if the request deadline is not shorter.
pub(crate) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);

/// An encrypted listener's part of TLS: the rules of its files, and its handshakes.
pub(crate) struct TlsServer {
    places: Places,
    /// Connections may speak HTTP/2.
    offers_http2: bool,
    loaded: RwLock<Arc<Loaded>>,
    /// Files are read by one thread at a time, so that older ones never take the place of newer ones.
    reading: Mutex<()>,
}

/// The rules in force.
struct Loaded {
    /// The digests of the files that they were made of.
    read: FilesRead,
    acceptor: TlsAcceptor,
    /// The same, and it offers HTTP/2 first. None where that is off.
    http2_acceptor: Option<TlsAcceptor>,
    /// Seals tickets with a key of this process, where no file gives one.
    own_tickets: Arc<dyn ProducesTickets>,
    certificates: Arc<Certificates>,
    clients: ClientRule,
}

/// A handshake under way. Dropping it ends it.
pub(crate) struct Handshake {
    task: JoinHandle<io::Result<TlsStream<RecordEdges>>>,
    /// The rule at its beginning, by which its client is judged.
    clients: ClientRule,
}

/// A connection behind its handshake, and the certificate that its client has shown.
pub(crate) type Shaken = (TlsStream<RecordEdges>, Option<ClientCertificate>);

impl TlsServer {
    /// That of `tls_listen`, if there is one. An error names the setting and the file.
    pub(crate) fn public(tls: &Tls, http2: &Http2) -> anyhow::Result<Option<Self>> {
        // A whole connection of the library, or one that the kernel seals, is for streams with a socket of their own.
        let offers_http2 = http2.http2 && tls.tls_stream_state == TlsStreamState::Dissolved;
        Places::public(tls).map(|places| Self::load(places, offers_http2)).transpose()
    }

    /// That of `internal_listen`, if it has a certificate.
    pub(crate) fn internal(internal: &Internal) -> anyhow::Result<Option<Self>> {
        Places::internal(internal).map(|places| Self::load(places, false)).transpose()
    }

    fn load(places: Places, offers_http2: bool) -> anyhow::Result<Self> {
        let loaded = Loaded::new(&Files::read(&places)?, &places, offers_http2, None)?;
        Ok(Self { places, offers_http2, loaded: RwLock::new(Arc::new(loaded)), reading: Mutex::new(()) })
    }

    /// Begins a handshake, which has so much time. It runs on threads of its own: a full one takes half a millisecond, and sixty of
    /// them at once would keep a shard from its streams for 30 ms.
    pub(crate) fn begin_handshake(
        &self,
        socket: TcpStream,
        may_speak_http2: bool,
        deadline: Duration,
    ) -> io::Result<Handshake> {
        let deadline = deadline.min(HANDSHAKE_DEADLINE);
        let (acceptor, clients) = {
            let loaded = self.loaded.read();
            let with_http2 = loaded.http2_acceptor.as_ref().filter(|_| may_speak_http2);
            (with_http2.unwrap_or(&loaded.acceptor).clone(), loaded.clients)
        };
        let socket = socket.into_std()?;
        let task = threads().spawn(async move {
            let socket = RecordEdges::new(TcpStream::from_std(socket)?);
            let mut stream = timeout(deadline, acceptor.accept(socket)).await??;
            if !speaks_http2(&stream) {
                stream.get_mut().0.ignore();
            }
            Ok(stream)
        });
        Ok(Handshake { task, clients })
    }

    /// A whole handshake.
    pub(crate) async fn shake_hands(&self, socket: TcpStream) -> io::Result<Shaken> {
        self.begin_handshake(socket, false, HANDSHAKE_DEADLINE)?.await
    }

    /// When the first of the certificates expires, in seconds since 1970.
    pub(crate) fn expires_at(&self) -> Option<u64> {
        self.loaded.read().certificates.expires_at()
    }

    /// The fingerprint of the authorities of client certificates, 0 without any.
    pub(crate) fn client_authorities(&self) -> u64 {
        self.loaded.read().clients.authorities
    }

    /// Reads the files again; while one of them is faulty the last good ones stay. Returns the fingerprint of the authorities of
    /// client certificates that count no longer, if they have changed.
    pub(crate) fn read_files_again(&self) -> Option<u64> {
        let _reading = self.reading.lock();
        let before = self.client_authorities();
        if let Err(error) = self.take_newer() {
            let setting = self.places.setting;
            warn!(error = format!("{error:#}"), setting, "files for TLS cannot be read again, the last good ones stay");
        }
        (before != self.client_authorities()).then_some(before)
    }

    fn take_newer(&self) -> anyhow::Result<()> {
        let older = Arc::clone(&self.loaded.read());
        let files = Files::read(&self.places)?;
        let read = files.digests();
        if read == older.read {
            return Ok(());
        }
        files.check_none_is_lost(&older.read)?;
        let newer = Loaded::new(&files, &self.places, self.offers_http2, Some(&older))?;
        let certificates = newer.certificates.len();
        *self.loaded.write() = Arc::new(newer);
        info!(certificates, setting = self.places.setting, "the files for TLS have changed");
        Ok(())
    }
}

impl Handshake {
    pub(crate) fn abort_handle(&self) -> AbortHandle {
        self.task.abort_handle()
    }
}

impl Future for Handshake {
    type Output = io::Result<Shaken>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ended = ready!(Pin::new(&mut self.task).poll(cx)).map_err(io::Error::other);
        Poll::Ready(ended.flatten().and_then(|stream| {
            let certificate = self.clients.judge(stream.get_ref().1, unix_second().into())?;
            Ok((stream, certificate))
        }))
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Loaded {
    fn new(files: &Files, places: &Places, offers_http2: bool, older: Option<&Self>) -> anyhow::Result<Self> {
        let (read, clients) = (files.digests(), ClientRule::of(files, places));
        let certificates = Arc::new(Certificates::of(files)?);
        // A ticket holds the certificate that its client once showed. Other authorities must see it anew.
        let kept = older.filter(|older| older.clients == clients);
        let own_tickets = match kept {
            Some(older) => Arc::clone(&older.own_tickets),
            None => aws_lc_rs::Ticketer::new().context("there is no randomness for session tickets")?,
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .context("the provider knows TLS 1.2 and 1.3")?;
        let builder = match &files.client_ca {
            None => builder.with_no_client_auth(),
            Some(authorities) => builder.with_client_cert_verifier(clients.verifier(authorities, provider)?),
        };
        let mut config = builder.with_cert_resolver(Arc::clone(&certificates) as _);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = match TicketKeys::of(files, &clients)? {
            Some(keys) => Arc::new(keys),
            None => Arc::clone(&own_tickets),
        };
        config.send_tls13_tickets = 1;
        // Anyone could send a request of another again.
        config.max_early_data_size = 0;
        config.enable_secret_extraction = true;
        let http2_acceptor = offers_http2.then(|| {
            let mut config = config.clone();
            config.alpn_protocols.insert(0, b"h2".to_vec());
            TlsAcceptor::from(Arc::new(config))
        });
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { read, acceptor, http2_acceptor, own_tickets, certificates, clients })
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

/// Prepares the process for handshakes: their threads start. Keys of streams will be all over the heap, so the process writes no
/// core dump from now on, wherever the kernel would put it. A debugger then needs the rights of root.
pub(crate) fn prepare() -> io::Result<()> {
    threads();
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Whether the files of the settings can be read and fit one another.
pub(crate) fn check(tls: &Tls, http2: &Http2, internal: &Internal) -> anyhow::Result<()> {
    TlsServer::public(tls, http2)?;
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

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_with_keys_writes_no_core_dump() {
        super::prepare().expect("every process may");
        let behavior = rustix::process::dumpable_behavior().expect("it can be asked");
        assert_eq!(behavior, rustix::process::DumpableBehavior::NotDumpable);
    }
}
