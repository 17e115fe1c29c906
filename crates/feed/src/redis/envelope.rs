//! The JSON envelope: how an event with more than text travels through Redis.
//!
//! It is the [JSON form of an event](crate::event_json). An event for several channels is published to each of them
//! with the whole list in `channels` and the same `uid`, so that a node takes it once.

use fantail_wire::{ChannelName, Event, EventError, EventFields, Publication};
use serde::Serialize;

use crate::event_json::{EventJson, EventJsonError, ReadEvent};
use crate::random::random_u64;

/// The longest uid that is read; ours have half of it.
const UID_BYTES_MAX: usize = 64;

/// An envelope as it came in: JSON of the right shape, the event's fields not yet checked.
#[derive(Debug)]
pub(super) struct Envelope(EventFields);

/// The channels of an event for several, and its uid.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Siblings {
    pub(super) channels: Vec<String>,
    pub(super) uid: String,
}

/// Why a payload is no envelope.
#[derive(Debug, thiserror::Error)]
pub(super) enum EnvelopeError {
    #[error("not an envelope: {0}")]
    Json(#[from] serde_json::Error),
    #[error("not an envelope: {0}")]
    Event(#[from] EventJsonError),
    #[error("channels needs a uid of 1 to {UID_BYTES_MAX} bytes, so that a node takes the event once")]
    Uid,
    #[error("channels does not name the channel that the event came by")]
    NotNamed,
}

/// Why a payload is no event.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnusableError {
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    #[error(transparent)]
    Field(#[from] EventError),
}

/// The written form: the same shape, borrowed.
#[derive(Serialize)]
struct Written<'a> {
    data: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
}

impl<'a> Written<'a> {
    fn of(event: &'a Event) -> Self {
        Self {
            data: &event.data,
            event: event.event.as_ref().map(fantail_wire::EventType::as_str),
            id: event.id.as_ref().map(fantail_wire::PublisherId::as_str),
            retry: event.retry_ms,
            channels: None,
            uid: None,
        }
    }

    fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers have a JSON form")
    }
}

impl Envelope {
    /// Reads an envelope that came by `channel`.
    pub(super) fn read(payload: &[u8], channel: &ChannelName) -> Result<(Self, Option<Siblings>), EnvelopeError> {
        let EventJson { channel: _, channels, uid, fields } = parse(payload)?;
        if channels.is_empty() {
            return Ok((Self(fields), None));
        }
        let uid = uid.filter(|uid| (1..=UID_BYTES_MAX).contains(&uid.len())).ok_or(EnvelopeError::Uid)?;
        if !channels.iter().any(|name| name == channel.as_str()) {
            return Err(EnvelopeError::NotNamed);
        }
        Ok((Self(fields), Some(Siblings { channels, uid })))
    }

    /// Reads an event whose channels are told elsewhere, whatever its publisher wrote with it.
    pub(super) fn read_alone(payload: &[u8]) -> Result<Event, UnusableError> {
        Ok(Self(parse(payload)?.fields).validate()?)
    }

    /// Checks the event's fields.
    pub(super) fn validate(self) -> Result<Event, EventError> {
        self.0.validate()
    }
}

fn parse(payload: &[u8]) -> Result<EventJson, EnvelopeError> {
    let ReadEvent(event) = serde_json::from_slice(payload)?;
    Ok(event?)
}

/// Writes the envelope of a publication. Each call of it is another event.
pub(super) fn write(publication: &Publication) -> Vec<u8> {
    let several = publication.channels.len() > 1;
    Written {
        channels: several.then(|| publication.channels.iter().map(ChannelName::as_str).collect()),
        uid: several.then(|| format!("{:016x}{:016x}", random_u64(), random_u64())),
        ..Written::of(&publication.event)
    }
    .to_json()
}

/// Writes the envelope of an event whose channels are told elsewhere.
pub(super) fn write_event(event: &Event) -> Vec<u8> {
    Written::of(event).to_json()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CHANNELS_PER_EVENT_MAX;

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name).expect("valid")
    }

    fn read(json: &str) -> Result<(Envelope, Option<Siblings>), EnvelopeError> {
        Envelope::read(json.as_bytes(), &channel("a"))
    }

    fn event(json: &str) -> Event {
        read(json).expect("an envelope").0.validate().expect("valid fields")
    }

    #[test]
    fn only_data_is_needed_and_unknown_members_are_passed_over() {
        assert_eq!(event(r#"{"data":"x"}"#), Event::text("x"));
        assert_eq!(
            event(r#"{"later":{"a":[1,{}]},"data":"x","event":null,"channels":null,"channel":"b","uid":"u"}"#),
            Event::text("x")
        );
    }

    #[test]
    fn a_written_envelope_is_read_back() {
        let fields = EventFields {
            data: "l\u{2028}\"\n".into(),
            event: Some("e".into()),
            id: Some("i".into()),
            retry_ms: Some(7),
        };
        let event = fields.validate().expect("valid");
        for names in [&["a"][..], &["a", "b"]] {
            let channels = names.iter().map(|name| channel(name)).collect();
            let json = write(&Publication { channels, event: event.clone() });
            let (envelope, siblings) = Envelope::read(&json, &channel("a")).expect("an envelope");
            assert_eq!(envelope.validate().expect("valid"), event);
            assert_eq!(
                siblings.map(|siblings| siblings.channels),
                (names.len() > 1).then(|| vec!["a".into(), "b".into()])
            );
        }
    }

    #[test]
    fn two_events_for_several_channels_have_two_uids() {
        let publication =
            Publication { channels: [channel("a"), channel("b")].into_iter().collect(), event: Event::text("x") };
        let uid = || Envelope::read(&write(&publication), &channel("a")).expect("an envelope").1.expect("siblings").uid;
        assert_ne!(uid(), uid());
    }

    #[test]
    fn a_payload_that_is_no_envelope_is_refused() {
        let deep = format!("{{\"data\":\"x\",\"deep\":{}", "[".repeat(1 << 20));
        for json in [
            "",
            "x",
            "{\"data\":\"x\"",
            "{\"data\":\"x\"} x",
            "{\"data\":\"\\ud800\"}",
            "{\"data\":\"x\",\"retry\":1e999}",
            &deep,
        ] {
            let start: String = json.chars().take(60).collect();
            assert!(matches!(read(json), Err(EnvelopeError::Json(_))), "{start}");
        }
        let wide = format!(r#"{{"data":"x","uid":"u","channels":["a"{}]}}"#, r#","a""#.repeat(CHANNELS_PER_EVENT_MAX));
        for json in [
            "null",
            "[]",
            "[\"x\",null,null,null,[],null]",
            "{}",
            "{\"data\":{}}",
            "{\"data\":\"x\",\"data\":\"y\"}",
            "{\"data\":\"x\",\"retry\":-1}",
            &wide,
        ] {
            assert!(matches!(read(json), Err(EnvelopeError::Event(_))), "{json}");
        }
        assert!(Envelope::read(b"{\"data\":\"\xff\"}", &channel("a")).is_err());
    }

    #[test]
    fn a_list_of_channels_needs_a_uid_and_the_channel_it_came_by() {
        assert!(matches!(read(r#"{"data":"x","channels":["a"]}"#), Err(EnvelopeError::Uid)));
        assert!(matches!(read(r#"{"data":"x","channels":["a"],"uid":""}"#), Err(EnvelopeError::Uid)));
        assert!(matches!(read(r#"{"data":"x","channels":["b"],"uid":"u"}"#), Err(EnvelopeError::NotNamed)));
    }
}
