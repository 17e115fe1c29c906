//! What comes from Redis, on its way to the node: called by the connection for each push, in the order of the socket.
//!
//! There is no queue between the socket and the intake. While an event is placed nothing is read, so a node that is too
//! slow fills the socket's buffers, and Redis bounds what it keeps for us. Nothing here waits or panics on input.
//! Locks are taken in one order, intake before inner, so that the intake sees messages, confirmations and losses in one
//! order too.

use std::error::Error;
use std::sync::Arc;

use fantail_wire::{ChannelName, Event, GapReason, Lane, Publication};
use parking_lot::Mutex;
use redis::{PushInfo, PushKind, Value};
use smallvec::{SmallVec, smallvec};
use tokio::sync::{Notify, watch};

use super::recent_uids::RecentUids;
use super::subscriptions::{Part, SubscribeCommand, SubscribeScope, Subscriptions, Unexpected, Verb};
use crate::counters::{FeedCounters, Refusal, add_one};
use crate::log_gate::LogGate;
use crate::redis::envelope::{Envelope, Siblings};
use crate::redis::log::{ContinuityError, LaneLog, Message};
use crate::redis::names::{self, ChannelKind};
use crate::{Intake, Placement};

mod lane_states;
mod logged;

pub(crate) use lane_states::LaneStates;
pub(crate) use logged::MissedRange;

/// Lines a minute about messages that were refused, and as many about channels.
const LOG_LINES_PER_MINUTE: u32 = 10;
/// How much of an error about a payload is logged: it may quote the payload.
const ERROR_CHARS_MAX: usize = 200;

/// Without a log.
const PLAIN: &[Part] = &[Part { scope: SubscribeScope::Everywhere, kinds: &[ChannelKind::Plain, ChannelKind::Event] }];
/// With a log whose events travel like all others.
const LOGGED: &[Part] =
    &[Part { scope: SubscribeScope::Everywhere, kinds: &[ChannelKind::Plain, ChannelKind::Event, ChannelKind::Log] }];
/// With a log in one slot of a Cluster.
const SHARDED: &[Part] = &[
    Part { scope: SubscribeScope::Everywhere, kinds: &[ChannelKind::Plain, ChannelKind::Event] },
    Part { scope: SubscribeScope::Slot, kinds: &[ChannelKind::Log] },
];

/// The state that the subscription's connection, the wishes from above and the intake share.
#[derive(Debug)]
pub(crate) struct Arrivals<I> {
    intake: Arc<Mutex<I>>,
    lane: Lane,
    lanes: Arc<LaneStates>,
    inner: Mutex<Inner>,
    counters: Arc<FeedCounters>,
    /// Wakes the subscriber when a wish may need a command.
    wishes: Notify,
    /// Wakes whoever reads older events.
    recalls: Notify,
    /// The last probe that came back.
    heard: watch::Sender<u64>,
    messages_gate: LogGate,
    follows_gate: LogGate,
}

#[derive(Debug)]
struct Inner {
    subscriptions: Subscriptions,
    recent: RecentUids,
    /// The log, if one is followed.
    log: Option<LaneLog>,
    /// Which connection is listened to. A connection that was given up may still have pushes to tell.
    session: Session,
    is_open: bool,
}

/// One connection of the subscription.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Session(u64);

impl<I: Intake> Arrivals<I> {
    /// Those of one of `lanes`.
    pub(crate) fn new(
        intake: Arc<Mutex<I>>,
        (lane, lanes): (Lane, Arc<LaneStates>),
        counters: Arc<FeedCounters>,
        follows_log: bool,
    ) -> Self {
        let inner = Inner {
            subscriptions: Subscriptions::new(if follows_log { LOGGED } else { PLAIN }),
            recent: RecentUids::default(),
            log: follows_log.then(LaneLog::new),
            session: Session::default(),
            is_open: false,
        };
        Self {
            intake,
            lane,
            lanes,
            inner: Mutex::new(inner),
            counters,
            wishes: Notify::new(),
            recalls: Notify::new(),
            heard: watch::Sender::new(0),
            messages_gate: LogGate::new(LOG_LINES_PER_MINUTE),
            follows_gate: LogGate::new(LOG_LINES_PER_MINUTE),
        }
    }

