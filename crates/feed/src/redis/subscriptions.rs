//! Which channels are wanted, which Redis sends, and which command brings the two together: a machine without IO.
//!
//! One command is outstanding at a time. Everything that is asked meanwhile is coalesced into the wish per channel, and
//! the next command carries up to [`BATCH_MAX`] channels, so a slow link makes batches larger and never queues longer.
//! Redis confirms a command's names in their order, and a confirmation counts only when it is the very next one
//! expected: an answer to an older command can therefore never confirm a newer one.

use std::collections::{BTreeMap, HashMap};

use fantail_wire::ChannelName;
use foldhash::fast::RandomState;

use super::names::{self, Kind};

/// The most channels in one command. Redis does nothing else meanwhile, about a millisecond for so many.
const BATCH_MAX: usize = 512;

/// What a command asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Subscribe,
    Unsubscribe,
}

/// One command, to be sent whole. Redis carries it out in one step, so nothing is published between its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) verb: Verb,
    channels: Vec<ChannelName>,
    /// The Redis channels of each of them.
    kinds: &'static [Kind],
}

/// A confirmation that nothing outstanding asks for: what Redis sends can no longer be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("redis confirmed something else than the oldest outstanding command")]
pub(super) struct Unexpected;

/// Wishes, what is known of Redis, and the outstanding command.
#[derive(Debug)]
pub(super) struct Subscriptions {
    kinds: &'static [Kind],
    channels: HashMap<ChannelName, State, RandomState>,
    /// In order of asking. Each channel stands in at most one of the two, so they grow no further than `channels`.
    to_subscribe: BTreeMap<u64, ChannelName>,
    to_unsubscribe: BTreeMap<u64, ChannelName>,
    next_ticket: u64,
    outstanding: Option<Outstanding>,
    last_verb: Option<Verb>,
}

#[derive(Debug)]
struct State {
    wanted: bool,
    link: Link,
    /// Where it stands in `to_subscribe` or `to_unsubscribe`.
    ticket: Option<u64>,
    /// How many channels a command with this one may carry; halved when Redis refuses one that did.
    batch_max: usize,
}

/// What Redis does for a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Absent,
    Subscribing,
    Subscribed,
    Unsubscribing,
    /// Redis does not let us. Asked again when followed again or connected anew.
    Refused,
}

#[derive(Debug)]
struct Outstanding {
    command: Command,
    /// Confirmations seen; each channel gets one for each of its Redis channels.
    seen: usize,
}

impl Command {
    /// The Redis channels of the command: all of each channel, side by side.
    pub(super) fn redis_channels(&self) -> Vec<String> {
        let of = |channel| self.kinds.iter().map(move |kind| names::of(*kind, channel));
        self.channels.iter().flat_map(of).collect()
    }

    fn expects(&self, seen: usize, redis_channel: &[u8]) -> bool {
        let kind = self.kinds[seen % self.kinds.len()];
        let expected = self.channels.get(seen / self.kinds.len()).map(|channel| (kind, channel.as_str()));
        expected.is_some() && names::split(redis_channel) == expected
    }
}

impl Subscriptions {
    /// Follows each channel by its Redis channels of these kinds.
    pub(super) fn new(kinds: &'static [Kind]) -> Self {
        Self {
            kinds,
            channels: HashMap::default(),
            to_subscribe: BTreeMap::new(),
            to_unsubscribe: BTreeMap::new(),
            next_ticket: 0,
            outstanding: None,
            last_verb: None,
        }
    }

    /// Wants a channel. Returns whether it is confirmed already.
    pub(super) fn follow(&mut self, channel: &ChannelName) -> bool {
        let state = self.channels.entry(channel.clone()).or_insert_with(State::new);
        state.wanted = true;
        if state.link == Link::Refused {
            state.link = Link::Absent;
        }
        let confirmed = state.link == Link::Subscribed;
        self.settle(channel);
        confirmed
    }

    /// Wants a channel no longer.
    pub(super) fn unfollow(&mut self, channel: &ChannelName) {
        if let Some(state) = self.channels.get_mut(channel.as_str()) {
            state.wanted = false;
            self.settle(channel);
        }
    }

    /// The channel of that name, if everything published to it arrives. The hot path's only lookup.
    pub(super) fn followed(&self, name: &str) -> Option<&ChannelName> {
        let (channel, state) = self.channels.get_key_value(name)?;
        state.is_followed().then_some(channel)
    }

    /// The command to send now, which is then outstanding.
    pub(super) fn next_command(&mut self) -> Option<Command> {
        if self.outstanding.is_some() {
            return None;
        }
        let verb = self.next_verb()?;
        let command = Command { verb, channels: self.take_batch(verb), kinds: self.kinds };
        let link = if verb == Verb::Subscribe { Link::Subscribing } else { Link::Unsubscribing };
        for channel in &command.channels {
            let state = self.state(channel);
            state.link = link;
            state.ticket = None;
        }
        self.last_verb = Some(verb);
        self.outstanding = Some(Outstanding { command: command.clone(), seen: 0 });
        Some(command)
    }

