//! One TLS connection behind its handshake, and what a stream keeps of it.

use std::io::{self, Write};
use std::time::Duration;

use fantail_config::TlsStreamState;
use fantail_shard::{KeptInput, KeptTls, Sealer, TlsCipher, TlsSealer, TlsUnsealer, TlsVersion};
use rustls::{ConnectionTrafficSecrets, ExtractedSecrets, ProtocolVersion, ServerConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::record_edges::RecordEdges;

/// The text of one record at most (RFC 8446, 5.1).
const RECORD_TEXT_BYTES: usize = 1 << 14;

/// How long the last bytes of rustls may take into the socket.
const FLUSH_DEADLINE: Duration = Duration::from_secs(5);

/// Takes a connection apart: the bare socket, and what seals the rest of our half.
pub(crate) async fn take_apart(
    mut stream: TlsStream<RecordEdges>,
    state: TlsStreamState,
) -> io::Result<(std::net::TcpStream, Sealer)> {
    // The bytes that rustls still holds, a session ticket for example, are sealed already and go out first.
    // An answer to a client's change of keys goes out with the next text, and an empty one will do.
    let _ = stream.get_mut().1.writer().write(&[])?;
    timeout(FLUSH_DEADLINE, stream.flush()).await??;
    let (socket, connection) = stream.into_inner();
    let socket = socket.into_socket().into_std()?;
    let sealer = match state {
        TlsStreamState::Dissolved => Sealer::Dissolved(dissolve(connection)?.0),
        TlsStreamState::Kept => Sealer::Kept(Box::new(Kept::new(connection))),
        TlsStreamState::Kernel => Sealer::in_kernel(dissolve(connection)?.0, &socket),
    };
    Ok((socket, sealer))
}

/// Whether the client has chosen HTTP/2.
pub(crate) fn speaks_http2(stream: &TlsStream<RecordEdges>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

/// A connection that was taken apart at the end of its handshake.
pub(crate) struct Halves {
    pub(crate) socket: std::net::TcpStream,
    pub(crate) sealer: TlsSealer,
    pub(crate) unsealer: TlsUnsealer,
    /// The text of the records that rustls has read behind the handshake.
    pub(crate) text: Vec<u8>,
}

/// Takes a connection apart that goes on with both of its keys, between two records of its client.
pub(crate) async fn take_both_halves(mut stream: TlsStream<RecordEdges>) -> io::Result<Halves> {
    timeout(FLUSH_DEADLINE, stream.flush()).await??;
    let mut text = Vec::new();
    loop {
        // It ends where there is nothing more to read, which is an error to rustls.
        let _ = io::copy(&mut stream.get_mut().1.reader(), &mut text);
        if stream.get_ref().0.are_between_records() {
            break;
        }
        if stream.read_buf(&mut text).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let (socket, connection) = stream.into_inner();
    let (sealer, unsealer) = dissolve(connection)?;
    Ok(Halves { socket: socket.into_socket().into_std()?, sealer, unsealer, text })
}

fn dissolve(connection: ServerConnection) -> io::Result<(TlsSealer, TlsUnsealer)> {
    let unknown = || io::Error::other("a version or cipher of TLS that streams do not know");
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => TlsVersion::V1_3,
        Some(ProtocolVersion::TLSv1_2) => TlsVersion::V1_2,
        _ => return Err(unknown()),
    };
    let ExtractedSecrets { tx, rx } = connection.dangerous_extract_secrets().map_err(io::Error::other)?;
    let sealer = parts(&tx.1).and_then(|(cipher, key, iv)| TlsSealer::new(version, cipher, key, iv, tx.0));
    let unsealer = parts(&rx.1).and_then(|(cipher, key, iv)| TlsUnsealer::new(version, cipher, key, iv, rx.0));
    sealer.zip(unsealer).ok_or_else(unknown)
}

fn parts(secrets: &ConnectionTrafficSecrets) -> Option<(TlsCipher, &[u8], [u8; 12])> {
    let (cipher, key, iv) = match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (TlsCipher::Aes128Gcm, key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (TlsCipher::Aes256Gcm, key, iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (TlsCipher::ChaCha20Poly1305, key, iv),
        _ => return None,
    };
    Some((cipher, key.as_ref(), iv.as_ref().try_into().ok()?))
}

/// The connection as rustls keeps it. Behind the hand-over it holds at most one record of the client that has not come whole.
struct Kept {
    connection: ServerConnection,
    /// Records of one key. In TLS 1.2 rustls does not change the key, and after 2^24 records of AES-GCM it seals no more.
    records: u64,
}

/// The records after which a connection of TLS 1.2 ends.
const RECORDS_MAX: u64 = (1 << 24) - (1 << 18);

impl Kept {
    fn new(mut connection: ServerConnection) -> Self {
        // Text behind the request is no part of a stream.
        drop_text(&mut connection);
        // The connection writes into memory, which takes everything.
        connection.set_buffer_limit(None);
        Self { connection, records: 0 }
    }

    fn take_records(&mut self, records: &mut Vec<u8>) {
        while self.connection.wants_write() && self.connection.write_tls(records).is_ok_and(|written| written > 0) {}
    }
}

impl KeptTls for Kept {
    fn seal(&mut self, text: &[u8], records: &mut Vec<u8>) {
        let _ = self.connection.writer().write_all(text);
        self.records += text.len().div_ceil(RECORD_TEXT_BYTES) as u64;
        self.take_records(records);
    }

    fn seal_close_notify(&mut self, records: &mut Vec<u8>) {
        self.connection.send_close_notify();
        self.take_records(records);
    }

    fn is_worn_out(&self) -> bool {
        self.records >= RECORDS_MAX && self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_2)
    }

    fn take_input(&mut self, mut records: &[u8]) -> KeptInput {
        while !records.is_empty() {
            let Ok(1..) = self.connection.read_tls(&mut records) else { return KeptInput::End };
            match self.connection.process_new_packets() {
                Ok(state) if !state.peer_has_closed() => {}
                _ => return KeptInput::End,
            }
            drop_text(&mut self.connection);
        }
        KeptInput::Fine
    }
}

fn drop_text(connection: &mut ServerConnection) {
    // It ends where there is nothing more to read, which is an error to rustls.
    let _ = io::copy(&mut connection.reader(), &mut io::sink());
}