    pub(crate) fn follow(&self, channel: &ChannelName) {
        let mut intake = self.intake.lock();
        let mut inner = self.inner.lock();
        if inner.subscriptions.follow(channel) {
            logged::confirm(&mut *intake, &mut inner, channel.clone());
        } else {
            self.wishes.notify_one();
        }
    }

    pub(crate) fn unfollow(&self, channel: &ChannelName) {
        let mut intake = self.intake.lock();
        let mut inner = self.inner.lock();
        inner.subscriptions.unfollow(channel);
        inner.recent.let_go(channel);
        self.stop_following(&mut intake, &mut inner, channel);
        self.wishes.notify_one();
    }

    /// Whether the lane's channels are all confirmed.
    pub(crate) fn is_connected(&self) -> bool {
        self.lanes.is_connected(self.lane)
    }

    /// Begins to listen to a new connection.
    pub(crate) fn open(&self) -> Session {
        let mut inner = self.inner.lock();
        inner.session.0 += 1;
        inner.is_open = true;
        inner.session
    }

    /// The connection leads to a log whose events are sent by sharded channels, or not. Nothing was asked for before.
    pub(crate) fn follow_log(&self, is_sharded: bool) {
        self.inner.lock().subscriptions.follow_by(if is_sharded { SHARDED } else { LOGGED });
    }

    /// The connection's channels are all confirmed.
    pub(crate) fn connected(&self) {
        let mut intake = self.intake.lock();
        if let Some(state) = self.lanes.set(self.lane, true) {
            intake.state(state);
        }
    }

    /// Listens to the connection no longer; the node learns that events may be missing. Says why, if it was we who gave
    /// the connection up.
    pub(crate) fn lost(&self) -> Option<ContinuityError> {
        let mut intake = self.intake.lock();
        let error = {
            let mut inner = self.inner.lock();
            inner.is_open = false;
            inner.subscriptions.lost();
            inner.log.as_mut().and_then(LaneLog::lost)
        };
        intake.lost(self.lane);
        if self.is_connected() {
            add_one(&self.counters.outages);
        }
        if let Some(state) = self.lanes.set(self.lane, false) {
            intake.state(state);
        }
        error
    }

    /// The command to send next, if there is one.
    pub(crate) fn next_command(&self) -> Option<SubscribeCommand> {
        self.inner.lock().subscriptions.next_command()
    }

    /// Waits until there may be a command. A wish that came before the call is not missed: it left a permit.
    pub(crate) async fn wishes_changed(&self) {
        self.wishes.notified().await;
    }

    /// Redis does not permit the last command.
    pub(crate) fn refused(&self) {
        let mut intake = self.intake.lock();
        let mut inner = self.inner.lock();
        if let Some(channel) = inner.subscriptions.refused() {
            self.turn_away(&mut *intake, &mut inner, &channel);
        }
    }

    /// Redis does not permit so many names of the last command, and carried out the rest.
    pub(crate) fn refused_apart(&self, refused: usize) -> Result<(), Unexpected> {
        let mut intake = self.intake.lock();
        let mut inner = self.inner.lock();
        for channel in inner.subscriptions.refused_apart(refused)? {
            self.turn_away(&mut *intake, &mut inner, &channel);
        }
        Ok(())
    }

    /// Asks again for the channels that Redis did not permit.
    pub(crate) fn ask_refused_again(&self) {
        if self.inner.lock().subscriptions.ask_refused_again() {
            self.wishes.notify_one();
        }
    }

    /// Whether Redis still owes confirmations.
    pub(crate) fn is_waiting(&self) -> bool {
        self.inner.lock().subscriptions.is_waiting()
    }

    /// How many channels are wanted.
    pub(crate) fn channels(&self) -> usize {
        self.inner.lock().subscriptions.len()
    }

    /// Follows the probes that come back.
    pub(crate) fn heard(&self) -> watch::Receiver<u64> {
        self.heard.subscribe()
    }

