//! The wanted channels, the channels that Redis sends, and the next command between the two: a machine without IO.
//!
//! One command is outstanding at a time. Everything that is asked meanwhile is coalesced into the wish per channel, and
//! the next command carries up to [`BATCH_MAX`] channels, so a slow link makes batches larger and never queues longer.
//! Redis confirms a command's names in their order, and a confirmation counts only when it is the very next one
//! expected: an answer to an older command can therefore never confirm a newer one.
//!
//! In a Cluster a channel has Redis channels of two sorts, which different commands subscribe to. They go out one
//! behind the other as the parts of one command, and the channel is followed when both have been confirmed.

use std::collections::{BTreeMap, HashMap};

use fantail_wire::ChannelName;
use foldhash::fast::RandomState;

use crate::redis::names::{self, ChannelKind};

/// The most channels in one command. Redis does nothing else meanwhile, about a millisecond for so many.
const BATCH_MAX: usize = 512;

/// The direction of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Subscribe,
    Unsubscribe,
}

/// How the messages of a Redis channel travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SubscribeScope {
    /// To all subscribers of any node: `SUBSCRIBE`. One command for all names, which is carried out or refused whole.
    Everywhere,
    /// Within one slot of a Cluster: `SSUBSCRIBE`. One command for each name, which is carried out or refused by
    /// itself.
    Slot,
}

/// The Redis channels of a channel that travel in one way, side by side.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) scope: SubscribeScope,
    pub(crate) kinds: &'static [ChannelKind],
}

/// A command for some channels, part by part. Redis carries out a part for everywhere in one step, so nothing is
/// published between its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SubscribeCommand {
    pub(crate) verb: Verb,
    channels: Vec<ChannelName>,
    parts: &'static [Part],
}

/// A confirmation that no outstanding command asks for: the state of the subscriptions is not known any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("redis confirmed something else than the oldest outstanding command")]
pub(crate) struct Unexpected;

/// Wishes, the state at Redis, and the outstanding command.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    parts: &'static [Part],
    channels: HashMap<ChannelName, ChannelRecord, RandomState>,
    /// In order of asking. Each channel stands in at most one of the two, so they grow no further than `channels`.
    to_subscribe: BTreeMap<u64, ChannelName>,
    to_unsubscribe: BTreeMap<u64, ChannelName>,
    next_ticket: u64,
    outstanding: Option<Outstanding>,
    last_verb: Option<Verb>,
}

#[derive(Debug)]
struct ChannelRecord {
    wanted: bool,
    subscription: SubscriptionState,
    /// Its subscribed part is given up because Redis refused the rest.
    is_barred: bool,
    /// Where it stands in `to_subscribe` or `to_unsubscribe`.
    ticket: Option<u64>,
    /// How many channels a command with this one may carry; halved when Redis refuses one that did.
    batch_max: usize,
}

/// The state of a channel at Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SubscriptionState {
    Absent,
    Subscribing,
    Subscribed,
    Unsubscribing,
    /// Redis sends one part and refuses the other. The first has to be given up as well.
    Half,
    /// Redis refuses it. It is asked for again when it is followed again, and over the next connection.
    Refused,
}

#[derive(Debug)]
struct Outstanding {
    command: SubscribeCommand,
    /// Confirmations seen or passed over; each channel gets one for each of its Redis channels.
    seen: usize,
    /// Channels whose confirmation was passed over: Redis must have refused them.
    passed: Vec<usize>,
}

impl SubscribeCommand {
    /// The Redis channels of each part: all of each channel, side by side.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (SubscribeScope, Vec<String>)> {
        self.parts.iter().map(|part| {
            let of = |channel| part.kinds.iter().map(move |kind| names::of(*kind, channel));
            (part.scope, self.channels.iter().flat_map(of).collect())
        })
    }

    /// The confirmation that comes after `seen` others: the part, the channel's index, and the Redis channel.
    fn at(&self, mut seen: usize) -> Option<(&'static Part, usize, (ChannelKind, &str))> {
        for part in self.parts {
            let names = part.kinds.len() * self.channels.len();
            if seen < names {
                let (index, kind) = (seen / part.kinds.len(), part.kinds[seen % part.kinds.len()]);
                return Some((part, index, (kind, self.channels[index].as_str())));
            }
            seen -= names;
        }
        None
    }

    /// How many confirmations there are.
    fn len(&self) -> usize {
        self.parts.iter().map(|part| part.kinds.len() * self.channels.len()).sum()
    }

    /// The channel that has all of its confirmations with this one.
    fn complete_with(&self, seen: usize) -> Option<&ChannelName> {
        let last = self.parts.last()?;
        let (part, index, _) = self.at(seen)?;
        let before = self.len() - last.kinds.len() * self.channels.len();
        (part == last && (seen - before) % last.kinds.len() == last.kinds.len() - 1).then(|| &self.channels[index])
    }
}

