//! An event as ownCloud's services write it: one of all kinds of events in the one subject of a stream.
//!
//! The message is JSON, and what it carries is JSON in base64. The user ids say for whom an event is. The channel of a user is
//! the id as [`escape_in_channel`] writes it. Example:
//!
//! ```text
//! {"Metadata":{"eventtype":"events.SendSSE",…},"Payload":"<base64>",…}
//! {"UserIDs":["alice","bob"],"Type":"folder-created","Message":"<base64 of the data>"}
//! ```
//!
//! An event of another type costs a look at its type. One for users whom nobody follows costs a look at their ids as well.

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use fantail_wire::{ChannelName, Event, EventFields, Publication, escape_in_channel, unescape_in_channel};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde_json::json;
use smallvec::SmallVec;

use super::fantail_form::UnusableError;
use super::incoming::Read;
use crate::PublishError;
use crate::random::random_u64;

/// The type of the events that are for streams. All other types are for other services.
const SEND_SSE: &str = "events.SendSSE";

#[derive(serde::Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, rename = "Metadata")]
    metadata: Metadata<'a>,
    #[serde(borrow, default, rename = "Payload")]
    payload: Text<'a>,
}

#[derive(serde::Deserialize)]
struct Metadata<'a> {
    #[serde(borrow, default)]
    eventtype: Text<'a>,
}

#[derive(serde::Deserialize)]
struct SendSse<'a> {
    #[serde(borrow, default, rename = "UserIDs")]
    user_ids: Option<Vec<Text<'a>>>,
    /// Of releases that wrote an event for each user.
    #[serde(borrow, default, rename = "UserID")]
    user_id: Option<Text<'a>>,
    #[serde(borrow, default, rename = "Type")]
    kind: Text<'a>,
    #[serde(borrow, default, rename = "Message")]
    message: Option<Text<'a>>,
}

/// A text that is copied only if it has to be unescaped.
#[derive(Default)]
struct Text<'a>(Cow<'a, str>);

/// Reads a message as far as this node has to. `wanted` finds the followed channel of a name.
pub(super) fn read(payload: &[u8], wanted: impl Fn(&str) -> Option<ChannelName>) -> Read {
    read_for(payload, wanted).unwrap_or_else(|error| Read::Unusable(SmallVec::new(), error))
}

fn read_for(payload: &[u8], wanted: impl Fn(&str) -> Option<ChannelName>) -> Result<Read, UnusableError> {
    let envelope: Envelope<'_> = parse(payload)?;
    if envelope.metadata.eventtype.0 != SEND_SSE {
        return Ok(Read::Foreign);
    }
    let inner = decode(&envelope.payload)?;
    let event: SendSse<'_> = parse(&inner)?;
    let ids = event.user_ids.iter().flatten().chain(&event.user_id);
    let mut channels: SmallVec<[ChannelName; 1]> = ids.filter_map(|id| wanted(&escape_in_channel(&id.0))).collect();
    // The services may name a user twice, who gets one event all the same.
    channels.sort_unstable();
    channels.dedup();
    if channels.is_empty() {
        return Ok(Read::Foreign);
    }
    Ok(match event.fields() {
        Ok(event) => Read::Event(Publication { channels, event }),
        Err(error) => Read::Unusable(channels, error),
    })
}

impl SendSse<'_> {
    fn fields(&self) -> Result<Event, UnusableError> {
        let message = self.message.as_ref().map_or_else(|| Ok(Vec::new()), decode)?;
        let data = Event::text_from_bytes(message)?.data;
        let event = Some(self.kind.0.clone().into_owned());
        Ok(EventFields { data, event, ..EventFields::default() }.validate()?)
    }
}

