//! The unnumbered events that a client is owed: each that comes to one of its channels while its stream is
//! open is delivered, or a gap of that channel tells. A new stream owes nothing of what was before it.

use std::collections::BTreeSet;

/// Those that were published, each as its channels. Their places are their texts.
pub(super) type UnnumberedEvents = Vec<Vec<usize>>;

/// The account of one stream.
#[derive(Debug, Default)]
pub(super) struct UnnumberedOwed {
    /// Events below were there before the stream began, or have come.
    next: usize,
    had: BTreeSet<usize>,
    owed: Vec<Owed>,
}

#[derive(Debug)]
struct Owed {
    channel: usize,
    /// Events below were delivered or declared, or were there before the stream.
    settled: usize,
    /// A gap was told behind the newest that came by this channel alone: it covers what follows, up to the next.
    is_told: bool,
}

impl UnnumberedOwed {
    /// Of a stream of `channels` that begins on a node that has seen the events below `seen`, and is to see those from
    /// `settled` on.
    pub(super) fn at(channels: &[usize], seen: usize, settled: usize) -> Self {
        let owed = channels.iter().map(|&channel| Owed { channel, settled, is_told: false }).collect();
        Self { next: seen, had: BTreeSet::new(), owed }
    }

    /// A gap of a channel was told.
    pub(super) fn tell(&mut self, channel: usize) {
        let owed = self.owed.iter_mut().find(|owed| owed.channel == channel);
        owed.expect("a gap of a channel of its own").is_told = true;
    }

    /// One came. If it is of several channels of the stream, it may have come by one whose gap is not due yet.
    pub(super) fn take(&mut self, unnumbered: usize, published: &UnnumberedEvents) {
        assert!(unnumbered >= self.next, "b{unnumbered} was replayed");
        self.next = unnumbered + 1;
        self.had.insert(unnumbered);
        let mut mine: Vec<_> =
            self.owed.iter_mut().filter(|owed| published[unnumbered].contains(&owed.channel)).collect();
        assert!(!mine.is_empty(), "b{unnumbered} is of none of its channels");
        if let [owed] = mine.as_mut_slice() {
            owed.check(unnumbered, &self.had, published);
            (owed.settled, owed.is_told) = (unnumbered + 1, false);
        }
    }

    /// Nothing more comes.
    pub(super) fn check_at_rest(&self, published: &UnnumberedEvents) {
        for owed in &self.owed {
            owed.check(published.len(), &self.had, published);
        }
    }
}

impl Owed {
    fn check(&self, end: usize, had: &BTreeSet<usize>, published: &UnnumberedEvents) {
        let is_missing =
            |unnumbered: &usize| published[*unnumbered].contains(&self.channel) && !had.contains(unnumbered);
        let missing = (self.settled..end).find(is_missing).filter(|_| !self.is_told);
        assert_eq!(missing, None, "an unnumbered event is missing silently before b{end}: {self:?}");
    }
}
