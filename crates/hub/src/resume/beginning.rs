//! A stream that is about to begin, and what it waits for.

use std::sync::Arc;

use fantail_wire::EventId;

use super::{Asked, Resume};
use crate::channel::ChannelState;
use crate::lane::LaneState;
use crate::numbering::Unplaced;
use crate::recall_state::{Ticket, Wanted};
use crate::{Channel, Hub, Position};

/// How often a stream asks how far the feed is before its id counts as unknown. A sync that was on its way for another
/// reason looks like the answer, and may tell of a time before the stream came.
const SYNC_ROUNDS_MAX: u8 = 3;

/// How often a stream asks for the past of its channels. Again if the feed could not read it, or if a log has lost
/// meanwhile where the answer would have joined.
const RECALL_ROUNDS_MAX: u8 = 3;

/// A stream of channels of one lane, which the feed has confirmed.
pub(super) struct Beginning<'a> {
    pub(super) hub: &'a Hub,
    pub(super) lane: &'a LaneState,
    pub(super) resume: &'a Resume,
    pub(super) channels: &'a [Arc<Channel>],
}

impl<'a> Beginning<'a> {
    pub(super) fn new(hub: &'a Hub, resume: &'a Resume, channels: &'a [Arc<Channel>]) -> Self {
        Self { hub, lane: hub.lane(channels[0].lane()), resume, channels }
    }

    /// The channel whose mark says when to ask again, by its place among the stream's; `None` if nothing is waited for.
    pub(super) fn wait(&self, asked: &mut Asked) -> Option<usize> {
        if self.is_behind_id() && !self.is_synced(asked) {
            return Some(0);
        }
        if let Some(open) = self.not_recalled(asked) {
            return Some(open);
        }
        // A publisher's id does not tell whether it is of the past or still to come here.
        (self.is_unknown_publisher_id() && !self.is_synced(asked)).then_some(0)
    }

    /// The place that a client's id names: one of ours, or one of a publisher's.
    pub(super) fn find(&self, id: &str) -> Result<Position, Unplaced> {
        match EventId::parse(id) {
            Ok(ours) => self.lane.numbering.locate(&ours),
            Err(_) => self.find_publisher_id(id).ok_or(Unplaced::UNKNOWN),
        }
    }

    /// The one event with this id. If a publisher repeated an id, nobody knows which of the events the client saw last:
    /// taking the latest would pass silently over what stands between them, so then there is none.
    fn find_publisher_id(&self, id: &str) -> Option<Position> {
        let mut places: Vec<_> =
            self.channels.iter().flat_map(|c| c.lock().log.with_publisher_id(id).collect::<Vec<_>>()).collect();
        places.sort_unstable();
        places.dedup(); // an event for several of the channels is one event
        match places.as_slice() {
            [one] => Some(*one),
            _ => None,
        }
    }

    fn is_unknown_publisher_id(&self) -> bool {
        let Resume::After(id) = self.resume else { return false };
        EventId::parse(id).is_err() && self.find_publisher_id(id).is_none()
    }

    /// Whether the client's id may be one that this node does not know of yet.
    fn is_behind_id(&self) -> bool {
        let Resume::After(id) = self.resume else { return false };
        EventId::parse(id).is_ok_and(|id| self.lane.numbering.locate(&id).is_err_and(|unplaced| unplaced.may_come))
    }

    /// Whether the feed has told often enough how far it is, since the stream came.
    fn is_synced(&self, asked: &mut Asked) -> bool {
        let requests = &self.lane.sync_requests;
        loop {
            let question = *asked.sync.get_or_insert_with(|| {
                asked.sync_rounds += 1;
                let question = requests.want();
                self.hub.interest.ring();
                question
            });
            if !requests.is_answered(question, &self.channels[0]) {
                return false;
            }
            if asked.sync_rounds == SYNC_ROUNDS_MAX {
                return true;
            }
            asked.sync = None;
        }
    }

    /// The first channel whose past was asked for and has not come.
    fn not_recalled(&self, asked: &mut Asked) -> Option<usize> {
        loop {
            let is_open = |(channel, ticket): (&Arc<Channel>, &Option<Ticket>)| {
                ticket.is_some_and(|ticket| !channel.is_recalled(ticket))
            };
            let open = asked.recalls.iter().flat_map(|recalls| self.channels.iter().zip(recalls)).position(is_open);
            if open.is_some() || asked.recall_rounds == RECALL_ROUNDS_MAX {
                return open;
            }
            let wanted = self.wanted()?;
            let recalls: Box<[_]> = self.channels.iter().map(|channel| self.recall(channel, wanted)).collect();
            if recalls.iter().all(Option::is_none) {
                return None;
            }
            asked.recall_rounds += 1;
            asked.recalls = Some(recalls);
        }
    }

    /// Asks for what the channel had, if its log does not reach down to what the stream wants.
    fn recall(&self, channel: &Arc<Channel>, wanted: Wanted) -> Option<Ticket> {
        let mut state = channel.lock();
        let wanted = not_held(wanted, &state)?;
        let room = state.log.room(&self.hub.settings.log_limits(state.class));
        let floor = state.log.floor().position;
        let is_at_bottom = || state.recall.as_ref().and_then(|r| r.bottom).is_some_and(|b| floor <= b.position);
        // A full log would have to drop what came for what was.
        let is_full = room.entries == 0 || room.bytes == 0;
        if is_full || is_at_bottom() || self.lane.numbering.id(floor, 0).is_none() {
            return None;
        }
        let recall = state.recall.get_or_insert_default();
        let ticket = recall.want(wanted, floor);
        if recall.has_wish() {
            self.hub.interest.post(channel, &mut state);
        }
        ticket
    }

    /// The events that a stream wants of the past of its channels.
    fn wanted(&self) -> Option<Wanted> {
        let newest = |events| Wanted { above: Position::ORIGIN, events };
        let all_above = |above| Wanted { above, events: usize::MAX };
        match self.resume {
            Resume::Live => None,
            Resume::Replay(events) => Some(newest(*events)),
            Resume::After(id) => Some(match self.find(id) {
                Ok(place) | Err(Unplaced { next_term: Some(place), .. }) => all_above(place),
                // The event with a publisher's id may stand anywhere.
                Err(_) if EventId::parse(id).is_err() => all_above(Position::ORIGIN),
                Err(_) => newest(self.hub.settings.unknown_id_replay_max),
            }),
        }
    }
}

/// The wanted events that a log lacks.
fn not_held(wanted: Wanted, state: &ChannelState) -> Option<Wanted> {
    if wanted.events == usize::MAX {
        return (state.log.floor().position > wanted.above).then_some(wanted);
    }
    let events = wanted.events.saturating_sub(state.log.events());
    (events > 0).then_some(Wanted { events, ..wanted })
}
