//! The HTTP/2 connections of a shard: their sockets, and the ways of their streams to them.
//!
//! A stream of a connection is a tab. It is a stream like any other, and stands in the slab of streams. Here is only its way out: the
//! connection that it goes through, and its number there. Text is never queued here. A write is gathered for one connection, and
//! of it that is kept which was begun (`writing.rs`).
//!
//! Nothing here ends a stream. A connection that fails is marked, and `streams/tabs.rs` ends its streams when the work of the turn is done.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use fantail_http2::{Bounds, ErrorCode};
use fantail_telemetry::{CloseReason, Http2Fault, ShardCounters};
use mio::{Registry, Token};

use crate::admission::Permit;
use crate::open_counts::AddressPermit;
use crate::side_table::SideTable;
use crate::slab::Slab;
use crate::streams::{Carrier, Key};
use crate::tick::Tick;
use crate::tls_record::{TlsSealer, TlsUnsealer};

mod connection;
mod reading;
#[cfg(test)]
mod tests;
mod writing;

pub(crate) use self::connection::{Connection, Phase};
pub(crate) use self::reading::News;
use self::writing::Assembly;

/// Where a connection stands in its slab.
pub(crate) type ConnectionKey = u32;

/// Set in the keys of connections as the poll knows them, and in no key of a stream.
const IN_POLL: u32 = 1 << 31;

/// Control frames that a client has asked for and does not read. Beyond it, and the heads of all streams that it may have, the connection
/// ends.
const CONTROL_BYTES_MAX: usize = 64 * 1024;

/// Room for the head of one answer. A client may ask for all of its streams before it reads the first head.
const HEAD_BYTES: usize = 512;

/// A connection that speaks HTTP/2, with its socket.
pub struct Http2Connection {
    /// Non-blocking, and out of every other poll.
    pub socket: std::net::TcpStream,
    /// Both halves of its TLS connection.
    pub tls: Option<(TlsSealer, TlsUnsealer)>,
    /// The text that was read of it already.
    pub text: Vec<u8>,
    /// The right to hold the socket.
    pub permit: Permit,
    /// Its place among the sockets of its address.
    pub address_permit: Option<AddressPermit>,
    /// The part of the program that decides its requests.
    pub requests: Rc<dyn Requests>,
}

/// Decides the requests of a connection.
pub trait Requests {
    /// A request has come. It is answered through the shard, sooner or later.
    fn decide(self: Rc<Self>, request: Http2Request);
}

/// A request, and the stream that waits for its answer.
#[derive(Debug)]
pub struct Http2Request {
    /// The stream.
    pub stream: Http2Stream,
    /// The head.
    pub request: Box<http::Request<()>>,
    /// It had a body, which is dropped.
    pub has_body: bool,
}

/// A stream of a connection that waits for its answer. It may be gone when the answer comes, and then nothing happens.
#[derive(Debug, Clone, Copy)]
pub struct Http2Stream {
    pub(crate) connection: ConnectionKey,
    pub(crate) generation: u32,
    pub(crate) id: NonZeroU32,
}

/// A request that is to be decided, and by whom.
pub(crate) type Asked = (Rc<dyn Requests>, Http2Request);

/// All connections of a shard.
pub(crate) struct Connections {
    slab: Slab<Connection>,
    /// The number of each tab in its connection.
    ids: SideTable<NonZeroU32>,
    bounds: Bounds,
    counters: Arc<ShardCounters>,
    newest_generation: u32,
    /// Connections with something to see to when the work of the turn is done. May hold stale keys; the generation tells.
    unseen: VecDeque<(ConnectionKey, u32)>,
    assembly: Assembly,
    input: Vec<u8>,
    /// Requests that nobody has been told of.
    asked: Vec<Asked>,
    /// New connections are asked to leave.
    is_draining: bool,
}

impl Connections {
    pub(crate) fn new(bounds: Bounds, counters: Arc<ShardCounters>) -> Self {
        Self {
            slab: Slab::new(),
            ids: SideTable::new(),
            bounds,
            counters,
            newest_generation: 0,
            unseen: VecDeque::new(),
            assembly: Assembly::default(),
            input: Vec::new(),
            asked: Vec::new(),
            is_draining: false,
        }
    }

