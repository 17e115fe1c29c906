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

/// Who gives events their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberedBy {
    /// This node, in a term of its own that begins with the process: memory and plain pub/sub.
    Node(Term),
    /// The feed, in terms that it tells of. What it brings without a number stands beside its numbering.
    Feed,
}

/// The numbering and how far it has come.
#[derive(Debug)]
pub(crate) struct Numbering {
    lines: Lines,
    newest: Mutex<Newest>,
}

#[derive(Debug)]
enum Lines {
    Own(Term),
    /// Oldest first. A line keeps its generation for ever, so that positions never go backwards.
    Feed(RwLock<Vec<Line>>),
}

/// One of the feed's terms and what it is here.
#[derive(Debug, Clone, Copy)]
struct Line {
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
    /// The last gap that stands beside the watermark's number. Ids name it, so that nobody is told of it twice; they
    /// name no other place beside a number, since another node has other things there.
    gap_beside: u32,
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

/// What the feed's terms have told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Learned {
    /// How far the feed has come.
    pub(crate) to: Watermark,
    /// Where a new term began behind one that was known here.
    pub(crate) began: Option<Position>,
}

/// The generation of this node's own numbering.
const OWN_GENERATION: u32 = 1;

/// Lines that are remembered. The feed tells of no more than 64 that ended; here one is added whenever it is replaced.
const LINES_MAX: usize = 1024;

impl Numbering {
    /// A numbering that begins now: this node's own, or none until the feed has told of its terms.
    pub(crate) fn new(by: NumberedBy, now_ms: u64) -> Self {
        let (lines, position, at_ms) = match by {
            NumberedBy::Node(term) => (Lines::Own(term), Position::new(OWN_GENERATION, 0), now_ms),
            NumberedBy::Feed => (Lines::Feed(RwLock::default()), Position::ORIGIN, 0),
        };
        let newest = Newest { watermark: Watermark { position, at_ms }, gap_beside: 0 };
        Self { lines, newest: Mutex::new(newest) }
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
        let is_beside = (position.generation, position.number) == (to.position.generation, to.position.number);
        newest.gap_beside = match (is_gap, is_beside) {
            (true, _) => to.position.beside,
            (false, true) => newest.gap_beside,
            (false, false) => 0,
        };
        newest.watermark = to;
    }

    /// The next place that needs no number of the feed's. Only the control thread may take it.
    pub(crate) fn next(&self, now_ms: u64) -> Watermark {
        let Watermark { position, at_ms } = self.watermark();
        let position = match self.lines {
            Lines::Own(_) => Position::new(position.generation, position.number + 1),
            Lines::Feed(_) => Position { beside: position.beside + 1, ..position },
        };
        Watermark { position, at_ms: at_ms.max(now_ms) }
    }

    /// The place of the feed's next event, if `id` is of the term that runs and above everything before it.
    pub(crate) fn next_numbered(&self, id: &EventId) -> Option<Watermark> {
        let Lines::Feed(lines) = &self.lines else { return None };
        let line = *lines.read().last().filter(|line| line.term == id.term)?;
        let Watermark { position, at_ms } = self.watermark();
        let next = Position::new(line.generation, id.number);
        let is_above = (next.generation, next.number) > (position.generation, position.number);
        (id.beside == 0 && is_above).then(|| Watermark { position: next, at_ms: at_ms.max(id.ms) })
    }

    /// The id of a place, if its term is known.
    pub(crate) fn id(&self, position: Position, at_ms: u64) -> Option<EventId> {
        let term = match &self.lines {
            Lines::Own(term) => Some(*term),
            Lines::Feed(lines) => {
                lines.read().iter().rev().find(|line| line.generation == position.generation).map(|line| line.term)
            }
        };
        Some(EventId { term: term?, ms: at_ms, number: position.number, beside: position.beside })
    }

    /// The watermark and the id to begin a stream with there. Of what stands beside the watermark's number only gaps are
    /// named: whatever else stands there is not replayed anyway.
    pub(crate) fn opening(&self) -> (Watermark, Option<EventId>) {
        let Newest { watermark, gap_beside } = *self.newest.lock();
        let position = match self.lines {
            Lines::Own(_) => watermark.position,
            Lines::Feed(_) => Position { beside: gap_beside, ..watermark.position },
        };
        (watermark, self.id(position, watermark.at_ms))
    }

    /// The place that an id names, or why it names none here.
    pub(crate) fn locate(&self, id: &EventId) -> Result<Position, Unplaced> {
        match &self.lines {
            Lines::Own(term) if *term != id.term => Err(Unplaced::UNKNOWN),
            Lines::Own(_) => {
                let place = Position { generation: OWN_GENERATION, number: id.number, beside: id.beside };
                let is_beyond = place > self.watermark().position;
                if is_beyond { Err(Unplaced { reason: GapReason::BeyondEnd, ..Unplaced::UNKNOWN }) } else { Ok(place) }
            }
            Lines::Feed(lines) => locate(&lines.read(), id, self.watermark().position),
        }
    }