/// Writes a publication as the payload of a message.
pub(super) fn write(publication: &Publication, subject: &str) -> Result<Vec<u8>, PublishError> {
    let Publication { channels, event } = publication;
    if event.id.is_some() || event.retry_ms.is_some() {
        return Err(PublishError::Form("an event of ownCloud has no id and no retry of its own"));
    }
    let of_user = |channel: &ChannelName| unescape_in_channel(channel.as_str());
    let Some(users) = channels.iter().map(of_user).collect::<Option<Vec<_>>>() else {
        return Err(PublishError::Form(
            "a channel is no user: it is the user's id, with ~ and two hexadecimal digits for other characters than \
             letters, digits, - _ and .",
        ));
    };
    let kind = event.event.as_ref().map_or("", |kind| kind.as_str());
    let inner = json!({ "UserIDs": users, "Type": kind, "Message": BASE64.encode(&event.data) });
    let message = json!({
        "Timestamp": humantime::format_rfc3339_nanos(SystemTime::now()).to_string(),
        "Metadata": { "eventid": uuid(), "eventtype": SEND_SSE, "initiatorid": "", "traceparent": "" },
        "ID": uuid(),
        "Topic": subject,
        "Payload": BASE64.encode(inner.to_string()),
    });
    Ok(message.to_string().into_bytes())
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, UnusableError> {
    // The library's words may quote the message, which is private.
    serde_json::from_slice(json).map_err(|error| UnusableError::OwnCloud { column: error.column() })
}

fn decode(text: &Text<'_>) -> Result<Vec<u8>, UnusableError> {
    BASE64.decode(&*text.0).map_err(|_| UnusableError::Base64)
}

/// A random UUID (RFC 9562, version 4).
fn uuid() -> String {
    let random = u128::from(random_u64()) << 64 | u128::from(random_u64());
    let digits = format!("{random:032x}");
    let variant = ["8", "9", "a", "b"][(random & 3) as usize];
    format!("{}-{}-4{}-{variant}{}-{}", &digits[..8], &digits[8..12], &digits[12..15], &digits[15..18], &digits[18..30])
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsText;
        impl<'de> Visitor<'de> for AsText {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(AsText)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message with this payload, as the services write it.
    fn message(eventtype: &str, payload: &str) -> Vec<u8> {
        let payload = BASE64.encode(payload);
        let ids = r#""eventid":"6bf1","traceparent":"","initiatorid":"""#;
        format!(
            r#"{{"Timestamp":"2026-01-02T03:04:05.678Z","Metadata":{{"eventtype":"{eventtype}",{ids}}},"ID":"6bf1","Topic":"main-queue","Payload":"{payload}","extrainfo":{{"new":[1]}}}}"#
        )
        .into_bytes()
    }

    fn send_sse(payload: &str) -> Vec<u8> {
        message(SEND_SSE, payload)
    }

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name).expect("valid")
    }

    /// Reads for a node where `alice`, `bob` and `a@b` are followed.
    fn told(payload: &[u8]) -> String {
        let followed = ["alice", "bob", "a~40b"];
        match read(payload, |name| followed.contains(&name).then(|| channel(name))) {
            Read::Foreign => "foreign".into(),
            Read::Event(Publication { channels, event }) => {
                let names: Vec<_> = channels.iter().map(ChannelName::as_str).collect();
                format!("{} {:?} {}", names.join("+"), event.event.map(|kind| kind.as_str().to_owned()), event.data)
            }
            Read::Unusable(channels, error) => format!("{} {:?}", channels.len(), error.refusal()),
        }
    }

    #[test]
    fn an_event_reaches_each_followed_user_once() {
        let data = BASE64.encode(r#"{"itemid":"1"}"#);
        for (users, expected) in [
            (r#""UserIDs":["alice","carol","bob","alice"]"#, "alice+bob"),
            (r#""UserIDs":["a@b"]"#, "a~40b"),
            (r#""UserIDs":["\u0061lice"]"#, "alice"),
            (r#""UserID":"bob""#, "bob"),
            (r#""UserIDs":null,"UserID":"bob""#, "bob"),
        ] {
            let sent = send_sse(&format!(r#"{{{users},"Type":"folder-created","Message":"{data}","more":0}}"#));
            assert_eq!(told(&sent), format!(r#"{expected} Some("folder-created") {{"itemid":"1"}}"#), "{users}");
        }
    }

    #[test]
    fn an_event_without_type_or_data_is_one_all_the_same() {
        assert_eq!(told(&send_sse(r#"{"UserIDs":["bob"],"Type":"","Message":""}"#)), "bob None ");
        assert_eq!(told(&send_sse(r#"{"UserIDs":["bob"],"Message":null}"#)), "bob None ");
    }

    #[test]
    fn other_types_and_absent_users_are_foreign() {
        assert_eq!(told(&message("events.UploadReady", "no JSON")), "foreign");
        assert_eq!(told(br#"{"Metadata":{},"Payload":7}"#), "0 Envelope", "a text is expected");
        assert_eq!(told(br#"{"Metadata":{}}"#), "foreign");
        let absent = send_sse(r#"{"UserIDs":["carol","a~40b"],"Type":"x\ny","Message":"?"}"#);
        assert_eq!(told(&absent), "foreign", "neither type nor message of it is looked at");
    }

    #[test]
    fn a_message_that_cannot_be_read_is_refused_and_told_to_its_users_if_they_are_known() {
        for garbage in [&b""[..], b"\xff", b"[]", b"{", br#"{"Metadata":7}"#] {
            assert_eq!(told(garbage), "0 Envelope");
        }
        assert_eq!(told(&send_sse("no JSON")), "0 Envelope");
        assert_eq!(told(br#"{"Metadata":{"eventtype":"events.SendSSE"},"Payload":"?"}"#), "0 Envelope");
        let for_bob = |rest: &str| told(&send_sse(&format!(r#"{{"UserIDs":["bob"],{rest}}}"#)));
        assert_eq!(for_bob(r#""Message":"?""#), "1 Envelope");
        assert_eq!(for_bob(r#""Message":"/w==""#), "1 NotUtf8");
        assert_eq!(for_bob(r#""Type":"a\ndata: injected""#), "1 Field");
        assert_eq!(for_bob(r#""Type":"fantail.gap""#), "1 Field");
    }

    #[test]
    fn a_written_event_is_read_back_whole() {
        let event = EventFields { data: "l1\nl2 é".into(), event: Some("t".into()), ..EventFields::default() };
        let event = event.validate().expect("valid");
        let publication = Publication::new([channel("a~40b"), channel("bob")], event);
        assert_eq!(told(&write(&publication, "main-queue").expect("written")), "a~40b+bob Some(\"t\") l1\nl2 é");
    }

    #[test]
    fn an_event_that_has_no_such_form_is_refused_to_its_publisher() {
        let with_id = EventFields { data: "x".into(), id: Some("1".into()), ..EventFields::default() };
        let with_id = Publication::new([channel("bob")], with_id.validate().expect("valid"));
        let for_no_user = Publication::new([channel("a:b")], Event::text("x"));
        for refused in [with_id, for_no_user] {
            assert!(matches!(write(&refused, "main-queue"), Err(PublishError::Form(_))), "{refused:?}");
        }
    }

    #[test]
    fn a_uuid_has_its_version_and_variant() {
        for _ in 0..100 {
            let uuid = uuid();
            let parts: Vec<_> = uuid.split('-').map(str::len).collect();
            assert_eq!(parts, [8, 4, 4, 4, 12], "{uuid}");
            assert!(uuid.as_bytes()[14] == b'4' && b"89ab".contains(&uuid.as_bytes()[19]), "{uuid}");
        }
    }
}
