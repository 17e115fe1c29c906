//! Ids and positions: which place in this node's order an id names, and the other way round.

use fantail_wire::{EventId, GapReason, Term, Terms};
use parking_lot::{Mutex, RwLock};

use crate::Position;

/// Everything up to here is appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermark {
    /// The place.
    pub position: Position,
    /// Its time or a later one, in milliseconds since the Unix epoch; never falls.
    pub at_ms: u64,
}

/// The side that numbers events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberedBy {
    /// This node, in a term of its own that begins with the process: memory and plain pub/sub.
    Node(Term),
    /// The feed, in terms that it tells of. An event that it brings without a number is unnumbered.
    Feed,
}

/// The numbering and how far it has come.
#[derive(Debug)]
pub(crate) struct Numbering {
    terms: KnownTerms,
    newest: Mutex<Newest>,
}

#[derive(Debug)]
enum KnownTerms {
    Own(Term),
    /// Oldest first. A term keeps its generation for ever, so that positions never go backwards.
    Feed(RwLock<Vec<KnownTerm>>),
}

/// One of the feed's terms and its generation here.
#[derive(Debug, Clone, Copy)]
struct KnownTerm {
    term: Term,
    generation: u32,
    /// Its events have larger numbers.
    start: u64,
    /// Its last number, once it has ended.
    end: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Newest {
    watermark: Watermark,
    /// Where the last unnumbered gap behind the watermark's number stands. Ids name it, so that no client is told of it
    /// twice. They name no other unnumbered place, since another node has other entries there.
    unnumbered_gap: u32,
}

/// Why an id names no place here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unplaced {
    pub(crate) reason: GapReason,
    /// The feed may be further than this node knows.
    pub(crate) may_come: bool,
    /// Where the next term began, if that of the id has ended below the id. A client that has the id has had nothing from
    /// there on.
    pub(crate) next_term: Option<Position>,
}

impl Unplaced {
    /// It was given by nobody known here.
    pub(crate) const UNKNOWN: Self = Self { reason: GapReason::UnknownId, may_come: false, next_term: None };
}

/// The news in the feed's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Learned {
    /// How far the feed has come.
    pub(crate) to: Watermark,
    /// Where a new term began behind one that was known here.
    pub(crate) began: Option<Position>,
}

/// The generation of this node's own numbering.
const OWN_GENERATION: u32 = 1;

/// Terms that are remembered. The feed tells of no more than 64 that ended; here one is added whenever it is replaced.
const KNOWN_TERMS_MAX: usize = 1024;

impl Numbering {
    /// A numbering that begins now: this node's own, or none until the feed has told of its terms.
    pub(crate) fn new(by: NumberedBy, now_ms: u64) -> Self {
        let (terms, position, at_ms) = match by {
            NumberedBy::Node(term) => (KnownTerms::Own(term), Position::new(OWN_GENERATION, 0), now_ms),
            NumberedBy::Feed => (KnownTerms::Feed(RwLock::default()), Position::ORIGIN, 0),
        };
        let newest = Newest { watermark: Watermark { position, at_ms }, unnumbered_gap: 0 };
        Self { terms, newest: Mutex::new(newest) }
    }

    pub(crate) fn watermark(&self) -> Watermark {
        self.newest.lock().watermark
    }

    /// Moves the watermark. The lock orders this before every later read of it.
    pub(crate) fn advance(&self, to: Watermark) {
        self.advance_with(to, false);
    }

    /// Moves the watermark to a place where a gap stands.
    pub(crate) fn advance_to_gap(&self, to: Watermark) {
        self.advance_with(to, true);
    }

    fn advance_with(&self, to: Watermark, is_gap: bool) {
        let mut newest = self.newest.lock();
        let Watermark { position, at_ms } = newest.watermark;
        debug_assert!(to.position > position && to.at_ms >= at_ms);
        let is_unnumbered = (position.generation, position.number) == (to.position.generation, to.position.number);
        newest.unnumbered_gap = match (is_gap, is_unnumbered) {
            (true, _) => to.position.unnumbered,
            (false, true) => newest.unnumbered_gap,
            (false, false) => 0,
        };
        newest.watermark = to;
    }

