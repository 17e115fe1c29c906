//! The streams of a shard, and the life of each: opened, live, behind, blocked, ended.
//!
//! Jobs decide what a stream is to get or why it ends. How that happens is decided here alone: what is finished first, what
//! the client is told, what is counted, and what is given back. So this is the one place that changes a stream's state.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use fantail_hub::{Delivery, Hub, Maker};
use fantail_telemetry::{CloseReason, ShardCounters};
use mio::{Registry, Token};
use smallvec::SmallVec;
use tracing::debug;

use crate::admission::Admission;
use crate::channels::{LocalChannel, LocalChannels};
use crate::command::ConnectionId;
use crate::connections::{Connections, News, reason_of};
use crate::outgoing::Flush;
use crate::shard::ShardSettings;
use crate::side_table::SideTable;
use crate::slab::Slab;
use crate::tick::Clock;

mod carrier;
mod forwarded;
pub(crate) mod input;
pub(crate) mod listing;
mod newcomers;
pub(crate) mod rights;
mod sealer;
mod sealers;
mod stream;
pub(crate) mod subscribe;
pub(crate) mod tabs;

#[cfg(test)]
pub(crate) use self::carrier::narrow;
pub(crate) use self::carrier::{Carrier, Input};
use self::forwarded::Forwarded;
use self::newcomers::Newcomers;
use self::rights::Rights;
pub use self::rights::{Revoked, RightHolder, StreamRight};
pub use self::sealer::{KeptInput, KeptTls, Sealer};
pub(crate) use self::sealers::Sealers;
#[cfg(test)]
pub(crate) use self::stream::idle_stream_bytes;
pub(crate) use self::stream::{Key, Outlets, Resuming, Stream, StreamState};
use self::stream::{RareState, Subscription, Subscriptions, Waiting, Way};
#[cfg(test)]
pub(crate) use self::stream::{keep_rest, within_limit};
pub use self::subscribe::{Shed, Subscribe, SubscribeOn, WholeAnswer};

/// All streams, and everything that their bytes go through.
pub(crate) struct Wires<'a> {
    pub(crate) streams: &'a mut Slab<Stream>,
    pub(crate) outlets: &'a mut Outlets,
}

/// All streams of one shard.
pub(crate) struct Streams {
    slab: Slab<Stream>,
    channels: LocalChannels,
    /// From where streams come that came through a trusted proxy.
    forwarded: Forwarded,
    rights: Rights,
    /// The addresses among whose sockets streams are counted: 8 bytes per slot, and none for those that are not.
    addresses: SideTable<Maker>,
    pub(crate) outlets: Outlets,
    /// The meaning of one connection's input; reused.
    news: Vec<News>,
    hub: Arc<Hub>,
    shard: u16,
    registry: Registry,
    settings: ShardSettings,
    counters: Arc<ShardCounters>,
    admission: Arc<Admission>,
    pub(crate) clock: Clock,
    pub(crate) newcomers: Newcomers,
    /// Streams to be served one by one. May hold stale keys; the generation tells.
    behind: VecDeque<(Key, u32)>,
}

impl Streams {
    pub(crate) fn new(
        hub: Arc<Hub>,
        shard: u16,
        registry: Registry,
        settings: ShardSettings,
        counters: Arc<ShardCounters>,
        admission: Arc<Admission>,
    ) -> Self {
        Self {
            slab: Slab::new(),
            channels: LocalChannels::new(Arc::clone(&hub), shard),
            forwarded: Forwarded::new(),
            rights: Rights::new(),
            addresses: SideTable::new(),
            outlets: Outlets {
                sealers: Sealers::new(),
                connections: Connections::new(settings.http2.bounds, Arc::clone(&counters)),
                taken: Vec::new(),
            },
            news: Vec::new(),
            hub,
            shard,
            registry,
            settings,
            counters,
            admission,
            clock: Clock::start(),
            newcomers: Newcomers::new(),
            behind: VecDeque::new(),
        }
    }

    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    pub(crate) fn shard(&self) -> u16 {
        self.shard
    }

