//! The log's side of the arrivals: what comes in order goes down, the rest waits until it does.
//!
//! Everything here is done under the intake's lock and this node's own, in one piece: nobody sees a place up to which
//! one channel is repaired and another is not.

use fantail_wire::{ChannelName, EventId, GapReason, Publication, Term, Terms};

use super::{Arrivals, Inner};
use crate::counters::{Refusal, add_one};
use crate::redis::envelope::Envelope;
use crate::redis::log::{Arrived, Broken, Line, LogMessage, Message, Missed, Recall, Step, plan};
use crate::redis::names::Kind;
use crate::redis::subscriptions::Unexpected;
use crate::{Intake, Place, Recalled};

/// What has to be read before the node can go on.
#[derive(Debug)]
pub(in crate::redis) struct Missing {
    /// Up to where everything has gone down; none for a node that never followed anything.
    pub(in crate::redis) from: Option<EventId>,
    /// The channels that were followed then, and still are.
    pub(in crate::redis) channels: Vec<ChannelName>,
    /// The channels that are followed from the number on that is read now.
    pub(in crate::redis) fresh: Vec<ChannelName>,
}

impl Inner {
    fn line(&mut self) -> &mut Line {
        self.line.as_mut().expect("only a feed that follows a log comes here")
    }
}

impl<I: Intake> Arrivals<I> {
    /// A message of a channel that nobody wants moves the place from which the channel would be complete.
    pub(super) fn pass_over(&self, intake: &mut I, inner: &mut Inner, kind: Kind, payload: &[u8]) {
        if let (Some(line), Kind::Log) = (&mut inner.line, kind)
            && let Ok(message) = LogMessage::read(payload)
            && let Some(waited) = line.pass(message.id)
        {
            self.deliver(intake, waited);
        }
    }

    /// A message, while a log is followed.
    pub(super) fn logged(&self, intake: &mut I, inner: &mut Inner, message: Message) -> Result<(), Unexpected> {
        match inner.line().hold(message) {
            Ok(()) => Ok(()),
            Err(message) => self.hand_down(intake, inner, message),
        }
    }

    /// Whether messages wait for what was missed to be read, and everything that was followed is subscribed to again.
    pub(in crate::redis) fn can_repair(&self) -> bool {
        let inner = self.inner.lock();
        let Inner { line, subscriptions, .. } = &*inner;
        line.as_ref().is_some_and(|line| {
            line.is_holding() && line.order.followed().all(|channel| subscriptions.followed(channel.as_str()).is_some())
        })
    }

    /// Whether anything was followed before the connection was lost, and has to be read.
    pub(in crate::redis) fn has_followed(&self) -> bool {
        self.inner.lock().line().order.followed().next().is_some()
    }

    /// The channels that are followed.
    pub(in crate::redis) fn followed(&self) -> Vec<ChannelName> {
        self.inner.lock().line().order.followed().cloned().collect()
    }

    /// Up to which number of a term Redis has come for certain.
    pub(in crate::redis) fn witnessed(&self) -> Option<(Term, u64)> {
        self.inner.lock().line().order.witnessed()
    }

    /// Whether the newest number is asked for.
    pub(in crate::redis) fn needs_sync(&self) -> bool {
        self.inner.lock().line.as_ref().is_some_and(Line::needs_sync)
    }

    /// Asks for the newest number.
    pub(in crate::redis) fn sync(&self) {
        if let Some(line) = &mut self.inner.lock().line {
            line.want_sync();
        }
        self.wishes.notify_one();
    }

    /// The newest number is about to be read. Returns the channels that are complete from it on.
    pub(in crate::redis) fn begin_sync(&self) -> Vec<ChannelName> {
        self.inner.lock().line().begin_sync()
    }

    /// The same, for a node that has to read what it missed.
    pub(in crate::redis) fn begin_repair(&self) -> Missing {
        let mut inner = self.inner.lock();
        let line = inner.line();
        let fresh = line.begin_sync();
        Missing { from: line.order.seen(), channels: line.order.followed().cloned().collect(), fresh }
    }

