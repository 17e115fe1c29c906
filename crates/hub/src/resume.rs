//! Where a new stream begins.

use std::sync::Arc;

use fantail_wire::{EventId, Lane};

use crate::channel::ChannelState;
use crate::numbering::Unplaced;
use crate::recall_state::{Ticket, Wanted};
use crate::{Channel, EntryKind, Floor, Hub, Position, Watermark};

/// How often a stream asks how far the feed is before its id counts as unknown. A sync that was on its way for another
/// reason looks like the answer, and may tell of a time before the stream came.
const SYNC_ROUNDS_MAX: u8 = 3;

/// How often a stream asks for the past of its channels. Again if the feed could not read it, or if a log has lost
/// meanwhile where the answer would have joined.
const RECALL_ROUNDS_MAX: u8 = 3;

/// What follows the gap of an unknown id reaches back to so long before the time in the id, in milliseconds. The clocks of
/// two nodes differ, and an event comes to one of them later than to the other.
const UNKNOWN_ID_SLACK_MS: u64 = 2_000;

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
    /// The client's id could not be honoured: every channel begins with a gap for this reason, at this floor or at its own
    /// if that is higher.
    pub unknown: Option<Floor>,
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
    sync_rounds: u8,
    /// What the channels got before, for those that may have had what the stream wants; one for each channel.
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
        let requests = &self.lane(channel.lane()).sync_requests;
        loop {
            let question = *asked.sync.get_or_insert_with(|| {
                asked.sync_rounds += 1;
                let question = requests.want();
                self.interest.ring();
                question
            });
            if !requests.is_answered(question, channel) {
                return false;
            }
            if asked.sync_rounds == SYNC_ROUNDS_MAX {
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
            if open.is_some() || asked.recall_rounds == RECALL_ROUNDS_MAX {
                return open;
            }
            let recalls = self.recall(resume, channels);
            if recalls.iter().all(Option::is_none) {
                return None;
            }
            asked.recall_rounds += 1;
            asked.recalls = Some(recalls);
        }
    }

    /// Asks for what the channels had, where a log does not reach down to what the stream wants.
    fn recall(&self, resume: &Resume, channels: &[Arc<Channel>]) -> Box<[Option<Ticket>]> {
        let wanted = self.wanted(resume, channels);
        let ask = |channel: &Arc<Channel>| {
            let mut state = channel.lock();
            let wanted = not_held(wanted?, &state)?;
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
            Resume::After(id) => match self.find(id, channels) {
                Ok(cursor) => self.start_after(cursor, id, channels[0].lane()),
                Err(unplaced) => self.start_unknown(unplaced, id, channels),
            },
            Resume::Replay(events) => self.start_replay(*events, channels),
        }
    }

    fn start_live(&self, lane: Lane) -> Start {
        let (watermark, opening_id) = self.lane(lane).numbering.opening();
        Start { cursor: watermark.position, opening_id, unknown: None, floors: None, began: watermark.position }
    }

    /// The place that a client's id names: one of ours, or one of a publisher's.
    fn find(&self, id: &str, channels: &[Arc<Channel>]) -> Result<Position, Unplaced> {
        match EventId::parse(id) {
            Ok(ours) => self.lane(channels[0].lane()).numbering.locate(&ours),
            Err(_) => find_publisher_id(id, channels).ok_or(Unplaced::UNKNOWN),
        }
    }

    fn start_after(&self, cursor: Position, id: &str, lane: Lane) -> Start {
        let began = self.watermark(lane).position;
        Start { cursor, opening_id: EventId::parse(id).ok(), unknown: None, floors: None, began }
    }

    /// A client comes from elsewhere. It is told of a gap, and gets what it may have missed on its way and not all that is
    /// kept: most of that it had.
    ///
    /// Node 1 has given the id with the time 10:00:07. The client comes to node 2 at 10:00:10. It gets what came to node 2
    /// since 10:00:05; if that is more than the setting allows, the newest of it. The time is the client's word and of
    /// another clock. It decides only how much is repeated behind a gap.
    fn start_unknown(&self, unplaced: Unplaced, id: &str, channels: &[Arc<Channel>]) -> Start {
        let (watermark, opening_id) = self.lane(channels[0].lane()).numbering.opening();
        let told_ms = EventId::parse(id).map_or(0, |id| id.ms);
        let since_ms = told_ms.saturating_sub(UNKNOWN_ID_SLACK_MS);
        let newest = || Newest::of(channels, watermark, since_ms, self.settings.unknown_id_replay_max).oldest;
        let (position, at_ms) = if let Some(next_term) = unplaced.next_term {
            (next_term, told_ms.min(watermark.at_ms))
        } else if let Some((oldest, at_ms)) = newest() {
            (Position::new(oldest.generation, oldest.number.saturating_sub(1)), at_ms)
        } else {
            // As an opening names it: the other unnumbered places mean nothing on other nodes.
            let unnumbered = opening_id.map_or(0, |id| id.unnumbered);
            (Position { unnumbered, ..watermark.position }, watermark.at_ms)
        };
        let unknown = Some(Floor { position, at_ms, reason: unplaced.reason });
        let (cursor, began) = (Position::ORIGIN, watermark.position);
        Start { cursor, opening_id: None, unknown, floors: None, began }
    }

    fn start_replay(&self, events: usize, channels: &[Arc<Channel>]) -> Start {
        let lane = channels[0].lane();
        let watermark = self.watermark(lane);
        let Newest { oldest, floors } = Newest::of(channels, watermark, 0, events);
        match oldest {
            Some((place, _)) => Start {
                cursor: place.before(),
                opening_id: None,
                unknown: None,
                floors: Some(floors.into()),
                began: watermark.position,
            },
            None => self.start_live(lane),
        }
    }

    /// What a stream wants of the past of its channels.
    fn wanted(&self, resume: &Resume, channels: &[Arc<Channel>]) -> Option<Wanted> {
        let newest = |events| Wanted { above: Position::ORIGIN, events };
        let all_above = |above| Wanted { above, events: usize::MAX };
        match resume {
            Resume::Live => None,
            Resume::Replay(events) => Some(newest(*events)),
            Resume::After(id) => Some(match self.find(id, channels) {
                Ok(place) | Err(Unplaced { next_term: Some(place), .. }) => all_above(place),
                // The event with a publisher's id may stand anywhere.
                Err(_) if EventId::parse(id).is_err() => all_above(Position::ORIGIN),
                Err(_) => newest(self.settings.unknown_id_replay_max),
            }),
        }
    }
}

