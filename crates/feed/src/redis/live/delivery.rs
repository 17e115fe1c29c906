//! The last step down: tells the node, counts, and logs what was refused.

use std::error::Error;
use std::sync::Arc;

use fantail_wire::{ChannelName, Lane};

use super::copies::Copy;
use super::unnumbered::Unusable;
use crate::counters::{FeedCounters, Refusal, add_one};
use crate::log_gate::{LogGate, clipped};
use crate::redis::log::LogOrder;
use crate::{Intake, Placement};

/// Lines a minute about messages that were refused, and as many about channels.
const LOG_LINES_PER_MINUTE: u32 = 10;

/// Of one lane. Everything here is called under the intake's lock.
#[derive(Debug)]
pub(crate) struct Delivery {
    lane: Lane,
    pub(crate) counters: Arc<FeedCounters>,
    messages_gate: LogGate,
    channels_gate: LogGate,
}

impl Delivery {
    pub(crate) fn new(lane: Lane, counters: Arc<FeedCounters>) -> Self {
        let [messages_gate, channels_gate] = [LOG_LINES_PER_MINUTE; 2].map(LogGate::new);
        Self { lane, counters, messages_gate, channels_gate }
    }

    /// Carries out an order of the log. A message without a number is read first, so the caller does that.
    pub(crate) fn carry_out(&self, intake: &mut impl Intake, order: LogOrder) {
        match order {
            LogOrder::Event { id, publication, is_repaired } => {
                if is_repaired {
                    add_one(&self.counters.repaired);
                }
                match intake.event(&publication, Placement::Numbered(id)) {
                    Ok(_) => add_one(&self.counters.events),
                    // It has a number, so the node declares it missing.
                    Err(error) => self.refuse(Refusal::TooLarge, &publication.channels[0], &error),
                }
            }
            LogOrder::Unnumbered(_) => debug_assert!(false, "it is read first"),
            LogOrder::Refuse { channel, error } => self.refuse(Refusal::Envelope, &channel, &*error),
            LogOrder::Gap { channel, at, reason } => intake.gap(&channel, at, reason),
            LogOrder::Dropped(channel) => intake.dropped(&channel),
            LogOrder::Followed { channel, from } => intake.followed(&channel, from),
            LogOrder::Repair => add_one(&self.counters.repairs),
            LogOrder::Synced(terms) => intake.synced(self.lane, &terms),
            LogOrder::Recalled { channel, recalled } => {
                add_one(&self.counters.recalls);
                intake.recalled(&channel, recalled);
            }
        }
    }

    /// Hands down what was read of a message without a number that came by `channel`.
    pub(crate) fn unnumbered(
        &self,
        intake: &mut impl Intake,
        channel: ChannelName,
        read: Result<Copy, Unusable>,
        placement: Placement,
    ) {
        match read {
            Ok(Copy::Event(publication)) => match intake.event(&publication, placement) {
                Ok(_) => add_one(&self.counters.events),
                // Its other copies count as repeated, so all of its channels are told now.
                Err(error) => self.drop_event(intake, Refusal::TooLarge, &publication.channels, &error),
            },
            Ok(Copy::Repeated) => add_one(&self.counters.repeated),
            Ok(Copy::Waits) => {}
            // An envelope for several channels is refused, and told, by each of its copies.
            Err(Unusable(reason, error)) => self.drop_event(intake, reason, &[channel], &*error),
        }
    }

    /// Redis does not let this node follow a channel.
    pub(crate) fn turned_away(&self, channel: &ChannelName) {
        add_one(&self.counters.follows_refused);
        if let Some(suppressed) = self.channels_gate.pass() {
            tracing::error!(%channel, suppressed, "redis does not permit this node to follow the channel; allow its user \
                the redis channels fantail:* and fantail-event:*, and with a log fantail-log:*");
        }
    }

    /// Redis took the event, so its publisher takes it for delivered: the channels are told.
    fn drop_event(&self, intake: &mut impl Intake, reason: Refusal, channels: &[ChannelName], error: &dyn Error) {
        self.refuse(reason, &channels[0], error);
        for channel in channels {
            intake.dropped(channel);
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
