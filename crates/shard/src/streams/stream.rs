//! One stream: all that an idle socket costs.

use std::io::{self, IoSlice};

use bytes::Bytes;
use fantail_hub::{Asked, Delivery, Floor, Position, Resume};
use fantail_telemetry::CloseReason;
use fantail_wire::{Frame, Framing};
use smallvec::SmallVec;

use super::carrier::Carrier;
use super::sealers::Sealers;
use super::subscribe::Shed;
use crate::connections::{ConnectionKey, Connections};
use crate::outgoing::{Outgoing, PIECES_PER_WRITE};
use crate::tick::{Second, Tick};

/// Where a stream stands in the slab.
pub(crate) type Key = u32;

/// An open stream. State that only few streams need at a time is in [`RareState`].
///
/// Its fields are for `streams` alone; a pass and the jobs ask the stream.
pub(crate) struct Stream {
    pub(super) way: Way,
    pub(super) state: StreamState,
    pub(super) framing: Framing,
    /// Its bytes are sealed on their way to the carrier: `Streams` has what seals them.
    pub(super) is_sealed: bool,
    /// Everything of all its channels up to here is delivered, or stands in `RareState::outgoing`.
    pub(super) cursor: Position,
    /// When the socket last took bytes.
    pub(super) written: Tick,
    /// When it was opened.
    pub(super) opened: Second,
    /// Distinguishes this stream from earlier ones in the same slot.
    pub(super) generation: u32,
    pub(super) subscriptions: Subscriptions,
    pub(super) rare: Option<Box<RareState>>,
}

/// A stream's way to its client.
pub(super) enum Way {
    /// A socket of its own.
    Socket {
        carrier: Carrier,
        /// Bytes that the client sent behind its request; they are dropped, within a bound.
        input_bytes: u32,
    },
    /// A place in an HTTP/2 connection, which has the socket.
    Tab { connection: ConnectionKey },
}

/// Everything that the bytes of streams go through on their way out.
pub(crate) struct Outlets {
    pub(crate) sealers: Sealers,
    pub(crate) connections: Connections,
    /// The bytes that each tab of one write has taken; reused.
    pub(crate) taken: Vec<usize>,
}

/// The state of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamState {
    /// For the feed to confirm its channels, or to bring what they had before. Nothing was sent yet.
    Waiting,
    /// In the queue of streams that are served one by one.
    Behind,
    /// Its socket takes nothing now; an event of the poll wakes it.
    Blocked,
    /// Up to the watermark of its last pass, and its socket takes bytes as far as known. Only these are in passes.
    Live,
    /// Its last bytes are on their way, or it waits for the client to close.
    Ending,
}

/// The channels of a stream. One, nearly always, and then without an allocation.
pub(crate) enum Subscriptions {
    One(Subscription),
    Several(Box<[Subscription]>),
}

/// One channel of a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subscription {
    /// The channel's slot in the shard.
    pub(crate) slot: u32,
    /// The stream's place in the channel's list of subscribers.
    pub(crate) at: u32,
}

/// The state of the few: streams that wait, catch up, are cut short or come to their end.
#[derive(Default)]
pub(crate) struct RareState {
    /// Bytes that go out before anything else: the head, or the rest of a frame that the socket took in part.
    pub(crate) outgoing: Outgoing,
    /// Set until the stream starts.
    pub(crate) waiting: Option<Box<Waiting>>,
    /// Set while a stream that has resumed is not yet live.
    pub(crate) resuming: Option<Resuming>,
    /// Events still to deliver, for a stream with `limit`.
    pub(crate) events_left: Option<u64>,
    /// Why the stream ends.
    pub(crate) ending: Option<CloseReason>,
}

/// The request of a stream, kept until its wait is over.
pub(crate) struct Waiting {
    pub(crate) head: Bytes,
    /// An event of the client's own that comes before all others.
    pub(crate) first_event: Option<Frame>,
    /// The whole answer if it is turned away; without one it gets the head and last words.
    pub(crate) shed: Option<Shed>,
    pub(crate) resume: Resume,
    /// The questions that were put to the feed meanwhile.
    pub(crate) asked: Asked,
}

/// How missing events are told while a stream catches up.
pub(crate) struct Resuming {
    /// The client's id could not be honoured: no channel has a lower floor than this, and its reason is told.
    pub(crate) unknown: Option<Floor>,
    /// For a replay: what was below these floors was never promised. One for each channel, in their order.
    pub(crate) floors: Option<Box<[Position]>>,
    /// Where the watermark was when the stream began.
    pub(crate) began: Option<Position>,
}

impl Stream {
    pub(crate) fn state(&self) -> StreamState {
        self.state
    }

