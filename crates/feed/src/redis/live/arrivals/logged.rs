//! The log's side of the arrivals: what comes in order goes down, the rest waits until it does.
//!
//! Everything here is done under the intake's lock and this node's own, in one piece: nobody sees a place up to which
//! one channel is repaired and another is not.

use fantail_wire::{ChannelName, EventId, GapReason, Publication, Term, Terms};

use super::{Arrivals, Inner};
use crate::counters::{Refusal, add_one};
use crate::redis::envelope::Envelope;
use crate::redis::live::subscriptions::Unexpected;
use crate::redis::log::{
    ContinuityError, LaneLog, LogMessage, Message, MissedEvents, ReadyEvent, RecallRequest, RepairStep, plan,
};
use crate::redis::names::ChannelKind;
use crate::{Intake, Placement, Recalled};

/// What has to be read before the node can go on.
#[derive(Debug)]
pub(crate) struct MissedRange {
    /// Up to where everything has gone down; none for a node that never followed anything.
    pub(crate) from: Option<EventId>,
    /// The channels that were followed then, and still are.
    pub(crate) channels: Vec<ChannelName>,
    /// The channels that are followed from the number on that is read now.
    pub(crate) fresh: Vec<ChannelName>,
}

impl Inner {
    fn log(&mut self) -> &mut LaneLog {
        self.log.as_mut().expect("only a feed that follows a log comes here")
    }
}

impl<I: Intake> Arrivals<I> {
    /// A message of a channel that nobody wants moves the place from which the channel would be complete.
    pub(super) fn pass_over(&self, intake: &mut I, inner: &mut Inner, kind: ChannelKind, payload: &[u8]) {
        if let (Some(log), ChannelKind::Log) = (&mut inner.log, kind)
            && let Ok(message) = LogMessage::read(payload)
            && let Some(waited) = log.pass(message.id)
        {
            self.deliver(intake, waited);
        }
    }

    /// A message, while a log is followed.
    pub(super) fn logged(&self, intake: &mut I, inner: &mut Inner, message: Message) -> Result<(), Unexpected> {
        match inner.log().hold(message) {
            Ok(()) => Ok(()),
            Err(message) => self.hand_down(intake, inner, message),
        }
    }

    /// Whether messages wait for what was missed to be read, and everything that was followed is subscribed to again.
    pub(crate) fn can_repair(&self) -> bool {
        let inner = self.inner.lock();
        let Inner { log, subscriptions, .. } = &*inner;
        log.as_ref().is_some_and(|log| {
            log.is_holding()
                && log.detector.followed().all(|channel| subscriptions.followed(channel.as_str()).is_some())
        })
    }

    /// Whether anything was followed before the connection was lost, and has to be read.
    pub(crate) fn has_followed(&self) -> bool {
        self.inner.lock().log().detector.followed().next().is_some()
    }

    /// The channels that are followed.
    pub(crate) fn followed(&self) -> Vec<ChannelName> {
        self.inner.lock().log().detector.followed().cloned().collect()
    }

    /// Up to which number of a term Redis has come for certain.
    pub(crate) fn witnessed(&self) -> Option<(Term, u64)> {
        self.inner.lock().log().detector.witnessed()
    }

    /// Whether the newest number is asked for.
    pub(crate) fn needs_sync(&self) -> bool {
        self.inner.lock().log.as_ref().is_some_and(LaneLog::needs_sync)
    }

    /// Asks for the newest number.
    pub(crate) fn sync(&self) {
        if let Some(log) = &mut self.inner.lock().log {
            log.want_sync();
        }
        self.wishes.notify_one();
    }

    /// The newest number is about to be read. Returns the channels that are complete from it on.
    pub(crate) fn begin_sync(&self) -> Vec<ChannelName> {
        self.inner.lock().log().begin_sync()
    }

    /// The same, for a node that has to read what it missed.
    pub(crate) fn begin_repair(&self) -> MissedRange {
        let mut inner = self.inner.lock();
        let log = inner.log();
        let fresh = log.begin_sync();
        MissedRange { from: log.detector.seen(), channels: log.detector.followed().cloned().collect(), fresh }
    }

