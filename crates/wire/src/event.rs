//! An event as its publisher says it: its fields, checked once, the same way for every entrance.

use smallvec::SmallVec;

use crate::{ChannelName, EventId};

/// The longest event type, in bytes.
pub const EVENT_TYPE_BYTES_MAX: usize = 255;

/// The longest id a publisher may give, in bytes. Browsers send it back as a header; a longer one makes a
/// cross-origin `EventSource` preflight every reconnect (Fetch, CORS-safelisted request-header value).
pub const PUBLISHER_ID_BYTES_MAX: usize = 128;

/// The largest `retry`, in milliseconds: one day. Browsers keep the value in a 32-bit integer.
pub const RETRY_MS_MAX: u64 = 86_400_000;

/// Event types that begin so are Fantail's own.
const RESERVED_TYPE_PREFIX: &str = "fantail.";

/// One event, valid in all its fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The text; every CR, LF or CRLF in it reaches the client as one LF (WHATWG HTML, 9.2.6).
    pub data: String,
    /// The event type; `None` is `message`.
    pub event: Option<EventType>,
    /// The publisher's own id, sent instead of the feed's.
    pub id: Option<PublisherId>,
    /// The reconnection time to set at the client, in milliseconds.
    pub retry_ms: Option<u32>,
}

/// One event and the channels it is for: what every entrance hands to the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// At least one channel; a stream that follows several of them gets the event once.
    pub channels: SmallVec<[ChannelName; 1]>,
    /// The event.
    pub event: Event,
}

/// An event's fields as they came in, not yet checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFields {
    /// The text.
    pub data: String,
    /// The event type; empty means `message`.
    pub event: Option<String>,
    /// The publisher's own id.
    pub id: Option<String>,
    /// The reconnection time in milliseconds.
    pub retry_ms: Option<u64>,
}

/// A checked event type: not empty, no control character, not one of Fantail's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventType(Box<str>);

/// A checked id of the publisher's own: nothing a client would drop, and nothing that reads as one of Fantail's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PublisherId(Box<str>);

/// Why an event is refused. Every variant names its field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// `data` is not UTF-8; SSE is UTF-8 only and clients would replace the bytes silently.
    #[error("data is not valid UTF-8 at byte {at}; encode binary data as base64 or JSON")]
    DataNotUtf8 {
        /// Offset of the first byte that is not UTF-8.
        at: usize,
    },
    /// A field is too long.
    #[error("{field} has at most {max} bytes, this one has {found}")]
    TooLong {
        /// `event` or `id`.
        field: &'static str,
        /// The bound in bytes.
        max: usize,
        /// The length found.
        found: usize,
    },
    /// A field holds a control character: CR and LF would inject fields, clients ignore an id with NUL.
    #[error("{field} must not hold control characters, found {found:?} at byte {at}")]
    Control {
        /// `event` or `id`.
        field: &'static str,
        /// The character.
        found: char,
        /// Its offset in bytes.
        at: usize,
    },
    /// `event` begins with `fantail.`.
    #[error("event types that begin with \"fantail.\" are reserved")]
    ReservedType,
    /// `id` is empty: it would reset the client's cursor.
    #[error("id must not be empty; leave it out to let Fantail number the event")]
    EmptyId,
    /// `id` begins or ends with a space, which HTTP removes on the way back.
    #[error("id must not begin or end with a space")]
    PaddedId,
    /// `id` has the form of Fantail's own ids.
    #[error("id has the form of fantail's own ids; choose another")]
    IdLooksLikeOurs,
    /// `retry` is out of range.
    #[error("retry is a number of milliseconds from 0 to {RETRY_MS_MAX}, found {found}")]
    Retry {
        /// The value found.
        found: u64,
    },
}

impl EventError {
    /// The name of the field at fault.
    pub fn field(&self) -> &'static str {
        match self {
            Self::DataNotUtf8 { .. } => "data",
            Self::TooLong { field, .. } | Self::Control { field, .. } => field,
            Self::ReservedType => "event",
            Self::EmptyId | Self::PaddedId | Self::IdLooksLikeOurs => "id",
            Self::Retry { .. } => "retry",
        }
    }
}

impl Publication {
    /// An event for `channels`, of which repeated ones count once.
    pub fn new(channels: impl IntoIterator<Item = ChannelName>, event: Event) -> Self {
        let mut each_once = SmallVec::new();
        for channel in channels {
            if !each_once.contains(&channel) {
                each_once.push(channel);
            }
        }
        Self { channels: each_once, event }
    }
}

impl Event {
    /// An event with text alone.
    pub fn text(data: impl Into<String>) -> Self {
        Self { data: data.into(), event: None, id: None, retry_ms: None }
    }

    /// An event whose text are `data`'s bytes.
    pub fn text_from_bytes(data: Vec<u8>) -> Result<Self, EventError> {
        utf8(data).map(Self::text)
    }
}

/// `bytes` as text, or the offset of what is not UTF-8.
pub(crate) fn utf8(bytes: Vec<u8>) -> Result<String, EventError> {
    String::from_utf8(bytes).map_err(|e| EventError::DataNotUtf8 { at: e.utf8_error().valid_up_to() })
}

