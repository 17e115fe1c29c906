//! One stream: all that an idle socket costs.

use bytes::Bytes;
use fantail_hub::{Asked, Position, Resume};
use fantail_telemetry::CloseReason;
use fantail_wire::{Framing, GapReason};
use mio::net::TcpStream;

use crate::outgoing::Outgoing;
use crate::tick::{Second, Tick};

/// Where a stream stands in the slab.
pub(crate) type Key = u32;

/// An open stream. What only few streams need at a time is in [`Extra`].
pub(crate) struct Stream {
    pub(crate) socket: TcpStream,
    pub(crate) state: State,
    pub(crate) framing: Framing,
    /// Everything of all its channels up to here is delivered, or stands in `Extra::outgoing`.
    pub(crate) cursor: Position,
    /// When the socket last took bytes.
    pub(crate) written: Tick,
    /// When it was opened.
    pub(crate) opened: Second,
    /// Distinguishes this stream from earlier ones in the same slot.
    pub(crate) generation: u32,
    /// Bytes that the client sent behind its request; they are dropped, within a bound.
    pub(crate) input_bytes: u32,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) extra: Option<Box<Extra>>,
}

/// What a stream is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
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
pub(crate) struct Extra {
    /// What must go out before anything else: the head, or the rest of what the socket took only in part.
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

/// What a waiting stream needs when its wait is over.
pub(crate) struct Waiting {
    pub(crate) head: Bytes,
    /// The whole answer if it is turned away; without one it gets the head and last words.
    pub(crate) shed: Option<Bytes>,
    pub(crate) resume: Resume,
    /// What the feed was asked for meanwhile.
    pub(crate) asked: Asked,
}

/// How missing events are told while a stream catches up.
pub(crate) struct Resuming {
    /// Why the client's id could not be honoured.
    pub(crate) unknown: Option<GapReason>,
    /// For a replay: what was below these floors was never promised. One for each channel, in their order.
    pub(crate) floors: Option<Box<[Position]>>,
    /// Where the watermark was when the stream began.
    pub(crate) began: Option<Position>,
}

impl Stream {
    /// Whether passes leave this stream to `catch_up`: its channels are merged, or its events counted.
    #[inline]
    pub(crate) fn is_served_alone(&self) -> bool {
        self.extra.is_some() || matches!(self.subscriptions, Subscriptions::Several(_))
    }

    pub(crate) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// Whether something beside the logs may be written now: nothing is begun, and nothing is at its end.
    pub(crate) fn is_between_frames(&self) -> bool {
        let is_open = matches!(self.state, State::Live | State::Behind);
        is_open && self.extra.as_ref().is_none_or(|extra| extra.outgoing.is_empty() && extra.ending.is_none())
    }

    /// Bytes that the socket did not take yet.
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.extra.as_ref().map_or(0, |extra| extra.outgoing.len())
    }

    /// Gives the memory of [`Extra`] back when nothing is in it.
    pub(crate) fn slim(&mut self) {
        if self.extra.as_ref().is_some_and(|extra| extra.is_empty()) {
            self.extra = None;
        }
    }
}

impl Extra {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The memory of an idle stream that follows one shared channel, as a sum: its slot in a page of the slab, and its
    /// key in the channel's list, which doubles when it is full and so is half empty at worst.
    #[test]
    fn an_idle_stream_costs_at_most_72_bytes_of_our_own() {
        // In builds with debug assertions mio's socket also remembers its poll; otherwise it is a bare descriptor.
        let checks = size_of::<TcpStream>() - size_of::<std::os::fd::RawFd>();
        let slot = size_of::<Option<Stream>>() - checks.next_multiple_of(align_of::<Stream>());
        let key = size_of::<Key>();
        assert!(slot + 2 * key <= 72, "slot {slot}, key {key}");
    }
    /// What a stopped stream costs beside the bytes of frames that it is in the middle of, which `fantail_unsent_bytes`
    /// counts: its idle self, the state of the few, and room for the pieces: a rest, last words and an end. Gaps of several
    /// channels at one place are a piece each, and their frames are counted as unsent.
    #[test]
    fn a_stopped_stream_costs_at_most_512_bytes_of_our_own() {
        let idle = size_of::<Option<Stream>>() + 2 * size_of::<Key>();
        let (extra, pieces) = (size_of::<Extra>(), 4 * size_of::<Bytes>());
        let last_words = 100;
        assert!(idle + extra + pieces + last_words <= 512, "{idle} + {extra} + {pieces} + {last_words}");
        assert!(size_of::<Outgoing>() < size_of::<Extra>(), "it is a part of it");
    }
}