    pub(crate) fn cursor(&self) -> Position {
        self.cursor
    }

    pub(crate) fn framing(&self) -> Framing {
        self.framing
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// When the socket last took bytes, or when the stream began to wait.
    pub(crate) fn written(&self) -> Tick {
        self.written
    }

    pub(crate) fn subscriptions_mut(&mut self) -> &mut [Subscription] {
        self.subscriptions.as_mut_slice()
    }

    pub(crate) fn resuming(&self) -> Option<&Resuming> {
        self.rare.as_ref()?.resuming.as_ref()
    }

    /// Why it ends, once it was ended.
    pub(crate) fn ending(&self) -> Option<CloseReason> {
        self.rare.as_ref()?.ending
    }

    /// Whether passes leave this stream to `catch_up`: its channels are merged, or its events counted.
    #[inline]
    pub(crate) fn is_served_alone(&self) -> bool {
        self.rare.is_some() || matches!(self.subscriptions, Subscriptions::Several(_))
    }

    /// A pass has delivered everything up to `to`.
    #[inline]
    pub(crate) fn advance(&mut self, to: Position, now: Tick) {
        self.cursor = to;
        self.written = now;
    }

    /// The HTTP/2 connection that it goes through, if it does.
    #[inline]
    pub(crate) fn connection(&self) -> Option<ConnectionKey> {
        match self.way {
            Way::Socket { .. } => None,
            Way::Tab { connection } => Some(connection),
        }
    }

    /// Passes leave it alone until it is served or blocked: a pass may meet a tab twice.
    pub(crate) fn set_aside(&mut self) {
        self.state = StreamState::Behind;
    }

    /// Whether this is its only channel.
    pub(crate) fn follows_only(&self, slot: u32) -> bool {
        matches!(self.subscriptions, Subscriptions::One(one) if one.slot == slot)
    }

    pub(super) fn rare(&mut self) -> &mut RareState {
        self.rare.get_or_insert_default()
    }

    /// Whether something that is in no log may be written now: nothing is begun, and nothing is at its end.
    pub(crate) fn is_between_frames(&self) -> bool {
        let is_open = matches!(self.state, StreamState::Live | StreamState::Behind);
        is_open && self.rare.as_ref().is_none_or(|rare| rare.outgoing.is_empty() && rare.ending.is_none())
    }

    /// Bytes that the socket did not take yet.
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.rare.as_ref().map_or(0, |rare| rare.outgoing.len())
    }

    /// Gives the memory of [`RareState`] back when nothing is in it.
    pub(super) fn slim(&mut self) {
        if self.rare.as_ref().is_some_and(|rare| rare.is_empty()) {
            self.rare = None;
        }
    }

    /// Puts entries on the wire with one call; returns the bytes that were taken, and the rest of a sealed one.
    pub(super) fn put(
        &self,
        key: Key,
        entries: &[Delivery],
        outlets: &mut Outlets,
        now: Tick,
    ) -> (io::Result<usize>, Option<Bytes>) {
        let pieces: SmallVec<[IoSlice<'_>; PIECES_PER_WRITE]> =
            entries.iter().map(|entry| IoSlice::new(entry.frame.bytes(self.framing))).collect();
        self.put_pieces(key, &pieces, outlets, now)
    }

    /// The same for pieces that are in no log.
    #[inline]
    pub(crate) fn put_pieces(
        &self,
        key: Key,
        pieces: &[IoSlice<'_>],
        outlets: &mut Outlets,
        now: Tick,
    ) -> (io::Result<usize>, Option<Bytes>) {
        match &self.way {
            Way::Socket { carrier, .. } if self.is_sealed => outlets.sealers.put(key, carrier, pieces),
            Way::Socket { carrier, .. } => (carrier.put(pieces), None),
            Way::Tab { connection } => (outlets.put_tab(*connection, key, pieces, now), None),
        }
    }

    pub(super) fn bytes_of(&self, entries: &[Delivery]) -> usize {
        entries.iter().map(|entry| entry.frame.bytes(self.framing).len()).sum()
    }

    /// The first entries, up to the last event that the stream's limit allows.
    pub(super) fn within_limit<'a>(&self, entries: &'a [Delivery]) -> &'a [Delivery] {
        within_limit(self.rare.as_ref().and_then(|rare| rare.events_left), entries)
    }

    /// Counts delivered events down from the stream's limit, if it has one. True if that is reached.
    pub(super) fn count_down(&mut self, events: u64) -> bool {
        let Some(left) = self.rare.as_mut().and_then(|rare| rare.events_left.as_mut()) else { return false };
        *left -= events;
        *left == 0
    }

