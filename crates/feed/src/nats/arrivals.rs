//! Everything that comes from NATS, on its way to the node: locks, and dispatches to the machines.
//!
//! Locks are taken in one order, intake before inner, and all orders of one call are carried out under both. So the
//! intake sees messages, confirmations and losses in one order. Nothing here waits.

use std::sync::Arc;

use fantail_wire::ChannelName;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::delivery::{Delivery, LANE, NatsOrder, NatsOrders};
use super::incoming::Incoming;
use super::plain_follows::PlainFollows;
use super::settings::NatsSettings;
use super::stream::{BrokenOff, Delivered, StreamLog};
use crate::counters::{FeedCounters, add_one};
use crate::recall_queue::RecallRequest;
use crate::{FeedState, Intake, Recalled};

/// The state that the subscription, the wishes from above and the intake share.
#[derive(Debug)]
pub(super) struct Arrivals<I> {
    intake: Arc<Mutex<I>>,
    inner: Mutex<Inner>,
    delivery: Delivery,
    /// Wakes the session, which asks how far the stream is. A wish leaves a permit, so none is missed.
    pub(super) syncs: Notify,
    /// Wakes the reader of older events, in the same way.
    pub(super) recalls: Notify,
    /// For the log.
    address: String,
    stream: Option<String>,
}

#[derive(Debug)]
struct Inner {
    source: Source,
    is_connected: bool,
    has_been_connected: bool,
}

/// The machine that knows which channels are followed.
#[derive(Debug)]
enum Source {
    Plain(PlainFollows),
    Stream(Box<StreamLog>),
}

impl<I: Intake> Arrivals<I> {
    pub(super) fn new(intake: Arc<Mutex<I>>, counters: Arc<FeedCounters>, settings: &NatsSettings) -> Self {
        let source = match settings.stream {
            Some(_) => Source::Stream(Box::new(StreamLog::new(settings.form))),
            None => Source::Plain(PlainFollows::default()),
        };
        let inner = Mutex::new(Inner { source, is_connected: false, has_been_connected: false });
        Self {
            intake,
            inner,
            delivery: Delivery::new(counters),
            syncs: Notify::new(),
            recalls: Notify::new(),
            address: settings.address(),
            stream: settings.stream.clone(),
        }
    }

    pub(super) fn follow(&self, channel: &ChannelName) {
        self.dispatch(|inner, orders| match &mut inner.source {
            Source::Plain(follows) => follows.follow(channel, orders),
            Source::Stream(log) => log.follow(channel, orders),
        });
    }

    pub(super) fn unfollow(&self, channel: &ChannelName) {
        self.dispatch(|inner, _| match &mut inner.source {
            Source::Plain(follows) => follows.unfollow(channel),
            Source::Stream(log) => log.unfollow(channel),
        });
    }

    /// Asks for older events of a channel. Without a stream there are none.
    pub(super) fn recall(&self, asked: RecallRequest) {
        self.dispatch(|inner, orders| match &mut inner.source {
            Source::Plain(_) => {
                orders.push(NatsOrder::Recalled { channel: asked.channel, recalled: Recalled::default() });
            }
            Source::Stream(log) => log.recalls.ask(asked),
        });
        self.recalls.notify_one();
    }

    /// Asks for the newest number.
    pub(super) fn sync(&self) {
        self.syncs.notify_one();
    }

    pub(super) fn is_connected(&self) -> bool {
        self.inner.lock().is_connected
    }

    /// Everything that is published arrives from now on. Only a feed without a stream comes here.
    pub(super) fn subscribed(&self) {
        self.dispatch(|inner, orders| {
            if let Source::Plain(follows) = &mut inner.source {
                follows.subscribed(orders);
            }
        });
    }

    /// The connection is gone. If its channels were confirmed, the node learns that events may be missing; a connection that
    /// never came so far was none for the node. It `is_cut` if it ended by itself.
    pub(super) fn lost(&self, is_cut: bool) {
        let mut intake = self.intake.lock();
        let mut inner = self.inner.lock();
        match &mut inner.source {
            Source::Plain(follows) => follows.lost(),
            Source::Stream(log) => log.lost(is_cut),
        }
        if std::mem::take(&mut inner.is_connected) {
            intake.lost(LANE);
            add_one(&self.delivery.counters.outages);
            intake.state(FeedState::Connecting);
        }
    }

    /// A message without a number.
    pub(super) fn message(&self, message: &Incoming<'_>) {
        self.dispatch(|inner, orders| {
            if let Source::Plain(follows) = &mut inner.source
                && !follows.message(message, orders)
            {
                add_one(&self.delivery.counters.ignored);
            }
        });
    }

    /// A message of the stream.
    pub(super) fn stream_message(&self, at: Delivered, message: &Incoming<'_>) -> Result<(), BrokenOff> {
        self.tell_log(|log, orders| {
            if !log.message(at, message, orders)? {
                add_one(&self.delivery.counters.ignored);
            }
            Ok(())
        })
    }

    /// The stream's log, for whatever tells the node nothing. Only a feed that reads a stream comes here.
    pub(super) fn log<T>(&self, ask: impl FnOnce(&mut StreamLog) -> T) -> T {
        ask(self.inner.lock().log())
    }

    /// Tells the log something, and carries out its orders.
    pub(super) fn tell_log<T>(&self, tell: impl FnOnce(&mut StreamLog, &mut NatsOrders) -> T) -> T {
        self.dispatch(|inner, orders| tell(inner.log(), orders))
    }

    /// Takes both locks, and carries out what comes of it before they are given back.
    fn dispatch<T>(&self, work: impl FnOnce(&mut Inner, &mut NatsOrders) -> T) -> T {
        let mut intake = self.intake.lock();
        let mut inner = self.inner.lock();
        let mut orders = NatsOrders::new();
        let done = work(&mut inner, &mut orders);
        for order in orders {
            self.delivery.carry_out(&mut *intake, order);
        }
        if !inner.is_connected && inner.brings_events() {
            inner.is_connected = true;
            if std::mem::replace(&mut inner.has_been_connected, true) {
                add_one(&self.delivery.counters.reconnects);
            }
            tracing::info!(address = self.address, stream = self.stream, "connected to nats");
            intake.state(FeedState::Connected);
            // Recalls may have waited for this.
            self.recalls.notify_one();
        }
        done
    }
}

impl Inner {
    fn brings_events(&self) -> bool {
        match &self.source {
            Source::Plain(follows) => follows.is_subscribed(),
            Source::Stream(log) => log.is_live(),
        }
    }

    fn log(&mut self) -> &mut StreamLog {
        match &mut self.source {
            Source::Stream(log) => log,
            Source::Plain(_) => unreachable!("only a feed that reads a stream comes here"),
        }
    }
}