impl Outstanding {
    /// Takes the confirmation of a name. It is the next, or behind some of its part that were refused by themselves.
    fn take(&mut self, redis_channel: &[u8]) -> Result<usize, Unexpected> {
        let named = names::split(redis_channel).ok_or(Unexpected)?;
        let (awaited, ..) = self.command.at(self.seen).ok_or(Unexpected)?;
        let may_pass = self.command.verb == Verb::Subscribe && awaited.scope == SubscribeScope::Slot;
        let mut passed = Vec::new();
        let mut seen = self.seen;
        while let Some((part, index, expected)) = self.command.at(seen).filter(|(part, ..)| *part == awaited) {
            if expected == named {
                self.passed.append(&mut passed);
                self.seen = seen + 1;
                return Ok(seen);
            }
            if !may_pass {
                break;
            }
            debug_assert_eq!(part.kinds.len(), 1, "a channel is refused by one name");
            passed.push(index);
            seen += 1;
        }
        Err(Unexpected)
    }
}

impl Subscriptions {
    /// Follows each channel by these Redis channels.
    pub(crate) fn new(parts: &'static [Part]) -> Self {
        Self {
            parts,
            channels: HashMap::default(),
            to_subscribe: BTreeMap::new(),
            to_unsubscribe: BTreeMap::new(),
            next_ticket: 0,
            outstanding: None,
            last_verb: None,
        }
    }

    /// Wants a channel. Returns whether it is confirmed already.
    pub(crate) fn follow(&mut self, channel: &ChannelName) -> bool {
        let record = self.channels.entry(channel.clone()).or_insert_with(ChannelRecord::new);
        record.wanted = true;
        if record.subscription == SubscriptionState::Refused {
            record.subscription = SubscriptionState::Absent;
        }
        let confirmed = record.subscription == SubscriptionState::Subscribed;
        self.settle(channel);
        confirmed
    }

    /// Wants a channel no longer.
    pub(crate) fn unfollow(&mut self, channel: &ChannelName) {
        if let Some(record) = self.channels.get_mut(channel.as_str()) {
            record.wanted = false;
            self.settle(channel);
        }
    }

    /// The channel of that name, if everything published to it arrives. The hot path's only lookup.
    pub(crate) fn followed(&self, name: &str) -> Option<&ChannelName> {
        let (channel, record) = self.channels.get_key_value(name)?;
        record.is_followed().then_some(channel)
    }

    /// The command to send now, which is then outstanding.
    pub(crate) fn next_command(&mut self) -> Option<SubscribeCommand> {
        if self.outstanding.is_some() {
            return None;
        }
        let verb = self.next_verb()?;
        let command = SubscribeCommand { verb, channels: self.take_batch(verb), parts: self.parts };
        let link =
            if verb == Verb::Subscribe { SubscriptionState::Subscribing } else { SubscriptionState::Unsubscribing };
        for channel in &command.channels {
            let record = self.record(channel);
            record.subscription = link;
            record.ticket = None;
        }
        self.last_verb = Some(verb);
        self.outstanding = Some(Outstanding { command: command.clone(), seen: 0, passed: Vec::new() });
        Some(command)
    }

    /// Redis confirmed one name. Returns the channel of which everything arrives from now on, if this made one.
    pub(crate) fn confirmed(
        &mut self,
        verb: Verb,
        scope: SubscribeScope,
        redis_channel: &[u8],
    ) -> Result<Option<ChannelName>, Unexpected> {
        let outstanding = self.outstanding.as_mut().ok_or(Unexpected)?;
        let expected = outstanding.command.at(outstanding.seen).map(|(part, ..)| part.scope);
        if outstanding.command.verb != verb || expected != Some(scope) {
            return Err(Unexpected);
        }
        let seen = outstanding.take(redis_channel)?;
        let Some(channel) = outstanding.command.complete_with(seen).cloned() else { return Ok(None) };
        if outstanding.seen == outstanding.command.len() && outstanding.passed.is_empty() {
            self.outstanding = None;
        }
        let record = self.record(&channel);
        record.subscription = match verb {
            Verb::Subscribe => SubscriptionState::Subscribed,
            Verb::Unsubscribe if record.is_barred => SubscriptionState::Refused,
            Verb::Unsubscribe => SubscriptionState::Absent,
        };
        record.is_barred = false;
        record.batch_max = BATCH_MAX;
        let followed = record.is_followed();
        self.settle(&channel);
        Ok(followed.then_some(channel))
    }

