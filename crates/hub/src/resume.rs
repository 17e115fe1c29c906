//! Where a new stream begins.

use std::sync::Arc;

use fantail_wire::{EventId, GapReason};

use crate::{Channel, EntryKind, Hub, Position};

/// What a client asks for when it connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resume {
    /// Events from now on.
    Live,
    /// What came after the event with this id, as the client sent it.
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
    /// The client's id could not be honoured: every channel begins with a gap for this reason.
    pub unknown: Option<GapReason>,
    /// For a replay, the floors of the channels at its start: what is below them was never promised, so it is no gap.
    pub floors: Option<Box<[Position]>>,
}

impl Hub {
    /// Maps what a client asks for to a place. All `channels` must be joined and confirmed.
    pub fn start(&self, resume: &Resume, channels: &[Arc<Channel>]) -> Start {
        match resume {
            Resume::Live => self.start_live(),
            Resume::After(id) => self.start_after(id, channels),
            Resume::Replay(events) => self.start_replay(*events, channels),
        }
    }

    fn start_live(&self) -> Start {
        let watermark = self.watermark();
        Start {
            cursor: watermark.position,
            opening_id: Some(self.numbering.id(watermark.position, watermark.at_ms)),
            unknown: None,
            floors: None,
        }
    }

    fn start_after(&self, id: &str, channels: &[Arc<Channel>]) -> Start {
        let ours = EventId::parse(id).ok();
        let place = match &ours {
            Some(ours) => self.numbering.locate(ours),
            None => find_publisher_id(id, channels).ok_or(GapReason::UnknownId),
        };
        match place {
            Ok(cursor) => Start { cursor, opening_id: ours, unknown: None, floors: None },
            Err(reason) => Start { cursor: Position::ORIGIN, opening_id: None, unknown: Some(reason), floors: None },
        }
    }

    fn start_replay(&self, events: usize, channels: &[Arc<Channel>]) -> Start {
        let watermark = self.watermark();
        let mut places = Vec::new();
        let mut floors = Vec::with_capacity(channels.len());
        for channel in channels {
            let state = channel.lock();
            let newest = state.log.range(Position::ORIGIN, watermark.position).rev();
            places.extend(newest.filter(|e| e.kind == EntryKind::Event).take(events).map(|e| e.position));
            floors.push(state.log.floor().position);
        }
        places.sort_unstable();
        places.dedup(); // an event for several of the channels is one event
        let first = places.len().saturating_sub(events);
        match places.get(first) {
            Some(place) => {
                Start { cursor: place.before(), opening_id: None, unknown: None, floors: Some(floors.into()) }
            }
            None => self.start_live(),
        }
    }

    /// The id of a place, for a gap that stands there.
    pub fn id(&self, position: Position, at_ms: u64) -> EventId {
        self.numbering.id(position, at_ms)
    }
}

/// The one event with this id. If a publisher repeated an id, nobody knows which of the events the client saw last:
/// taking the latest would pass silently over what stands between them, so then there is none.
fn find_publisher_id(id: &str, channels: &[Arc<Channel>]) -> Option<Position> {
    let mut places: Vec<_> =
        channels.iter().flat_map(|c| c.lock().log.with_publisher_id(id).collect::<Vec<_>>()).collect();
    places.sort_unstable();
    places.dedup(); // an event for several of the channels is one event
    match places.as_slice() {
        [one] => Some(*one),
        _ => None,
    }
}