    /// The newest number was read while messages went down. With `tops`, what Redis said after that is the newest event
    /// of channels, it is proved that nothing is missing up to the number.
    pub(crate) fn synced(
        &self,
        terms: &Terms,
        fresh: Vec<ChannelName>,
        tops: Option<&[(String, u64)]>,
    ) -> Result<(), Unexpected> {
        let mut intake = self.intake.lock();
        let mut inner = self.inner.lock();
        inner.expect_open()?;
        if inner.log().detector.terms().is_none_or(|before| before.current != terms.current) {
            return Err(inner.give_up(ContinuityError::Term));
        }
        if let Some(channel) = tops.and_then(|tops| inner.log().detector.lacking(tops).next().cloned()) {
            return Err(inner.give_up(ContinuityError::Hole { channel, number: terms.number }));
        }
        if let Some(arrived) = inner.log().detector.flush_up_to(terms.number) {
            self.deliver(&mut intake, arrived);
        }
        let to = inner.log().detector.synced(terms);
        if tops.is_some() {
            inner.log().detector.verify(terms.number);
        }
        intake.synced(self.lane, &terms_up_to(terms, to));
        let from = inner.log().detector.newest().unwrap_or(to);
        let fresh = inner.still_fresh(fresh);
        follow_from(&mut *intake, &mut inner, fresh, from);
        Ok(())
    }

    /// The number up to which it was last proved that nothing is missing; none before the log is followed.
    pub(crate) fn verified(&self) -> Option<u64> {
        let inner = self.inner.lock();
        let log = inner.log.as_ref().filter(|log| !log.is_holding())?;
        Some(log.detector.verified_up_to())
    }

