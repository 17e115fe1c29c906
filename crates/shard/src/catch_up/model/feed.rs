//! A feed that numbers: what it keeps, and what it has to tell a node.
//!
//! It keeps its events until it trims them, and may lose its last ones with the end of a term.

use std::collections::BTreeSet;

use fantail_wire::{EndedTerm, Event, EventFields, EventId, Publication, Term, Terms};

use super::course::now_ms;
use super::node::name;

pub(super) const CHANNELS: usize = 4;

/// A place in the order of events: the term, counted from 0, and the number there. A node that numbers by itself has one term.
pub(super) type Place = (usize, u64);

/// A published event. Its place in the history is its text.
pub(super) struct Past {
    pub(super) place: Place,
    ms: u64,
    pub(super) channels: Vec<usize>,
    pub(super) publisher_id: Option<String>,
    is_lost: bool,
}

struct FeedTerm {
    term: Term,
    start: u64,
    end: Option<u64>,
    /// The feed tells of it.
    is_remembered: bool,
}

pub(super) struct ModelFeed {
    pub(super) history: Vec<Past>,
    seed: u64,
    lines: Vec<FeedTerm>,
    number: u64,
    /// Events below in the history are gone, for each channel.
    trimmed: [usize; CHANNELS],
    /// Some events are too large to be sent.
    has_large: bool,
}

/// A call to a node.
#[derive(Debug)]
pub(super) enum Call {
    Event(usize, Vec<usize>),
    Unnumbered(usize, Vec<usize>),
    Followed(usize, EventId),
    Synced(Terms, Place),
    Gap(usize, EventId),
}

/// A node's question for a channel's past.
#[derive(Debug)]
pub(super) struct Recall {
    pub(super) channel: usize,
    pub(super) above: Option<EventId>,
    pub(super) up_to: EventId,
    pub(super) events_max: usize,
}

impl ModelFeed {
    pub(super) fn new(seed: u64, has_large: bool) -> Self {
        let first = FeedTerm { term: term(seed, 0), start: 0, end: None, is_remembered: true };
        Self { history: Vec::new(), seed, lines: vec![first], number: 0, trimmed: [0; CHANNELS], has_large }
    }

    /// How much of the history is at or below a place.
    pub(super) fn up_to(&self, place: Place) -> usize {
        self.history.partition_point(|past| past.place <= place)
    }

    /// Whether a place is in a term that has ended.
    pub(super) fn has_ended(&self, (line, _): Place) -> bool {
        self.lines[line].end.is_some()
    }

    /// Whether a term that is not the first began at a place.
    pub(super) fn began(&self, (line, number): Place) -> bool {
        line > 0 && self.lines[line].start == number
    }

    /// The place that an id of the feed names.
    pub(super) fn place_of(&self, id: &EventId) -> Place {
        let line = self.lines.iter().position(|line| line.term == id.term).expect("a term of this feed");
        (line, id.number)
    }

    /// The id of an event.
    pub(super) fn id_of(&self, seq: usize) -> EventId {
        let Past { place, ms, .. } = self.history[seq];
        EventId::new(self.lines[place.0].term, ms, place.1)
    }

    /// The newest place there is.
    pub(super) fn newest(&self) -> Place {
        (self.lines.len() - 1, self.number)
    }

    pub(super) fn newest_id(&self) -> EventId {
        self.id_at(self.newest())
    }

    /// An id with the time of now.
    pub(super) fn id_at(&self, (line, number): Place) -> EventId {
        EventId::new(self.lines[line].term, now_ms(), number)
    }

    /// An event comes after all others. Says where.
    pub(super) fn publish(&mut self, channels: Vec<usize>, publisher_id: Option<String>) -> Place {
        self.number += 1;
        let (place, ms) = (self.newest(), now_ms());
        self.history.push(Past { place, ms, channels, publisher_id, is_lost: false });
        place
    }

    /// The feed is replaced by one that lacks the last `lost` events. Says with which number the term ended.
    pub(super) fn end_term(&mut self, lost: u64) -> u64 {
        let last = self.lines.len() - 1;
        let end = self.number.saturating_sub(lost).max(self.lines[last].start);
        for past in self.history.iter_mut().rev().take_while(|past| past.place > (last, end)) {
            past.is_lost = true;
        }
        self.lines[last].end = Some(end);
        let next = term(self.seed, self.lines.len() as u64);
        self.lines.push(FeedTerm { term: next, start: end, end: None, is_remembered: true });
        self.number = end;
        end
    }

    /// The feed is replaced by an empty one, which does not know of its terms.
    pub(super) fn forget(&mut self) -> u64 {
        let end = self.end_term(0);
        self.trimmed = [self.history.len(); CHANNELS];
        let (current, ended) = self.lines.split_last_mut().unwrap();
        for line in ended {
            line.is_remembered = false;
        }
        (current.start, self.number) = (0, 0);
        end
    }

    /// Forgets a channel's events below a place of the history. Says how far it is trimmed then.
    pub(super) fn trim(&mut self, channel: usize, to: usize) -> usize {
        self.trimmed[channel] = self.trimmed[channel].max(to);
        self.trimmed[channel]
    }

    /// How far the feed is.
    pub(super) fn sync(&self) -> Call {
        let newest = self.newest();
        Call::Synced(self.terms(newest.0, newest.1), newest)
    }

