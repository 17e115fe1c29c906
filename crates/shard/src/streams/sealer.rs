//! The part of a TLS connection that turns the bytes of a stream into records.

use std::net::TcpStream;

use bytes::Bytes;

use crate::tls_record::TlsSealer;

pub(super) const TAKES_PLAIN_BYTES: &str = "a socket that the kernel seals takes plain bytes";

/// The sealing part of a stream's TLS connection.
pub enum Sealer {
    /// A key, an iv and a counter: the rest of the connection is gone.
    Dissolved(TlsSealer),
    /// The whole connection, for those who want its full TLS at its full price.
    Kept(Box<dyn KeptTls>),
    /// The kernel seals what the socket takes.
    Kernel,
}

/// A TLS connection behind its handshake, as a library keeps it.
pub trait KeptTls {
    /// Appends the text as records. They go out in this order.
    fn seal(&mut self, text: &[u8], records: &mut Vec<u8>);
    /// Appends the record that ends the connection.
    fn seal_close_notify(&mut self, records: &mut Vec<u8>);
    /// Whether its key has sealed as much as it may.
    fn is_worn_out(&self) -> bool;
    /// Takes what the client sent. An answer to it goes out with the next text.
    fn take_input(&mut self, records: &[u8]) -> KeptInput;
}

/// The meaning of the client's bytes to a kept connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptInput {
    /// Nothing that ends it.
    Fine,
    /// The client ends the connection, or broke its rules.
    End,
}

impl Sealer {
    /// Lets the kernel seal the socket's bytes. If it cannot, the sealer does it.
    pub fn in_kernel(sealer: TlsSealer, socket: &TcpStream) -> Self {
        match sealer.give_to_kernel(socket) {
            Ok(()) => Self::Kernel,
            Err(sealer) => Self::Dissolved(sealer),
        }
    }

    /// Whether the socket takes records and not plain bytes. The other methods are for sealers that make records.
    pub(super) fn makes_records(&self) -> bool {
        !matches!(self, Self::Kernel)
    }

    pub(super) fn seal(&mut self, text: &[u8]) -> Bytes {
        match self {
            Self::Dissolved(sealer) => sealer.seal(text),
            Self::Kept(connection) => made(|records| connection.seal(text, records)),
            Self::Kernel => unreachable!("{TAKES_PLAIN_BYTES}"),
        }
    }

    pub(super) fn seal_close_notify(&mut self) -> Bytes {
        match self {
            Self::Dissolved(sealer) => sealer.seal_close_notify(),
            Self::Kept(connection) => made(|records| connection.seal_close_notify(records)),
            Self::Kernel => unreachable!("{TAKES_PLAIN_BYTES}"),
        }
    }

    /// Whether its key has sealed as much as it may.
    pub(super) fn is_worn_out(&self) -> bool {
        match self {
            Self::Dissolved(sealer) => sealer.is_worn_out(),
            Self::Kept(connection) => connection.is_worn_out(),
            Self::Kernel => false,
        }
    }

    /// Takes what the client sent. True if that ends the stream: with no more than a key it always does.
    pub(super) fn ends_by_input(&mut self, records: &[u8]) -> bool {
        match self {
            Self::Kept(connection) => connection.take_input(records) == KeptInput::End,
            Self::Dissolved(_) | Self::Kernel => true,
        }
    }
}

fn made(make: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut records = Vec::new();
    make(&mut records);
    records.into()
}
