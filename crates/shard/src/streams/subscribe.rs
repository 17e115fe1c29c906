//! How a socket becomes a stream.

use std::net::{IpAddr, TcpStream};

use bytes::{Bytes, BytesMut};
use fantail_hub::{Asked, Begin, ChannelsFull, Maker, Resume, Start};
use fantail_telemetry::CloseReason;
use fantail_wire::{ChannelName, Frame, Framing, opening_frame};
use smallvec::SmallVec;

use super::carrier::Carrier;
use super::sealer::Sealer;
use super::{
    Key, RareState, Resuming, Stream, StreamRight, StreamState, Streams, Subscription, Subscriptions, Waiting, Way,
    is_stream, rights, to_token,
};
use crate::admission::Permit;
use crate::command::ConnectionId;
use crate::connections::Http2Stream;
use crate::open_counts::{AddressPermit, HolderPermit, StreamPermit};

/// An accepted request for a stream. Nothing was answered yet.
pub struct Subscribe {
    /// The stream's way to its client.
    pub on: SubscribeOn,
    /// From where it comes, if it came through a trusted proxy.
    pub forwarded: Option<IpAddr>,
    /// The right to read, if it can end while the stream is open.
    pub right: Option<StreamRight>,
    /// Its place among all streams.
    pub stream_permit: StreamPermit,
    /// Its place among the streams of its right's holder.
    pub holder_permit: Option<HolderPermit>,
    /// Its place among the sockets of its address.
    pub address_permit: Option<AddressPermit>,
    /// The maker that is charged for channels that it makes.
    pub maker: Option<Maker>,
    /// At least one channel, each once.
    pub channels: SmallVec<[ChannelName; 1]>,
    /// Where to begin.
    pub resume: Resume,
    /// End after so many events; at least 1.
    pub limit: Option<u64>,
    /// How the body is delimited.
    pub framing: Framing,
    /// The response head, sent when the feed has confirmed all channels. Over HTTP/2 it is a header block.
    pub head: Bytes,
    /// An event of the client's own that comes before all others.
    pub first_event: Option<Frame>,
    /// A whole response, sent instead if that does not happen in time. A client that asked for a stream has none: it
    /// gets the head, is told why and when to come back, and that is the end.
    pub shed: Option<Shed>,
}

/// The place of a stream.
pub enum SubscribeOn {
    /// A socket of its own, taken from the HTTP server.
    Socket {
        /// Non-blocking, and out of every other poll.
        socket: TcpStream,
        /// The right to hold it.
        permit: Permit,
        /// The sealer of its bytes, if it came over TLS.
        sealer: Option<Sealer>,
    },
    /// A stream of an HTTP/2 connection.
    Tab(Http2Stream),
}

/// Makes a whole response for a stream that cannot begin, from the reason.
pub type Shed = Box<dyn FnOnce(CloseReason) -> WholeAnswer>;

/// A whole response.
pub struct WholeAnswer {
    /// The head, in the form of the head of a stream.
    pub head: Bytes,
    /// The body.
    pub body: Bytes,
}

/// Makes a stream of it. The stream is behind if the feed brings all its channels already: serve it then. It may also be gone
/// already. None if its HTTP/2 stream is over.
pub(crate) fn open(streams: &mut Streams, request: Subscribe) -> Option<(Key, ConnectionId)> {
    let Subscribe {
        on,
        forwarded,
        right,
        stream_permit,
        holder_permit,
        address_permit,
        maker,
        channels,
        resume,
        limit,
        framing,
        head,
        first_event,
        shed,
    } = request;
    let (way, sealer) = match on {
        SubscribeOn::Socket { socket, permit, sealer } => {
            permit.into_stream();
            (Way::Socket { carrier: Carrier::new(socket), input_bytes: 0 }, sealer)
        }
        SubscribeOn::Tab(tab) => {
            let owner = streams.slab.vacant_key();
            if !streams.outlets.connections.give(tab, owner) {
                return None;
            }
            (Way::Tab { connection: tab.connection }, None)
        }
    };
    let waiting = Some(Box::new(Waiting { head, first_event, shed, resume, asked: Asked::default() }));
    let rare = RareState { waiting, events_left: limit, ..RareState::default() };
    let generation = streams.newcomers.next_generation();
    let key = streams.slab.insert(Stream {
        way,
        state: StreamState::Waiting,
        framing,
        is_sealed: sealer.as_ref().is_some_and(Sealer::makes_records),
        cursor: fantail_hub::Position::ORIGIN,
        written: streams.clock.now(),
        opened: streams.clock.second(),
        generation,
        subscriptions: Subscriptions::Several(Box::default()),
        rare: Some(Box::new(rare)),
    });
    streams.forwarded.set(key, forwarded);
    stream_permit.into_stream();
    streams.addresses.set(key, address_permit.and_then(AddressPermit::into_stream));
    holder_permit.into_iter().for_each(HolderPermit::into_stream);
    streams.rights.set(key, right);
    streams.outlets.sealers.set(key, sealer);
    streams.counters.streams_opened.add(1);
    streams.counters.streams_open.set(streams.slab.len() as u64);
    let id = streams.connection_id(key);
    begin(streams, key, &channels, maker);
    Some((key, id))
}

