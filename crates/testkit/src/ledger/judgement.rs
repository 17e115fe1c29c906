//! Compares one reader's history with the published events.
//!
//! Walks the history once. A *line* is one publisher's events in one channel. Its numbers have no holes, so a skipped
//! number is a missing event. Pure: reads the entries, writes the verdict.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{History, Key, LedgerEntry, Mark, PublishedEvents, ReaderEnd, Start, Step, verdict::Verdict};
use crate::{payload::Flaw, response::End};

pub(super) fn judge(history: &History, published: &PublishedEvents, verdict: &mut Verdict, fates: &mut Fates) {
    verdict.readers += 1;
    let mut walk = Walk::new(history, published, verdict);
    for step in &history.steps {
        walk.step(step);
    }
    walk.end(fates);
    fates.arrived.extend(walk.seen.keys());
}

/// The fate of events, over all readers.
#[derive(Debug, Default)]
pub(super) struct Fates {
    arrived: BTreeSet<Key>,
    missed: BTreeSet<Key>,
}

impl Fates {
    /// The events that a reader missed and that reached no other.
    pub(super) fn nowhere(&self) -> u64 {
        self.missed.difference(&self.arrived).count() as u64
    }
}

/// The reader's progress in one line.
struct ChannelLine<'a> {
    channel: &'a str,
    publisher: u32,
    orders: &'a [u64],
    /// The sequence number from which the reader is certainly owed.
    owed_from: usize,
    /// The next expected number, once an event came.
    next: Option<usize>,
    /// The time of a gap that still waits for its place: the next event of this line, or the end.
    gap_told_at: Option<u64>,
    /// Missing events before events that may have come by another channel: a gap may still excuse them.
    open: Vec<Key>,
    /// The channel began anew: the next event may be an older one, and those behind it are in order again.
    may_go_back: bool,
}

impl ChannelLine<'_> {
    /// Whether the reader is past this place and may not go back.
    fn is_past(&self, seq: u64) -> bool {
        !self.may_go_back && self.next.is_some_and(|next| seq < next as u64)
    }
}

struct Walk<'a> {
    history: &'a History,
    published: &'a PublishedEvents,
    verdict: &'a mut Verdict,
    lines: Vec<ChannelLine<'a>>,
    /// The place in `lines` of a channel's and publisher's line.
    places: HashMap<(&'a str, u32), usize>,
    /// The events that came, and how often their channels had begun anew by then: the same event may come once each
    /// time.
    seen: BTreeMap<Key, u64>,
    beginnings: BTreeMap<&'a str, u64>,
    /// Channels whose next gap begins them anew, whatever its reason, because another channel did so. A reader that is
    /// cut off in between comes back with an id that is known.
    to_begin_anew: BTreeSet<&'a str>,
    /// Missing events, and whether a gap excuses them in any line they stand in.
    holes: BTreeMap<Key, bool>,
    /// Per publisher, the highest order that came.
    tops: BTreeMap<u32, u64>,
}

impl<'a> Walk<'a> {
    fn new(history: &'a History, published: &'a PublishedEvents, verdict: &'a mut Verdict) -> Self {
        let (Start::Live(mark) | Start::After(mark)) = history.start;
        let mut lines = Vec::new();
        for channel in &history.channels {
            for (publisher, orders) in published.lines.get(channel).into_iter().flatten() {
                let owed_from = entered_until(published, *publisher, orders, mark);
                let (channel, publisher) = (channel.as_str(), *publisher);
                lines.push(ChannelLine {
                    channel,
                    publisher,
                    orders,
                    owed_from,
                    next: None,
                    gap_told_at: None,
                    open: Vec::new(),
                    may_go_back: false,
                });
            }
        }
        let places = lines.iter().enumerate().map(|(at, line)| ((line.channel, line.publisher), at)).collect();
        Self {
            history,
            published,
            verdict,
            lines,
            places,
            seen: BTreeMap::new(),
            beginnings: BTreeMap::new(),
            to_begin_anew: BTreeSet::new(),
            holes: BTreeMap::new(),
            tops: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Received { key, hash, flaw } => self.received(*key, *hash, *flaw),
            Step::Gap { channel, told_at, begins_anew } => self.gap(channel, *told_at, *begins_anew),
            Step::Unreadable { flaw, text } => {
                let start: String = text.chars().take(80).collect();
                self.flawed(*flaw, &format!("{start:?}"));
            }
        }
    }

