//! One connection of streams, plain or encrypted: it sends text and hands on the text that comes. It knows neither HTTP nor
//! events.

use std::io::{self, Read as _, Write as _};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::hold::stream::STOPPED_RECEIVE_BYTES;
use crate::hold::tls::TlsSession;
use crate::message::Handshake;

/// The reason why reading stopped for good.
pub(crate) type Over = String;

/// A connection on its way, or open.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: Socket,
    /// None if it is plain.
    tls: Option<Box<TlsSession>>,
    has_begun: bool,
}

/// A socket, and the bytes for which it had no room yet.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    unsent: Vec<u8>,
}

impl Connection {
    /// A plain one, which says these words first.
    pub(crate) fn plain(socket: TcpStream, first_words: Vec<u8>) -> Self {
        Self { socket: Socket { stream: socket, unsent: first_words }, tls: None, has_begun: false }
    }

    pub(crate) fn encrypted(socket: TcpStream, session: Box<TlsSession>) -> Self {
        Self { socket: Socket { stream: socket, unsent: Vec::new() }, tls: Some(session), has_begun: false }
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket.stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// A real client's own buffer is on another machine; here the server would pay for filling it.
    pub(crate) fn shrink_receive_buffer(&self) {
        // A socket that is already dead says so on its next use.
        let _ = socket2::SockRef::from(&self.socket.stream).set_recv_buffer_size(STOPPED_RECEIVE_BYTES);
    }

    /// The kind of its handshake, once that is known; never on a plain one.
    pub(crate) fn handshake(&self) -> Option<Handshake> {
        self.tls.as_ref()?.handshake()
    }

    /// The socket takes bytes. The first time these are the first words, or the hello of TLS; later the rest of what it had
    /// no room for.
    pub(crate) fn writable(&mut self) -> Result<(), Over> {
        if !std::mem::replace(&mut self.has_begun, true) {
            if let Some(error) = self.socket.stream.take_error().map_err(|error| error.to_string())? {
                return Err(error.to_string());
            }
            if let Some(session) = &mut self.tls {
                return session.advance(&mut [], &mut self.socket, &mut |_| Ok(()));
            }
        }
        self.socket.flush()
    }

    /// Sends this text behind all earlier one.
    pub(crate) fn send(&mut self, text: &[u8]) -> Result<(), Over> {
        match &mut self.tls {
            None => self.socket.send(text),
            Some(session) => session.send(text, &mut self.socket),
        }
    }

    /// Hands the text that has come to `each`. Readiness is edge-triggered, but a read that did not fill the buffer has
    /// emptied the socket. Only a full buffer or a closed peer makes a second read necessary, which saves half of all system
    /// calls.
    pub(crate) fn receive(
        &mut self,
        is_closing: bool,
        buffer: &mut [u8],
        each: &mut impl FnMut(&[u8]) -> Result<(), Over>,
    ) -> Result<(), Over> {
        let Self { socket, tls, .. } = self;
        loop {
            let kept = tls.as_ref().map_or(0, |session| session.restore(buffer));
            let count = match socket.stream.read(&mut buffer[kept..]) {
                Ok(0) => return Err("connection closed before the head".to_owned()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.to_string()),
            };
            let is_filled = kept + count == buffer.len();
            let bytes = &mut buffer[..kept + count];
            match tls {
                None => each(bytes)?,
                Some(session) => session.advance(bytes, socket, each)?,
            }
            if !is_filled && !is_closing {
                return Ok(());
            }
        }
    }
}

impl Socket {
    /// Sends the bytes, or keeps those for which there is no room until the socket takes bytes again.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), Over> {
        self.unsent.extend_from_slice(bytes);
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Over> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                // An empty vector owns no memory, which counts with many connections.
                Ok(count) if count == self.unsent.len() => self.unsent = Vec::new(),
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }
}
