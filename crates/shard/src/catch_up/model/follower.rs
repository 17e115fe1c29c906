//! A node that follows a feed which numbers, with its connection.
//!
//! The feed's calls wait in a queue, of which the node takes one at a time. A connection may break, and takes
//! what is on its way along.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use fantail_hub::{Channel, Hub, HubSettings, Publisher, Release};
use fantail_wire::{Event, GapReason, Lane, Publication};

use super::feed::{Call, ModelFeed, Place, Recall};
use super::node::{channel_of, name};

/// Answers to other questions that may be on their way when somebody asks how far the feed is.
const SYNCS_ON_THE_WAY_MAX: usize = 2;

pub(super) struct ModelFollower {
    pub(super) hub: Arc<Hub>,
    pub(super) publisher: Publisher,
    /// The hub was told of the unnumbered events below this.
    pub(super) unnumbered: usize,
    pub(super) is_connected: bool,
    /// It takes a call in one of so many steps.
    pub(super) lag: usize,
    pub(super) calls: VecDeque<Call>,
    /// So many of them are what was missed: they go down in one piece, and nothing else happens to the node meanwhile.
    /// Its shards go on.
    pub(super) missed: usize,
    /// Up to here everything was handed down.
    pub(super) at: Option<Place>,
    wanted: BTreeSet<usize>,
    to_subscribe: VecDeque<usize>,
    subscribed: BTreeSet<usize>,
    /// Channels that were followed before the connection broke.
    followed: BTreeSet<usize>,
    pub(super) recalls: Vec<Recall>,
    pub(super) lingering: Vec<Arc<Channel>>,
}

impl ModelFollower {
    pub(super) fn new(settings: HubSettings, lag: usize) -> Self {
        let (hub, publisher) = Hub::new(settings, Arc::default());
        Self {
            hub,
            publisher,
            unnumbered: 0,
            is_connected: false,
            lag,
            calls: VecDeque::new(),
            missed: 0,
            at: None,
            wanted: BTreeSet::new(),
            to_subscribe: VecDeque::new(),
            subscribed: BTreeSet::new(),
            followed: BTreeSet::new(),
            recalls: Vec::new(),
            lingering: Vec::new(),
        }
    }

    /// The first unnumbered event that is still to come here, of so many published.
    pub(super) fn unnumbered_to_come(&self, published: usize) -> usize {
        let unnumbered =
            |call: &Call| if let Call::Unnumbered(unnumbered, _) = call { Some(*unnumbered) } else { None };
        self.calls.iter().find_map(unnumbered).unwrap_or(published)
    }

    /// An event is published: it is on its way if it is in one of the channels that are subscribed to.
    pub(super) fn hear(&mut self, channels: &[usize], call: impl FnOnce(Vec<usize>) -> Call) {
        let is_heard = |channel: &usize| self.is_connected && self.subscribed.contains(channel);
        let heard: Vec<_> = channels.iter().copied().filter(is_heard).collect();
        if !heard.is_empty() {
            self.calls.push_back(call(heard));
        }
    }

    /// The connection breaks. False if there was none.
    pub(super) fn lose(&mut self) -> bool {
        if !std::mem::take(&mut self.is_connected) {
            return false;
        }
        self.calls.clear();
        self.subscribed.clear();
        self.to_subscribe.clear();
        self.publisher.lost(Lane::default());
        for recall in std::mem::take(&mut self.recalls) {
            self.publisher.recalled(&name(recall.channel), Vec::new(), None);
        }
        true
    }

    /// The connection is made anew: all wanted channels are subscribed to, and what was missed is handed down.
    pub(super) fn connect(&mut self, feed: &ModelFeed) {
        self.is_connected = true;
        self.subscribed = self.wanted.clone();
        if let Some(from) = self.at {
            let missed = self.wanted.intersection(&self.followed).copied().collect();
            self.calls.extend(feed.missed(from, &missed));
        }
        self.calls.push_back(feed.sync());
        // Confirmed last: a stream that began in between would not be told of a hole that begins behind it.
        self.calls.extend(self.wanted.iter().map(|&channel| Call::Followed(channel, feed.newest_id())));
        self.missed = self.calls.len();
    }

    pub(super) fn follow(&mut self, channel: usize) {
        if self.wanted.insert(channel) && self.is_connected {
            self.to_subscribe.push_back(channel);
        }
    }

    /// The next subscription is confirmed. False if there is none, or too much else is on its way.
    pub(super) fn subscribe(&mut self, feed: &ModelFeed) -> bool {
        let syncs = self.calls.iter().filter(|call| matches!(call, Call::Synced(..))).count();
        if syncs >= SYNCS_ON_THE_WAY_MAX {
            return false;
        }
        let Some(channel) = self.to_subscribe.pop_front() else { return false };
        self.subscribed.insert(channel);
        self.calls.extend([Call::Followed(channel, feed.newest_id()), feed.sync()]);
        true
    }

    /// Looks whether a channel is still wanted.
    pub(super) fn release(&mut self, channel: Arc<Channel>, linger_ms: u64) -> Release {
        let release = self.publisher.release(&channel, linger_ms);
        match release {
            Release::Unfollow => self.unfollow(channel_of(channel.name().as_str())),
            Release::Wanted => {}
            Release::Later(_) => self.lingering.push(channel),
        }
        release
    }

    fn unfollow(&mut self, channel: usize) {
        for set in [&mut self.wanted, &mut self.subscribed, &mut self.followed] {
            set.remove(&channel);
        }
        self.to_subscribe.retain(|&asked| asked != channel);
        self.calls.retain(|call| !matches!(call, Call::Followed(c, _) | Call::Gap(c, _) if *c == channel));
    }

    /// Takes what it was told.
    pub(super) fn take(&mut self, call: Call, feed: &ModelFeed) {
        self.missed = self.missed.saturating_sub(1);
        match call {
            Call::Event(seq, channels) => {
                self.at = Some(feed.history[seq].place);
                // One that is too large is a gap.
                let _ = self.publisher.publish_numbered(&feed.publication(seq, &channels), feed.id_of(seq));
            }
            Call::Unnumbered(unnumbered, channels) => {
                let event = Event::text(format!("b{unnumbered}"));
                self.unnumbered = unnumbered + 1;
                self.publisher.publish_unnumbered(&Publication::new(channels.into_iter().map(name), event)).unwrap();
            }
            Call::Followed(channel, from) => {
                self.followed.insert(channel);
                self.publisher.followed(&name(channel), Some(from));
            }
            Call::Synced(terms, place) => {
                self.at = self.at.max(Some(place));
                self.publisher.synced(Lane::default(), &terms);
            }
            Call::Gap(channel, id) => self.publisher.gap(&name(channel), id, GapReason::Trimmed),
        }
    }
}