    fn received(&mut self, key: Key, hash: u64, flaw: Option<Flaw>) {
        let published = self.published;
        let Some(entry) = published.entry(key) else {
            return self.foreign(&format!("event {} of publisher {} was never published", key.1, key.0));
        };
        let followed = |(channel, _): &&(String, u64)| self.history.channels.contains(channel);
        let places: Vec<_> = entry.places.iter().filter(followed).collect();
        if places.is_empty() {
            return self.foreign(&format!("{} is for channels it does not follow", name(key, entry)));
        }
        let beginnings = places.iter().map(|(channel, _)| self.beginnings.get(channel.as_str()).unwrap_or(&0)).sum();
        let seen_before = self.seen.insert(key, beginnings);
        if seen_before == Some(beginnings) {
            return self.duplicated(&format!("{} came again", name(key, entry)));
        }
        if matches!(self.history.start, Start::After(mark) if entry.entered_at <= mark.0) {
            return self.duplicated(&format!("{} lies before the place it resumed from", name(key, entry)));
        }
        match flaw {
            Some(flaw) => self.flawed(flaw, &name(key, entry)),
            None if hash != entry.hash => self.flawed(Flaw::Corrupted, &name(key, entry)),
            None if seen_before.is_some() => self.verdict.repeated += 1,
            None => self.verdict.delivered += 1,
        }
        let line = |channel: &str| self.places.get(&(channel, key.0)).map(|at| &self.lines[*at]);
        let is_past = places.iter().all(|(channel, seq)| line(channel).is_some_and(|line| line.is_past(*seq)));
        if is_past || self.tops.get(&key.0).is_some_and(|top| key.1 < *top) {
            self.verdict.reordered += 1;
            return self.tell(&format!("reordered: {} came behind a later event", name(key, entry)));
        }
        self.tops.insert(key.0, key.1);
        if let [(channel, _)] = places[..] {
            self.lines.iter_mut().filter(|line| line.channel == channel).for_each(|line| line.open.clear());
        }
        for (channel, seq) in &places {
            let to = usize::try_from(*seq).unwrap_or(usize::MAX);
            self.advance(channel, key.0, to, places.len() > 1);
        }
    }

    /// Brings a line to the event that came; skipped events are missing so far.
    fn advance(&mut self, channel: &str, publisher: u32, to: usize, may_come_by_another: bool) {
        let Some(line) = self.places.get(&(channel, publisher)).and_then(|at| self.lines.get_mut(*at)) else { return };
        // Before the first event, those in flight while joining were not owed.
        let from = line.next.unwrap_or(line.owed_from);
        note_missing(line, from, to, self.published, &mut self.holes);
        if may_come_by_another {
            let missing = line.orders.get(from..to).unwrap_or_default();
            line.open.extend(missing.iter().map(|order| (publisher, *order)));
        }
        line.next = Some(if line.may_go_back { to + 1 } else { line.next.unwrap_or(0).max(to + 1) });
        line.may_go_back = false;
        line.gap_told_at = None;
    }

    fn gap(&mut self, channel: &str, told_at: u64, begins_anew: bool) {
        self.verdict.gaps += 1;
        let history = self.history;
        let Some(channel) = history.channels.get(channel).map(String::as_str) else {
            return self.foreign(&format!("a gap in {channel:?}, which it does not follow"));
        };
        self.begin_anew(channel, begins_anew);
        for line in self.lines.iter_mut().filter(|line| line.channel == channel) {
            line.gap_told_at = Some(told_at);
            for key in line.open.drain(..) {
                let is_past = self.published.entry(key).is_some_and(|entry| entry.entered_at <= told_at);
                *self.holes.entry(key).or_default() |= is_past;
            }
        }
    }