    /// One push from Redis. An error means that the connection cannot be trusted any more.
    pub(crate) fn push(&self, session: Session, push: PushInfo) -> Result<(), Unexpected> {
        let mut data = push.data.into_iter();
        let (Some(Value::BulkString(redis_channel)), second) = (data.next(), data.next()) else { return Ok(()) };
        match (push.kind, second) {
            (PushKind::Message | PushKind::SMessage, Some(Value::BulkString(payload))) => {
                self.message(session, &redis_channel, payload)
            }
            (PushKind::Subscribe, _) => {
                self.confirmed(session, Verb::Subscribe, SubscribeScope::Everywhere, &redis_channel)
            }
            (PushKind::Unsubscribe, _) => {
                self.confirmed(session, Verb::Unsubscribe, SubscribeScope::Everywhere, &redis_channel)
            }
            (PushKind::SSubscribe, _) => self.confirmed(session, Verb::Subscribe, SubscribeScope::Slot, &redis_channel),
            (PushKind::SUnsubscribe, _) => {
                self.confirmed(session, Verb::Unsubscribe, SubscribeScope::Slot, &redis_channel)
            }
            _ => Ok(()),
        }
    }

    /// Redis does not let this node follow a channel.
    fn turn_away(&self, intake: &mut I, inner: &mut Inner, channel: &ChannelName) {
        // Its streams are told now, and again of what it missed until it is followed.
        if let Some(from) = inner.log.as_mut().and_then(|log| log.refused(channel)) {
            intake.gap(channel, from, GapReason::NotFollowed);
        }
        add_one(&self.counters.follows_refused);
        if let Some(suppressed) = self.follows_gate.pass() {
            tracing::error!(%channel, suppressed, "redis does not permit this node to follow the channel; allow its user \
                the redis channels fantail:* and fantail-event:*, and with a log fantail-log:*");
        }
    }

    fn confirmed(
        &self,
        session: Session,
        verb: Verb,
        scope: SubscribeScope,
        redis_channel: &[u8],
    ) -> Result<(), Unexpected> {
        let is_service = matches!(names::split(redis_channel), Some((ChannelKind::Service, _)));
        if is_service && verb == Verb::Subscribe {
            return Ok(());
        }
        let mut intake = self.intake.lock();
        let mut inner = self.inner.lock();
        if !inner.is_listening(session) {
            return Ok(());
        }
        // Redis itself ends subscriptions within a slot when that goes elsewhere: with those that were asked to be ended
        // also that of the probes, which never is.
        let confirmed = inner.subscriptions.confirmed(verb, scope, redis_channel);
        if is_service || (confirmed.is_err() && (verb, scope) == (Verb::Unsubscribe, SubscribeScope::Slot)) {
            return Err(inner.give_up(ContinuityError::Moved));
        }
        if let Some(channel) = confirmed? {
            match &mut inner.log {
                None => intake.followed(&channel, None),
                // From a number on that is still to be read.
                Some(log) => log.subscribed(channel),
            }
        }
        Ok(())
    }

    fn message(&self, session: Session, redis_channel: &[u8], payload: Vec<u8>) -> Result<(), Unexpected> {
        let Some((kind, name)) = names::split(redis_channel) else { return Ok(()) };
        if kind == ChannelKind::Service {
            self.probe_came_back(&payload);
            return Ok(());
        }
        let mut intake = self.intake.lock();
        let mut inner = self.inner.lock();
        if !inner.is_listening(session) {
            return Ok(());
        }
        let Some(channel) = inner.subscriptions.followed(name).cloned() else {
            add_one(&self.counters.ignored);
            self.pass_over(&mut intake, &mut inner, kind, &payload);
            return Ok(());
        };
        let message = Message { kind, channel, payload };
        if inner.log.is_some() {
            return self.logged(&mut intake, &mut inner, message);
        }
        self.live(&mut intake, &mut inner, message, Placement::Next);
        Ok(())
    }

