//! Connections that post events. Each body is framed once and handed to its channel's streams at once; nothing is stored.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

use crate::frame::Framer;
use crate::request::{self, ParsedRequest};
use crate::streams::Streams;

const ACCEPTED: &[u8] = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
const REFUSED: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Publishing connections by descriptor.
#[derive(Debug, Default)]
pub(crate) struct Publishers {
    open: HashMap<usize, PublishConnection>,
    framer: Framer,
}

#[derive(Debug)]
struct PublishConnection {
    socket: TcpStream,
    inbox: Vec<u8>,
}

impl Publishers {
    pub(crate) fn accept(&mut self, listener: &TcpListener, registry: &Registry, base: usize) -> io::Result<()> {
        loop {
            let (mut socket, _) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // Descriptors ran out or the peer left early: the publisher sees it, the run goes on.
                Err(_) => return Ok(()),
            };
            socket.set_nodelay(true)?;
            let slot = usize::try_from(socket.as_raw_fd()).unwrap_or_default();
            registry.register(&mut socket, Token(base + slot), Interest::READABLE)?;
            self.open.insert(slot, PublishConnection { socket, inbox: Vec::new() });
        }
    }

    /// Delivers every whole request that has come on this connection.
    pub(crate) fn receive(&mut self, slot: usize, is_closing: bool, streams: &mut Streams) {
        let Some(publisher) = self.open.get_mut(&slot) else { return };
        let connected = publisher.fill(is_closing);
        let served = publisher.serve(&mut self.framer, streams);
        if !connected || !served {
            self.open.remove(&slot);
        }
    }
}

impl PublishConnection {
    /// Reads until the socket is empty; false once the peer has closed. A read that did not fill the buffer has emptied it,
    /// and only the end of a closing peer may still stand behind.
    fn fill(&mut self, is_closing: bool) -> bool {
        let mut bytes = [0; 16 * 1024];
        loop {
            match self.socket.read(&mut bytes) {
                Ok(0) => return false,
                Ok(count) => {
                    self.inbox.extend_from_slice(&bytes[..count]);
                    if count < bytes.len() && !is_closing {
                        return true;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }

    /// False once the connection cannot go on.
    fn serve(&mut self, framer: &mut Framer, streams: &mut Streams) -> bool {
        let mut taken = 0;
        let sound = loop {
            match request::read(&self.inbox[taken..]) {
                ParsedRequest::Partial => break true,
                ParsedRequest::Refused => {
                    let _ = self.socket.write(REFUSED);
                    break false;
                }
                ParsedRequest::Whole { body_start, end } => {
                    // Answered before the pass, as a server with a thread of its own for publishing would.
                    if self.socket.write(ACCEPTED).ok() != Some(ACCEPTED.len()) {
                        break false;
                    }
                    let (head, body) = self.inbox[taken..taken + end].split_at(body_start);
                    streams.deliver(request::channel(head), framer.frame(body));
                    taken += end;
                }
            }
        };
        self.inbox.drain(..taken);
        sound
    }
}