    /// The place of an id that the feed itself gave, if its term is known; it may be ahead of the watermark.
    pub(crate) fn place(&self, id: &EventId) -> Option<Position> {
        let Lines::Feed(lines) = &self.lines else { return None };
        let line = line_of(&lines.read(), id)?;
        Some(Position::new(line.generation, id.number))
    }

    /// The places above `above` and up to `to` at which a term began behind another.
    pub(crate) fn starts(&self, above: Position, to: Position) -> Vec<Position> {
        let Lines::Feed(lines) = &self.lines else { return Vec::new() };
        let starts = lines.read().iter().map(|line| Position::new(line.generation, line.start)).collect::<Vec<_>>();
        starts.into_iter().filter(|start| above < *start && *start <= to).collect()
    }

    /// Takes in what the feed tells of its terms. `None` if it does not number here.
    pub(crate) fn learn(&self, terms: &Terms) -> Option<Learned> {
        let Lines::Feed(lines) = &self.lines else { return None };
        let watermark = self.watermark();
        let mut lines = lines.write();
        let is_first = lines.is_empty();
        learn_ended(&mut lines, terms, watermark.position);
        let is_new = !lines.last().is_some_and(|line| line.term == terms.current && line.end.is_none());
        if is_new {
            begin(&mut lines, terms, watermark.position);
        }
        let line = lines.last().expect("the current one");
        let start = Position::new(line.generation, line.start);
        let number = Position::new(line.generation, terms.number).max(start);
        let to = Watermark { position: number.max(watermark.position), at_ms: terms.ms.max(watermark.at_ms) };
        Some(Learned { to, began: (is_new && !is_first).then_some(start) })
    }
}

/// The newest line of an id's term that may hold its number. A term that was ended and runs again has two.
fn line_of(lines: &[Line], id: &EventId) -> Option<Line> {
    lines.iter().rev().find(|line| line.term == id.term && line.start <= id.number).copied()
}

fn locate(lines: &[Line], id: &EventId, watermark: Position) -> Result<Position, Unplaced> {
    let Some(line) = line_of(lines, id) else {
        let may_come = !lines.iter().any(|line| line.term == id.term);
        return Err(Unplaced { may_come, ..Unplaced::UNKNOWN });
    };
    let place = Position { generation: line.generation, number: id.number, beside: id.beside };
    let may_come = line.end.is_none();
    let end = line.end.unwrap_or(if watermark.generation == line.generation { watermark.number } else { 0 });
    if id.number > end {
        let next = lines.iter().find(|next| line.end.is_some() && next.generation > line.generation);
        let next_term = next.map(|next| Position::new(next.generation, next.start).min(watermark));
        return Err(Unplaced { reason: GapReason::BeyondEnd, may_come, next_term });
    }
    // What stands beside a number on another node is nothing here, and must not hide what is to come.
    Ok(place.min(watermark))
}

/// Closes the lines that ended, and adds those that began and ended since the last look. One that is older than what is
/// known here stays unknown: others would have to make room for it.
fn learn_ended(lines: &mut Vec<Line>, terms: &Terms, watermark: Position) {
    let is_known = |lines: &[Line], term: Term| lines.iter().rposition(|line| line.term == term);
    let newest_known = terms.ended.iter().rposition(|ended| is_known(lines, ended.term).is_some());
    for (i, ended) in terms.ended.iter().enumerate() {
        if let Some(known) = is_known(lines, ended.term) {
            lines[known].end = Some(ended.end);
        } else if newest_known.is_none_or(|newest| i > newest) {
            close_last(lines, watermark);
            let generation = next_generation(lines);
            remember(lines, Line { term: ended.term, generation, start: ended.start, end: Some(ended.end) });
        }
    }
}

/// Adds the term that runs now. If the one before it was lost from the feed's memory, it ends with what came of it.
fn begin(lines: &mut Vec<Line>, terms: &Terms, watermark: Position) {
    close_last(lines, watermark);
    // A term that is known and had ended runs again only if somebody set the feed's memory back by hand.
    let is_again = lines.iter().any(|line| line.term == terms.current);
    let start = if is_again { terms.number } else { terms.start };
    let generation = next_generation(lines);
    remember(lines, Line { term: terms.current, generation, start, end: None });
}

/// Adds a line. If there are too many the oldest goes, and its ids are unknown from then on.
fn remember(lines: &mut Vec<Line>, line: Line) {
    if lines.len() >= LINES_MAX {
        lines.remove(0);
    }
    lines.push(line);
}

fn close_last(lines: &mut [Line], watermark: Position) {
    if let Some(last) = lines.last_mut()
        && last.end.is_none()
    {
        let has_come_to = if watermark.generation == last.generation { watermark.number } else { last.start };
        last.end = Some(has_come_to);
    }
}

fn next_generation(lines: &[Line]) -> u32 {
    lines.last().map_or(1, |line| line.generation + 1)
}

#[cfg(test)]
mod tests;
