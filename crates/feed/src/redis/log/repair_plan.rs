//! The events that a node has missed, in the one order in which they go down: a plan without IO.
//!
//! After a lost connection every followed channel is read from its Stream, and only when all of it is there does the
//! first event go down. So the node's order has no place where one channel is repaired and another is not, and a
//! client's one id is true for all of its channels.

use fantail_wire::{ChannelName, EventId, GapReason, Publication, Term, Terms};
use smallvec::smallvec;

use super::entry::LogEntry;
use super::log_order::LogOrder;

/// The entries that were found in one channel.
#[derive(Debug)]
pub(crate) struct MissedEvents {
    pub(crate) channel: ChannelName,
    /// The number of its newest event, read before the entries.
    pub(crate) top: u64,
    /// Oldest first.
    pub(crate) entries: Vec<LogEntry>,
}

/// An age of the log: its terms in their order. `0` is one that Redis has forgotten, but this node was in.
type Rank = usize;

/// Terms as they are at the moment, seen from a node that has come up to `from`.
struct Ages<'a> {
    from: EventId,
    terms: &'a Terms,
}

/// Brings together what lies above `from` and at or below the newest number of `terms`.
pub(crate) fn plan(from: EventId, terms: &Terms, missed: Vec<MissedEvents>) -> Vec<LogOrder> {
    let ages = Ages { from, terms };
    let mut steps: Vec<(Rank, u64, bool, LogOrder)> = Vec::new();
    for channel in missed {
        ages.add(channel, &mut steps);
    }
    // A gap stands behind the events of other channels that have its number, so that numbers only rise.
    steps.sort_by_key(|(rank, number, is_gap, _)| (*rank, *number, *is_gap));
    let mut plan = Vec::with_capacity(steps.len());
    let mut rank = ages.rank(from.term).unwrap_or(0);
    for (next, _, _, step) in steps {
        while rank < next {
            rank += 1;
            plan.push(LogOrder::Synced(ages.terms_at(rank)));
        }
        join(&mut plan, step);
    }
    plan
}

/// An event for several channels is found in each of them, and goes down once.
fn join(plan: &mut Vec<LogOrder>, step: LogOrder) {
    if let (
        Some(LogOrder::Event { id: before, publication: all, .. }),
        LogOrder::Event { id, publication: Publication { channels, .. }, .. },
    ) = (plan.last_mut(), &step)
        && *before == *id
    {
        all.channels.extend(channels.iter().cloned());
        return;
    }
    plan.push(step);
}