    /// Earlier events may come again from here on, in their old order.
    fn begin_anew(&mut self, channel: &'a str, is_told: bool) {
        let is_due = self.to_begin_anew.remove(channel);
        if is_told && !is_due {
            let others = self.history.channels.iter().map(String::as_str).filter(|other| *other != channel);
            self.to_begin_anew = others.collect();
        }
        if is_told || is_due {
            *self.beginnings.entry(channel).or_default() += 1;
            self.lines.iter_mut().filter(|line| line.channel == channel).for_each(|line| line.may_go_back = true);
            self.tops.clear();
        }
    }

    fn end(&mut self, fates: &mut Fates) {
        let until = match self.history.end {
            ReaderEnd::StillOpen => {
                self.verdict.unfinished += 1;
                self.tell("unfinished: it never said how it ended");
                None
            }
            ReaderEnd::Left => None,
            ReaderEnd::Stopped(until) | ReaderEnd::Ended(End::Clean, until) => Some(until),
            ReaderEnd::Ended(end, until) => {
                self.verdict.cut += 1;
                self.tell(&format!("cut: its stream ended {end}"));
                Some(until)
            }
        };
        if let Some(until) = until {
            for line in &mut self.lines {
                let from = line.next.unwrap_or(line.owed_from);
                let to = entered_until(self.published, line.publisher, line.orders, until);
                note_missing(line, from, to, self.published, &mut self.holes);
            }
        }
        self.count_holes(fates);
    }

    fn count_holes(&mut self, fates: &mut Fates) {
        for (key, is_excused) in std::mem::take(&mut self.holes) {
            // A late event was counted as reordered when it came.
            let entry = self.published.entry(key).filter(|_| !self.seen.contains_key(&key));
            let Some(entry) = entry else { continue };
            if !entry.is_confirmed {
                self.verdict.unconfirmed += 1;
                continue;
            }
            fates.missed.insert(key);
            if is_excused {
                self.verdict.declared += 1;
            } else {
                self.verdict.silent += 1;
                self.tell(&format!("silent: {} is missing and no gap was told", name(key, entry)));
            }
        }
    }

    fn flawed(&mut self, flaw: Flaw, what: &str) {
        match flaw {
            Flaw::Cut => self.verdict.cut += 1,
            Flaw::Corrupted => self.verdict.corrupted += 1,
        }
        self.tell(&format!("{flaw:?}: {what}"));
    }

    fn duplicated(&mut self, what: &str) {
        self.verdict.duplicated += 1;
        self.tell(&format!("duplicated: {what}"));
    }

    fn foreign(&mut self, what: &str) {
        self.verdict.foreign += 1;
        self.tell(&format!("foreign: {what}"));
    }

    fn tell(&mut self, what: &str) {
        let reader = &self.history.name;
        self.verdict.tell(|| format!("{reader}: {what}"));
    }
}

/// The events of a line that were entered up to the mark. Lines are in order of entry.
fn entered_until(published: &PublishedEvents, publisher: u32, orders: &[u64], mark: Mark) -> usize {
    let entered = |order: &u64| published.entry((publisher, *order)).is_some_and(|entry| entry.entered_at <= mark.0);
    orders.partition_point(entered)
}

fn note_missing(
    line: &ChannelLine<'_>,
    from: usize,
    to: usize,
    published: &PublishedEvents,
    holes: &mut BTreeMap<Key, bool>,
) {
    let missing = line.orders.get(from..to).unwrap_or_default();
    for order in missing {
        let key = (line.publisher, *order);
        // A gap is about the past: it cannot excuse events that were published after it.
        let is_past = |told_at| published.entry(key).is_some_and(|entry| entry.entered_at <= told_at);
        *holes.entry(key).or_default() |= line.gap_told_at.is_some_and(is_past);
    }
}

fn name((publisher, order): Key, entry: &LedgerEntry) -> String {
    let places: Vec<_> = entry.places.iter().map(|(channel, seq)| format!("{channel}#{seq}")).collect();
    format!("{} (event {order} of publisher {publisher})", places.join("+"))
}
