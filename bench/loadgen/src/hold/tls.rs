//! The client's half of TLS: one `TlsClient` for all streams of a worker, and one `TlsSession` for each connection.
//!
//! rustls's unbuffered form reads and opens records in the worker's one buffer, so a connection owns no buffers of its own. It
//! keeps no more than the bytes of a record that has not come whole.

mod tickets;

use std::fmt;
use std::io;
use std::sync::Arc;

use anyhow::Context as _;
use rustls::client::{ClientSessionStore, Resumption, UnbufferedClientConnection};
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedCipherSuite, version};

use crate::hold::connection::{Over, Socket};
use crate::hold::tls::tickets::Tickets;
use crate::http2_options::Http2Options;
use crate::message::Handshake;
use crate::tls_options::{KeyExchange, TlsOptions, TlsVersion};
use crate::url_template::UrlTemplate;

/// Room for one flight of a client: the largest is a hello with a post-quantum share and a ticket. It is room enough for the
/// heads and seals of the records of a long text, too.
const FLIGHT_BYTES_MAX: usize = 8 * 1024;

/// Begins connections, and keeps the tickets of earlier ones.
pub(crate) struct TlsClient {
    config: Arc<ClientConfig>,
    server: ServerName<'static>,
    tickets: Arc<Tickets>,
}

/// One connection.
pub(crate) struct TlsSession {
    connection: UnbufferedClientConnection,
    /// Text that waits until the handshake lets it out.
    outgoing: Vec<u8>,
    /// The first bytes of a record that has not come whole.
    begun: Vec<u8>,
}

impl TlsClient {
    /// Trusts the authority of `options` alone, and offers HTTP/2 or HTTP/1.1 alone. With `keeps_tickets` a later connection
    /// resumes an earlier one.
    pub(crate) fn new(
        url: &UrlTemplate,
        options: &TlsOptions,
        http2: Http2Options,
        keeps_tickets: bool,
    ) -> anyhow::Result<Self> {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites = ciphers();
        // In TLS 1.2 a certificate's curve must be among the offered ones. Servers take the first that they know.
        provider.kx_groups = match options.key_exchange {
            KeyExchange::X25519 => vec![kx_group::X25519, kx_group::SECP256R1],
            KeyExchange::X25519MlKem768 => vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1],
        };
        let version = match options.version {
            TlsVersion::V1_3 => &version::TLS13,
            TlsVersion::V1_2 => &version::TLS12,
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[version])?;
        let mut config = builder.with_root_certificates(authority(options)?).with_no_client_auth();
        config.alpn_protocols =
            vec![if http2.streams_per_connection.is_some() { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        let tickets = Arc::new(Tickets::default());
        config.resumption = if keeps_tickets {
            Resumption::store(Arc::clone(&tickets) as Arc<dyn ClientSessionStore>)
        } else {
            Resumption::disabled()
        };
        let name = url.host_name();
        let server =
            ServerName::try_from(name.to_owned()).with_context(|| format!("{name:?} is no name of a server"))?;
        Ok(Self { config: Arc::new(config), server, tickets })
    }

    /// Whether the connections from now on are of streams that come back, with their tickets.
    pub(crate) fn serve(&self, returning: bool) {
        self.tickets.serve(returning);
    }

    /// A connection that says `first_words` when its handshake is done.
    pub(crate) fn begin(&self, first_words: Vec<u8>) -> io::Result<Box<TlsSession>> {
        let connection = UnbufferedClientConnection::new(Arc::clone(&self.config), self.server.clone());
        let connection = connection.map_err(io::Error::other)?;
        Ok(Box::new(TlsSession { connection, outgoing: first_words, begun: Vec::new() }))
    }
}

/// The first ciphers of browsers, and no others: all servers then seal with the same.
fn ciphers() -> Vec<SupportedCipherSuite> {
    vec![
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ]
}

fn authority(options: &TlsOptions) -> anyhow::Result<RootCertStore> {
    let path = options.authority.as_ref().context("streams at an https:// URL need --tls-ca")?;
    let reason = || format!("cannot use {} as an authority", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).with_context(reason)? {
        roots.add(certificate.with_context(reason)?).with_context(reason)?;
    }
    Ok(roots)
}

impl TlsSession {
    /// Puts the bytes of a begun record where the next read goes on, and tells how many they are.
    pub(crate) fn restore(&self, buffer: &mut [u8]) -> usize {
        buffer[..self.begun.len()].copy_from_slice(&self.begun);
        self.begun.len()
    }