    /// The socket took `taken` bytes of `entries`: moves the cursor behind what was begun, and gives what is left of it to `keep`.
    pub(super) fn keep_rest<'a>(
        &mut self,
        entries: &'a [Delivery],
        taken: usize,
        keep: impl FnMut(Bytes),
    ) -> &'a [Delivery] {
        keep_rest(&mut self.cursor, self.framing, entries, taken, keep)
    }
}

impl Outlets {
    /// A tab takes as much as its windows and its connection let it, and is full otherwise. A connection that has failed is full.
    pub(super) fn put_tab(
        &mut self,
        connection: ConnectionKey,
        tab: Key,
        pieces: &[IoSlice<'_>],
        now: Tick,
    ) -> io::Result<usize> {
        self.connections.put(connection, &[tab], pieces, &mut self.taken, now);
        if self.taken[0] > 0 { Ok(self.taken[0]) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }
}

impl RareState {
    fn is_empty(&self) -> bool {
        self.outgoing.is_empty()
            && self.waiting.is_none()
            && self.resuming.is_none()
            && self.events_left.is_none()
            && self.ending.is_none()
    }
}

impl Subscriptions {
    pub(crate) fn as_slice(&self) -> &[Subscription] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => several,
        }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [Subscription] {
        match self {
            Self::One(one) => std::slice::from_mut(one),
            Self::Several(several) => several,
        }
    }
}

/// The first entries, up to the last event that a stream's limit allows.
pub(crate) fn within_limit(events_left: Option<u64>, entries: &[Delivery]) -> &[Delivery] {
    let Some(left) = events_left else { return entries };
    let mut events = 0;
    let end = entries.iter().position(|entry| {
        events += u64::from(entry.kind.is_event());
        events == left
    });
    end.map_or(entries, |end| &entries[..=end])
}

/// Moves the cursor behind what was begun, keeps what is left of it, and returns it. A place that was begun is finished.
pub(crate) fn keep_rest<'a>(
    cursor: &mut Position,
    framing: Framing,
    entries: &'a [Delivery],
    taken: usize,
    mut keep: impl FnMut(Bytes),
) -> &'a [Delivery] {
    let mut left = taken;
    let mut begun = 0;
    for entry in entries {
        let len = entry.frame.bytes(framing).len();
        if left == 0 && entry.position > *cursor {
            break;
        }
        *cursor = entry.position;
        begun += 1;
        if left < len {
            keep(entry.frame.share(framing).slice(left..));
        }
        left = left.saturating_sub(len);
    }
    &entries[..begun]
}

/// The slot of an idle stream in a page of the slab.
///
/// In builds with debug assertions mio's socket also remembers its poll; otherwise it is a bare descriptor.
#[cfg(test)]
pub(crate) fn idle_stream_bytes() -> usize {
    let checks = size_of::<Way>() - 2 * size_of::<u32>();
    size_of::<Option<Stream>>() - checks.next_multiple_of(align_of::<Stream>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::Sealer;

    /// The memory of an idle stream that follows one shared channel, as a sum: its slot in a page of the slab, and its
    /// key in the channel's list, which doubles when it is full and so is half empty at worst.
    #[test]
    fn an_idle_stream_costs_at_most_72_bytes_of_our_own() {
        let (slot, key) = (idle_stream_bytes(), size_of::<Key>());
        assert!(slot + 2 * key <= 72, "slot {slot}, key {key}");
    }

    /// The same for a stream over TLS, with what is left of its connection.
    #[test]
    fn an_idle_sealed_stream_costs_at_most_136_bytes_of_our_own() {
        let slot = idle_stream_bytes();
        let (key, sealer) = (size_of::<Key>(), size_of::<Option<Sealer>>());
        assert!(slot + 2 * key + sealer <= 136, "slot {slot}, key {key}, sealer {sealer}");
    }

    /// The memory that a stopped stream costs without the bytes of frames that it is in the middle of, which `fantail_unsent_bytes`
    /// counts: its idle self, the state of the few, and room for the pieces: a rest, last words and an end. Gaps of several
    /// channels at one place are a piece each, and their frames are counted as unsent.
    #[test]
    fn a_stopped_stream_costs_at_most_512_bytes_of_our_own() {
        let idle = size_of::<Option<Stream>>() + 2 * size_of::<Key>();
        let (rare, pieces) = (size_of::<RareState>(), 4 * size_of::<Bytes>());
        let last_words = 100;
        assert!(idle + rare + pieces + last_words <= 512, "{idle} + {rare} + {pieces} + {last_words}");
        assert!(size_of::<Outgoing>() < size_of::<RareState>(), "it is a part of it");
    }
}
