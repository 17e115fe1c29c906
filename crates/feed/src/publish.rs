//! Answers to a publisher.

use std::sync::LazyLock;

use fantail_wire::{EncodeError, Event, EventId, LaneError, Publication, Term, encode};

/// The most channels one event can be for. Every one of them costs a message that names them all.
pub const CHANNELS_PER_EVENT_MAX: usize = 128;

/// Facts about an accepted event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The id it got, if the feed numbers at once.
    pub id: Option<EventId>,
    /// Memory feed: open streams that follow a channel of it. Redis: nodes that took it from Redis.
    pub subscribers: Option<u64>,
}

/// Why an event was not accepted, or is not known to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The event itself cannot be sent; the publisher's fault.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The event is for too many channels; the publisher's fault.
    #[error("an event is for at most {CHANNELS_PER_EVENT_MAX} channels, this one is for {found}; publish it in parts")]
    TooManyChannels {
        /// How many it names.
        found: usize,
    },
    /// Its channels are in no lane that is served, or in several; the publisher's fault.
    #[error(transparent)]
    Lane(#[from] LaneError),
    /// The form in which events stand at the broker cannot say what the event has; the publisher's fault.
    #[error("{0}")]
    Form(&'static str),
    /// The broker cannot be reached or did not answer in time; try again. It may still have taken the event.
    #[error("the event feed is unavailable: {0}")]
    Unavailable(String),
}

/// The longest id: an id is part of the frame that every node will encode.
static LONGEST_ID: LazyLock<String> = LazyLock::new(|| {
    EventId { term: Term::from_random(u64::MAX), ms: u64::MAX, number: u64::MAX, unnumbered: u32::MAX }.to_string()
});

/// Refuses an event that is too large. Every node encodes the event again, with an id of its own if it has none: an event that
/// is accepted here fits there.
pub(crate) fn check_size(event: &Event, event_bytes_max: usize) -> Result<(), PublishError> {
    encode(event, Some(&LONGEST_ID), event_bytes_max)?;
    Ok(())
}

/// Refuses events that some node of some feed would not take, so that feeds can be exchanged.
pub(crate) fn check_channels(publication: &Publication) -> Result<(), PublishError> {
    match publication.channels.len() {
        found if found > CHANNELS_PER_EVENT_MAX => Err(PublishError::TooManyChannels { found }),
        _ => Ok(()),
    }
}
