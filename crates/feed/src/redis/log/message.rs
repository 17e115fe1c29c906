//! A message of the log, as it comes on a channel's Redis channel.
//!
//! `<term>.<ms>.<number> <previous> <channel>[,<channel>..]`, a line feed, and the envelope. Each channel of an event
//! gets a copy of its own with its own previous number, side by side.

use std::str::Utf8Error;

use fantail_wire::{ChannelName, ChannelNameError, EventId, IdError};
use smallvec::SmallVec;

use crate::CHANNELS_PER_EVENT_MAX;

/// One copy of an event, borrowed from the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogMessage<'a> {
    pub(crate) id: EventId,
    /// The number of the channel's event before this one, or one below which nothing is known.
    pub(crate) previous: u64,
    /// All channels of the event; valid names, at least one.
    pub(crate) channels: SmallVec<[&'a str; 1]>,
    /// Not read yet.
    pub(crate) envelope: &'a [u8],
}

/// Why a payload is no message of the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MessageError {
    #[error("not a message of the log: its first line is not an id, a number and channels")]
    Shape,
    #[error("not a message of the log: its first line is not text")]
    Text(#[from] Utf8Error),
    #[error("not a message of the log: its id is {0}")]
    Id(#[from] IdError),
    #[error("not a message of the log: {0} is not a number below that of its id")]
    Previous(String),
    #[error("not a message of the log: {0}")]
    Channel(#[from] ChannelNameError),
    #[error("a message of the log names at most {CHANNELS_PER_EVENT_MAX} channels")]
    TooManyChannels,
}

impl<'a> LogMessage<'a> {
    /// Takes a payload apart. The envelope is left alone.
    pub(crate) fn read(payload: &'a [u8]) -> Result<Self, MessageError> {
        let end = payload.iter().position(|byte| *byte == b'\n').ok_or(MessageError::Shape)?;
        let head = std::str::from_utf8(&payload[..end])?;
        let mut parts = head.split(' ');
        let (Some(id), Some(previous), Some(names), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(MessageError::Shape);
        };
        let id = numbered(EventId::parse(id)?)?;
        let previous = previous_number(previous, &id).ok_or_else(|| MessageError::Previous(clipped(previous)))?;
        Ok(Self { id, previous, channels: channels(names)?, envelope: &payload[end + 1..] })
    }
}

/// Only an event has a number of its own.
fn numbered(id: EventId) -> Result<EventId, IdError> {
    if id.number > 0 && id.unnumbered == 0 { Ok(id) } else { Err(IdError) }
}

/// Reads the number of the event before `id`.
pub(crate) fn previous_number(text: &str, id: &EventId) -> Option<u64> {
    let is_canonical = text == "0" || (text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0'));
    let number: u64 = is_canonical.then(|| text.parse().ok())??;
    (number < id.number).then_some(number)
}

/// Reads the list of an event's channels.
pub(crate) fn channels(names: &str) -> Result<SmallVec<[&str; 1]>, MessageError> {
    let mut channels = SmallVec::new();
    for name in names.split(',') {
        ChannelName::check(name)?;
        if channels.len() == CHANNELS_PER_EVENT_MAX {
            return Err(MessageError::TooManyChannels);
        }
        channels.push(name);
    }
    Ok(channels)
}

/// The beginning of a text, for an error.
fn clipped(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(payload: &str) -> Result<LogMessage<'_>, MessageError> {
        LogMessage::read(payload.as_bytes())
    }

    #[test]
    fn a_message_is_taken_apart() {
        let read = message("abcdefghijkl.5.9 7 a,b/c\n{\"data\":\"x\\n\"}\n").expect("a message");
        assert_eq!(read.id.to_string(), "abcdefghijkl.5.9");
        assert_eq!((read.previous, &read.channels[..]), (7, &["a", "b/c"][..]));
        assert_eq!(read.envelope, b"{\"data\":\"x\\n\"}\n");
    }

    #[test]
    fn a_payload_that_is_no_message_of_the_log_is_refused() {
        let wide = format!("abcdefghijkl.5.9 7 a{}\n", ",a".repeat(CHANNELS_PER_EVENT_MAX));
        for payload in [
            "",
            "\n",
            "{\"data\":\"x\"}",
            "abcdefghijkl.5.9 7 a",
            "abcdefghijkl.5.9 7\n",
            "abcdefghijkl.5.9 7 a b\n",
            " abcdefghijkl.5.9 7 a\n",
            "abcdefghijkl.5.0 0 a\n",
            "abcdefghijkl.5.9.1 7 a\n",
            "abcdefghijk.5.9 7 a\n",
            "abcdefghijkl.5.9 9 a\n",
            "abcdefghijkl.5.9 -1 a\n",
            "abcdefghijkl.5.9 +1 a\n",
            "abcdefghijkl.5.9 07 a\n",
            "abcdefghijkl.5.9  a\n",
            "abcdefghijkl.5.9 7 \n",
            "abcdefghijkl.5.9 7 a,\n",
            "abcdefghijkl.5.9 7 a,*\n",
            "abcdefghijkl.5.9 7 a\r\n",
            &wide,
        ] {
            assert!(message(payload).is_err(), "{payload:?}");
        }
        assert!(LogMessage::read(b"abcdefghijkl.5.9 7 a\xff\n").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(payload: Vec<u8>, tail in "[a-l.0-9 ,\n-]{0,40}") {
            let _ = LogMessage::read(&payload);
            let _ = LogMessage::read(format!("abcdefghijkl.{tail}").as_bytes());
        }
    }
}
