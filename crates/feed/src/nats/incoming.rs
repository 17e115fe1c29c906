//! A message on its way in: which followed channels it is for, and its event.

use std::collections::HashSet;

use async_nats::{HeaderMap, Message};
use fantail_wire::{ChannelName, Publication};
use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::event_form::{self, UnusableError};

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
    /// Reads it. A message for others costs a look at its subject.
    pub(super) fn read(&self, followed: &ChannelSet) -> Read {
        let names = match event_form::channel_names(self.subject, self.headers) {
            Ok(names) => names,
            // It names no channel, so there is none to be told.
            Err(error) => return Read::Unusable(SmallVec::new(), error),
        };
        let mut channels: SmallVec<[ChannelName; 1]> = SmallVec::new();
        for channel in names.iter().filter_map(|name| followed.get(name.as_ref())) {
            if !channels.contains(channel) {
                channels.push(channel.clone());
            }
        }
        if channels.is_empty() {
            return Read::Foreign;
        }
        match event_form::event(self.headers, self.payload) {
            Ok(event) => Read::Event(Publication { channels, event }),
            Err(error) => Read::Unusable(channels, error),
        }
    }
}