    /// Streams that each may have.
    pub(crate) fn streams_max(&self) -> u32 {
        self.bounds.streams_max
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn slots(&self) -> usize {
        self.slab.slots()
    }

    pub(crate) fn get(&self, key: ConnectionKey) -> Option<&Connection> {
        self.slab.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: ConnectionKey) -> Option<&mut Connection> {
        self.is_open(key).then(|| &mut self.slab[key])
    }

    fn is_open(&self, key: ConnectionKey) -> bool {
        self.slab.get(key).is_some()
    }

    pub(crate) fn is_connection(&self, key: ConnectionKey, generation: u32) -> bool {
        self.slab.get(key).is_some_and(|connection| connection.generation == generation)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining
    }

    pub(crate) fn shrink(&mut self, slots_of_streams: usize) {
        self.slab.shrink();
        self.ids.shrink(slots_of_streams);
    }

    /// Takes a connection over, and greets its client. The key of one that cannot be polled is that of a connection that has failed.
    pub(crate) fn open(&mut self, connection: Http2Connection, registry: &Registry, now: Tick) -> ConnectionKey {
        self.newest_generation = self.newest_generation.wrapping_add(1);
        let generation = self.newest_generation;
        let Http2Connection { socket, tls, text: _, permit, address_permit, requests } = connection;
        permit.into_stream();
        let address = address_permit.and_then(AddressPermit::into_stream);
        let socket = Carrier::new(socket);
        let connection = Connection::begin(socket, tls, requests, address, generation, &self.bounds, now);
        let key = self.slab.insert(connection);
        let token = Token((generation as usize) << 32 | (key | IN_POLL) as usize);
        if let Err(error) = self.slab[key].socket.register(registry, token) {
            self.fail(key, reason_of(&error));
        }
        self.counters.http2_connections.set(self.slab.len() as u64);
        self.look_later(key);
        key
    }

    /// Takes a connection out of everything, and closes its socket. No stream is its tab any more.
    pub(crate) fn close(&mut self, key: ConnectionKey) -> Connection {
        let closed = self.slab.remove(key);
        self.counters.http2_connections.set(self.slab.len() as u64);
        closed
    }

    // Work that is left for the end of the turn.

    /// The connection is seen to when the work of the turn is done.
    pub(crate) fn look_later(&mut self, key: ConnectionKey) {
        let connection = &mut self.slab[key];
        if !std::mem::replace(&mut connection.is_unseen, true) {
            self.unseen.push_back((key, connection.generation));
        }
    }

    /// Connections that are to be seen to. Some of them may be gone.
    pub(crate) fn unseen(&self) -> usize {
        self.unseen.len()
    }

    pub(crate) fn next_unseen(&mut self) -> Option<ConnectionKey> {
        loop {
            let (key, generation) = self.unseen.pop_front()?;
            if self.is_connection(key, generation) {
                self.slab[key].is_unseen = false;
                return Some(key);
            }
        }
    }

    /// The connection is over. Its streams end with it, when the work of the turn is done.
    pub(crate) fn fail(&mut self, key: ConnectionKey, reason: CloseReason) {
        self.slab[key].failed.get_or_insert(reason);
        self.look_later(key);
    }

    /// The client has broken the rules: it is told so, and the connection ends.
    pub(crate) fn end_with_fault(&mut self, key: ConnectionKey, code: ErrorCode) {
        self.counters.http2_faults.add(label_of(code), 1);
        let connection = &mut self.slab[key];
        connection.say_goodbye(code);
        connection.phase = Phase::Faulty;
        self.look_later(key);
    }

    /// The client is asked to open no more streams, and the connection ends with the last one.
    pub(crate) fn ask_to_leave(&mut self, key: ConnectionKey) {
        let connection = &mut self.slab[key];
        if connection.phase == Phase::Open {
            connection.phase = Phase::Leaving;
            connection.control(|protocol, control| protocol.ask_to_leave(control));
            self.look_later(key);
        }
    }

    /// All clients are asked to leave, those that come later too.
    pub(crate) fn ask_all_to_leave(&mut self) {
        self.is_draining = true;
        for key in 0..self.slots() as ConnectionKey {
            if self.is_open(key) {
                self.ask_to_leave(key);
            }
        }
    }

    pub(crate) fn has_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    pub(crate) fn take_asked(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.asked)
    }

