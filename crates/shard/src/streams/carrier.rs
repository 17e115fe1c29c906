//! A stream's way to its socket. Every byte of a stream goes out here, and every socket comes to its end here.
//!
//! The bytes that come here go on the wire as they are: those of frames, or records that `sealers.rs` has made of them.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::tls_record::kernel::send_close_notify;

/// One connection. It costs the stream its descriptor and nothing else.
pub(crate) struct Carrier(TcpStream);

/// The result of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// So many bytes.
    Bytes(usize),
    /// Nothing is there now.
    Nothing,
    /// The client has closed its side.
    End,
}

impl Carrier {
    pub(crate) fn new(socket: std::net::TcpStream) -> Self {
        Self(TcpStream::from_std(socket))
    }

    /// Lets the poll tell of it, once and for both directions: an edge for each change.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.0, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Puts the pieces on the wire with one call. Returns how many of their bytes were taken.
    #[inline]
    pub(crate) fn put(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        #[cfg(test)]
        if let Some(taken) = narrow::put(&self.0, pieces) {
            return taken;
        }
        match pieces {
            [piece] => (&self.0).write(piece),
            pieces => (&self.0).write_vectored(pieces),
        }
    }

    /// Reads what the client sent.
    pub(crate) fn read_input(&self, buffer: &mut [u8]) -> io::Result<Input> {
        loop {
            match (&self.0).read(buffer) {
                Ok(0) => return Ok(Input::End),
                Ok(taken) => return Ok(Input::Bytes(taken)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Input::Nothing),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Tells the client that nothing more comes. The kernel still sends the bytes that it holds.
    pub(crate) fn finish(&self) -> io::Result<()> {
        self.0.shutdown(Shutdown::Write)
    }

    /// Tells the client of a socket that the kernel seals that its TLS connection ends.
    pub(crate) fn close_tls(&self) -> io::Result<()> {
        send_close_notify(&self.0)
    }

    /// Makes the close a reset, which frees at once what the kernel still holds for the client.
    pub(crate) fn reset_on_close(&self) {
        // If it fails the close is merely slower.
        let _ = socket2::SockRef::from(&self.0).set_linger(Some(Duration::ZERO));
    }

    /// The other end. A socket that was reset has none any more.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.0.peer_addr().ok()
    }
}

/// Sockets that take no more bytes than a test says. A real one cannot be told where to cut a write.
#[cfg(test)]
pub(crate) mod narrow {
    use std::cell::RefCell;

    use super::{IoSlice, TcpStream, Write, io};

    /// Takes the length of a write, and tells how much of it is taken; 0 if the socket is full.
    type Room = Box<dyn FnMut(usize) -> usize>;

    thread_local! {
        static ROOM: RefCell<Option<Room>> = const { RefCell::new(None) };
    }

    /// From now on all sockets of this thread take as much as `room` says.
    pub(crate) fn make(room: impl FnMut(usize) -> usize + 'static) {
        ROOM.set(Some(Box::new(room)));
    }

    pub(crate) fn put(mut socket: &TcpStream, pieces: &[IoSlice<'_>]) -> Option<io::Result<usize>> {
        let mut bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter()).copied().collect();
        let room = ROOM.with_borrow_mut(|room| room.as_mut().map(|room| room(bytes.len())))?;
        bytes.truncate(room);
        Some(if bytes.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { socket.write(&bytes) })
    }
}
