//! The events that a client is owed of each channel that it follows, whatever id it comes back with: the truth that its streams
//! are judged by.
//!
//! A place is settled if the event there was delivered, or declared missing, or was never owed. A client keeps its
//! account with each id that it got, and comes back to the account of the id that it says.

use super::client::ClientWorld;
use super::feed::Place;

/// One account for each channel. All numbers are places in the history.
#[derive(Debug, Clone, Default)]
pub(super) struct Account {
    owed: Vec<Owed>,
}

/// An id, and how far its client had come when it got it.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) id: String,
    pub(super) place: Option<Place>,
    pub(super) account: Account,
}

/// How far a client has come with one channel.
///
/// An event for several channels of a client may reach it through one of them while the log of another, which no longer
/// has it, tells of what is missing only at its floor. So such an event is no proof that a gap of the other is late.
#[derive(Debug, Clone)]
struct Owed {
    channel: usize,
    /// Events below were delivered or declared, or were never owed.
    settled: usize,
    /// Events above `settled` that came.
    had: Vec<usize>,
    /// Events below are declared missing by a gap that came since.
    declared: usize,
    /// A gap was told behind the newest event of the channel: it covers what follows, up to the next one.
    is_told: bool,
    /// The channel must begin with a gap.
    needs_gap: bool,
}

impl Account {
    /// Of a client that has come to a place: what is above is owed.
    pub(super) fn at(channels: &[usize], settled: usize) -> Self {
        let owed = |&channel: &usize| {
            let (had, declared, is_told, needs_gap) = (Vec::new(), settled, false, false);
            Owed { channel, settled, had, declared, is_told, needs_gap }
        };
        Self { owed: channels.iter().map(owed).collect() }
    }

    /// Of a client whose id nobody knows: everything is owed, and each channel must begin with a gap.
    pub(super) fn of_unknown(channels: &[usize]) -> Self {
        let mut account = Self::at(channels, 0);
        account.owed.iter_mut().for_each(|owed| owed.needs_gap = true);
        account
    }

    /// A replay does not promise the events below each channel's floor.
    pub(super) fn begin_above(&mut self, floors: impl IntoIterator<Item = usize>) {
        for (owed, floor) in self.owed.iter_mut().zip(floors) {
            owed.settled = owed.settled.max(floor);
        }
    }

    /// Gaps of these channels were told, up to the place `end`.
    pub(super) fn declare(&mut self, channels: &[usize], end: usize) {
        for channel in channels {
            let owed = self.owed.iter_mut().find(|owed| owed.channel == *channel);
            let owed = owed.expect("a gap of a channel of its own");
            owed.declared = owed.declared.max(end);
            (owed.is_told, owed.needs_gap) = (true, false);
        }
    }

    /// An event came through `channels`.
    pub(super) fn take(&mut self, seq: usize, channels: &[usize], world: &impl ClientWorld) {
        let mine = self.owed.iter().filter(|owed| channels.contains(&owed.channel)).count();
        assert!(mine > 0, "event {seq} is of none of its channels");
        for owed in self.owed.iter_mut().filter(|owed| channels.contains(&owed.channel)) {
            assert!(!owed.needs_gap || mine > 1, "event {seq} before the gap of {owed:?}");
            owed.had.push(seq);
            if mine == 1 {
                owed.check(seq, world);
                owed.settled = owed.settled.max(seq + 1);
                owed.had.clear();
                owed.is_told = false;
            }
        }
    }

    /// The client has an id behind which is all below `end`, and may go on elsewhere: of no channel may something be
    /// missing there without a gap that was told before.
    pub(super) fn pass(&mut self, end: usize, world: &impl ClientWorld) {
        for owed in &mut self.owed {
            assert!(!owed.needs_gap, "an id passes silently before the gap of {owed:?}");
            if !owed.is_told {
                owed.check(end, world);
            }
            owed.declared = owed.declared.max(end);
        }
    }

    /// As [`pass`](Self::pass) with an id of a term that has ended: wherever the client goes on, all its channels get a gap
    /// at the end of the term. A told gap counts all the same.
    pub(super) fn pass_in_ended_term(&mut self, end: usize) {
        for owed in self.owed.iter_mut().filter(|owed| owed.is_told) {
            owed.declared = owed.declared.max(end);
        }
    }

    /// Nothing more comes: everything is settled.
    pub(super) fn check_at_rest(&self, world: &impl ClientWorld) {
        for owed in &self.owed {
            owed.check(world.published(), world);
            assert!(!owed.needs_gap, "no gap tells that the id was unknown: {owed:?}");
        }
    }
}

impl Owed {
    /// Everything up to `end` must be settled or declared.
    fn check(&self, end: usize, world: &impl ClientWorld) {
        let is_missing = |seq: &usize| world.is_of(*seq, self.channel) && !self.had.contains(seq);
        let missing = (self.settled.max(self.declared)..end).find(is_missing);
        assert_eq!(missing, None, "an event is missing silently before {end}: {self:?}");
    }
}
