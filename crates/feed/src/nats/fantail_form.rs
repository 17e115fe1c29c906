//! An event as a message: the payload is its data, and headers hold the rest.
//!
//! A header's value is written with `%` and two hexadecimal digits for each byte that a NATS client may change, such as
//! a space at its end, or that is not ASCII. `%` itself is written `%25`. Example: the type `50 %` is `50%20%25`.

use std::borrow::Cow;

use async_nats::{HeaderMap, HeaderValue};
use fantail_wire::{ChannelName, Event, EventError, EventFields, Publication};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use smallvec::SmallVec;

use super::incoming::{Incoming, Read};
use super::subjects;
use crate::CHANNELS_PER_EVENT_MAX;
use crate::counters::Refusal;

const EVENT: &str = "Fantail-Event";
const ID: &str = "Fantail-Id";
const RETRY: &str = "Fantail-Retry";
/// Names the channels of an event for several, without spaces. It counts on that event's own subject alone, so that the
/// right to publish to one channel is no right to publish to others.
const CHANNELS: &str = "Fantail-Channels";

/// Bytes of a header's value that are written as they are: what is left of ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// A message on its way out.
pub(super) struct Outgoing {
    pub(super) subject: String,
    pub(super) headers: Option<HeaderMap>,
    pub(super) payload: bytes::Bytes,
}

/// Why a message is no event.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnusableError {
    #[error("{0}")]
    Field(#[from] EventError),
    #[error("the header {0} is no UTF-8 text once its % are read")]
    NotText(&'static str),
    #[error("the header {RETRY} is no number of milliseconds")]
    Retry,
    #[error(
        "the subject {} needs the header {CHANNELS} with 1 to {CHANNELS_PER_EVENT_MAX} names and commas between",
        subjects::SEVERAL
    )]
    Channels,
    #[error("it is no event as ownCloud's services write it, see column {column} of its JSON")]
    OwnCloud { column: usize },
    #[error("a part of an event of ownCloud is no base64")]
    Base64,
}

impl UnusableError {
    /// The kind under which it is counted.
    pub(super) fn refusal(&self) -> Refusal {
        match self {
            Self::Field(EventError::DataNotUtf8 { .. }) => Refusal::NotUtf8,
            Self::Channels | Self::OwnCloud { .. } | Self::Base64 => Refusal::Envelope,
            Self::Field(_) | Self::NotText(_) | Self::Retry => Refusal::Field,
        }
    }
}

/// Writes a publication. Text alone for one channel is a message that any program could have sent.
pub(super) fn write(publication: &Publication) -> Outgoing {
    let Publication { channels, event } = publication;
    let mut headers = HeaderMap::new();
    let mut put = |name, value: Cow<'_, str>| headers.insert(name, HeaderValue::from(value.into_owned()));
    let encoded = |text| utf8_percent_encode(text, ENCODED).into();
    let subject = if let [channel] = channels.as_slice() {
        subjects::of(channel)
    } else {
        let names: Vec<_> = channels.iter().map(ChannelName::as_str).collect();
        put(CHANNELS, names.join(",").into());
        subjects::SEVERAL.into()
    };
    if let Some(event) = &event.event {
        put(EVENT, encoded(event.as_str()));
    }
    if let Some(id) = &event.id {
        put(ID, encoded(id.as_str()));
    }
    if let Some(retry_ms) = event.retry_ms {
        put(RETRY, retry_ms.to_string().into());
    }
    let headers = (!headers.is_empty()).then_some(headers);
    Outgoing { subject, headers, payload: event.data.clone().into() }
}

/// Reads a message. One for others costs a look at its subject.
pub(super) fn read(message: &Incoming<'_>, wanted: impl Fn(&str) -> Option<ChannelName>) -> Read {
    let names = match channel_names(message.subject, message.headers) {
        Ok(names) => names,
        // It names no channel, so there is none to be told.
        Err(error) => return Read::Unusable(SmallVec::new(), error),
    };
    let mut channels: SmallVec<[ChannelName; 1]> = SmallVec::new();
    for channel in names.iter().filter_map(|name| wanted(name)) {
        if !channels.contains(&channel) {
            channels.push(channel);
        }
    }
    if channels.is_empty() {
        return Read::Foreign;
    }
    match event(message.headers, message.payload) {
        Ok(event) => Read::Event(Publication { channels, event }),
        Err(error) => Read::Unusable(channels, error),
    }
}