    /// The newest number was read while messages went down. With `tops`, what Redis said after that is the newest event
    /// of channels, it is proved that nothing is missing up to the number.
    pub(in crate::redis) fn synced(
        &self,
        terms: &Terms,
        fresh: Vec<ChannelName>,
        tops: Option<&[(String, u64)]>,
    ) -> Result<(), Unexpected> {
        let mut intake = self.intake.lock();
        let mut inner = self.inner.lock();
        inner.expect_open()?;
        if inner.line().order.terms().is_none_or(|before| before.current != terms.current) {
            return Err(inner.give_up(Broken::Term));
        }
        if let Some(channel) = tops.and_then(|tops| inner.line().order.lacking(tops).next().cloned()) {
            return Err(inner.give_up(Broken::Hole { channel, number: terms.number }));
        }
        if let Some(arrived) = inner.line().order.flush_up_to(terms.number) {
            self.deliver(&mut intake, arrived);
        }
        let to = inner.line().order.synced(terms);
        if tops.is_some() {
            inner.line().order.verify(terms.number);
        }
        intake.synced(self.lane, &terms_up_to(terms, to));
        let from = inner.line().order.newest().unwrap_or(to);
        let fresh = inner.still_fresh(fresh);
        follow_from(&mut *intake, &mut inner, fresh, from);
        Ok(())
    }

    /// The number up to which it was last proved that nothing is missing; none before the log is followed.
    pub(in crate::redis) fn verified(&self) -> Option<u64> {
        let inner = self.inner.lock();
        let line = inner.line.as_ref().filter(|line| !line.is_holding())?;
        Some(line.order.verified_up_to())
    }

    /// The numbering as it is known now.
    pub(in crate::redis) fn terms(&self) -> Option<Terms> {
        self.inner.lock().line().order.terms().cloned()
    }

    /// Asks for older events of a channel. Without a log there are none.
    pub(in crate::redis) fn recall(&self, recall: Recall) {
        let mut intake = self.intake.lock();
        match &mut self.inner.lock().line {
            Some(line) => line.recalls.ask(recall),
            None => return intake.recalled(&recall.channel, Recalled::default()),
        }
        self.recalls.notify_one();
    }

    /// Asks for all that is unanswered, over a new connection.
    pub(in crate::redis) fn recall_again(&self) {
        self.inner.lock().line().recalls.again();
    }

    /// The next recall to be read.
    pub(in crate::redis) fn next_recall(&self) -> Option<Recall> {
        self.inner.lock().line().recalls.next()
    }

    /// Waits until there may be another one. One that was asked before the call left a permit.
    pub(in crate::redis) async fn recalls_changed(&self) {
        self.recalls.notified().await;
    }

    /// Older events of a channel were read.
    pub(in crate::redis) fn recalled(&self, asked: &Recall, recalled: Recalled) {
        let mut intake = self.intake.lock();
        let is_asked = {
            let mut inner = self.inner.lock();
            // Otherwise it is asked again.
            inner.is_open && inner.line().recalls.answered(asked)
        };
        if is_asked {
            add_one(&self.counters.recalls);
            intake.recalled(&asked.channel, recalled);
        }
    }

    /// What was missed was read. Hands it down in order, then what came meanwhile. False if that was too much to be kept:
    /// then it has to be read as well.
    pub(in crate::redis) fn repair(
        &self,
        terms: &Terms,
        missing: Missing,
        missed: Vec<Missed>,
    ) -> Result<bool, Unexpected> {
        let mut intake = self.intake.lock();
        let mut inner = self.inner.lock();
        inner.expect_open()?;
        if let Some(from) = missing.from {
            for channel in inner.line().take_holes() {
                intake.gap(&channel, from, GapReason::Lost);
            }
            add_one(&self.counters.repairs);
            for step in plan(from, terms, missed) {
                self.take_step(&mut intake, step);
            }
        }
        let to = inner.line().order.synced(terms);
        inner.line().order.verify(terms.number);
        intake.synced(self.lane, terms);
        // Before they are confirmed: where something was missed anyway, one gap tells of both.
        for channel in inner.line().take_dropped() {
            intake.dropped(&channel);
        }
        for channel in &missing.channels {
            if inner.line().order.is_followed(channel.as_str()) {
                intake.followed(channel, Some(to));
            }
        }
        let fresh = inner.still_fresh(missing.fresh);
        follow_from(&mut *intake, &mut inner, fresh, to);
        let Some(messages) = inner.line().release() else { return Ok(false) };
        let mut messages = messages.into_iter();
        while let Some(message) = messages.next() {
            if let Err(unexpected) = self.hand_down(&mut intake, &mut inner, message) {
                // All others that are left will be read again.
                messages.filter(|left| left.kind != Kind::Log).for_each(|left| intake.dropped(&left.channel));
                return Err(unexpected);
            }
        }
        inner.line().released();
        Ok(true)
    }

    pub(super) fn stop_following(&self, intake: &mut I, inner: &mut Inner, channel: &ChannelName) {
        if let Some(arrived) = inner.line.as_mut().and_then(|line| line.unfollow(channel)) {
            self.deliver(intake, arrived);
        }
    }

