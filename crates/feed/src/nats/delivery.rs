//! The last step down: tells the node, counts, and logs what was refused.

use std::error::Error;
use std::sync::Arc;

use fantail_wire::{ChannelName, EventId, GapReason, Lane, Publication, Terms};

use super::fantail_form::UnusableError;
use crate::counters::{FeedCounters, Refusal, add_one};
use crate::log_gate::{LogGate, clipped};
use crate::{Intake, Placement, Recalled};

const LOG_LINES_PER_MINUTE: u32 = 10;

/// The one lane.
pub(super) const LANE: Lane = Lane::FIRST;

/// One thing to tell the node. Those of one call are carried out together, in their order.
#[derive(Debug)]
pub(super) enum NatsOrder {
    Event {
        publication: Publication,
        placement: Placement,
        is_repaired: bool,
    },
    /// A message was no event; log it.
    Refuse {
        channel: Option<ChannelName>,
        error: UnusableError,
    },
    Dropped(ChannelName),
    Gap {
        channel: ChannelName,
        at: EventId,
        reason: GapReason,
    },
    Followed {
        channel: ChannelName,
        from: Option<EventId>,
    },
    /// Missed messages are about to be read.
    Repair,
    Synced(Terms),
    Recalled {
        channel: ChannelName,
        recalled: Recalled,
    },
}

/// Orders in the order in which they are carried out.
pub(super) type NatsOrders = Vec<NatsOrder>;

/// Everything here is called under the intake's lock.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) counters: Arc<FeedCounters>,
    gate: LogGate,
}

impl Delivery {
    pub(super) fn new(counters: Arc<FeedCounters>) -> Self {
        Self { counters, gate: LogGate::new(LOG_LINES_PER_MINUTE) }
    }

    pub(super) fn carry_out(&self, intake: &mut impl Intake, order: NatsOrder) {
        match order {
            NatsOrder::Event { publication, placement, is_repaired } => {
                if is_repaired {
                    add_one(&self.counters.repaired);
                }
                match intake.event(&publication, placement) {
                    Ok(_) => add_one(&self.counters.events),
                    Err(error) => {
                        self.refuse(Refusal::TooLarge, publication.channels.first(), &error);
                        // If it has a number the node declares it missing by itself.
                        if placement == Placement::Next {
                            publication.channels.iter().for_each(|channel| intake.dropped(channel));
                        }
                    }
                }
            }
            NatsOrder::Refuse { channel, error } => self.refuse(error.refusal(), channel.as_ref(), &error),
            NatsOrder::Dropped(channel) => intake.dropped(&channel),
            NatsOrder::Gap { channel, at, reason } => intake.gap(&channel, at, reason),
            NatsOrder::Followed { channel, from } => intake.followed(&channel, from),
            NatsOrder::Repair => add_one(&self.counters.repairs),
            NatsOrder::Synced(terms) => intake.synced(LANE, &terms),
            NatsOrder::Recalled { channel, recalled } => {
                add_one(&self.counters.recalls);
                intake.recalled(&channel, recalled);
            }
        }
    }

    fn refuse(&self, reason: Refusal, channel: Option<&ChannelName>, error: &dyn Error) {
        self.counters.refuse(reason);
        if let Some(suppressed) = self.gate.pass() {
            let (channel, error) = (channel.map(ChannelName::as_str), clipped(&error.to_string()));
            tracing::warn!(
                channel,
                suppressed,
                error,
                "a message from nats was refused; its publisher should correct it"
            );
        }
    }
}