    /// Redis confirmed one name. Returns the channel of which everything arrives from now on, if this made one.
    pub(super) fn confirmed(&mut self, verb: Verb, redis_channel: &[u8]) -> Result<Option<ChannelName>, Unexpected> {
        let outstanding = self.outstanding.as_mut().ok_or(Unexpected)?;
        let command = &outstanding.command;
        if command.verb != verb || !command.expects(outstanding.seen, redis_channel) {
            return Err(Unexpected);
        }
        outstanding.seen += 1;
        let each = self.kinds.len();
        if !outstanding.seen.is_multiple_of(each) {
            return Ok(None);
        }
        let channel = command.channels[outstanding.seen / each - 1].clone();
        if outstanding.seen == each * command.channels.len() {
            self.outstanding = None;
        }
        let state = self.state(&channel);
        state.link = if verb == Verb::Subscribe { Link::Subscribed } else { Link::Absent };
        state.batch_max = BATCH_MAX;
        let followed = state.is_followed();
        self.settle(&channel);
        Ok(followed.then_some(channel))
    }

    /// Redis does not permit the outstanding SUBSCRIBE, and did nothing of it. One forbidden channel refuses its whole
    /// batch, so the batch is halved until the one stands alone. Returns it then.
    pub(super) fn refused(&mut self) -> Option<ChannelName> {
        let channels = self.outstanding.take()?.command.channels;
        let alone = channels.len() == 1;
        for channel in &channels {
            let state = self.state(channel);
            state.batch_max = (channels.len() / 2).max(1);
            state.link = if alone { Link::Refused } else { Link::Absent };
            self.settle(channel);
        }
        channels.into_iter().next().filter(|_| alone)
    }

    /// Asks again for what Redis did not permit: its operator may have changed that. Returns whether there is any.
    pub(super) fn ask_refused_again(&mut self) -> bool {
        let is_refused = |state: &State| state.wanted && state.link == Link::Refused;
        let refused: Vec<_> =
            self.channels.iter().filter(|(_, state)| is_refused(state)).map(|(name, _)| name.clone()).collect();
        for channel in &refused {
            self.state(channel).link = Link::Absent;
            self.settle(channel);
        }
        !refused.is_empty()
    }

    /// Whether a command is not completely answered.
    pub(super) fn is_waiting(&self) -> bool {
        self.outstanding.is_some()
    }

    /// Redis is gone and with it everything it did for us; the wishes stay.
    pub(super) fn lost(&mut self) {
        self.outstanding = None;
        self.to_subscribe.clear();
        self.to_unsubscribe.clear();
        self.channels.retain(|_, state| state.wanted);
        let channels: Vec<_> = self.channels.keys().cloned().collect();
        for channel in channels {
            *self.state(&channel) = State { wanted: true, ..State::new() };
            self.settle(&channel);
        }
    }

    /// How many channels are wanted or still known to Redis.
    pub(super) fn len(&self) -> usize {
        self.channels.len()
    }

    /// Subscribing goes first, since a client waits for it, but not twice while something is to be unsubscribed.
    fn next_verb(&self) -> Option<Verb> {
        match (self.to_subscribe.is_empty(), self.to_unsubscribe.is_empty()) {
            (true, true) => None,
            (false, false) if self.last_verb == Some(Verb::Subscribe) => Some(Verb::Unsubscribe),
            (false, _) => Some(Verb::Subscribe),
            (true, false) => Some(Verb::Unsubscribe),
        }
    }

    fn take_batch(&mut self, verb: Verb) -> Vec<ChannelName> {
        let waiting = if verb == Verb::Subscribe { &mut self.to_subscribe } else { &mut self.to_unsubscribe };
        let mut batch = Vec::new();
        let mut batch_max = BATCH_MAX;
        while let Some(first) = waiting.first_entry() {
            batch_max = batch_max.min(self.channels.get(first.get().as_str()).map_or(1, |state| state.batch_max));
            if batch.len() >= batch_max {
                break;
            }
            batch.push(first.remove());
        }
        batch
    }

    /// Puts a channel where its wish and its link say: into one of the two queues, out of them, or out of the map.
    fn settle(&mut self, channel: &ChannelName) {
        let state = self.state(channel);
        let wish = match (state.wanted, state.link) {
            (true, Link::Absent) => Some(Verb::Subscribe),
            (false, Link::Subscribed) => Some(Verb::Unsubscribe),
            _ => None,
        };
        let forgotten = !state.wanted && matches!(state.link, Link::Absent | Link::Refused);
        match (wish, state.ticket) {
            (Some(verb), None) => self.enqueue(verb, channel),
            (None, Some(ticket)) => {
                state.ticket = None;
                self.to_subscribe.remove(&ticket);
                self.to_unsubscribe.remove(&ticket);
            }
            // A channel that waits already waits for the same: only a wish in between could turn it round, and that
            // took it out of its queue.
            (Some(_), Some(_)) | (None, None) => {}
        }
        if forgotten {
            self.channels.remove(channel.as_str());
        }
    }

    fn enqueue(&mut self, verb: Verb, channel: &ChannelName) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.state(channel).ticket = Some(ticket);
        let waiting = if verb == Verb::Subscribe { &mut self.to_subscribe } else { &mut self.to_unsubscribe };
        waiting.insert(ticket, channel.clone());
    }

    /// A channel that a wish or a command names is in the map until both are gone.
    fn state(&mut self, channel: &ChannelName) -> &mut State {
        self.channels.entry(channel.clone()).or_insert_with(State::new)
    }
}

impl State {
    fn new() -> Self {
        Self { wanted: false, link: Link::Absent, ticket: None, batch_max: BATCH_MAX }
    }

    fn is_followed(&self) -> bool {
        self.wanted && self.link == Link::Subscribed
    }
}

#[cfg(test)]
mod tests;