    /// The kind of handshake that it had, once that is known.
    pub(crate) fn handshake(&self) -> Option<Handshake> {
        self.connection.handshake_kind().map(|kind| match kind {
            HandshakeKind::Resumed => Handshake::Resumed,
            HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest => Handshake::Full,
        })
    }

    /// Sends this text, now or behind the handshake.
    pub(crate) fn send(&mut self, text: &[u8], socket: &mut Socket) -> Result<(), Over> {
        self.outgoing.extend_from_slice(text);
        // A record that has begun to come is none of this.
        let begun = std::mem::take(&mut self.begun);
        let sent = self.advance(&mut [], socket, &mut |_| Ok(()));
        self.begun = begun;
        sent
    }

    /// Goes on as far as these records lead: with the handshake, with the text that waits, and with the text that came, which
    /// goes to `each`.
    pub(crate) fn advance(
        &mut self,
        records: &mut [u8],
        socket: &mut Socket,
        each: &mut impl FnMut(&[u8]) -> Result<(), Over>,
    ) -> Result<(), Over> {
        let Self { connection, outgoing, begun } = self;
        let mut flight = Vec::new();
        let mut done = 0;
        loop {
            let UnbufferedStatus { mut discard, state } = connection.process_tls_records(&mut records[done..]);
            let mut is_idle = false;
            match state.map_err(|error| error.to_string())? {
                ConnectionState::EncodeTlsData(mut data) => write(&mut flight, 0, |room| data.encode(room))?,
                ConnectionState::TransmitTlsData(data) => {
                    socket.send(&flight)?;
                    flight.clear();
                    data.done();
                }
                ConnectionState::WriteTraffic(mut text) => {
                    is_idle = outgoing.is_empty();
                    if !is_idle {
                        // An empty vector owns no memory, which counts with many connections.
                        let sent = std::mem::take(outgoing);
                        write(&mut flight, sent.len(), |room| text.encrypt(&sent, room))?;
                        socket.send(&flight)?;
                        flight.clear();
                    }
                }
                ConnectionState::ReadTraffic(mut text) => {
                    while let Some(record) = text.next_record() {
                        let record = record.map_err(|error| error.to_string())?;
                        discard += record.discard;
                        each(record.payload)?;
                    }
                }
                ConnectionState::BlockedHandshake => is_idle = true,
                _ => return Err("the server ended the TLS connection".to_owned()),
            }
            done += discard;
            if is_idle {
                break;
            }
        }
        // A vector without bytes owns no memory.
        *begun = records[done..].to_vec();
        Ok(())
    }
}

/// Appends what `encode` writes to the flight: so much text, and what stands around it.
fn write<E: fmt::Display>(
    flight: &mut Vec<u8>,
    text_bytes: usize,
    encode: impl FnOnce(&mut [u8]) -> Result<usize, E>,
) -> Result<(), Over> {
    let old = flight.len();
    flight.resize(old + text_bytes + FLIGHT_BYTES_MAX, 0);
    let written = encode(&mut flight[old..]).map_err(|error| error.to_string())?;
    flight.truncate(old + written);
    Ok(())
}

/// Keys are shown nowhere.
impl fmt::Debug for TlsClient {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("TlsClient").field("server", &self.server).finish_non_exhaustive()
    }
}

impl fmt::Debug for TlsSession {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("TlsSession").field("begun", &self.begun.len()).finish_non_exhaustive()
    }
}
