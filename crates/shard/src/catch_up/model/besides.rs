//! What a client is owed of the events beside the numbering: each that comes to one of its channels while its stream is
//! open is delivered, or a gap of that channel tells. A new stream owes nothing of what was before it.

use std::collections::BTreeSet;

/// Those that were published, each as its channels. Their places are their texts.
pub(super) type Published = Vec<Vec<usize>>;

/// The account of one stream.
#[derive(Debug, Default)]
pub(super) struct Besides {
    had: BTreeSet<usize>,
    owed: Vec<Owed>,
}

#[derive(Debug)]
struct Owed {
    channel: usize,
    /// What is below was delivered or declared, or was there before the stream.
    settled: usize,
    /// A gap was told behind the newest that came by this channel alone: it covers what follows, up to the next.
    is_told: bool,
}

impl Besides {
    /// Of a stream of `channels` that begins when so many were published.
    pub(super) fn at(channels: &[usize], settled: usize) -> Self {
        let owed = channels.iter().map(|&channel| Owed { channel, settled, is_told: false }).collect();
        Self { had: BTreeSet::new(), owed }
    }

    /// A gap of a channel was told.
    pub(super) fn tell(&mut self, channel: usize) {
        let owed = self.owed.iter_mut().find(|owed| owed.channel == channel);
        owed.expect("a gap of a channel of its own").is_told = true;
    }

    /// One came. If it is of several channels of the stream, it may have come by one whose gap is not due yet.
    pub(super) fn take(&mut self, beside: usize, published: &Published) {
        self.had.insert(beside);
        let mut mine: Vec<_> = self.owed.iter_mut().filter(|owed| published[beside].contains(&owed.channel)).collect();
        assert!(!mine.is_empty(), "b{beside} is of none of its channels");
        if let [owed] = mine.as_mut_slice() {
            owed.check(beside, &self.had, published);
            (owed.settled, owed.is_told) = (beside + 1, false);
        }
    }

    /// Nothing more comes.
    pub(super) fn check_at_rest(&self, published: &Published) {
        for owed in &self.owed {
            owed.check(published.len(), &self.had, published);
        }
    }
}

impl Owed {
    fn check(&self, end: usize, had: &BTreeSet<usize>, published: &Published) {
        let is_missing = |beside: &usize| published[*beside].contains(&self.channel) && !had.contains(beside);
        let missing = (self.settled..end).find(is_missing).filter(|_| !self.is_told);
        assert_eq!(missing, None, "an event beside the numbering is missing silently before b{end}: {self:?}");
    }
}