    /// The next place that needs no number of the feed's. Only the control loop may take it.
    pub(crate) fn next(&self, now_ms: u64) -> Watermark {
        let Watermark { position, at_ms } = self.watermark();
        let position = match self.terms {
            KnownTerms::Own(_) => Position::new(position.generation, position.number + 1),
            KnownTerms::Feed(_) => Position { unnumbered: position.unnumbered + 1, ..position },
        };
        Watermark { position, at_ms: at_ms.max(now_ms) }
    }

    /// The place of the feed's next event, if `id` is of the term that runs and above everything before it.
    pub(crate) fn next_numbered(&self, id: &EventId) -> Option<Watermark> {
        let KnownTerms::Feed(known_terms) = &self.terms else { return None };
        let known = *known_terms.read().last().filter(|known| known.term == id.term)?;
        let Watermark { position, at_ms } = self.watermark();
        let next = Position::new(known.generation, id.number);
        let is_above = (next.generation, next.number) > (position.generation, position.number);
        (id.unnumbered == 0 && is_above).then(|| Watermark { position: next, at_ms: at_ms.max(id.ms) })
    }

    /// The id of a place, if its term is known.
    pub(crate) fn id(&self, position: Position, at_ms: u64) -> Option<EventId> {
        let term = match &self.terms {
            KnownTerms::Own(term) => Some(*term),
            KnownTerms::Feed(known_terms) => known_terms
                .read()
                .iter()
                .rev()
                .find(|known| known.generation == position.generation)
                .map(|known| known.term),
        };
        Some(EventId { term: term?, ms: at_ms, number: position.number, unnumbered: position.unnumbered })
    }

    /// The watermark and the id to begin a stream with there. Of the unnumbered
    /// entries behind the watermark's number it names only gaps: the others are not replayed anyway.
    pub(crate) fn opening(&self) -> (Watermark, Option<EventId>) {
        let Newest { watermark, unnumbered_gap } = *self.newest.lock();
        let position = match self.terms {
            KnownTerms::Own(_) => watermark.position,
            KnownTerms::Feed(_) => Position { unnumbered: unnumbered_gap, ..watermark.position },
        };
        (watermark, self.id(position, watermark.at_ms))
    }

    /// The place that an id names, or why it names none here.
    pub(crate) fn locate(&self, id: &EventId) -> Result<Position, Unplaced> {
        match &self.terms {
            KnownTerms::Own(term) if *term != id.term => Err(Unplaced::UNKNOWN),
            KnownTerms::Own(_) => {
                let place = Position { generation: OWN_GENERATION, number: id.number, unnumbered: id.unnumbered };
                let is_beyond = place > self.watermark().position;
                if is_beyond { Err(Unplaced { reason: GapReason::BeyondEnd, ..Unplaced::UNKNOWN }) } else { Ok(place) }
            }
            KnownTerms::Feed(known_terms) => locate(&known_terms.read(), id, self.watermark().position),
        }
    }

    /// The place of an id that the feed itself gave, if its term is known; it may be ahead of the watermark.
    pub(crate) fn place(&self, id: &EventId) -> Option<Position> {
        let KnownTerms::Feed(known_terms) = &self.terms else { return None };
        let known = find_term(&known_terms.read(), id)?;
        Some(Position::new(known.generation, id.number))
    }

    /// The places above `above` and up to `to` at which a term began behind another.
    pub(crate) fn starts(&self, above: Position, to: Position) -> Vec<Position> {
        let KnownTerms::Feed(known_terms) = &self.terms else { return Vec::new() };
        let known_terms = known_terms.read();
        let starts = known_terms.iter().map(|known| Position::new(known.generation, known.start));
        starts.filter(|start| above < *start && *start <= to).collect()
    }