impl Ages<'_> {
    fn rank(&self, term: Term) -> Option<Rank> {
        if term == self.terms.current {
            return Some(self.terms.ended.len() + 1);
        }
        let ended = self.terms.ended.iter().position(|ended| ended.term == term).map(|at| at + 1);
        ended.or((term == self.from.term).then_some(0))
    }

    /// The number at which the terms of a rank begin.
    fn start(&self, rank: Rank) -> u64 {
        match rank.checked_sub(1) {
            None => 0,
            Some(at) => self.terms.ended.get(at).map_or(self.terms.start, |ended| ended.start),
        }
    }

    /// The numbering as it was when the term of that rank had just begun.
    fn terms_at(&self, rank: Rank) -> Terms {
        let Some(begun) = self.terms.ended.get(rank - 1) else {
            return Terms { number: self.terms.start, ..self.terms.clone() };
        };
        let ended = self.terms.ended[..rank - 1].to_vec();
        Terms { current: begun.term, start: begun.start, number: begun.start, ms: self.terms.ms, ended }
    }

    fn add(&self, missed: MissedEvents, steps: &mut Vec<(Rank, u64, bool, LogOrder)>) {
        let MissedEvents { channel, top, entries } = missed;
        let newest = self.rank(self.terms.current).unwrap_or(0);
        // Up to where the channel is accounted for.
        let (mut rank, mut number) = (self.rank(self.from.term).unwrap_or(0), self.from.number);
        for entry in entries {
            // Nobody knows where an entry of a forgotten term belongs. That terms have ended is declared anyway.
            let Some(at) = self.rank(entry.id.term) else { continue };
            if (at, entry.id.number) <= (rank, number) {
                continue;
            }
            if at > rank {
                // A hole at the end of the term before is told in that term. Its end is told anyway.
                if entry.previous > number {
                    steps.push(gap(&channel, rank, self.id(rank, number)));
                }
                (rank, number) = (at, self.start(at));
            }
            if entry.previous > number {
                let before = EventId { number: entry.id.number - 1, ..entry.id };
                steps.push(gap(&channel, at, self.id(at, number)));
                if before.number > number {
                    steps.push(gap(&channel, at, before));
                }
            }
            number = entry.id.number;
            let id = entry.id;
            // An event that came after the number was read comes as a message.
            if at < newest || id.number <= self.terms.number {
                let publication = Publication { channels: smallvec![channel.clone()], event: entry.event };
                let step = LogOrder::Event { id, publication, is_repaired: true };
                steps.push((at, id.number, false, step));
            }
        }
        if rank < newest && top > number {
            steps.push(gap(&channel, rank, self.id(rank, number)));
        }
        let tail = if rank == newest { number } else { self.start(newest) };
        // The newest may have come after the number was read. If it was lost since, nobody knows what was before it.
        let lost_up_to = top.min(self.terms.number);
        if lost_up_to > tail {
            steps.push(gap(&channel, newest, self.id(newest, tail)));
            steps.push(gap(&channel, newest, self.id(newest, lost_up_to)));
        }
    }

    /// A place in the term of a rank.
    fn id(&self, rank: Rank, number: u64) -> EventId {
        let term = match rank.checked_sub(1) {
            None => self.from.term,
            Some(at) => self.terms.ended.get(at).map_or(self.terms.current, |ended| ended.term),
        };
        EventId::new(term, self.terms.ms, number)
    }
}

/// A gap is told at both its ends. Example: 11 to 13 of `a` are missing and 12 of `b` is there. The gap is told at 10,
/// before a stream of both sends 12 as its client's id, and again at 13, for a client that comes back with 12.
fn gap(channel: &ChannelName, rank: Rank, at: EventId) -> (Rank, u64, bool, LogOrder) {
    (rank, at.number, true, LogOrder::Gap { channel: channel.clone(), at, reason: GapReason::Trimmed })
}

#[cfg(test)]
mod tests {
    use fantail_wire::{EndedTerm, Event};

    use super::*;

    const OLD: u64 = 1;
    const NEW: u64 = 2;

    fn id(term: u64, number: u64) -> EventId {
        EventId::new(Term::from_random(term), 0, number)
    }

    /// The old term ended at `end`; the new one has come to `number`.
    fn terms(end: u64, number: u64) -> Terms {
        let ended = vec![EndedTerm { term: Term::from_random(OLD), start: 0, end }];
        Terms { current: Term::from_random(NEW), start: end, number, ms: 0, ended }
    }

    /// The entries of a channel: term, number, previous.
    fn missed(name: &str, top: u64, entries: &[(u64, u64, u64)]) -> MissedEvents {
        let entry = |(term, number, previous): &(u64, u64, u64)| LogEntry {
            id: id(*term, *number),
            previous: *previous,
            event: Event::text(""),
        };
        let channel = ChannelName::parse(name).expect("valid");
        MissedEvents { channel, top, entries: entries.iter().map(entry).collect() }
    }

    /// The plan as text: `number:channels`, `gap number:channel`, `term start`.
    fn told(from: EventId, terms: &Terms, found: Vec<MissedEvents>) -> Vec<String> {
        let say = |step: &LogOrder| match step {
            LogOrder::Event { id, publication, .. } => {
                let names: Vec<_> = publication.channels.iter().map(ChannelName::as_str).collect();
                format!("{}:{}", id.number, names.join("+"))
            }
            LogOrder::Gap { channel, at, .. } => format!("gap {}:{channel}", at.number),
            LogOrder::Synced(terms) => format!("term {}", terms.start),
            other => unreachable!("{other:?}"),
        };
        plan(from, terms, found).iter().map(say).collect()
    }

