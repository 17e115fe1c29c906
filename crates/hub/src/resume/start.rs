//! The place where a stream begins, when all is there that it needs.

use fantail_wire::EventId;

use super::beginning::Beginning;
use super::newest::Newest;
use super::{Resume, Start};
use crate::numbering::Unplaced;
use crate::{Floor, Position};

/// Events behind the gap of an unknown id begin so long before the time in the id, in milliseconds. The clocks of
/// two nodes differ, and an event comes to one of them later than to the other.
const UNKNOWN_ID_SLACK_MS: u64 = 2_000;

impl Beginning<'_> {
    /// Maps what the client asks for to a place.
    pub(super) fn start(&self) -> Start {
        match self.resume {
            Resume::Live => self.start_live(),
            Resume::After(id) => match self.find(id) {
                Ok(cursor) => Start { cursor, opening_id: EventId::parse(id).ok(), ..self.start_live() },
                Err(unplaced) => self.start_unknown(unplaced, id),
            },
            Resume::Replay(events) => self.start_replay(*events),
        }
    }

    fn start_live(&self) -> Start {
        let (watermark, opening_id) = self.lane.numbering.opening();
        Start { cursor: watermark.position, opening_id, unknown: None, floors: None, began: watermark.position }
    }

    /// A client comes from elsewhere. It is told of a gap, and gets what it may have missed on its way and not all that is
    /// kept: most of that it had.
    ///
    /// Node 1 has given the id with the time 10:00:07. The client comes to node 2 at 10:00:10. It gets what came to node 2
    /// since 10:00:05; if that is more than the setting allows, the newest of it. The time is the client's word and of
    /// another clock. It decides only how much is repeated behind a gap.
    fn start_unknown(&self, unplaced: Unplaced, id: &str) -> Start {
        let (watermark, opening_id) = self.lane.numbering.opening();
        let told_ms = EventId::parse(id).map_or(0, |id| id.ms);
        let since_ms = told_ms.saturating_sub(UNKNOWN_ID_SLACK_MS);
        let newest = || Newest::of(self.channels, watermark, since_ms, self.hub.settings.unknown_id_replay_max).oldest;
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

    fn start_replay(&self, events: usize) -> Start {
        let watermark = self.lane.numbering.watermark();
        let Newest { oldest, floors } = Newest::of(self.channels, watermark, 0, events);
        let Some((place, _)) = oldest else { return self.start_live() };
        let (cursor, floors, began) = (place.before(), Some(floors.into()), watermark.position);
        Start { cursor, opening_id: None, unknown: None, floors, began }
    }
}
