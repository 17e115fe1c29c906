//! Every open stream by channel, and the measured loop: one `send` per socket. A socket that would block loses the
//! event, a socket that took half of it is closed; nothing is ever kept for later.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::ops::Range;
use std::os::fd::AsRawFd as _;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

use crate::frame::{KEEPALIVE, STREAM_HEAD};
use crate::request::{HEAD_BYTES_MAX, channel, head_length};

/// The floor's counts, printed at its end.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Streams that got their head.
    pub streams: u64,
    /// Events given whole to the kernel, one per stream and event.
    pub deliveries: u64,
    /// Events not sent because the socket would have blocked.
    pub dropped: u64,
    /// Streams closed because the kernel took only a part of an event.
    pub cut: u64,
    /// Keepalive comments sent.
    pub keepalives: u64,
    /// Connections that ended or failed on the other side.
    pub closed: u64,
    /// Connections that could not be accepted.
    pub refused: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { streams, deliveries, dropped, cut, keepalives, closed, refused } = self;
        write!(
            out,
            "streams={streams} deliveries={deliveries} dropped={dropped} cut={cut} keepalives={keepalives} \
             closed={closed} refused={refused}"
        )
    }
}

/// Sockets by descriptor. The open ones stand in a plain array, and again as a number of 4 bytes with their channel.
/// Heads that are still being read live apart, so that they cost the others nothing.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    open: Vec<Option<Open>>,
    channels: ChannelTable,
    asking: HashMap<usize, Asking>,
    counts: Counts,
}

/// A stream.
#[derive(Debug)]
struct Open {
    socket: TcpStream,
    channel: u32,
}

/// The members of each channel. A channel stays when its last stream has left.
#[derive(Debug, Default)]
struct ChannelTable {
    by_name: HashMap<Box<[u8]>, u32>,
    /// Slots of open streams, in any order.
    members: Vec<Vec<u32>>,
}

/// A connection whose request is not whole yet.
#[derive(Debug)]
struct Asking {
    socket: TcpStream,
    head: Vec<u8>,
}

/// The outcome of one write.
enum Sent {
    Whole,
    Blocked,
    Cut,
    Closed,
}

impl Streams {
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    pub(crate) fn slots(&self) -> usize {
        self.open.len()
    }

    /// Accepts all waiting connections. Running out of descriptors refuses connections but does not end the run.
    pub(crate) fn accept(&mut self, listener: &TcpListener, registry: &Registry, base: usize) -> io::Result<()> {
        loop {
            let (mut socket, _) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(_) => {
                    self.counts.refused += 1;
                    return Ok(());
                }
            };
            // Without this, Nagle would merge events that wait and the floor would cost less than one send each.
            socket.set_nodelay(true)?;
            let slot = usize::try_from(socket.as_raw_fd()).unwrap_or_default();
            registry.register(&mut socket, Token(base + slot), Interest::READABLE)?;
            self.asking.insert(slot, Asking { socket, head: Vec::new() });
        }
    }

    /// Reads the bytes of one connection: its request, or, once it is a stream, only its end.
    pub(crate) fn receive(&mut self, slot: usize) {
        if let Some(asking) = self.asking.get_mut(&slot) {
            match asking.read() {
                HeadRead::Waiting => {}
                HeadRead::Ended => self.drop_asking(slot),
                HeadRead::Whole => self.answer(slot),
            }
        } else if let Some(Some(stream)) = self.open.get_mut(slot)
            && ended(&mut stream.socket)
        {
            self.forget(slot);
            self.counts.closed += 1;
        }
    }

    /// The measured loop. It runs from the end of the list, so that a stream that leaves moves no other into the part
    /// to come.
    pub(crate) fn deliver(&mut self, channel: &[u8], frame: &[u8]) {
        let Some(&channel) = self.channels.by_name.get(channel) else { return };
        for at in (0..self.channels.members[channel as usize].len()).rev() {
            let slot = self.channels.members[channel as usize][at] as usize;
            let Some(stream) = &mut self.open[slot] else { continue };
            match send(&mut stream.socket, frame) {
                Sent::Whole => self.counts.deliveries += 1,
                Sent::Blocked => self.counts.dropped += 1,
                Sent::Cut => {
                    self.counts.cut += 1;
                    self.forget(slot);
                }
                Sent::Closed => {
                    self.counts.closed += 1;
                    self.forget(slot);
                }
            }
        }
    }

    /// Sends a comment to the streams in these slots.
    pub(crate) fn send_keepalives(&mut self, slots: Range<usize>) {
        for slot in slots {
            let Some(stream) = &mut self.open[slot] else { continue };
            match send(&mut stream.socket, KEEPALIVE) {
                Sent::Whole => self.counts.keepalives += 1,
                // The bytes that wait in a full socket keep the stream alive without a comment.
                Sent::Blocked => {}
                Sent::Cut | Sent::Closed => {
                    self.counts.closed += 1;
                    self.forget(slot);
                }
            }
        }
    }

    fn answer(&mut self, slot: usize) {
        let Some(Asking { mut socket, head }) = self.asking.remove(&slot) else { return };
        if !matches!(send(&mut socket, STREAM_HEAD), Sent::Whole) {
            self.counts.closed += 1;
            return;
        }
        self.open(slot, socket, channel(&head));
    }

    fn open(&mut self, slot: usize, socket: TcpStream, channel: &[u8]) {
        if self.open.len() <= slot {
            self.open.resize_with(slot + 1, || None);
        }
        self.open[slot] = Some(Open { socket, channel: self.channels.join(channel, slot) });
        self.counts.streams += 1;
    }

    /// Closes a stream. The next one may have its descriptor and with it its slot.
    fn forget(&mut self, slot: usize) {
        if let Some(stream) = self.open[slot].take() {
            self.channels.leave(stream.channel, slot);
        }
    }

    fn drop_asking(&mut self, slot: usize) {
        self.asking.remove(&slot);
        self.counts.closed += 1;
    }
}

