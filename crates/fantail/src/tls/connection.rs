//! One TLS connection behind its handshake: its client's certificate, and what a stream keeps of it.

use std::io::{self, Read, Write};
use std::time::Duration;

use fantail_access::ClientCertificate;
use fantail_config::TlsStreamState;
use fantail_shard::{KeptInput, KeptTls, Sealer, TlsCipher, TlsSealer, TlsVersion};
use rustls::{ConnectionTrafficSecrets, ProtocolVersion, ServerConnection};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

/// How long the last bytes of rustls may take into the socket.
const FLUSH_DEADLINE: Duration = Duration::from_secs(5);

/// The certificate of the client, if it has shown one.
pub(crate) fn client_certificate(stream: &TlsStream<TcpStream>) -> Option<ClientCertificate> {
    let chain = stream.get_ref().1.peer_certificates()?;
    ClientCertificate::of_der(chain.first()?)
}

/// Takes a connection apart: the bare socket, and what seals the rest of our half.
pub(crate) async fn take_apart(
    mut stream: TlsStream<TcpStream>,
    state: TlsStreamState,
) -> io::Result<(std::net::TcpStream, Sealer)> {
    // The bytes that rustls still holds, a session ticket for example, are sealed already and go out first.
    // An answer to a client's change of keys goes out with the next text, and an empty one will do.
    let _ = stream.get_mut().1.writer().write(&[])?;
    timeout(FLUSH_DEADLINE, stream.flush()).await??;
    let (socket, connection) = stream.into_inner();
    let socket = socket.into_std()?;
    let sealer = match state {
        TlsStreamState::Dissolved => Sealer::Dissolved(dissolve(connection)?),
        TlsStreamState::Kept => Sealer::Kept(Box::new(Kept(connection))),
        TlsStreamState::Kernel => Sealer::in_kernel(dissolve(connection)?, &socket),
    };
    Ok((socket, sealer))
}

fn dissolve(connection: ServerConnection) -> io::Result<TlsSealer> {
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

/// The connection as rustls keeps it.
struct Kept(ServerConnection);

impl Kept {
    fn take_records(&mut self, records: &mut Vec<u8>) {
        while self.0.wants_write() && self.0.write_tls(records).is_ok_and(|written| written > 0) {}
    }
}

impl KeptTls for Kept {
    fn seal(&mut self, text: &[u8], records: &mut Vec<u8>) {
        // It goes into memory, which takes everything.
        self.0.set_buffer_limit(None);
        let _ = self.0.writer().write_all(text);
        self.take_records(records);
    }

    fn seal_close_notify(&mut self, records: &mut Vec<u8>) {
        self.0.send_close_notify();
        self.take_records(records);
    }

    fn take_input(&mut self, mut records: &[u8]) -> KeptInput {
        while !records.is_empty() {
            let Ok(1..) = self.0.read_tls(&mut records) else { return KeptInput::End };
            match self.0.process_new_packets() {
                Ok(state) if !state.peer_has_closed() => {}
                _ => return KeptInput::End,
            }
            // Text from the client is no part of a stream, and is dropped.
            let _ = io::copy(&mut self.0.reader().take(u64::MAX), &mut io::sink());
        }
        KeptInput::Fine
    }
}