/// The names of the channels that a message is for, unchecked.
fn channel_names<'a>(subject: &'a str, headers: Option<&'a HeaderMap>) -> Result<Vec<Cow<'a, str>>, UnusableError> {
    if subject != subjects::SEVERAL {
        return Ok(subjects::name(subject).into_iter().collect());
    }
    let names = headers.and_then(|headers| headers.get(CHANNELS)).ok_or(UnusableError::Channels)?;
    let names: Vec<_> = names.as_str().split(',').take(CHANNELS_PER_EVENT_MAX + 1).map(Cow::from).collect();
    if names.len() > CHANNELS_PER_EVENT_MAX { Err(UnusableError::Channels) } else { Ok(names) }
}

/// Reads the event.
fn event(headers: Option<&HeaderMap>, payload: &[u8]) -> Result<Event, UnusableError> {
    let text = Event::text_from_bytes(payload.to_vec())?;
    let Some(headers) = headers else { return Ok(text) };
    let retry_ms =
        headers.get(RETRY).map(|retry| retry.as_str().parse().map_err(|_| UnusableError::Retry)).transpose()?;
    let fields = EventFields { data: text.data, event: field(headers, EVENT)?, id: field(headers, ID)?, retry_ms };
    Ok(fields.validate()?)
}

fn field(headers: &HeaderMap, name: &'static str) -> Result<Option<String>, UnusableError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = percent_decode_str(value.as_str()).decode_utf8().map_err(|_| UnusableError::NotText(name))?;
    Ok(Some(text.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(names: &[&str]) -> Vec<ChannelName> {
        names.iter().map(|name| ChannelName::parse(name).expect("valid")).collect()
    }

    #[test]
    fn a_written_event_is_read_back_whole() {
        let exotic = EventFields {
            data: "l1\r\nl2\0 \u{2028}é\"\\".into(),
            event: Some(" 50 % é ".into()),
            id: Some("100%25".into()),
            retry_ms: Some(1500),
        };
        for (names, fields) in [
            (&["a"][..], EventFields { data: "x".into(), ..EventFields::default() }),
            (&["a..b"], exotic.clone()),
            (&["a", "b."], exotic),
        ] {
            let event = fields.validate().expect("valid");
            let sent = write(&Publication::new(channels(names), event.clone()));
            let found = channel_names(&sent.subject, sent.headers.as_ref()).expect("it names channels");
            assert_eq!(found, names);
            assert_eq!(super::event(sent.headers.as_ref(), &sent.payload).expect("an event"), event);
            for value in sent.headers.iter().flat_map(HeaderMap::iter).flat_map(|(_, values)| values) {
                assert!(value.as_str().bytes().all(|byte| byte.is_ascii_graphic()), "{value}");
            }
        }
    }

    #[test]
    fn text_alone_for_one_channel_is_a_plain_message() {
        let sent = write(&Publication::new(channels(&["demo"]), Event::text("hello")));
        assert_eq!((sent.subject.as_str(), sent.headers, &sent.payload[..]), ("fantail.demo", None, &b"hello"[..]));
    }

    #[test]
    fn channels_in_a_header_count_on_their_own_subject_alone() {
        let sent = write(&Publication::new(channels(&["a", "b"]), Event::text("x")));
        let headers = sent.headers.as_ref();
        assert_eq!(channel_names("fantail.c", headers).expect("one"), ["c"]);
        assert!(matches!(channel_names(subjects::SEVERAL, None), Err(UnusableError::Channels)));
        let mut wide = HeaderMap::new();
        wide.insert(CHANNELS, vec!["a"; CHANNELS_PER_EVENT_MAX + 1].join(",").as_str());
        assert!(matches!(channel_names(subjects::SEVERAL, Some(&wide)), Err(UnusableError::Channels)));
    }

    #[test]
    fn a_message_that_is_no_event_is_refused_by_its_field() {
        let with = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value);
            event(Some(&headers), b"x").expect_err(value).refusal()
        };
        assert_eq!(with(EVENT, "fantail.gap"), Refusal::Field);
        assert_eq!(with(EVENT, "a%0Ab"), Refusal::Field);
        assert_eq!(with(EVENT, "%ff"), Refusal::Field);
        assert_eq!(with(ID, "aaaaaaaaaaaa.1.1"), Refusal::Field);
        assert_eq!(with(RETRY, "-1"), Refusal::Field);
        assert_eq!(with(RETRY, "99999999999"), Refusal::Field);
        assert_eq!(event(None, b"\xff").expect_err("no text").refusal(), Refusal::NotUtf8);
    }
}