/// What a log lacks of what is wanted.
fn not_held(wanted: Wanted, state: &ChannelState) -> Option<Wanted> {
    if wanted.events == usize::MAX {
        return (state.log.floor().position > wanted.above).then_some(wanted);
    }
    let events = wanted.events.saturating_sub(state.log.events());
    (events > 0).then_some(Wanted { events, ..wanted })
}

/// The newest events of some channels together.
struct Newest {
    /// The place and the time of the oldest of them.
    oldest: Option<(Position, u64)>,
    /// The floors of the channels, as they were when their events were looked for.
    floors: Vec<Position>,
}

impl Newest {
    /// At most so many, none from before `since_ms`.
    fn of(channels: &[Arc<Channel>], to: Watermark, since_ms: u64, events: usize) -> Self {
        let mut found = Vec::new();
        let mut floors = Vec::with_capacity(channels.len());
        for channel in channels {
            let state = channel.lock();
            let newest = state.log.range(Position::ORIGIN, to.position).rev().filter(|e| e.kind == EntryKind::Event);
            let newest = newest.take_while(|e| e.at_ms >= since_ms).take(events);
            found.extend(newest.map(|e| (e.position, e.at_ms)));
            floors.push(state.log.floor().position);
        }
        found.sort_unstable();
        found.dedup_by_key(|(position, _)| *position); // an event for several of the channels is one event
        let oldest = found.get(found.len().saturating_sub(events)).copied();
        Self { oldest, floors }
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