    /// The numbering as it is known now.
    pub(crate) fn terms(&self) -> Option<Terms> {
        self.inner.lock().log().detector.terms().cloned()
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

    /// Asks for all that is unanswered, over a new connection.
    pub(crate) fn recall_again(&self) {
        self.inner.lock().log().recalls.again();
    }

    /// The next recall to be read.
    pub(crate) fn next_recall(&self) -> Option<RecallRequest> {
        self.inner.lock().log().recalls.next()
    }

    /// Waits until there may be another one. One that was asked before the call left a permit.
    pub(crate) async fn recalls_changed(&self) {
        self.recalls.notified().await;
    }

    /// Older events of a channel were read.
    pub(crate) fn recalled(&self, asked: &RecallRequest, recalled: Recalled) {
        let mut intake = self.intake.lock();
        let is_asked = {
            let mut inner = self.inner.lock();
            // Otherwise it is asked again.
            inner.is_open && inner.log().recalls.answered(asked)
        };
        if is_asked {
            add_one(&self.counters.recalls);
            intake.recalled(&asked.channel, recalled);
        }
    }

    /// What was missed was read. Hands it down in order, then what came meanwhile. False if that was too much to be kept:
    /// then it has to be read as well.
    pub(crate) fn repair(
        &self,
        terms: &Terms,
        missing: MissedRange,
        missed: Vec<MissedEvents>,
    ) -> Result<bool, Unexpected> {
        let mut intake = self.intake.lock();
        let mut inner = self.inner.lock();
        inner.expect_open()?;
        if let Some(from) = missing.from {
            for channel in inner.log().take_holes() {
                intake.gap(&channel, from, GapReason::Lost);
            }
            add_one(&self.counters.repairs);
            for step in plan(from, terms, missed) {
                self.take_step(&mut intake, step);
            }
        }
        let to = inner.log().detector.synced(terms);
        inner.log().detector.verify(terms.number);
        intake.synced(self.lane, terms);
        // Before they are confirmed: where something was missed anyway, one gap tells of both.
        for channel in inner.log().take_dropped() {
            intake.dropped(&channel);
        }
        for channel in &missing.channels {
            if inner.log().detector.is_followed(channel.as_str()) {
                intake.followed(channel, Some(to));
            }
        }
        let fresh = inner.still_fresh(missing.fresh);
        follow_from(&mut *intake, &mut inner, fresh, to);
        let Some(messages) = inner.log().release() else { return Ok(false) };
        let mut messages = messages.into_iter();
        while let Some(message) = messages.next() {
            if let Err(unexpected) = self.hand_down(&mut intake, &mut inner, message) {
                // All others that are left will be read again.
                messages.filter(|left| left.kind != ChannelKind::Log).for_each(|left| intake.dropped(&left.channel));
                return Err(unexpected);
            }
        }
        inner.log().released();
        Ok(true)
    }

    pub(super) fn stop_following(&self, intake: &mut I, inner: &mut Inner, channel: &ChannelName) {
        if let Some(arrived) = inner.log.as_mut().and_then(|log| log.unfollow(channel)) {
            self.deliver(intake, arrived);
        }
    }

    /// Hands down an event that waits for copies which did not come.
    fn flush(&self, intake: &mut I, inner: &mut Inner) {
        if let Some(arrived) = inner.log().detector.flush() {
            self.deliver(intake, arrived);
        }
    }

    fn hand_down(&self, intake: &mut I, inner: &mut Inner, message: Message) -> Result<(), Unexpected> {
        if message.kind != ChannelKind::Log {
            if inner.log().detector.is_followed(message.channel.as_str()) {
                self.flush(intake, inner);
                self.live(intake, inner, message, Placement::Unnumbered);
            }
            return Ok(());
        }
        match LogMessage::read(&message.payload) {
            Ok(read) => match inner.log().detector.take(&message.channel, &read) {
                Ok(ready) => ready.into_iter().for_each(|arrived| self.deliver(intake, arrived)),
                Err(error) => return Err(inner.give_up(error)),
            },
            // If it was an event, the next message shows the hole.
            Err(error) => self.refuse(Refusal::Envelope, &message.channel, &error),
        }
        Ok(())
    }

    fn deliver(&self, intake: &mut I, arrived: ReadyEvent) {
        let ReadyEvent { id, channels, envelope } = arrived;
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
        match intake.event(publication, Placement::Numbered(id)) {
            Ok(_) => add_one(&self.counters.events),
            Err(error) => self.refuse(Refusal::TooLarge, &publication.channels[0], &error),
        }
    }

    fn take_step(&self, intake: &mut I, step: RepairStep) {
        match step {
            RepairStep::Event { id, channels, event } => {
                add_one(&self.counters.repaired);
                self.place(intake, &Publication { channels, event }, id);
            }
            RepairStep::Gap { channel, at, reason } => intake.gap(&channel, at, reason),
            RepairStep::Term(terms) => intake.synced(self.lane, &terms),
        }
    }
}

impl Inner {
    /// Of the channels that waited for a number which was then read, those that still do. One that was let go of and wanted
    /// again meanwhile is followed from elsewhere already, or waits for the next number: events of before were passed over.
    fn still_fresh(&mut self, channels: Vec<ChannelName>) -> Vec<ChannelName> {
        let log = self.log();
        let is_fresh = |channel: &ChannelName| !log.detector.is_followed(channel.as_str()) && !log.is_fresh(channel);
        channels.into_iter().filter(is_fresh).collect()
    }

    /// Stops listening at once: what still comes over this connection would move the node past what is missing.
    pub(super) fn give_up(&mut self, error: ContinuityError) -> Unexpected {
        self.is_open = false;
        if let Some(log) = &mut self.log {
            log.give_up(error);
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
    let Some(log) = &mut inner.log else { return intake.followed(&channel, None) };
    match log.detector.newest().filter(|_| !log.is_holding()) {
        Some(_) if log.detector.is_followed(channel.as_str()) => intake.followed(&channel, log.detector.seen()),
        Some(newest) => follow_from(intake, inner, vec![channel], newest),
        None => log.subscribed(channel),
    }
}

/// Those of `channels` that are still wanted are complete above `from`.
fn follow_from<I: Intake>(intake: &mut I, inner: &mut Inner, channels: Vec<ChannelName>, from: EventId) {
    for channel in channels {
        if inner.subscriptions.followed(channel.as_str()).is_none() {
            continue;
        }
        if inner.log().was_forsaken(&channel) {
            intake.gap(&channel, from, GapReason::NotFollowed);
        }
        inner.log().detector.follow(&channel, from);
        intake.followed(&channel, Some(from));
    }
}

fn terms_up_to(terms: &Terms, to: EventId) -> Terms {
    Terms { number: to.number, ms: to.ms, ..terms.clone() }
}
