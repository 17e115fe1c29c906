//! The bare epoll loop that every CPU figure is divided by.
//!
//! It does the least that a fan-out can do: frame an event once, look up the sockets of its channel in one map, then
//! one `send` per socket. It never queues, never retries and never remembers an event. The cost of a real server above
//! this line is the cost of its features.
//!
//! The loop waits on one `Poll`: both listeners, every socket, the connection to Redis if there is one, and the stop
//! descriptor. Only a keepalive sweep gives it a timeout.

mod frame;
mod keepalive;
mod publishers;
mod redis;
mod request;
mod streams;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::TcpListener;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::keepalive::Sweep;
use crate::publishers::Publishers;
use crate::redis::RedisFeed;
use crate::streams::Streams;

pub use crate::streams::Counts;

const STREAM_LISTENER: Token = Token(0);
const PUBLISH_LISTENER: Token = Token(1);
const STOP: Token = Token(2);
const REDIS: Token = Token(3);
/// Sockets are named by their descriptor, which the kernel keeps small and dense; these two offsets keep the
/// kinds apart.
const STREAM_BASE: usize = 1 << 8;
const PUBLISHER_BASE: usize = 1 << 32;

const EVENTS_PER_POLL: usize = 1024;
/// Connections that may wait to be accepted during a pass over all streams. The usual 128 overflow then, and each lost
/// handshake costs its client a second.
const ACCEPT_QUEUE: i32 = 4096;

/// The addresses of the floor, and its keepalives.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The address of streams; port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// The address of publishers; port 0 lets the kernel choose.
    pub publish_listen: SocketAddr,
    /// How often each stream gets a comment; `None` sends none.
    pub keepalive_interval: Option<Duration>,
    /// The address of a Redis whose messages on `fantail:NAME` are events of channel `NAME` too.
    pub redis: Option<SocketAddr>,
}

/// A bound floor, ready to run.
#[derive(Debug)]
pub struct Floor {
    poll: Poll,
    stream_listener: TcpListener,
    publish_listener: TcpListener,
    streams: Streams,
    publishers: Publishers,
    redis: Option<RedisFeed>,
    sweep: Option<Sweep>,
}

impl Floor {
    /// Binds both listeners, once Redis has confirmed that it will send events.
    pub fn bind(options: Options) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut stream_listener = listen(options.listen)?;
        let mut publish_listener = listen(options.publish_listen)?;
        let registry = poll.registry();
        registry.register(&mut stream_listener, STREAM_LISTENER, Interest::READABLE)?;
        registry.register(&mut publish_listener, PUBLISH_LISTENER, Interest::READABLE)?;
        let redis = options.redis.map(|address| RedisFeed::follow(address, registry, REDIS)).transpose()?;
        Ok(Self {
            poll,
            stream_listener,
            publish_listener,
            streams: Streams::default(),
            publishers: Publishers::default(),
            redis,
            sweep: options.keepalive_interval.map(|interval| Sweep::new(interval, Instant::now())),
        })
    }

    /// The bound address of streams.
    pub fn stream_address(&self) -> io::Result<SocketAddr> {
        self.stream_listener.local_addr()
    }

    /// The bound address of publishers.
    pub fn publish_address(&self) -> io::Result<SocketAddr> {
        self.publish_listener.local_addr()
    }

    /// Serves until `stop` becomes readable, then returns the counts.
    pub fn run(mut self, stop: &impl AsFd) -> io::Result<Counts> {
        let stop_descriptor = stop.as_fd().as_raw_fd();
        self.poll.registry().register(&mut SourceFd(&stop_descriptor), STOP, Interest::READABLE)?;
        let mut events = Events::with_capacity(EVENTS_PER_POLL);
        loop {
            match self.poll.poll(&mut events, self.sweep.as_ref().map(Sweep::tick)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                if event.token() == STOP {
                    return Ok(self.streams.counts());
                }
                self.handle(event)?;
            }
            if let Some(sweep) = &mut self.sweep {
                let due = sweep.due(self.streams.slots(), Instant::now());
                self.streams.send_keepalives(due);
            }
        }
    }

    fn handle(&mut self, event: &Event) -> io::Result<()> {
        let registry = self.poll.registry();
        match event.token() {
            STREAM_LISTENER => self.streams.accept(&self.stream_listener, registry, STREAM_BASE),
            PUBLISH_LISTENER => self.publishers.accept(&self.publish_listener, registry, PUBLISHER_BASE),
            REDIS => self.redis.as_mut().map_or(Ok(()), |redis| redis.receive(&mut self.streams)),
            Token(name) if name >= PUBLISHER_BASE => {
                self.publishers.receive(name - PUBLISHER_BASE, event.is_read_closed(), &mut self.streams);
                Ok(())
            }
            Token(name) => {
                self.streams.receive(name - STREAM_BASE);
                Ok(())
            }
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(ACCEPT_QUEUE)?;
    Ok(TcpListener::from_std(socket.into()))
}