    /// The events that a node at `from` missed in these channels, term by term.
    pub(super) fn missed(&self, from: Place, channels: &BTreeSet<usize>) -> Vec<Call> {
        let mut calls = Vec::new();
        for line in from.0..self.lines.len() {
            self.tell_line(line, from, channels, &mut calls);
        }
        calls
    }

    /// The events that a recall brings, and above which place they are all there are.
    pub(super) fn recall(&self, recall: &Recall) -> (Vec<usize>, EventId) {
        let above = recall.above.map(|id| self.place_of(&id));
        let up_to = self.place_of(&recall.up_to);
        let trimmed = self.trimmed[recall.channel];
        let is_there = |(seq, past): &(usize, &Past)| {
            let is_within = above.is_none_or(|above| past.place > above) && past.place <= up_to;
            *seq >= trimmed && is_within && !past.is_lost && past.channels.contains(&recall.channel)
        };
        let mut there: Vec<_> = self.history.iter().enumerate().filter(is_there).map(|(seq, _)| seq).collect();
        let brought = there.split_off(there.len().saturating_sub(recall.events_max));
        // A lost event of a term has no place that the feed would name.
        let last_trimmed = (0..trimmed).rev().find(|&seq| !self.history[seq].is_lost);
        let bottom = EventId::new(self.lines[0].term, 0, 0);
        let from = above.map_or(bottom, |(line, number)| EventId::new(self.lines[line].term, 0, number));
        let ids = last_trimmed.into_iter().chain(there.last().copied()).map(|seq| self.id_of(seq));
        let from = ids.fold(from, |from, id| if self.place_of(&id) > self.place_of(&from) { id } else { from });
        (brought, from)
    }

    /// An event of the history, in these channels.
    pub(super) fn publication(&self, seq: usize, channels: &[usize]) -> Publication {
        Publication::new(channels.iter().copied().map(name), self.event(seq))
    }

    pub(super) fn event(&self, seq: usize) -> Event {
        let padding = "x".repeat(seq * 7 % 60 + if seq % 23 == 22 && self.has_large { 300 } else { 0 });
        let id = self.history[seq].publisher_id.clone();
        EventFields { data: format!("{seq}:{padding}"), id, ..EventFields::default() }.validate().unwrap()
    }

    /// The feed's word on its terms, as if the last were `line` and had come to `number`.
    fn terms(&self, line: usize, number: u64) -> Terms {
        let ended = |line: &FeedTerm| EndedTerm { term: line.term, start: line.start, end: line.end.unwrap() };
        let ended = self.lines[..line].iter().filter(|line| line.is_remembered).map(ended).collect();
        let FeedTerm { term, start, .. } = self.lines[line];
        Terms { current: term, start, number, ms: now_ms(), ended }
    }

    /// The events of one term that a node at `from` missed.
    fn tell_line(&self, line: usize, from: Place, missed: &BTreeSet<usize>, calls: &mut Vec<Call>) {
        let is_told = self.lines[line].is_remembered || line + 1 == self.lines.len();
        if line > from.0 && is_told {
            let start = self.lines[line].start;
            calls.push(Call::Synced(self.terms(line, start), (line, start)));
        }
        let begin = if line == from.0 { from.1 } else { self.lines[line].start };
        let mut told = Vec::new();
        for &channel in missed {
            // A hole is told at both ends: before other channels pass it, and to those who come back in between. One up
            // to the end of a term ends with it, of which all are told.
            let Some(last) = self.last_trimmed(line, from, channel) else { continue };
            told.push((begin, true, Call::Gap(channel, self.id_at((line, begin)))));
            if line + 1 == self.lines.len() || self.goes_on(line, last, channel) {
                told.push((self.history[last].place.1, true, Call::Gap(channel, self.id_of(last))));
            }
        }
        for (seq, past) in self.history.iter().enumerate().skip(self.up_to(from)) {
            let is_there = |channel: &usize| missed.contains(channel) && self.trimmed[*channel] <= seq;
            let channels: Vec<_> = past.channels.iter().copied().filter(is_there).collect();
            if past.place.0 == line && !past.is_lost && !channels.is_empty() {
                told.push((past.place.1, false, Call::Event(seq, channels)));
            }
        }
        told.sort_by_key(|(number, is_gap, _)| (*number, *is_gap));
        calls.extend(told.into_iter().map(|(.., call)| call));
    }

    /// Whether a term has more of a channel behind an event of the history.
    fn goes_on(&self, line: usize, seq: usize, channel: usize) -> bool {
        let in_line = self.history[seq + 1..].iter().take_while(|past| past.place.0 == line);
        in_line.into_iter().any(|past| !past.is_lost && past.channels.contains(&channel))
    }

    /// The last event of a channel above a place, in one term, that the feed no longer has.
    fn last_trimmed(&self, line: usize, from: Place, channel: usize) -> Option<usize> {
        let is_gone = |seq: &usize| {
            let past = &self.history[*seq];
            past.place.0 == line && past.place > from && !past.is_lost && past.channels.contains(&channel)
        };
        (0..self.trimmed[channel]).rev().find(is_gone)
    }
}

fn term(seed: u64, line: u64) -> Term {
    Term::from_random(seed << 20 | line)
}