    #[test]
    fn channels_are_merged_by_number_and_an_event_for_several_goes_down_once() {
        let a = missed("a", 15, &[(NEW, 12, 8), (NEW, 15, 12)]);
        let b = missed("b", 14, &[(NEW, 11, 0), (NEW, 12, 11), (NEW, 14, 12)]);
        assert_eq!(told(id(NEW, 10), &terms(5, 20), vec![a, b]), ["11:b", "12:a+b", "14:b", "15:a"]);
    }

    #[test]
    fn a_trimmed_event_is_told_as_a_gap_before_the_events_behind_it() {
        let a = missed("a", 18, &[(NEW, 15, 13), (NEW, 18, 15)]);
        let b = missed("b", 14, &[(NEW, 14, 9)]);
        assert_eq!(told(id(NEW, 10), &terms(5, 20), vec![a, b]), ["gap 10:a", "14:b", "gap 14:a", "15:a", "18:a"]);
    }

    #[test]
    fn a_stream_that_is_gone_leaves_a_gap_at_the_newest_event_that_it_had() {
        assert_eq!(told(id(NEW, 10), &terms(5, 20), vec![missed("a", 17, &[])]), ["gap 10:a", "gap 17:a"]);
        let a = missed("a", 17, &[(NEW, 12, 9)]);
        assert_eq!(told(id(NEW, 10), &terms(5, 20), vec![a]), ["12:a", "gap 12:a", "gap 17:a"]);
    }

    #[test]
    fn an_event_after_the_number_that_was_read_is_left_to_its_message() {
        let a = missed("a", 21, &[(NEW, 20, 9), (NEW, 21, 20)]);
        assert_eq!(told(id(NEW, 10), &terms(5, 20), vec![a]), ["20:a"]);
    }

    /// 1. Number 20 is read. Event 25 comes, whose message tells that 15 was before it.
    /// 2. The Stream is evicted, with both.
    #[test]
    fn a_stream_that_is_gone_with_what_came_after_the_number_was_read_leaves_a_gap_up_to_that_number() {
        assert_eq!(told(id(NEW, 10), &terms(5, 20), vec![missed("a", 25, &[])]), ["gap 10:a", "gap 20:a"]);
    }

    #[test]
    fn the_rest_of_an_ended_term_comes_before_the_next_term_begins() {
        let a = missed("a", 31, &[(OLD, 28, 20), (NEW, 31, 28)]);
        let b = missed("b", 32, &[(OLD, 30, 2), (NEW, 32, 30)]);
        assert_eq!(told(id(OLD, 25), &terms(30, 40), vec![a, b]), ["28:a", "30:b", "term 30", "31:a", "32:b"]);
    }

    #[test]
    fn a_number_that_was_given_twice_is_another_event_in_the_new_term() {
        // The node saw the old term up to 35. It was lost from 30 on, and 31 to 36 were given again.
        let a = missed("a", 36, &[(OLD, 29, 20), (NEW, 33, 29), (NEW, 36, 34)]);
        assert_eq!(told(id(OLD, 35), &terms(30, 40), vec![a]), ["term 30", "33:a", "gap 33:a", "gap 35:a", "36:a"]);
    }

    #[test]
    fn a_term_that_redis_has_forgotten_comes_before_all_it_knows() {
        let forgotten = EventId::new(Term::from_random(9), 0, 500);
        let a = missed("a", 32, &[(9, 501, 400), (OLD, 3, 0), (NEW, 32, 3)]);
        assert_eq!(told(forgotten, &terms(30, 40), vec![a]), ["501:a", "term 0", "3:a", "term 30", "32:a"]);
    }

    #[test]
    fn a_gap_is_told_before_other_channels_pass_what_is_missing() {
        // Event 13 of a is gone. A stream of a and b that is cut off behind b's 14 comes back to another node with 14.
        let a = missed("a", 18, &[(NEW, 15, 13), (NEW, 18, 15)]);
        let b = missed("b", 14, &[(NEW, 14, 9)]);
        let told = told(id(NEW, 10), &terms(5, 20), vec![a, b]);
        let gap = told.iter().position(|step| step.starts_with("gap") && step.ends_with(":a"));
        let passed = told.iter().position(|step| step == "14:b");
        assert!(gap < passed, "{told:?}");
    }
}
