//! The copies of events for several channels: each comes by the Redis channel of one of them, and together they are one
//! event.
//!
//! A copy speaks for the channel that it came by and for no other. So Redis' ACL, which decides who may publish by that
//! channel, decides whom a publisher reaches, whatever its envelopes say. An event is handed down once, when its copies for
//! all of its followed channels have come, so that a stream of several of them gets it once. Example: `a` and `b` are
//! followed. The copy by `a` waits, the copy by `b` comes right behind it, and the event goes down for both.
//!
//! A copy that does not come holds the event back for [`WAIT`] at most, and no event of another channel. The next message
//! by a channel that has its copy lets it go as well, so that a channel has its events in the order of Redis.
//!
//! Where publishers are trusted the first copy speaks for all channels that it names, and nothing waits.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::mem::take;
use std::time::{Duration, Instant};

use fantail_wire::{ChannelName, Event, Publication};
use smallvec::{SmallVec, smallvec};

use super::recent_events::RecentEvents;
use crate::redis::envelope::Siblings;

/// How long an event waits for copies. Those of one transaction leave Redis together, and this is enough for a lost packet
/// to be sent again between two of them.
const WAIT: Duration = Duration::from_secs(1);

/// Events that wait, and the bytes of their data. Beyond either the oldest goes down.
const AWAITED_MAX: usize = 64;
const AWAITED_BYTES_MAX: usize = 16 << 20;

/// All that is known of copies.
#[derive(Debug)]
pub(crate) struct Copies {
    publishers_trusted: bool,
    /// Its key is this process's own: nobody can make two events that have one fingerprint.
    hasher: RandomState,
    recent: RecentEvents,
    /// The oldest is in front.
    awaited: VecDeque<Awaited>,
    /// Events that wait no longer, in their order.
    ready: Vec<Publication>,
}

/// An event of which copies are still to come.
#[derive(Debug)]
struct Awaited {
    fingerprint: u64,
    event: Event,
    /// The channels that have their copy.
    came: SmallVec<[ChannelName; 2]>,
    /// The others that are followed.
    missing: SmallVec<[ChannelName; 2]>,
    since: Instant,
}

/// The fate of a copy.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Copy {
    /// An event, to be handed down now.
    Event(Publication),
    /// The event waits for its other copies.
    Waits,
    /// The event has come before: it is there, or complete now.
    Repeated,
}

impl Copies {
    pub(crate) fn new(publishers_trusted: bool) -> Self {
        Self {
            publishers_trusted,
            hasher: RandomState::new(),
            recent: RecentEvents::default(),
            awaited: VecDeque::new(),
            ready: Vec::new(),
        }
    }

    /// A message comes by `channel`. An earlier copy by it, of another event, waits no longer.
    pub(crate) fn message(&mut self, channel: &ChannelName, payload: &[u8]) {
        if self.awaited.is_empty() {
            return;
        }
        let fingerprint = self.hasher.hash_one(payload);
        self.release(|awaited| awaited.fingerprint != fingerprint && awaited.came.contains(channel));
    }

    /// An event of another kind comes to `channels`: the same.
    pub(crate) fn overtaken(&mut self, channels: &[ChannelName]) {
        self.release(|awaited| channels.iter().any(|channel| awaited.came.contains(channel)));
    }

