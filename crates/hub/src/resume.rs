//! A client's request when it connects, and the place where its stream begins.

use std::sync::Arc;

use fantail_wire::EventId;

use self::beginning::Beginning;
use crate::recall_state::Ticket;
use crate::{Channel, Floor, Hub, Position};

mod beginning;
mod newest;
mod start;

/// A client's request when it connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resume {
    /// Events from now on.
    Live,
    /// The events after the one with this id, as the client sent it.
    After(String),
    /// The last so many events that are still retained, over all channels of the stream, then live ones.
    Replay(usize),
}

/// Where a stream begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Everything after this place is delivered.
    pub cursor: Position,
    /// The id to begin the stream with. `None` leaves the client with the one it has: it would get the same answer again.
    pub opening_id: Option<EventId>,
    /// The client's id could not be honoured: every channel begins with a gap for this reason, at this floor or at its own
    /// if that is higher.
    pub unknown: Option<Floor>,
    /// For a replay, the floors of the channels at its start: what is below them was never promised, so it is no gap.
    pub floors: Option<Box<[Position]>>,
    /// Where the watermark was: see [`Channel::read_resuming`].
    pub began: Position,
}

/// The questions that a waiting stream has asked the feed: only so many, so that its wait has an end.
#[derive(Debug, Default)]
pub struct Asked {
    /// How far the feed's numbering is: the question that is open, and how many there were.
    sync: Option<u64>,
    sync_rounds: u8,
    /// A question for the past of each channel whose log does not reach down to the wanted place.
    recalls: Option<Box<[Option<Ticket>]>>,
    recall_rounds: u8,
}

/// Whether a stream may start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// Here.
    At(Start),
    /// Not yet. The mark of this channel, by its place among the stream's, says when to ask again.
    Wait(usize),
}

impl Hub {
    /// Says where a stream of `channels`, which must be joined and of one lane, begins, if all is there that it needs: the feed has
    /// confirmed its channels, and has been asked for what lies between the client's id and the logs. The caller
    /// keeps `asked` between calls.
    ///
    /// A stream that is told to wait was registered before: the answer's mark comes after this call has returned, or else
    /// the answer is seen here.
    pub fn begin(&self, resume: &Resume, channels: &[Arc<Channel>], asked: &mut Asked) -> Begin {
        if let Some(missing) = channels.iter().position(|channel| !channel.is_confirmed()) {
            return Begin::Wait(missing);
        }
        let beginning = Beginning::new(self, resume, channels);
        match self.settings.is_numbered_by_feed().then(|| beginning.wait(asked)).flatten() {
            Some(open) => Begin::Wait(open),
            None => Begin::At(beginning.start()),
        }
    }
}
