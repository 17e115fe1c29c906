//! Where a new stream begins.

use std::sync::Arc;

use fantail_wire::{EventId, GapReason, Lane};

use crate::channel::ChannelState;
use crate::recall::{Ticket, Wanted};
use crate::{Channel, EntryKind, Hub, Position};

/// How often a stream asks how far the feed is before its id counts as unknown. A sync that was on its way for another
/// reason looks like the answer, and may tell of a time before the stream came.
const SYNCS_MAX: u8 = 3;

/// How often a stream asks for the past of its channels. Again if the feed could not read it, or if a log has lost
/// meanwhile where the answer would have joined.
const RECALLS_MAX: u8 = 3;

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
    /// Where the watermark was: see [`Channel::read_resuming`].
    pub began: Position,
}

/// What a stream that does not start yet has asked the feed for: only so often, so that its wait has an end.
#[derive(Debug, Default)]
pub struct Asked {
    /// How far the feed's numbering is: the question that is open, and how many there were.
    sync: Option<u64>,
    syncs: u8,
    /// What the channels got before, for those that may have had what the stream wants; one for each channel.
    recalls: Option<Box<[Option<Ticket>]>>,
    rounds: u8,
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
    /// confirmed its channels, and has been asked for what lies between the client's id and the logs. What was `asked`
    /// is kept between calls.
    ///
    /// Whoever is told to wait was registered before: the answer's mark comes after this call has returned, or else the
    /// answer is seen here.
    pub fn begin(&self, resume: &Resume, channels: &[Arc<Channel>], asked: &mut Asked) -> Begin {
        if let Some(missing) = channels.iter().position(|channel| !channel.is_confirmed()) {
            return Begin::Wait(missing);
        }
        if self.is_numbered_by_feed() {
            if self.is_behind_id(resume, channels[0].lane()) && !self.is_synced(asked, &channels[0]) {
                return Begin::Wait(0);
            }
            if let Some(open) = self.not_recalled(resume, channels, asked) {
                return Begin::Wait(open);
            }
            // A publisher's id does not tell whether it is of the past or still to come here.
            if is_unknown_publisher_id(resume, channels) && !self.is_synced(asked, &channels[0]) {
                return Begin::Wait(0);
            }
        }
        Begin::At(self.start(resume, channels))
    }

    /// Whether the client's id may be one that this node does not know of yet.
    fn is_behind_id(&self, resume: &Resume, lane: Lane) -> bool {
        let Resume::After(id) = resume else { return false };
        let numbering = &self.lane(lane).numbering;
        EventId::parse(id).is_ok_and(|id| numbering.locate(&id).is_err_and(|unplaced| unplaced.may_come))
    }

    /// Whether the feed has told often enough how far it is, since the stream came.
    fn is_synced(&self, asked: &mut Asked, channel: &Arc<Channel>) -> bool {
        let syncs = &self.lane(channel.lane()).syncs;
        loop {
            let question = *asked.sync.get_or_insert_with(|| {
                asked.syncs += 1;
                let question = syncs.want();
                self.interest.ring();
                question
            });
            if !syncs.is_answered(question, channel) {
                return false;
            }
            if asked.syncs == SYNCS_MAX {
                return true;
            }
            asked.sync = None;
        }
    }

    /// The first channel whose past was asked for and has not come.
    fn not_recalled(&self, resume: &Resume, channels: &[Arc<Channel>], asked: &mut Asked) -> Option<usize> {
        loop {
            let is_open = |(channel, ticket): (&Arc<Channel>, &Option<Ticket>)| {
                ticket.is_some_and(|ticket| !channel.is_recalled(ticket))
            };
            let open = asked.recalls.iter().flat_map(|recalls| channels.iter().zip(recalls)).position(is_open);
            if open.is_some() || asked.rounds == RECALLS_MAX {
                return open;
            }
            let recalls = self.recall(resume, channels);
            if recalls.iter().all(Option::is_none) {
                return None;
            }
            asked.rounds += 1;
            asked.recalls = Some(recalls);
        }
    }

    /// Asks for what the channels had, where a log does not reach down to what the stream wants.
    fn recall(&self, resume: &Resume, channels: &[Arc<Channel>]) -> Box<[Option<Ticket>]> {
        let cursor = self.start(resume, channels).cursor;
        let ask = |channel: &Arc<Channel>| {
            let mut state = channel.lock();
            let wanted = wanted(resume, cursor, &state)?;
            let room = state.log.room(&self.settings.log_limits(state.class));
            let floor = state.log.floor();
            let is_at_bottom =
                || state.recall.as_ref().and_then(|r| r.bottom).is_some_and(|b| floor.position <= b.position);
            // A full log would have to drop what came for what was.
            if room.entries == 0
                || room.bytes == 0
                || is_at_bottom()
                || self.id(channel.lane(), floor.position, 0).is_none()
            {
                return None;
            }
            let recall = state.recall.get_or_insert_default();
            let ticket = recall.want(wanted, floor.position);
            if recall.has_wish() {
                self.interest.post(channel, &mut state);
            }
            ticket
        };
        channels.iter().map(ask).collect()
    }

    /// Maps what a client asks for to a place.
    fn start(&self, resume: &Resume, channels: &[Arc<Channel>]) -> Start {
        match resume {
            Resume::Live => self.start_live(channels[0].lane()),
            Resume::After(id) => self.start_after(id, channels),
            Resume::Replay(events) => self.start_replay(*events, channels),
        }
    }

    fn start_live(&self, lane: Lane) -> Start {
        let (watermark, opening_id) = self.lane(lane).numbering.opening();
        Start { cursor: watermark.position, opening_id, unknown: None, floors: None, began: watermark.position }
    }

    fn start_after(&self, id: &str, channels: &[Arc<Channel>]) -> Start {
        let lane = channels[0].lane();
        let began = self.watermark(lane).position;
        let ours = EventId::parse(id).ok();
        let place = match &ours {
            Some(ours) => self.lane(lane).numbering.locate(ours).map_err(|unplaced| unplaced.reason),
            None => find_publisher_id(id, channels).ok_or(GapReason::UnknownId),
        };
        match place {
            Ok(cursor) => Start { cursor, opening_id: ours, unknown: None, floors: None, began },
            Err(reason) => {
                Start { cursor: Position::ORIGIN, opening_id: None, unknown: Some(reason), floors: None, began }
            }
        }
    }

    fn start_replay(&self, events: usize, channels: &[Arc<Channel>]) -> Start {
        let lane = channels[0].lane();
        let watermark = self.watermark(lane);
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
            Some(place) => Start {
                cursor: place.before(),
                opening_id: None,
                unknown: None,
                floors: Some(floors.into()),
                began: watermark.position,
            },
            None => self.start_live(lane),
        }
    }
}

/// What a log does not hold of what a stream that would begin at `cursor` wants.
fn wanted(resume: &Resume, cursor: Position, state: &ChannelState) -> Option<Wanted> {
    match resume {
        Resume::Live => None,
        Resume::After(_) => {
            (state.log.floor().position > cursor).then_some(Wanted { above: cursor, events: usize::MAX })
        }
        Resume::Replay(events) => {
            let events = events.saturating_sub(state.log.events());
            (events > 0).then_some(Wanted { above: Position::ORIGIN, events })
        }
    }
}

fn is_unknown_publisher_id(resume: &Resume, channels: &[Arc<Channel>]) -> bool {
    let Resume::After(id) = resume else { return false };
    EventId::parse(id).is_err() && find_publisher_id(id, channels).is_none()
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