    /// Takes in what the feed tells of its terms. `None` if it does not number here.
    pub(crate) fn learn(&self, terms: &Terms) -> Option<Learned> {
        let KnownTerms::Feed(known_terms) = &self.terms else { return None };
        let watermark = self.watermark();
        let mut known_terms = known_terms.write();
        let is_first = known_terms.is_empty();
        learn_ended(&mut known_terms, terms, watermark.position);
        let is_new = !known_terms.last().is_some_and(|known| known.term == terms.current && known.end.is_none());
        if is_new {
            begin(&mut known_terms, terms, watermark.position);
        }
        let known = known_terms.last().expect("the current one");
        let start = Position::new(known.generation, known.start);
        let number = Position::new(known.generation, terms.number).max(start);
        let to = Watermark { position: number.max(watermark.position), at_ms: terms.ms.max(watermark.at_ms) };
        Some(Learned { to, began: (is_new && !is_first).then_some(start) })
    }
}

/// The newest record of an id's term that may hold its number. A term that was ended and runs again has two records.
fn find_term(known_terms: &[KnownTerm], id: &EventId) -> Option<KnownTerm> {
    known_terms.iter().rev().find(|known| known.term == id.term && known.start <= id.number).copied()
}

fn locate(known_terms: &[KnownTerm], id: &EventId, watermark: Position) -> Result<Position, Unplaced> {
    let Some(known) = find_term(known_terms, id) else {
        let may_come = !known_terms.iter().any(|known| known.term == id.term);
        return Err(Unplaced { may_come, ..Unplaced::UNKNOWN });
    };
    let place = Position { generation: known.generation, number: id.number, unnumbered: id.unnumbered };
    let may_come = known.end.is_none();
    let end = known.end.unwrap_or(if watermark.generation == known.generation { watermark.number } else { 0 });
    if id.number > end {
        let next = known_terms.iter().find(|next| known.end.is_some() && next.generation > known.generation);
        let next_term = next.map(|next| Position::new(next.generation, next.start).min(watermark));
        return Err(Unplaced { reason: GapReason::BeyondEnd, may_come, next_term });
    }
    // Another node's unnumbered entries are not here, and must not hide those that are to come.
    Ok(place.min(watermark))
}

/// Closes the terms that ended, and adds those that began and ended since the last look. A term older than all known ones
/// stays unknown: others would have to make room for it.
fn learn_ended(known_terms: &mut Vec<KnownTerm>, terms: &Terms, watermark: Position) {
    let is_known = |known_terms: &[KnownTerm], term: Term| known_terms.iter().rposition(|known| known.term == term);
    let newest_known = terms.ended.iter().rposition(|ended| is_known(known_terms, ended.term).is_some());
    for (i, ended) in terms.ended.iter().enumerate() {
        if let Some(at) = is_known(known_terms, ended.term) {
            known_terms[at].end = Some(ended.end);
        } else if newest_known.is_none_or(|newest| i > newest) {
            close_last(known_terms, watermark);
            let generation = next_generation(known_terms);
            remember(known_terms, KnownTerm { term: ended.term, generation, start: ended.start, end: Some(ended.end) });
        }
    }
}

/// Adds the term that runs now. If the one before it was lost from the feed's memory, it ends with what came of it.
fn begin(known_terms: &mut Vec<KnownTerm>, terms: &Terms, watermark: Position) {
    close_last(known_terms, watermark);
    // A term that is known and had ended runs again only if somebody set the feed's memory back by hand.
    let is_again = known_terms.iter().any(|known| known.term == terms.current);
    let start = if is_again { terms.number } else { terms.start };
    let generation = next_generation(known_terms);
    remember(known_terms, KnownTerm { term: terms.current, generation, start, end: None });
}

/// Adds a term. If there are too many the oldest goes, and its ids are unknown from then on.
fn remember(known_terms: &mut Vec<KnownTerm>, known: KnownTerm) {
    if known_terms.len() >= KNOWN_TERMS_MAX {
        known_terms.remove(0);
    }
    known_terms.push(known);
}

fn close_last(known_terms: &mut [KnownTerm], watermark: Position) {
    if let Some(last) = known_terms.last_mut()
        && last.end.is_none()
    {
        let has_come_to = if watermark.generation == last.generation { watermark.number } else { last.start };
        last.end = Some(has_come_to);
    }
}

fn next_generation(known_terms: &[KnownTerm]) -> u32 {
    known_terms.last().map_or(1, |known| known.generation + 1)
}

#[cfg(test)]
mod tests;