    /// A copy comes by `channel`, as `payload`. `followed` finds the channels that are followed now.
    ///
    /// A SUBSCRIBE stands before or behind the whole transaction, so all copies of the channels that are followed now are
    /// on their way. Copies that are sent one by one may come to channels that were followed in between. Example: `a` is
    /// followed, and the copy for `a` and `b` comes by `a`. Then `b` is followed, and the copy by `b` brings the event to
    /// `b` alone.
    pub(crate) fn take<'a>(
        &mut self,
        channel: &ChannelName,
        payload: &[u8],
        siblings: &Siblings,
        event: Event,
        followed: impl Fn(&str) -> Option<&'a ChannelName>,
    ) -> Copy {
        let siblings_followed = siblings.channels.iter().filter_map(|name| followed(name));
        if self.publishers_trusted {
            let mut channels = self.recent.insert(self.hasher.hash_one(&*siblings.uid), siblings_followed);
            channels.sort_unstable();
            return if channels.is_empty() { Copy::Repeated } else { Copy::Event(Publication { channels, event }) };
        }
        // All copies are the same. Another payload with the uid of this one is another event: else the publisher of one
        // channel could put words into the event of another.
        let fingerprint = self.hasher.hash_one(payload);
        if followed(channel.as_str()).is_none() || self.recent.has(fingerprint, channel) {
            return Copy::Repeated;
        }
        if let Some(at) = self.awaited.iter().position(|awaited| awaited.fingerprint == fingerprint) {
            self.awaited[at].comes_by(channel);
            self.release(|awaited| awaited.missing.is_empty());
            return Copy::Repeated;
        }
        let mut missing: SmallVec<[ChannelName; 2]> = SmallVec::new();
        for sibling in siblings_followed {
            if sibling != channel && !missing.contains(sibling) && !self.recent.has(fingerprint, sibling) {
                missing.push(sibling.clone());
            }
        }
        if missing.is_empty() {
            self.recent.insert(fingerprint, [channel].into_iter());
            return Copy::Event(Publication { channels: smallvec![channel.clone()], event });
        }
        let came = smallvec![channel.clone()];
        self.awaited.push_back(Awaited { fingerprint, event, came, missing, since: Instant::now() });
        self.keep_bounds();
        Copy::Waits
    }

    /// A channel is let go of: nothing waits for its copy.
    pub(crate) fn let_go(&mut self, channel: &ChannelName) {
        self.recent.let_go(channel);
        for awaited in &mut self.awaited {
            awaited.came.retain(|came| came != channel);
            awaited.missing.retain(|missing| missing != channel);
        }
        self.awaited.retain(|awaited| !awaited.came.is_empty());
        self.release(|awaited| awaited.missing.is_empty());
    }

    /// When the oldest has waited for long enough.
    pub(crate) fn next_release(&self) -> Option<Instant> {
        self.awaited.front().map(|oldest| oldest.since + WAIT)
    }

    /// Lets go what has waited for long enough.
    pub(crate) fn release_late(&mut self, now: Instant) {
        self.release(|awaited| awaited.since + WAIT <= now);
    }

    /// Lets everything go.
    pub(crate) fn release_all(&mut self) {
        self.release(|_| true);
    }

    /// The events that wait no longer.
    pub(crate) fn take_ready(&mut self) -> Vec<Publication> {
        take(&mut self.ready)
    }

    fn keep_bounds(&mut self) {
        let mut bytes: usize = self.awaited.iter().map(|awaited| awaited.event.data.len()).sum();
        while (bytes > AWAITED_BYTES_MAX || self.awaited.len() > AWAITED_MAX)
            && let Some(oldest) = self.awaited.pop_front()
        {
            bytes -= oldest.event.data.len();
            self.make_ready(oldest);
        }
    }

    fn release(&mut self, is_ready: impl Fn(&Awaited) -> bool) {
        if !self.awaited.iter().any(&is_ready) {
            return;
        }
        for awaited in take(&mut self.awaited) {
            if is_ready(&awaited) {
                self.make_ready(awaited);
            } else {
                self.awaited.push_back(awaited);
            }
        }
    }

    fn make_ready(&mut self, awaited: Awaited) {
        let Awaited { fingerprint, event, came, .. } = awaited;
        let mut channels = self.recent.insert(fingerprint, came.iter());
        channels.sort_unstable();
        self.ready.push(Publication { channels, event });
    }
}

impl Awaited {
    fn comes_by(&mut self, channel: &ChannelName) {
        self.missing.retain(|missing| missing != channel);
        if !self.came.contains(channel) {
            self.came.push(channel.clone());
        }
    }
}
