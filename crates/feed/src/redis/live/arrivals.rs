//! Everything that comes from Redis, on its way to the node: locks, and dispatches to the machines.
//!
//! The connection calls it for each push, in the order of the socket. There is no queue between the socket and the
//! intake. While an event is placed nothing is read, so a node that is too slow fills the socket's buffers, and Redis
//! bounds what it keeps for this node. Nothing here waits or panics on input. Locks are taken in one order, intake
//! before inner, and all orders of one call are carried out under both. So the intake sees messages, confirmations and
//! losses in one order, and never a place up to which one channel is repaired and another is not.

use std::sync::Arc;
use std::time::Instant;

use fantail_wire::{ChannelName, Lane};
use parking_lot::Mutex;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::{Notify, watch};

use super::copies::{Copies, Copy};
use super::delivery::Delivery;
use super::lane_states::LaneStates;
use super::subscriptions::{Part, SubscribeScope, Subscriptions, Unexpected, Verb};
use super::unnumbered;
use crate::counters::{FeedCounters, add_one};
use crate::recall_queue::RecallRequest;
use crate::redis::log::{ContinuityError, GivenUp, LaneLog, LogOrder, Message, Orders};
use crate::redis::names::{self, ChannelKind};
use crate::{Intake, Placement, Recalled};

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
    delivery: Delivery,
    /// Wakes the subscriber when a wish may need a command. A wish leaves a permit, so none is missed.
    pub(crate) wishes: Notify,
    /// Wakes the reader of older events, in the same way.
    pub(crate) recalls: Notify,
    /// Wakes the one who lets go of events whose copies do not come, in the same way.
    pub(crate) waits: Notify,
    /// The last probe that came back.
    pub(crate) heard: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    subscriptions: Subscriptions,
    copies: Copies,
    /// The log, if one is followed.
    log: Option<LaneLog>,
    /// The connection that is listened to. A connection that was given up may still have pushes to tell.
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
        publishers_trusted: bool,
    ) -> Self {
        let inner = Inner {
            subscriptions: Subscriptions::new(if follows_log { LOGGED } else { PLAIN }),
            copies: Copies::new(publishers_trusted),
            log: follows_log.then(LaneLog::new),
            session: Session::default(),
            is_open: false,
        };
        Self {
            intake,
            lane,
            lanes,
            inner: Mutex::new(inner),
            delivery: Delivery::new(lane, counters),
            wishes: Notify::new(),
            recalls: Notify::new(),
            waits: Notify::new(),
            heard: watch::Sender::new(0),
        }
    }

    pub(crate) fn follow(&self, channel: &ChannelName) {
        self.dispatch(|inner, orders| {
            if !inner.subscriptions.follow(channel) {
                self.wishes.notify_one();
            } else if let Some(log) = &mut inner.log {
                log.follow(channel.clone(), orders);
            } else {
                orders.push(LogOrder::Followed { channel: channel.clone(), from: None });
            }
        });
    }

    pub(crate) fn unfollow(&self, channel: &ChannelName) {
        self.dispatch(|inner, orders| {
            inner.subscriptions.unfollow(channel);
            inner.copies.let_go(channel);
            if let Some(log) = &mut inner.log {
                log.unfollow(channel, orders);
            }
        });
        self.wishes.notify_one();
    }

    /// Asks for the newest number.
    pub(crate) fn sync(&self) {
        if let Some(log) = &mut self.inner.lock().log {
            log.want_sync();
        }
        self.wishes.notify_one();
    }

    /// Asks for older events of a channel. Without a log there are none.
    pub(crate) fn recall(&self, recall: RecallRequest) {
        let mut intake = self.intake.lock();
        match &mut self.inner.lock().log {
            Some(log) => log.recalls.ask(recall),
            None => return intake.recalled(&recall.channel, Recalled::default()),
        }
        self.recalls.notify_one();
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

    /// The connection's channels are all confirmed.
    pub(crate) fn connected(&self) {
        let mut intake = self.intake.lock();
        if let Some(state) = self.lanes.set(self.lane, true) {
            intake.state(state);
        }
    }

    /// Listens to the connection no longer; the node learns that events may be missing. Says why, if this node gave the
    /// connection up.
    pub(crate) fn lost(&self) -> Option<ContinuityError> {
        let mut intake = self.intake.lock();
        let error = {
            let mut inner = self.inner.lock();
            inner.is_open = false;
            inner.copies.release_all();
            self.hand_down_ready(&mut *intake, &mut inner);
            inner.subscriptions.lost();
            inner.log.as_mut().and_then(LaneLog::lost)
        };
        intake.lost(self.lane);
        if self.is_connected() {
            add_one(&self.delivery.counters.outages);
        }
        if let Some(state) = self.lanes.set(self.lane, false) {
            intake.state(state);
        }
        error
    }

    /// The connection leads to a log whose events are sent by sharded channels, or not. Nothing was asked for before.
    pub(crate) fn follow_log(&self, is_sharded: bool) {
        self.subscriptions(|subscriptions| subscriptions.follow_by(if is_sharded { SHARDED } else { LOGGED }));
    }

    /// Until when events may wait for their copies at most, if some do.
    pub(crate) fn next_release(&self) -> Option<Instant> {
        self.inner.lock().copies.next_release()
    }

    /// Hands down the events that have waited for long enough.
    pub(crate) fn release_late(&self, now: Instant) {
        self.dispatch(|inner, _| inner.copies.release_late(now));
    }

    /// The subscriptions, for whatever tells the node nothing.
    pub(crate) fn subscriptions<T>(&self, ask: impl FnOnce(&mut Subscriptions) -> T) -> T {
        ask(&mut self.inner.lock().subscriptions)
    }

    /// Redis refused channels, as `find` finds out.
    pub(crate) fn refused(
        &self,
        find: impl FnOnce(&mut Subscriptions) -> Result<Vec<ChannelName>, Unexpected>,
    ) -> Result<(), Unexpected> {
        self.dispatch(|inner, orders| {
            for channel in find(&mut inner.subscriptions)? {
                if let Some(log) = &mut inner.log {
                    log.refused(&channel, orders);
                }
                self.delivery.turned_away(&channel);
            }
            Ok(())
        })
    }

    /// The log, for whatever tells the node nothing. Only a feed that follows a log comes here.
    pub(crate) fn log<T>(&self, ask: impl FnOnce(&mut LaneLog) -> T) -> T {
        ask(self.inner.lock().log())
    }

    /// Gives the log an answer, and carries out its orders.
    pub(crate) fn tell_log<T>(&self, tell: impl FnOnce(&mut LaneLog, &mut Orders) -> T) -> T {
        self.dispatch(|inner, orders| tell(inner.log(), orders))
    }

    /// One push from Redis. An error means that the connection cannot be trusted any more.
    pub(crate) fn push(&self, session: Session, push: PushInfo) -> Result<(), Unexpected> {
        let mut data = push.data.into_iter();
        let (Some(Value::BulkString(redis_channel)), second) = (data.next(), data.next()) else { return Ok(()) };
        let (verb, scope) = match (push.kind, second) {
            (PushKind::Message | PushKind::SMessage, Some(Value::BulkString(payload))) => {
                return self.message(session, &redis_channel, payload);
            }
            (PushKind::Subscribe, _) => (Verb::Subscribe, SubscribeScope::Everywhere),
            (PushKind::Unsubscribe, _) => (Verb::Unsubscribe, SubscribeScope::Everywhere),
            (PushKind::SSubscribe, _) => (Verb::Subscribe, SubscribeScope::Slot),
            (PushKind::SUnsubscribe, _) => (Verb::Unsubscribe, SubscribeScope::Slot),
            _ => return Ok(()),
        };
        self.confirmed(session, verb, scope, &redis_channel)
    }

    fn message(&self, session: Session, redis_channel: &[u8], payload: Vec<u8>) -> Result<(), Unexpected> {
        let Some((kind, name)) = names::split(redis_channel) else { return Ok(()) };
        if kind == ChannelKind::Service {
            if let Some(nonce) = std::str::from_utf8(&payload).ok().and_then(|text| text.parse().ok()) {
                self.heard.send_replace(nonce);
            }
            return Ok(());
        }
        self.dispatch(|inner, orders| {
            if !inner.is_listening(session) {
                return Ok(());
            }
            let Some(channel) = inner.subscriptions.followed(name).cloned() else {
                add_one(&self.delivery.counters.ignored);
                if let Some(log) = &mut inner.log {
                    log.pass_over(kind, &payload, orders);
                }
                return Ok(());
            };
            let message = Message { kind, channel, payload };
            match &mut inner.log {
                Some(log) => log.message(message, orders)?,
                None => orders.push(LogOrder::Unnumbered(message)),
            }
            Ok(())
        })
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
        self.dispatch(|inner, orders| {
            if !inner.is_listening(session) {
                return Ok(());
            }
            // Redis itself ends subscriptions within a slot when that goes elsewhere: with those that were asked to be
            // ended also that of the probes, which never is.
            let confirmed = inner.subscriptions.confirmed(verb, scope, redis_channel);
            let is_slot_gone = confirmed.is_err() && (verb, scope) == (Verb::Unsubscribe, SubscribeScope::Slot);
            if is_service || is_slot_gone {
                inner.is_open = false;
                inner.log.as_mut().map(|log| log.give_up(ContinuityError::Moved));
                return Err(Unexpected);
            }
            match (confirmed?, &mut inner.log) {
                (None, _) => {}
                (Some(channel), None) => orders.push(LogOrder::Followed { channel, from: None }),
                // From a number on that is still to be read.
                (Some(channel), Some(log)) => log.subscribed(channel),
            }
            Ok(())
        })
    }

    /// Takes both locks, and carries out what comes of it before they are given back.
    fn dispatch<T>(&self, work: impl FnOnce(&mut Inner, &mut Orders) -> T) -> T {
        let mut intake = self.intake.lock();
        let mut inner = self.inner.lock();
        let mut orders = Orders::new();
        let done = work(&mut inner, &mut orders);
        self.hand_down_ready(&mut *intake, &mut inner);
        for order in orders {
            if let LogOrder::Unnumbered(message) = order {
                let channel = message.channel.clone();
                let read = inner.read(message);
                if matches!(read, Ok(Copy::Waits)) {
                    self.waits.notify_one();
                }
                self.hand_down_ready(&mut *intake, &mut inner);
                self.delivery.unnumbered(&mut *intake, channel, read, inner.placement());
            } else {
                if let LogOrder::Event { publication, .. } = &order {
                    inner.copies.overtaken(&publication.channels);
                    self.hand_down_ready(&mut *intake, &mut inner);
                }
                self.delivery.carry_out(&mut *intake, order);
            }
        }
        done
    }

    /// Hands down the events that wait for no copy any more.
    fn hand_down_ready(&self, intake: &mut I, inner: &mut Inner) {
        for publication in inner.copies.take_ready() {
            let channel = publication.channels[0].clone();
            self.delivery.unnumbered(intake, channel, Ok(Copy::Event(publication)), inner.placement());
        }
    }
}

impl Inner {
    fn is_listening(&self, session: Session) -> bool {
        self.is_open && self.session == session && !self.log.as_ref().is_some_and(LaneLog::is_given_up)
    }

    fn log(&mut self) -> &mut LaneLog {
        self.log.as_mut().expect("only a feed that follows a log comes here")
    }

    /// Where messages without a number go.
    fn placement(&self) -> Placement {
        if self.log.is_some() { Placement::Unnumbered } else { Placement::Next }
    }

    /// With a log the node takes nothing of a channel until it is known from which number that is complete.
    fn read(&mut self, message: Message) -> Result<Copy, unnumbered::Unusable> {
        let Self { subscriptions, copies, log, .. } = self;
        let is_taken = |channel: &&ChannelName| log.as_ref().is_none_or(|log| log.is_followed(channel));
        unnumbered::read(message, copies, |name| subscriptions.followed(name).filter(is_taken))
    }
}

impl From<GivenUp> for Unexpected {
    fn from(_: GivenUp) -> Self {
        Self
    }
}

#[cfg(test)]
mod tests;
