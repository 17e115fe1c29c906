//! A message on its way in: which followed channels it is for, and its event.

use std::collections::HashSet;

use async_nats::{HeaderMap, Message};
use fantail_wire::{ChannelName, Publication};
use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::fantail_form::UnusableError;
use super::form::NatsEventForm;

/// Followed channels.
pub(super) type ChannelSet = HashSet<ChannelName, RandomState>;

/// The parts of a message that make an event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Incoming<'a> {
    pub(super) subject: &'a str,
    pub(super) headers: Option<&'a HeaderMap>,
    pub(super) payload: &'a [u8],
}

/// A message, read as far as this node has to.
#[derive(Debug)]
pub(super) enum Read {
    /// It is for no followed channel.
    Foreign,
    Event(Publication),
    /// It is no event. The channels are those that it was for.
    Unusable(SmallVec<[ChannelName; 1]>, UnusableError),
}

impl<'a> From<&'a Message> for Incoming<'a> {
    fn from(message: &'a Message) -> Self {
        Self { subject: &message.subject, headers: message.headers.as_ref(), payload: &message.payload }
    }
}

impl Incoming<'_> {
    /// Reads it for a node that follows these channels.
    pub(super) fn read(&self, form: NatsEventForm, followed: &ChannelSet) -> Read {
        form.read(self, |name| followed.get(name).cloned())
    }
}
