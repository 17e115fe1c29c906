//! Ids and positions: which place in this node's order an id names, and the other way round.

use fantail_wire::{EventId, GapReason, Term};
use parking_lot::Mutex;

use crate::Position;

/// Everything up to here is appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermark {
    /// The place.
    pub position: Position,
    /// Its time, in milliseconds since the Unix epoch; never falls.
    pub at_ms: u64,
}

/// The node's numbering and how far it has come.
///
/// Memory and plain pub/sub feeds are numbered by the node itself, in one term that begins with the process.
#[derive(Debug)]
pub(crate) struct Numbering {
    term: Term,
    generation: u32,
    watermark: Mutex<Watermark>,
}

impl Numbering {
    /// A numbering that begins now, in a term of its own.
    pub(crate) fn new(term: Term, now_ms: u64) -> Self {
        let generation = 1;
        let start = Watermark { position: Position::new(generation, 0), at_ms: now_ms };
        Self { term, generation, watermark: Mutex::new(start) }
    }

    pub(crate) fn watermark(&self) -> Watermark {
        *self.watermark.lock()
    }

    /// Moves the watermark. The lock orders this before every later read of it.
    pub(crate) fn advance(&self, to: Watermark) {
        let mut watermark = self.watermark.lock();
        debug_assert!(to.position > watermark.position && to.at_ms >= watermark.at_ms);
        *watermark = to;
    }

    /// The next place, which only the control thread may take.
    pub(crate) fn next(&self, now_ms: u64) -> Watermark {
        let Watermark { position, at_ms } = self.watermark();
        Watermark { position: Position::new(position.generation, position.number + 1), at_ms: at_ms.max(now_ms) }
    }

    /// The id of a place.
    pub(crate) fn id(&self, position: Position, at_ms: u64) -> EventId {
        EventId { term: self.term, ms: at_ms, number: position.number, beside: position.beside }
    }

    /// The place that an id names, or why it names none here.
    pub(crate) fn locate(&self, id: &EventId) -> Result<Position, GapReason> {
        if id.term != self.term {
            return Err(GapReason::UnknownId);
        }
        let position = Position { generation: self.generation, number: id.number, beside: id.beside };
        if position > self.watermark().position { Err(GapReason::BeyondEnd) } else { Ok(position) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_back_to_its_place_and_no_other_does() {
        let numbering = Numbering::new(Term::from_random(1), 1000);
        let first = numbering.next(900);
        assert_eq!(first, Watermark { position: Position::new(1, 1), at_ms: 1000 }, "time never falls");
        let id = numbering.id(first.position, first.at_ms);
        assert_eq!(numbering.locate(&id), Err(GapReason::BeyondEnd), "nobody was given it yet");
        numbering.advance(first);
        assert_eq!(numbering.locate(&id), Ok(first.position));
        assert_eq!(numbering.locate(&EventId { term: Term::from_random(2), ..id }), Err(GapReason::UnknownId));
    }
}
