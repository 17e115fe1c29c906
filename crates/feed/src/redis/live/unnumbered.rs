//! Messages without a number: plain text, and envelopes, whose copies for several channels are one event.

use std::error::Error;

use fantail_wire::{ChannelName, Event, Publication};
use smallvec::smallvec;

use super::copies::{Copies, Copy};
use crate::counters::Refusal;
use crate::redis::envelope::Envelope;
use crate::redis::log::Message;
use crate::redis::names::ChannelKind;

/// Why a message is no event.
pub(crate) struct Unusable(pub(crate) Refusal, pub(crate) Box<dyn Error>);

/// Reads a message. `followed` finds the channels that are followed now.
pub(crate) fn read<'a>(
    message: Message,
    copies: &mut Copies,
    followed: impl Fn(&str) -> Option<&'a ChannelName>,
) -> Result<Copy, Unusable> {
    let Message { kind, channel, payload } = message;
    copies.message(&channel, &payload);
    if kind == ChannelKind::Plain {
        let event = Event::text_from_bytes(payload).map_err(|error| Unusable(Refusal::NotUtf8, error.into()))?;
        return Ok(Copy::Event(Publication { channels: smallvec![channel], event }));
    }
    let read = Envelope::read(&payload, &channel).map_err(|error| Unusable(Refusal::Envelope, error.into()));
    let (envelope, siblings) = read?;
    let event = envelope.validate().map_err(|error| Unusable(Refusal::Field, error.into()))?;
    Ok(match siblings {
        None => Copy::Event(Publication { channels: smallvec![channel], event }),
        Some(siblings) => copies.take(&channel, &payload, &siblings, event, followed),
    })
}
