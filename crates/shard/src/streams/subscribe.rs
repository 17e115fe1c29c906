//! How a socket becomes a stream.

use std::net::{IpAddr, TcpStream};

use bytes::{Bytes, BytesMut};
use fantail_hub::{Asked, Begin, ChannelsFull, Maker, Resume, Start};
use fantail_telemetry::CloseReason;
use fantail_wire::{ChannelName, Framing, opening_frame};
use smallvec::SmallVec;

use super::carrier::Carrier;
use super::sealer::Sealer;
use super::{
    Key, RareState, Resuming, Stream, StreamRight, StreamState, Streams, Subscription, Subscriptions, Waiting,
    is_stream, rights, to_token,
};
use crate::admission::Permit;
use crate::command::ConnectionId;
use crate::open_counts::{AddressPermit, HolderPermit};

/// An accepted request for a stream, with its socket taken from the HTTP server. Nothing was answered yet.
pub struct Subscribe {
    /// Non-blocking, and out of every other poll.
    pub socket: TcpStream,
    /// The right to hold it.
    pub permit: Permit,
    /// From where it comes, if it came through a trusted proxy.
    pub forwarded: Option<IpAddr>,
    /// The sealer of its bytes, if it came over TLS.
    pub sealer: Option<Sealer>,
    /// The right to read, if it can end while the stream is open.
    pub right: Option<StreamRight>,
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
    /// The response head, sent when the feed has confirmed all channels.
    pub head: Bytes,
    /// A whole response, sent instead if that does not happen in time. A client that asked for a stream has none: it
    /// gets the head, is told why and when to come back, and that is the end.
    pub shed: Option<Shed>,
}

/// Makes a whole response for a stream that cannot begin, from the reason.
pub type Shed = Box<dyn FnOnce(CloseReason) -> Bytes>;

/// Takes the socket over. The stream is behind if the feed brings all its channels already: serve it then. It may also be
/// gone already.
pub(crate) fn open(streams: &mut Streams, request: Subscribe) -> (Key, ConnectionId) {
    let Subscribe {
        socket,
        permit,
        sealer,
        forwarded,
        right,
        holder_permit,
        address_permit,
        maker,
        channels,
        resume,
        limit,
        framing,
        head,
        shed,
    } = request;
    permit.into_stream();
    let waiting = Some(Box::new(Waiting { head, shed, resume, asked: Asked::default() }));
    let rare = RareState { waiting, events_left: limit, ..RareState::default() };
    let generation = streams.newcomers.next_generation();
    let key = streams.slab.insert(Stream {
        carrier: Carrier::new(socket),
        state: StreamState::Waiting,
        framing,
        is_sealed: sealer.as_ref().is_some_and(Sealer::makes_records),
        cursor: fantail_hub::Position::ORIGIN,
        written: streams.clock.now(),
        opened: streams.clock.second(),
        generation,
        input_bytes: 0,
        subscriptions: Subscriptions::Several(Box::default()),
        rare: Some(Box::new(rare)),
    });
    streams.forwarded.set(key, forwarded);
    streams.addresses.set(key, address_permit.and_then(AddressPermit::into_stream));
    holder_permit.into_iter().for_each(HolderPermit::into_stream);
    streams.rights.set(key, right);
    streams.sealers.set(key, sealer);
    streams.counters.streams_opened.add(1);
    streams.counters.streams_open.set(streams.slab.len() as u64);
    let id = streams.connection_id(key);
    begin(streams, key, &channels, maker);
    (key, id)
}

fn begin(streams: &mut Streams, key: Key, channels: &[ChannelName], maker: Option<Maker>) {
    let stream = &mut streams.slab[key];
    if let Err(e) = stream.carrier.register(&streams.registry, to_token(key, stream.generation)) {
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
    let mut first = BytesMut::with_capacity(waiting.head.len() + opening.len());
    first.extend_from_slice(&waiting.head);
    first.extend_from_slice(opening.bytes(stream.framing));
    stream.cursor = start.cursor;
    stream.state = StreamState::Behind;
    streams.push(key, first.freeze());
    let rare = streams.slab[key].rare();
    if waiting.resume != Resume::Live {
        let Start { unknown, floors, began, .. } = start;
        rare.resuming = Some(Resuming { unknown, floors, began: Some(began) });
    }
}