    /// Redis has answered the outstanding SUBSCRIBE, and refused so many names by themselves. They must be those whose
    /// confirmations did not come. Returns their channels.
    pub(crate) fn refused_apart(&mut self, refused: usize) -> Result<Vec<ChannelName>, Unexpected> {
        let Some(mut outstanding) = self.outstanding.take() else { return Err(Unexpected) };
        let command = outstanding.command;
        while let Some((part, index, _)) = command.at(outstanding.seen) {
            if part.scope != SubscribeScope::Slot {
                return Err(Unexpected);
            }
            outstanding.passed.push(index);
            outstanding.seen += 1;
        }
        if outstanding.passed.len() != refused {
            return Err(Unexpected);
        }
        let channels: Vec<_> = outstanding.passed.iter().map(|index| command.channels[*index].clone()).collect();
        for channel in &channels {
            let record = self.record(channel);
            record.subscription = SubscriptionState::Half;
            record.is_barred = true;
            self.settle(channel);
        }
        Ok(channels)
    }

    /// Redis does not permit the outstanding SUBSCRIBE, and did nothing of it. One forbidden channel refuses its whole
    /// batch, so the batch is halved until the one stands alone. Returns it then.
    pub(crate) fn refused(&mut self) -> Option<ChannelName> {
        let channels = self.outstanding.take()?.command.channels;
        let alone = channels.len() == 1;
        for channel in &channels {
            let record = self.record(channel);
            record.batch_max = (channels.len() / 2).max(1);
            record.subscription = if alone { SubscriptionState::Refused } else { SubscriptionState::Absent };
            self.settle(channel);
        }
        channels.into_iter().next().filter(|_| alone)
    }

    /// Asks again for refused channels: the operator may have allowed them. Returns whether there is any.
    pub(crate) fn ask_refused_again(&mut self) -> bool {
        let is_refused = |record: &ChannelRecord| record.wanted && record.subscription == SubscriptionState::Refused;
        let refused: Vec<_> =
            self.channels.iter().filter(|(_, record)| is_refused(record)).map(|(name, _)| name.clone()).collect();
        for channel in &refused {
            self.record(channel).subscription = SubscriptionState::Absent;
            self.settle(channel);
        }
        !refused.is_empty()
    }

    /// Whether a command is not completely answered.
    pub(crate) fn is_waiting(&self) -> bool {
        self.outstanding.is_some()
    }

    /// Follows by other Redis channels from now on. Nothing is subscribed to or asked for at this moment.
    pub(crate) fn follow_by(&mut self, parts: &'static [Part]) {
        self.parts = parts;
    }

    /// Redis is gone and with it everything it did for us; the wishes stay.
    pub(crate) fn lost(&mut self) {
        self.outstanding = None;
        self.to_subscribe.clear();
        self.to_unsubscribe.clear();
        self.channels.retain(|_, record| record.wanted);
        let channels: Vec<_> = self.channels.keys().cloned().collect();
        for channel in channels {
            *self.record(&channel) = ChannelRecord { wanted: true, ..ChannelRecord::new() };
            self.settle(&channel);
        }
    }

    /// How many channels are wanted or still known to Redis.
    pub(crate) fn len(&self) -> usize {
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
            batch_max = batch_max.min(self.channels.get(first.get().as_str()).map_or(1, |record| record.batch_max));
            if batch.len() >= batch_max {
                break;
            }
            batch.push(first.remove());
        }
        batch
    }

    /// Puts a channel where its wish and its state say: into one of the two queues, out of them, or out of the map.
    fn settle(&mut self, channel: &ChannelName) {
        let record = self.record(channel);
        let wish = match (record.wanted, record.subscription) {
            (true, SubscriptionState::Absent) => Some(Verb::Subscribe),
            (false, SubscriptionState::Subscribed) | (_, SubscriptionState::Half) => Some(Verb::Unsubscribe),
            _ => None,
        };
        let forgotten =
            !record.wanted && matches!(record.subscription, SubscriptionState::Absent | SubscriptionState::Refused);
        match (wish, record.ticket) {
            (Some(verb), None) => self.enqueue(verb, channel),
            (None, Some(ticket)) => {
                record.ticket = None;
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
        self.record(channel).ticket = Some(ticket);
        let waiting = if verb == Verb::Subscribe { &mut self.to_subscribe } else { &mut self.to_unsubscribe };
        waiting.insert(ticket, channel.clone());
    }

    /// A channel that a wish or a command names is in the map until both are gone.
    fn record(&mut self, channel: &ChannelName) -> &mut ChannelRecord {
        self.channels.entry(channel.clone()).or_insert_with(ChannelRecord::new)
    }
}

impl ChannelRecord {
    fn new() -> Self {
        Self {
            wanted: false,
            subscription: SubscriptionState::Absent,
            is_barred: false,
            ticket: None,
            batch_max: BATCH_MAX,
        }
    }

    fn is_followed(&self) -> bool {
        self.wanted && self.subscription == SubscriptionState::Subscribed
    }
}

#[cfg(test)]
mod tests;
