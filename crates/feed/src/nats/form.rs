//! The form in which events stand in messages, as the operator has chosen it.

use fantail_wire::{ChannelName, Publication};

use super::fantail_form::{self, Outgoing};
use super::incoming::{Incoming, Read};
use super::{owncloud_form, subjects};
use crate::PublishError;

/// The writers of the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NatsEventForm {
    /// Fantail's own form: a subject for each channel, the data as payload, and the rest in headers.
    #[default]
    Fantail,
    /// ownCloud's services: JSON in the one subject of a stream, which has the stream's name.
    OwnCloud,
}

impl NatsEventForm {
    /// Reads a message as far as a node has to. `wanted` finds the followed channel of a name.
    pub(super) fn read(self, message: &Incoming<'_>, wanted: impl Fn(&str) -> Option<ChannelName>) -> Read {
        match self {
            Self::Fantail => fantail_form::read(message, wanted),
            Self::OwnCloud => owncloud_form::read(message.payload, wanted),
        }
    }

    /// Writes a publication. `stream` is the one that keeps the events, if one does.
    pub(super) fn write(self, publication: &Publication, stream: Option<&str>) -> Result<Outgoing, PublishError> {
        match (self, stream) {
            (Self::OwnCloud, Some(stream)) => {
                let payload = owncloud_form::write(publication, stream)?.into();
                Ok(Outgoing { subject: stream.to_owned(), headers: None, payload })
            }
            _ => Ok(fantail_form::write(publication)),
        }
    }

    /// The subjects on which events of a channel stand; none for all that a stream has.
    pub(super) fn subjects(self, channel: &ChannelName) -> Vec<Option<String>> {
        match self {
            Self::Fantail => vec![Some(subjects::of(channel)), Some(subjects::SEVERAL.to_owned())],
            Self::OwnCloud => vec![None],
        }
    }

    /// Whether the events of all channels stand on one subject.
    pub(super) fn has_one_subject(self) -> bool {
        self == Self::OwnCloud
    }

    /// The subjects that a stream should keep, for a message.
    pub(super) fn kept(self) -> &'static str {
        match self {
            Self::Fantail => subjects::ALL,
            Self::OwnCloud => "the subject with its own name",
        }
    }
}
