//! Messages without a number: plain text, and envelopes, whose copies for several channels are one event.

use std::error::Error;

use fantail_wire::{ChannelName, Event, Publication};
use smallvec::smallvec;

use super::recent_uids::RecentUids;
use crate::counters::Refusal;
use crate::redis::envelope::Envelope;
use crate::redis::log::Message;
use crate::redis::names::ChannelKind;

/// Why a message is no event.
pub(crate) struct Unusable(pub(crate) Refusal, pub(crate) Box<dyn Error>);

/// Reads a message. None if the event has come by another of its channels.
///
/// `followed` finds the channels that are followed now. The first copy brings the event to all of them, and in one
/// transaction that is all: a SUBSCRIBE stands before or behind the whole transaction. Copies that are sent one by one
/// may come to channels that were followed in between. Example: `a` is followed, and the copy for `a` and `b` comes by
/// `a`. Then `b` is followed, and the copy by `b` brings the event to `b` alone.
pub(crate) fn read<'a>(
    message: Message,
    recent: &mut RecentUids,
    followed: impl Fn(&str) -> Option<&'a ChannelName>,
) -> Result<Option<Publication>, Unusable> {
    let Message { kind, channel, payload } = message;
    if kind == ChannelKind::Plain {
        let event = Event::text_from_bytes(payload).map_err(|error| Unusable(Refusal::NotUtf8, error.into()))?;
        return Ok(Some(Publication { channels: smallvec![channel], event }));
    }
    let read = Envelope::read(&payload, &channel).map_err(|error| Unusable(Refusal::Envelope, error.into()));
    let (envelope, siblings) = read?;
    let event = envelope.validate().map_err(|error| Unusable(Refusal::Field, error.into()))?;
    let Some(siblings) = siblings else { return Ok(Some(Publication { channels: smallvec![channel], event })) };
    let mut channels = recent.insert(&siblings.uid, siblings.channels.iter().filter_map(|name| followed(name)));
    channels.sort_unstable();
    Ok((!channels.is_empty()).then_some(Publication { channels, event }))
}