    pub(crate) fn settings(&self) -> &ShardSettings {
        &self.settings
    }

    pub(crate) fn counters(&self) -> &ShardCounters {
        &self.counters
    }

    pub(crate) fn channels(&self) -> &LocalChannels {
        &self.channels
    }

    pub(crate) fn channels_mut(&mut self) -> &mut LocalChannels {
        &mut self.channels
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Slots, vacant ones too: every key is below it.
    pub(crate) fn slots(&self) -> usize {
        self.slab.slots()
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Stream> {
        self.slab.get(key)
    }

    /// A stream's state, if it is still there.
    pub(crate) fn state(&self, key: Key) -> Option<StreamState> {
        self.slab.get(key).map(Stream::state)
    }

    /// A channel and all streams: what a pass needs.
    pub(crate) fn with_channel(&mut self, slot: u32) -> (&mut LocalChannel, Wires<'_>) {
        (self.channels.get_mut(slot), Wires { streams: &mut self.slab, outlets: &mut self.outlets })
    }

    /// Whether a slot still holds the stream of that generation.
    pub(crate) fn is_stream(&self, key: Key, generation: u32) -> bool {
        is_stream(&self.slab, key, generation)
    }

    /// Gives memory back that mass disconnects have left unused.
    pub(crate) fn shrink(&mut self) {
        self.slab.shrink();
        self.forwarded.shrink(self.slab.slots());
        self.rights.shrink(self.slab.slots());
        self.addresses.shrink(self.slab.slots());
        self.outlets.sealers.shrink(self.slab.slots());
        self.outlets.connections.shrink(self.slab.slots());
    }

    // Being served.

    /// The stream is not in step with its channel any more: it is served by itself until it is.
    pub(crate) fn fall_behind(&mut self, key: Key) {
        self.slab[key].state = StreamState::Behind;
        self.queue_behind(key);
    }

    /// The same for a stream that its caller serves at once.
    pub(crate) fn leave_passes(&mut self, key: Key) {
        self.slab[key].state = StreamState::Behind;
    }

    pub(crate) fn queue_behind(&mut self, key: Key) {
        self.behind.push_back((key, self.slab[key].generation));
    }

    /// The next stream that is to be served by itself. The queue may hold streams that are gone.
    pub(crate) fn next_behind(&mut self) -> Option<Key> {
        loop {
            let (key, generation) = self.behind.pop_front()?;
            if self.is_stream(key, generation) {
                return Some(key);
            }
        }
    }

    pub(crate) fn queued_behind(&self) -> usize {
        self.behind.len()
    }

    /// The stream has everything up to `watermark` and joins its channel's passes.
    pub(crate) fn become_live(&mut self, key: Key, watermark: fantail_hub::Position) {
        let stream = &mut self.slab[key];
        stream.cursor = stream.cursor.max(watermark);
        stream.state = StreamState::Live;
        if let Some(rare) = &mut stream.rare {
            rare.resuming = None;
        }
        stream.slim();
    }

    // Writing.

    /// Writes what must go out first. False if the stream is done for now: blocked, closed, or ending.
    pub(crate) fn flush(&mut self, key: Key) -> bool {
        let now = self.clock.now();
        let Stream { way, rare, written, .. } = &mut self.slab[key];
        let Some(rare) = rare else { return true };
        if !rare.outgoing.is_empty() {
            let outlets = &mut self.outlets;
            let flushed = match way {
                Way::Socket { carrier, .. } => {
                    self.counters.write_calls.add(1);
                    rare.outgoing.flush(|pieces| carrier.put(pieces))
                }
                Way::Tab { connection } => rare.outgoing.flush(|pieces| outlets.put_tab(*connection, key, pieces, now)),
            };
            match flushed {
                Ok(Flush::Done) => *written = now,
                Ok(Flush::Blocked(progress)) => {
                    if progress {
                        *written = now;
                    }
                    self.block(key);
                    return false;
                }
                Err(e) => {
                    self.fail(key, &e);
                    return false;
                }
            }
        }
        if self.slab[key].ending().is_some() {
            self.finish_ending(key);
            return false;
        }
        true
    }

    /// Writes entries that are all above the stream's cursor, with one call.
    pub(crate) fn write(&mut self, key: Key, entries: &[Delivery]) {
        let stream = &self.slab[key];
        let entries = stream.within_limit(entries);
        // A connection counts its writes itself.
        self.counters.write_calls.add(u64::from(stream.connection().is_none()));
        let (put, rest) = stream.put(key, entries, &mut self.outlets, self.clock.now());
        match put {
            Ok(taken) => self.settle(key, entries, taken, rest),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.block(key),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => self.fail(key, &e),
        }
    }

    /// The socket took `taken` bytes of `entries`. The cursor moves behind the last entry that was begun, and the rest of it
    /// is kept: a frame that was begun is finished before anything else. Of a sealed stream the rest comes sealed.
    pub(crate) fn settle(&mut self, key: Key, entries: &[Delivery], taken: usize, rest: Option<Bytes>) {
        let now = self.clock.now();
        let stream = &mut self.slab[key];
        let mut kept = SmallVec::<[Bytes; 1]>::new();
        let begun = stream.keep_rest(entries, taken, |piece| kept.push(piece));
        let is_short = rest.is_some() || taken < stream.bytes_of(entries);
        if let Some(rest) = rest {
            stream.rare().outgoing.push(rest);
        }
        // Entries of one place are finished together: those behind a sealed rest are not sealed yet.
        for piece in kept {
            self.push(key, piece);
        }
        let stream = &mut self.slab[key];
        let events = begun.iter().filter(|entry| entry.kind.is_event()).count() as u64;
        self.counters.deliveries.add(events);
        self.counters.gaps_sent.add(begun.len() as u64 - events);
        self.counters.delivered_bytes.add(taken as u64);
        if taken > 0 {
            stream.written = now;
        }
        if stream.count_down(events) {
            self.end(key, CloseReason::LimitReached);
        } else if is_short {
            self.block(key);
        }
    }

    /// Writes something that is in no log to a stream that stands between two frames. True if it was begun.
    pub(crate) fn write_between(&mut self, key: Key, piece: &Bytes) -> bool {
        let now = self.clock.now();
        let stream = &mut self.slab[key];
        let pieces = [io::IoSlice::new(piece)];
        let (put, rest) = stream.put_pieces(key, &pieces, &mut self.outlets, now);
        match put {
            Ok(taken) => {
                stream.written = now;
                if let Some(rest) = rest {
                    stream.rare().outgoing.push(rest);
                    self.block(key);
                } else if taken < piece.len() {
                    self.push(key, piece.slice(taken..));
                    self.block(key);
                }
                return true;
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.block(key),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => self.fail(key, &e),
        }
        false
    }

    /// The socket takes nothing more. The poll reports when it does: the kernel noted that a write found no room.
    pub(crate) fn block(&mut self, key: Key) {
        let stream = &mut self.slab[key];
        self.counters.write_blocked.add(1);
        if stream.state != StreamState::Blocked {
            stream.state = StreamState::Blocked;
            stream.written = self.clock.now(); // the deadline on progress runs from here
        }
    }

    /// As if the socket had taken only the beginning of a piece.
    #[cfg(test)]
    pub(crate) fn hold_back(&mut self, key: Key, rest: Bytes) {
        self.slab[key].rare().outgoing.push(rest);
    }

    #[cfg(test)]
    pub(crate) fn set_right(&mut self, key: Key, right: Option<StreamRight>) {
        self.rights.set(key, right);
    }

    // Ending.

    /// Ends a stream cleanly: what was begun is finished, the client is told why if we end it of our own accord, the
    /// body is ended, and the client gets to read it all.
    pub(crate) fn end(&mut self, key: Key, reason: CloseReason) {
        self.unsubscribe(key);
        let stream = &mut self.slab[key];
        let (framing, state) = (stream.framing, stream.state);
        let rare = stream.rare();
        if rare.ending.is_some() {
            return;
        }
        rare.ending = Some(reason);
        (rare.resuming, rare.events_left) = (None, None);
        let waiting = rare.waiting.take().map(|waiting| *waiting);
        self.counters.shed.add(u64::from(waiting.is_some()));
        if let Some(Waiting { shed: Some(shed), .. }) = waiting {
            let WholeAnswer { head, body } = shed(reason);
            self.push_head(key, head);
            self.push(key, body);
        } else {
            self.push_head(key, waiting.map_or_else(Bytes::new, |waiting| waiting.head));
            self.push(key, self.settings.last_words(reason).map_or_else(Bytes::new, |frame| frame.share(framing)));
            self.push(key, Bytes::from_static(fantail_wire::end_of_body(framing)));
        }
        if self.slab[key].is_sealed {
            let close_notify = self.outlets.sealers.of(key).seal_close_notify();
            self.slab[key].rare().outgoing.push(close_notify);
        }
        if state != StreamState::Blocked {
            self.fall_behind(key);
        }
    }

    /// Ends a sealed stream whose key has served for as many records as it may. True if it has.
    pub(crate) fn end_if_worn_out(&mut self, key: Key) -> bool {
        let stream = &self.slab[key];
        let ends = stream.is_sealed && stream.ending().is_none() && self.outlets.sealers.of(key).is_worn_out();
        if ends {
            self.end(key, CloseReason::Lifetime);
        }
        ends
    }

    /// The head of the answer, which goes out before anything else. That of a tab is a frame of its connection.
    fn push_head(&mut self, key: Key, head: Bytes) {
        match self.slab[key].connection() {
            Some(connection) if !head.is_empty() => self.outlets.connections.send_head(connection, key, &head),
            Some(_) => {}
            None => self.push(key, head),
        }
    }

    /// Something that goes out behind all that was pushed before. It is sealed here, once and in this order.
    fn push(&mut self, key: Key, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        let stream = &mut self.slab[key];
        let piece = if stream.is_sealed { self.outlets.sealers.of(key).seal(&piece) } else { piece };
        stream.rare().outgoing.push(piece);
    }

    /// The last byte is with the kernel: close our side, and wait a little for the client to close its own. Closing at
    /// once while input is unread would send a reset, which may destroy the last frames on their way.
    fn finish_ending(&mut self, key: Key) {
        let stream = &mut self.slab[key];
        let reason = stream.ending();
        let carrier = match &stream.way {
            Way::Socket { carrier, .. } => carrier,
            Way::Tab { connection } => {
                self.outlets.connections.end_tab(*connection, key);
                return self.close_at_its_end(key);
            }
        };
        if reason == Some(CloseReason::ClientClosed) {
            return self.close_at_its_end(key);
        }
        if matches!(self.outlets.sealers.get(key), Some(Sealer::Kernel)) {
            match carrier.close_tls() {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return self.block(key),
                // It goes without: the end of the body says that nothing is missing.
                _ => self.outlets.sealers.set(key, None),
            }
        }
        if carrier.finish().is_err() {
            return self.close_at_its_end(key);
        }
        stream.state = StreamState::Ending;
        stream.written = self.clock.now();
    }

    /// Closes a stream that was ended before, for the reason that was given then.
    pub(crate) fn close_at_its_end(&mut self, key: Key) {
        self.close(key, self.slab[key].ending().unwrap_or(CloseReason::ClientClosed));
    }

    /// The socket failed. Clients that go away do this; it is no error of ours.
    pub(crate) fn fail(&mut self, key: Key, error: &io::Error) {
        self.close(key, self.slab[key].ending().unwrap_or(reason_of(error)));
    }

    /// Closes with a reset, which frees what the kernel still holds for the client at once. Of a tab the stream alone is reset.
    pub(crate) fn reset(&mut self, key: Key, reason: CloseReason) {
        if let Way::Socket { carrier, .. } = &self.slab[key].way {
            carrier.reset_on_close();
        }
        self.close(key, reason);
    }

    /// Takes a stream out of everything and closes its socket.
    pub(crate) fn close(&mut self, key: Key, reason: CloseReason) {
        self.log_end(key, reason);
        self.unsubscribe(key);
        if self.slab[key].is_sealed {
            self.outlets.sealers.set(key, None);
        }
        match self.slab.remove(key).way {
            Way::Tab { connection } => self.outlets.connections.forget_tab(connection, key, self.clock.now()),
            Way::Socket { carrier, .. } => {
                drop(carrier);
                // Before another may take the place: what is counted as open is never more than there may be.
                self.counters.connections_open.sub(1);
                self.admission.release();
            }
        }
        self.admission.counts().release_stream();
        if let Some(right) = self.rights.get(key) {
            self.admission.counts().release_holder(right.holder);
        }
        if let Some(address) = self.addresses.get(key) {
            self.admission.counts().release_address(address);
        }
        self.counters.streams_open.set(self.slab.len() as u64);
        self.counters.streams_closed.add(reason, 1);
    }

    /// One line for the end of each stream, if anyone listens at that level.
    fn log_end(&self, key: Key, reason: CloseReason) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let stream = &self.slab[key];
        debug!(
            connection = %self.connection_id(key),
            peer = self.peer(key).map(display),
            client = self.forwarded.get(key).map(display),
            reason = reason.as_str(),
            age_seconds = self.clock.second().since(stream.opened).as_secs(),
            unsent_bytes = stream.unsent_bytes(),
            "a stream ended"
        );
    }

    /// The other end, as the socket sees it.
    pub(crate) fn peer(&self, key: Key) -> Option<SocketAddr> {
        match &self.slab[key].way {
            Way::Socket { carrier, .. } => carrier.peer(),
            Way::Tab { connection } => self.outlets.connections.peer(*connection),
        }
    }

    fn unsubscribe(&mut self, key: Key) {
        let nothing = Subscriptions::Several(Box::default());
        let subscriptions = std::mem::replace(&mut self.slab[key].subscriptions, nothing);
        for subscription in subscriptions.as_slice() {
            self.channels.remove(subscription.slot, subscription.at, &mut self.slab);
        }
    }

    /// The stream's name for operators.
    pub(crate) fn connection_id(&self, key: Key) -> ConnectionId {
        ConnectionId::new(self.shard, key, self.slab[key].generation)
    }

    /// The channels of a stream, in the order in which it asked for them.
    pub(crate) fn channels_of(&self, key: Key) -> impl ExactSizeIterator<Item = &fantail_hub::Channel> + Clone {
        self.slab[key].subscriptions.as_slice().iter().map(|s| &*self.channels.get(s.slot).join.channel)
    }
}

fn is_stream(streams: &Slab<Stream>, key: Key, generation: u32) -> bool {
    streams.get(key).is_some_and(|stream| stream.generation == generation)
}

/// Whether `generation` is not later than `newest`, also where the count has wrapped in between.
pub(crate) fn is_not_later(generation: u32, newest: u32) -> bool {
    newest.wrapping_sub(generation) <= u32::MAX / 2
}

/// A stream's name in the poll: its slot and its generation, so that an event for an earlier stream of the slot, read in
/// the same batch, does not hit this one.
fn to_token(key: Key, generation: u32) -> Token {
    Token((generation as usize) << 32 | key as usize)
}

fn from_token(token: Token) -> (Key, u32) {
    (token.0 as u32, (token.0 >> 32) as u32)
}