impl EventFields {
    /// Fields with nothing but `data`, given as bytes.
    pub fn from_data(data: Vec<u8>) -> Result<Self, EventError> {
        Ok(Self { data: utf8(data)?, ..Self::default() })
    }

    /// Checks every field; the first fault is reported.
    pub fn validate(self) -> Result<Event, EventError> {
        let retry_ms = match self.retry_ms {
            Some(found) if found > RETRY_MS_MAX => return Err(EventError::Retry { found }),
            other => other.and_then(|ms| u32::try_from(ms).ok()),
        };
        Ok(Event {
            data: self.data,
            event: self.event.as_deref().map(EventType::parse).transpose()?.flatten(),
            id: self.id.as_deref().map(PublisherId::parse).transpose()?,
            retry_ms,
        })
    }
}

impl EventType {
    /// Checks `name`; an empty one is `None`, which clients read as `message`.
    pub fn parse(name: &str) -> Result<Option<Self>, EventError> {
        check_line("event", name, EVENT_TYPE_BYTES_MAX)?;
        if name.starts_with(RESERVED_TYPE_PREFIX) {
            return Err(EventError::ReservedType);
        }
        Ok((!name.is_empty()).then(|| Self(name.into())))
    }

    /// The type as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PublisherId {
    /// Checks `id`.
    pub fn parse(id: &str) -> Result<Self, EventError> {
        check_line("id", id, PUBLISHER_ID_BYTES_MAX)?;
        if id.is_empty() {
            return Err(EventError::EmptyId);
        }
        if id.starts_with(' ') || id.ends_with(' ') {
            return Err(EventError::PaddedId);
        }
        if EventId::has_our_form(id) {
            return Err(EventError::IdLooksLikeOurs);
        }
        Ok(Self(id.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A value that stands on one line of a frame: bounded, and free of C0, DEL and C1 controls.
fn check_line(field: &'static str, value: &str, max: usize) -> Result<(), EventError> {
    if value.len() > max {
        return Err(EventError::TooLong { field, max, found: value.len() });
    }
    match value.char_indices().find(|&(_, c)| c.is_control()) {
        Some((at, found)) => Err(EventError::Control { field, found, at }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> EventFields {
        EventFields { data: "x".into(), ..EventFields::default() }
    }

    #[test]
    fn an_empty_event_type_means_message() {
        let event = EventFields { event: Some(String::new()), ..fields() }.validate().expect("valid");
        assert_eq!(event.event, None);
    }

    #[test]
    fn control_characters_in_event_and_id_are_refused() {
        for c in ['\0', '\r', '\n', '\t', '\u{1b}', '\u{7f}', '\u{85}', '\u{9f}'] {
            let hostile = format!("a{c}");
            let event = EventFields { event: Some(hostile.clone()), ..fields() }.validate();
            assert_eq!(event, Err(EventError::Control { field: "event", found: c, at: 1 }));
            let id = EventFields { id: Some(hostile), ..fields() }.validate();
            assert_eq!(id, Err(EventError::Control { field: "id", found: c, at: 1 }));
        }
    }

    #[test]
    fn reserved_types_and_ids_of_our_own_form_are_refused() {
        let event = EventFields { event: Some("fantail.gap".into()), ..fields() }.validate();
        assert_eq!(event, Err(EventError::ReservedType));
        let id = EventFields { id: Some("abcdefghijkl.1.2".into()), ..fields() }.validate();
        assert_eq!(id, Err(EventError::IdLooksLikeOurs));
    }

    #[test]
    fn ids_a_client_would_lose_are_refused() {
        for (id, error) in [("", EventError::EmptyId), (" a", EventError::PaddedId), ("a ", EventError::PaddedId)] {
            assert_eq!(PublisherId::parse(id), Err(error));
        }
        assert!(PublisherId::parse("order-42").is_ok() && PublisherId::parse("…").is_ok());
    }

    #[test]
    fn lengths_and_retry_are_bounded() {
        assert!(EventType::parse(&"e".repeat(255)).is_ok());
        assert!(matches!(EventType::parse(&"e".repeat(256)), Err(EventError::TooLong { field: "event", .. })));
        assert!(matches!(PublisherId::parse(&"i".repeat(129)), Err(EventError::TooLong { field: "id", .. })));
        let retry = |ms| EventFields { retry_ms: Some(ms), ..fields() }.validate().map(|e| e.retry_ms);
        assert_eq!(retry(0), Ok(Some(0)));
        assert_eq!(retry(RETRY_MS_MAX), Ok(Some(86_400_000)));
        assert_eq!(retry(RETRY_MS_MAX + 1), Err(EventError::Retry { found: RETRY_MS_MAX + 1 }));
    }

    #[test]
    fn invalid_utf8_is_refused_with_its_place() {
        assert_eq!(Event::text_from_bytes(b"ab\xffc".to_vec()), Err(EventError::DataNotUtf8 { at: 2 }));
    }
}