    /// Hands down an event that waits for copies which did not come.
    fn flush(&self, intake: &mut I, inner: &mut Inner) {
        if let Some(arrived) = inner.line().order.flush() {
            self.deliver(intake, arrived);
        }
    }

    fn hand_down(&self, intake: &mut I, inner: &mut Inner, message: Message) -> Result<(), Unexpected> {
        if message.kind != Kind::Log {
            if inner.line().order.is_followed(message.channel.as_str()) {
                self.flush(intake, inner);
                self.live(intake, inner, message, Place::Beside);
            }
            return Ok(());
        }
        match LogMessage::read(&message.payload) {
            Ok(read) => match inner.line().order.take(&message.channel, &read) {
                Ok(ready) => ready.into_iter().for_each(|arrived| self.deliver(intake, arrived)),
                Err(broken) => return Err(inner.give_up(broken)),
            },
            // If it was an event, the next message shows the hole.
            Err(error) => self.refuse(Refusal::Envelope, &message.channel, &error),
        }
        Ok(())
    }

    fn deliver(&self, intake: &mut I, arrived: Arrived) {
        let Arrived { id, channels, envelope } = arrived;
        match Envelope::read_alone(&envelope) {
            Ok(event) => self.place(intake, &Publication { channels, event }, id),
            Err(error) => {
                self.refuse(Refusal::Envelope, &channels[0], &error);
                channels.iter().for_each(|channel| intake.gap(channel, id, GapReason::Lost));
            }
        }
    }

    /// Whatever cannot be sent was published all the same: the node declares it in its place.
    fn place(&self, intake: &mut I, publication: &Publication, id: EventId) {
        match intake.event(publication, Place::Numbered(id)) {
            Ok(_) => add_one(&self.counters.events),
            Err(error) => self.refuse(Refusal::TooLarge, &publication.channels[0], &error),
        }
    }

    fn take_step(&self, intake: &mut I, step: Step) {
        match step {
            Step::Event { id, channels, event } => {
                add_one(&self.counters.repaired);
                self.place(intake, &Publication { channels, event }, id);
            }
            Step::Gap { channel, at, reason } => intake.gap(&channel, at, reason),
            Step::Term(terms) => intake.synced(self.lane, &terms),
        }
    }
}

impl Inner {
    /// Of the channels that waited for a number which was then read, those that still do. One that was let go of and wanted
    /// again meanwhile is followed from elsewhere already, or waits for the next number: events of before were passed over.
    fn still_fresh(&mut self, channels: Vec<ChannelName>) -> Vec<ChannelName> {
        let line = self.line();
        let is_fresh = |channel: &ChannelName| !line.order.is_followed(channel.as_str()) && !line.is_fresh(channel);
        channels.into_iter().filter(is_fresh).collect()
    }

    /// Stops listening at once: what still comes over this connection would move the node past what is missing.
    pub(super) fn give_up(&mut self, broken: Broken) -> Unexpected {
        self.is_open = false;
        if let Some(line) = &mut self.line {
            line.give_up(broken);
        }
        Unexpected
    }

    /// What is read over a connection that was given up is not to be believed: the end of a subscription that Redis tells
    /// by itself looks to the Redis library like an answer, so that all others are taken for that of the question before.
    fn expect_open(&self) -> Result<(), Unexpected> {
        if self.is_open { Ok(()) } else { Err(Unexpected) }
    }
}

/// A wish that Redis fulfils already: the channel is complete above what was shown last. One that was asked for before
/// stays as it is: it may wait for its copy of an event.
pub(super) fn confirm<I: Intake>(intake: &mut I, inner: &mut Inner, channel: ChannelName) {
    let Some(line) = &mut inner.line else { return intake.followed(&channel, None) };
    match line.order.newest().filter(|_| !line.is_holding()) {
        Some(_) if line.order.is_followed(channel.as_str()) => intake.followed(&channel, line.order.seen()),
        Some(newest) => follow_from(intake, inner, vec![channel], newest),
        None => line.subscribed(channel),
    }
}

/// Those of `channels` that are still wanted are complete above `from`.
fn follow_from<I: Intake>(intake: &mut I, inner: &mut Inner, channels: Vec<ChannelName>, from: EventId) {
    for channel in channels {
        if inner.subscriptions.followed(channel.as_str()).is_none() {
            continue;
        }
        if inner.line().was_forsaken(&channel) {
            intake.gap(&channel, from, GapReason::NotFollowed);
        }
        inner.line().order.follow(&channel, from);
        intake.followed(&channel, Some(from));
    }
}

fn terms_up_to(terms: &Terms, to: EventId) -> Terms {
    Terms { number: to.number, ms: to.ms, ..terms.clone() }
}
