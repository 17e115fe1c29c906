//! The way down: what a feed tells its node.

use fantail_wire::{ChannelName, EncodeError, Event, EventId, FeedState, GapReason, Lane, Publication, Terms};

use crate::Receipt;

/// The way down: what a feed tells its node. Called by the control loop only, under the intake's own lock.
///
/// A feed may call it from within `follow` and `publish`. So nothing here calls the feed, and the holder of the
/// intake's lock must not either: that would wait for itself.
///
/// A feed either leaves the numbering to the node ([`Placement::Next`]) or numbers by itself, each lane for itself:
/// then it tells of its terms by [`synced`](Self::synced) before it hands down the first event of a term. Where a term
/// ended, the rest of it comes first, then a `synced` whose `number` is the new term's `start`, then the new term's
/// events.
pub trait Intake: Send + 'static {
    /// An event arrived. The node places it in each of its channels that is followed.
    ///
    /// An error says that the event cannot be sent; the feed counts and logs it. An event that the feed had numbered is
    /// declared missing then. Otherwise nothing else happened: if its publisher does not learn of it,
    /// [`dropped`](Self::dropped) tells the channels.
    fn event(&mut self, publication: &Publication, placement: Placement) -> Result<Receipt, EncodeError>;

    /// Events that are published to `channel` from now on arrive, until [`lost`](Self::lost) or an unfollow. A feed
    /// that numbers by itself says `from` where: above this place the channel is complete.
    ///
    /// Each follow is answered by at least one of these; a repeated one at once.
    ///
    /// After an outage a feed that numbers confirms only when all missed events of all channels of the lane have been
    /// handed down and `synced` has told so: a stream begins at the node's newest number, and is not told of gaps
    /// below. Example: if a gap of `c` is told early, at 9, and ends at 14 while the node stands at 12, a stream of
    /// `c` and `d` that is let in there gets 14 of `d` and comes back with it, having lost 13 of `c` without a word.
    fn followed(&mut self, channel: &ChannelName, from: Option<EventId>);

    /// The connection of a lane is gone: none of its channels is followed until it is confirmed anew, and events may be
    /// missing.
    fn lost(&mut self, lane: Lane);

    /// The state changed. Every feed begins as [`FeedState::Connecting`].
    fn state(&mut self, state: FeedState);

    /// All that the lane's followed channels got up to `terms.number` has been handed down.
    fn synced(&mut self, lane: Lane, terms: &Terms);

    /// Events of `channel` up to `at` may be missing. Called before the events above `at`.
    fn gap(&mut self, channel: &ChannelName, at: EventId, reason: GapReason);

    /// A message without a number came for `channel` and is not handed down: it is no event, cannot be sent, or had to
    /// be dropped. It cannot be read again.
    fn dropped(&mut self, channel: &ChannelName);

    /// The answer to a recall: exactly one for each.
    fn recalled(&mut self, channel: &ChannelName, recalled: Recalled);
}

/// Where an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Behind everything before it: the node numbers it.
    Next,
    /// The feed numbered it. Numbers rise from call to call within a term.
    Numbered(EventId),
    /// Outside the feed's numbering: live only, without an id, never replayed.
    Unnumbered,
}

/// Older events of a channel, all at or below the place up to which they were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recalled {
    /// Oldest first; the newest if there were more than asked for.
    pub entries: Vec<(EventId, Event)>,
    /// The entries are all there was above this place. `None`: they could not be read.
    pub from: Option<EventId>,
}

impl Recalled {
    /// Nothing up to this place can be had.
    pub(crate) fn nothing_up_to(place: EventId) -> Self {
        Self { entries: Vec::new(), from: Some(place) }
    }
}
