//! One connection of a stream, plain or encrypted: it sends the request and hands on the text that comes. It knows neither
//! HTTP nor events.

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
    socket: TcpStream,
    form: Form,
    has_begun: bool,
}

#[derive(Debug)]
enum Form {
    /// The request, until it is sent.
    Plain(Option<String>),
    Tls(Box<TlsSession>),
}

impl Connection {
    pub(crate) fn plain(socket: TcpStream, request: String) -> Self {
        Self { socket, form: Form::Plain(Some(request)), has_begun: false }
    }

    pub(crate) fn encrypted(socket: TcpStream, session: Box<TlsSession>) -> Self {
        Self { socket, form: Form::Tls(session), has_begun: false }
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// A real client's own buffer is on another machine; here the server would pay for filling it.
    pub(crate) fn shrink_receive_buffer(&self) {
        // A socket that is already dead says so on its next use.
        let _ = socket2::SockRef::from(&self.socket).set_recv_buffer_size(STOPPED_RECEIVE_BYTES);
    }

    /// The kind of its handshake, once that is known; never on a plain one.
    pub(crate) fn handshake(&self) -> Option<Handshake> {
        match &self.form {
            Form::Plain(_) => None,
            Form::Tls(session) => session.handshake(),
        }
    }

    /// Says the first words, the first time that the socket takes any: the request, or the hello of TLS.
    pub(crate) fn begin(&mut self) -> Result<(), Over> {
        if std::mem::replace(&mut self.has_begun, true) {
            return Ok(());
        }
        let Self { socket, form, .. } = self;
        if let Some(error) = socket.take_error().map_err(|error| error.to_string())? {
            return Err(error.to_string());
        }
        match form {
            Form::Plain(request) => send(socket, request.take().unwrap_or_default().as_bytes()),
            Form::Tls(session) => session.advance(&mut [], socket, &mut |_| Ok(())),
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
        let Self { socket, form, .. } = self;
        loop {
            let kept = match form {
                Form::Plain(_) => 0,
                Form::Tls(session) => session.restore(buffer),
            };
            let count = match socket.read(&mut buffer[kept..]) {
                Ok(0) => return Err("connection closed before the head".to_owned()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.to_string()),
            };
            let is_filled = kept + count == buffer.len();
            let bytes = &mut buffer[..kept + count];
            match form {
                Form::Plain(_) => each(bytes)?,
                Form::Tls(session) => session.advance(bytes, socket, each)?,
            }
            if !is_filled && !is_closing {
                return Ok(());
            }
        }
    }
}

/// A new socket has room for any request; if it has not, something is badly wrong.
pub(crate) fn send(socket: &mut TcpStream, bytes: &[u8]) -> Result<(), Over> {
    let sent = socket.write(bytes).map_err(|error| error.to_string())?;
    if sent == bytes.len() { Ok(()) } else { Err("request did not fit the socket".to_owned()) }
}