fn begin(streams: &mut Streams, key: Key, channels: &[ChannelName], maker: Option<Maker>) {
    let stream = &mut streams.slab[key];
    let token = to_token(key, stream.generation);
    if let Way::Socket { carrier, .. } = &mut stream.way
        && let Err(e) = carrier.register(&streams.registry, token)
    {
        return streams.fail(key, &e);
    }
    if streams.newcomers.are_turned_away() {
        return streams.end(key, CloseReason::Drained);
    }
    if let Err(full) = join_all(streams, key, channels, maker) {
        let reason = streams.newcomers.refuse(full, maker);
        return streams.end(key, reason);
    }
    start_or_wait(streams, key);
}

fn join_all(
    streams: &mut Streams,
    key: Key,
    channels: &[ChannelName],
    maker: Option<Maker>,
) -> Result<(), ChannelsFull> {
    let mut subscriptions: SmallVec<[Subscription; 1]> = SmallVec::new();
    let mut result = Ok(());
    for name in channels {
        match streams.channels.slot(name, maker) {
            Ok(slot) => subscriptions.push(Subscription { slot, at: streams.channels.add(slot, key) }),
            Err(e) => {
                result = Err(e);
                break;
            }
        }
    }
    streams.slab[key].subscriptions = match subscriptions.as_slice() {
        [one] => Subscriptions::One(*one),
        several => Subscriptions::Several(several.into()),
    };
    result
}

/// Starts the stream if the feed has confirmed all its channels and brought what they had before. Else it waits for
/// the mark of the first that is not ready, and looks again then: it stands in one list at a time.
pub(crate) fn start_or_wait(streams: &mut Streams, key: Key) {
    if rights::end_with_its_right(streams, key) {
        return;
    }
    let stream = &mut streams.slab[key];
    let generation = stream.generation;
    let slots: SmallVec<[u32; 1]> = stream.subscriptions.as_slice().iter().map(|s| s.slot).collect();
    let joined: SmallVec<[_; 1]> = slots.iter().map(|&slot| streams.channels.get(slot).join.channel.clone()).collect();
    let Some(waiting) = &mut stream.rare().waiting else { return };
    let slot = match streams.hub.begin(&waiting.resume, &joined, &mut waiting.asked) {
        Begin::At(place) => return start(streams, key, place),
        Begin::Wait(channel) => slots[channel],
    };
    let channel = streams.channels.get_mut(slot);
    channel.waiting.push((key, generation));
    // Streams that were shed leave their entries behind.
    if channel.waiting.len() > 2 * channel.subscribers.len() + 16 {
        let slab = &streams.slab;
        channel.waiting.retain(|(key, generation)| is_stream(slab, *key, *generation));
    }
}

/// A channel has a mark: if it is confirmed now, its waiting streams queue up to start.
pub(crate) fn start_waiting(streams: &mut Streams, slot: u32) {
    let channel = streams.channels.get_mut(slot);
    if channel.waiting.is_empty() || !channel.join.channel.is_confirmed() {
        return;
    }
    for (key, generation) in std::mem::take(&mut channel.waiting) {
        if streams.is_stream(key, generation) {
            streams.queue_behind(key);
        }
    }
}

/// Its head goes out first. Events that are published from here on are above the cursor.
fn start(streams: &mut Streams, key: Key, start: Start) {
    streams.counters.ids_unknown.add(u64::from(start.unknown.is_some()));
    let stream = &mut streams.slab[key];
    let Some(waiting) = stream.rare().waiting.take() else { return };
    let settings = &streams.settings;
    let opening = opening_frame(settings.retry_jittered(), start.opening_id, settings.bare_blocks);
    let framing = stream.framing;
    let first_event = waiting.first_event.as_ref().map_or(&[][..], |event| event.bytes(framing));
    let mut first = BytesMut::with_capacity(waiting.head.len() + first_event.len() + opening.len());
    stream.cursor = start.cursor;
    stream.state = StreamState::Behind;
    if stream.connection().is_some() {
        streams.push_head(key, waiting.head);
    } else {
        first.extend_from_slice(&waiting.head);
    }
    first.extend_from_slice(first_event);
    first.extend_from_slice(opening.bytes(framing));
    streams.push(key, first.freeze());
    let rare = streams.slab[key].rare();
    if waiting.resume != Resume::Live {
        let Start { unknown, floors, began, .. } = start;
        rare.resuming = Some(Resuming { unknown, floors, began: Some(began) });
    }
}