    /// An event that is not in the log.
    fn live(&self, intake: &mut I, inner: &mut Inner, message: Message, placement: Placement) {
        let Message { kind, channel, payload } = message;
        let read = match kind {
            ChannelKind::Plain => plain(channel.clone(), payload),
            _ => enveloped(inner, channel.clone(), &payload),
        };
        match read {
            Ok(Some(publication)) => match intake.event(&publication, placement) {
                Ok(_) => add_one(&self.counters.events),
                // Its other copies count as repeated, so all of its channels are told now.
                Err(error) => self.drop_event(intake, Refusal::TooLarge, &publication.channels, &error),
            },
            Ok(None) => add_one(&self.counters.repeated),
            // An envelope for several channels is refused, and told, by each of its copies.
            Err(Unusable(reason, error)) => self.drop_event(intake, reason, &[channel], &*error),
        }
    }

    /// Redis took it, so its publisher takes it for delivered: the channels are told.
    fn drop_event(&self, intake: &mut I, reason: Refusal, channels: &[ChannelName], error: &dyn Error) {
        self.refuse(reason, &channels[0], error);
        for channel in channels {
            intake.dropped(channel);
        }
    }

    fn probe_came_back(&self, payload: &[u8]) {
        if let Some(nonce) = std::str::from_utf8(payload).ok().and_then(|text| text.parse().ok()) {
            self.heard.send_replace(nonce);
        }
    }

    fn refuse(&self, reason: Refusal, channel: &ChannelName, error: &dyn Error) {
        self.counters.refuse(reason);
        if let Some(suppressed) = self.messages_gate.pass() {
            let error = clipped(&error.to_string());
            tracing::warn!(%channel, suppressed, error, "a message from redis was refused; its publisher should correct it");
        }
    }
}

impl Inner {
    fn is_listening(&self, session: Session) -> bool {
        self.is_open && self.session == session
    }

    /// The followed channels among an event's that it has not come to, if there are any. The first copy brings it to all
    /// that are followed then, which is all if the copies were published in one transaction: a SUBSCRIBE stood either
    /// before or behind it whole. Copies that were sent one by one may find channels that were followed in between, whose
    /// streams were open when their copy was sent.
    fn first_arrival(&mut self, siblings: &Siblings) -> Option<SmallVec<[ChannelName; 1]>> {
        // With a log the node takes nothing of a channel until it is known from which number that is complete.
        let is_open =
            |channel: &&ChannelName| self.log.as_ref().is_none_or(|log| log.detector.is_followed(channel.as_str()));
        let followed = siblings.channels.iter().filter_map(|name| self.subscriptions.followed(name)).filter(is_open);
        let mut channels = self.recent.insert(&siblings.uid, followed);
        channels.sort_unstable();
        Some(channels).filter(|channels| !channels.is_empty())
    }
}

/// Why a message is no event.
struct Unusable(Refusal, Box<dyn Error>);

fn plain(channel: ChannelName, payload: Vec<u8>) -> Result<Option<Publication>, Unusable> {
    let event = Event::text_from_bytes(payload).map_err(|error| Unusable(Refusal::NotUtf8, error.into()))?;
    Ok(Some(Publication { channels: smallvec![channel], event }))
}

/// None if the event has come by another of its channels.
fn enveloped(inner: &mut Inner, channel: ChannelName, payload: &[u8]) -> Result<Option<Publication>, Unusable> {
    let read = Envelope::read(payload, &channel).map_err(|error| Unusable(Refusal::Envelope, error.into()));
    let (envelope, siblings) = read?;
    let event = envelope.validate().map_err(|error| Unusable(Refusal::Field, error.into()))?;
    let channels = match siblings {
        None => Some(smallvec![channel]),
        Some(siblings) => inner.first_arrival(&siblings),
    };
    Ok(channels.map(|channels| Publication { channels, event }))
}

/// The beginning of an error as one printable line: it may quote what a publisher sent.
fn clipped(error: &str) -> String {
    error.chars().take(ERROR_CHARS_MAX).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod dropped;
#[cfg(test)]
mod holes;
#[cfg(test)]
mod tests;