    // Tabs.

    /// Whether the connection of a stream still has streams.
    pub(crate) fn is_serving(&self, stream: Http2Stream) -> bool {
        let connection = self.slab.get(stream.connection).filter(|one| one.generation == stream.generation);
        connection.is_some_and(|one| one.failed.is_none() && one.phase.is_open() && !one.is_deaf)
    }

    /// Makes a stream of the shard the owner of a connection's stream. False if that is not open any more.
    pub(crate) fn give(&mut self, to: Http2Stream, owner: Key) -> bool {
        let is_open = self.is_serving(to) && self.slab[to.connection].protocol.give(to.id.get(), owner);
        if is_open {
            self.ids.set(owner, Some(to.id));
        }
        is_open
    }

    /// Answers a request whole.
    pub(crate) fn answer(&mut self, to: Http2Stream, head: &[u8], body: Bytes, now: Tick) {
        if self.is_serving(to) {
            let connection = &mut self.slab[to.connection];
            connection.control(|protocol, control| protocol.answer(to.id.get(), head, body, control));
            connection.without_streams_since = now;
            self.look_later(to.connection);
        }
    }

    /// Sends the head of a tab's answer.
    pub(crate) fn send_head(&mut self, key: ConnectionKey, tab: Key, head: &[u8]) {
        let id = self.id(tab);
        self.slab[key].control(|protocol, control| protocol.send_head(id, head, control));
        self.look_later(key);
    }

    /// Ends a tab behind all of its text.
    pub(crate) fn end_tab(&mut self, key: ConnectionKey, tab: Key) {
        let id = self.id(tab);
        self.slab[key].control(|protocol, control| protocol.end(id, control));
        self.look_later(key);
    }

    /// A tab is over. If it is not at its end its client is told.
    pub(crate) fn forget_tab(&mut self, key: ConnectionKey, tab: Key, now: Tick) {
        let id = self.id(tab);
        self.ids.set(tab, None);
        let connection = &mut self.slab[key];
        connection.control(|protocol, control| protocol.reset(id, ErrorCode::Cancel, control));
        connection.without_streams_since = now;
        self.look_later(key);
    }

    /// Whether a tab may be sent anything.
    pub(crate) fn has_room(&self, key: ConnectionKey, tab: Key) -> bool {
        let connection = &self.slab[key];
        !connection.is_blocked && connection.protocol.room(self.id(tab), 0) > 0
    }

    /// The tabs of a connection.
    pub(crate) fn tabs(&self, key: ConnectionKey) -> impl Iterator<Item = Key> {
        self.slab[key].protocol.owners()
    }

    pub(crate) fn peer(&self, key: ConnectionKey) -> Option<SocketAddr> {
        self.slab.get(key)?.socket.peer()
    }

    fn id(&self, tab: Key) -> u32 {
        self.ids.get(tab).map_or(0, NonZeroU32::get)
    }
}

/// The connection that a token of the poll names, with its generation. None if it names a stream.
pub(crate) fn in_token(token: Token) -> Option<(ConnectionKey, u32)> {
    let key = token.0 as u32;
    (key & IN_POLL != 0).then_some((key & !IN_POLL, (token.0 >> 32) as u32))
}

/// The fault as it is counted. Only those that clients make end a connection.
pub(crate) fn label_of(code: ErrorCode) -> Http2Fault {
    match code {
        ErrorCode::FlowControl => Http2Fault::FlowControl,
        ErrorCode::StreamClosed => Http2Fault::StreamClosed,
        ErrorCode::FrameSize => Http2Fault::FrameSize,
        ErrorCode::Compression => Http2Fault::Compression,
        ErrorCode::EnhanceYourCalm => Http2Fault::Flood,
        _ => Http2Fault::Protocol,
    }
}

/// A socket failed. Clients that go away do this; it is no error of ours.
pub(crate) fn reason_of(error: &io::Error) -> CloseReason {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut};
    match error.kind() {
        ConnectionReset | BrokenPipe | ConnectionAborted | TimedOut => CloseReason::ClientReset,
        _ => CloseReason::WriteFailed,
    }
}