impl ChannelTable {
    /// The channel's number.
    fn join(&mut self, name: &[u8], slot: usize) -> u32 {
        let next = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        let number = self.by_name.get(name).copied().unwrap_or(next);
        if number == next {
            self.by_name.insert(name.into(), next);
            self.members.push(Vec::new());
        }
        self.members[number as usize].push(slot as u32);
        number
    }

    fn leave(&mut self, channel: u32, slot: usize) {
        let members = &mut self.members[channel as usize];
        if let Some(at) = members.iter().position(|member| *member as usize == slot) {
            members.swap_remove(at);
        }
    }
}

enum HeadRead {
    Waiting,
    Whole,
    Ended,
}

impl Asking {
    /// Readiness is edge-triggered, so this reads until the socket is empty.
    fn read(&mut self) -> HeadRead {
        let mut bytes = [0; 1024];
        loop {
            match self.socket.read(&mut bytes) {
                Ok(0) => return HeadRead::Ended,
                Ok(count) => self.head.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return HeadRead::Ended,
            }
            if self.head.len() > HEAD_BYTES_MAX {
                return HeadRead::Ended;
            }
        }
        if head_length(&self.head).is_some() { HeadRead::Whole } else { HeadRead::Waiting }
    }
}

fn send(socket: &mut TcpStream, bytes: &[u8]) -> Sent {
    match socket.write(bytes) {
        Ok(count) if count == bytes.len() => Sent::Whole,
        Ok(_) => Sent::Cut,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Sent::Blocked,
        Err(_) => Sent::Closed,
    }
}

/// Drops bytes that a stream sends, and returns whether it hung up.
fn ended(socket: &mut TcpStream) -> bool {
    let mut bytes = [0; 1024];
    loop {
        match socket.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed setup step is a failed test")]
    use super::*;

    #[test]
    fn descriptor_that_is_used_again_gets_nothing_of_its_former_channel() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || {
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, _) = listener.accept().unwrap();
            server.set_nonblocking(true).unwrap();
            (client, TcpStream::from_std(server))
        };
        let (mut streams, (former, latter)) = (Streams::default(), (connect(), connect()));
        streams.open(3, former.1, b"a");
        streams.forget(3);
        streams.open(3, latter.1, b"b");
        streams.deliver(b"a", b"x");
        assert_eq!(streams.counts().deliveries, 0);
        streams.deliver(b"b", b"x");
        assert_eq!(streams.counts().deliveries, 1);
    }
}
