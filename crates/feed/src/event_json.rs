//! An event as a JSON object: one reading of it for HTTP and for Redis.
//!
//! `{"channel": "…", "data": "…", "event": "…", "id": "…", "retry": 3000}`, or `channels` with a list. A member that is
//! not known is passed over, so that one which a later version adds loses no event here. `null` is as good as no
//! member. A member that is given twice is refused: readers of JSON differ in which of the two they take. A fault names
//! its member; only what is no JSON at all is an error of the JSON.

use std::fmt;

use fantail_wire::{EventFields, RETRY_MS_MAX};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::CHANNELS_PER_EVENT_MAX;

/// The members of an event, of the right types and not checked further.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventJson {
    /// The one channel.
    pub channel: Option<String>,
    /// Several channels; none if it is missing or empty.
    pub channels: Vec<String>,
    /// Names the event among its copies for several channels of Redis.
    pub uid: Option<String>,
    /// The event itself.
    pub fields: EventFields,
}

/// Why a JSON value is no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventJsonError {
    /// It is another kind of value, such as a list of what the members would hold.
    #[error("an event is a JSON object with its fields by name, as in {{\"channel\":\"demo\",\"data\":\"hello\"}}")]
    NotAnObject,
    /// A member is there twice.
    #[error("{0} is given twice")]
    Twice(&'static str),
    /// The text is missing, or `null`.
    #[error("data is missing; it is the event's text, a string")]
    NoData,
    /// The text is some other JSON.
    #[error("data must be a string: encode the JSON, as in \"data\":\"{{\\\"a\\\":1}}\"")]
    Data,
    /// A member that is a string is something else.
    #[error("{0} must be a string")]
    NotText(&'static str),
    /// `retry` is no number of milliseconds.
    #[error("retry must be a whole number of milliseconds from 0 to {RETRY_MS_MAX}")]
    Retry,
    /// `channels` is no list of strings.
    #[error("channels must be a list of strings")]
    Channels,
    /// The list is longer than an event may have channels.
    #[error("an event is for at most {CHANNELS_PER_EVENT_MAX} channels, this one names {0}; publish it in parts")]
    TooManyChannels(usize),
}

impl EventJsonError {
    /// The member at fault, if there is one.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::NotAnObject => None,
            Self::Twice(field) | Self::NotText(field) => Some(field),
            Self::NoData | Self::Data => Some("data"),
            Self::Retry => Some("retry"),
            Self::Channels | Self::TooManyChannels(_) => Some("channels"),
        }
    }
}

/// One JSON value, read as an event or refused. Deserializing fails only for text that is no JSON.
#[derive(Debug)]
pub struct ReadEvent(pub Result<EventJson, EventJsonError>);

impl<'de> Deserialize<'de> for ReadEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EventVisitor).map(Self)
    }
}

/// The known members.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Member {
    Channel,
    Channels,
    Data,
    Event,
    Id,
    Retry,
    Uid,
    #[serde(other)]
    Unknown,
}

/// By index.
const NAMES: [&str; 7] = ["channel", "channels", "data", "event", "id", "retry", "uid"];

impl Member {
    fn name(self) -> &'static str {
        NAMES.get(self as usize).copied().unwrap_or_default()
    }
}

/// A member's value, as far as it matters.
enum MemberValue {
    Null,
    Text(String),
    Number(u64),
    /// Strings, and how many there were; those beyond the bound are counted and not kept, so that a payload does not
    /// grow many times in memory.
    Texts(Vec<String>, usize),
    /// A value that no member takes.
    Other,
}

impl<'de> Deserialize<'de> for MemberValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = MemberValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<MemberValue, E> {
        Ok(MemberValue::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<MemberValue, E> {
        Ok(MemberValue::Other)
    }

    fn visit_u64<E>(self, number: u64) -> Result<MemberValue, E> {
        Ok(MemberValue::Number(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<MemberValue, E> {
        Ok(u64::try_from(number).map_or(MemberValue::Other, MemberValue::Number))
    }

    fn visit_f64<E>(self, _: f64) -> Result<MemberValue, E> {
        Ok(MemberValue::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<MemberValue, E> {
        Ok(MemberValue::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<MemberValue, E> {
        Ok(MemberValue::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<MemberValue, A::Error> {
        let (mut texts, mut count) = (Vec::new(), 0);
        while count < CHANNELS_PER_EVENT_MAX {
            match list.next_element()? {
                None => return Ok(MemberValue::Texts(texts, count)),
                Some(MemberValue::Text(text)) => texts.push(text),
                Some(_) => {
                    drain(list)?;
                    return Ok(MemberValue::Other);
                }
            }
            count += 1;
        }
        while list.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(MemberValue::Texts(texts, count))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<MemberValue, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(MemberValue::Other)
    }
}

/// The methods of a visitor for values that are no object.
macro_rules! not_an_object {
    ($($visit:ident($kind:ty)),+) => {
        $(fn $visit<E>(self, _: $kind) -> Result<Self::Value, E> {
            Ok(Err(EventJsonError::NotAnObject))
        })+
    };
}

struct EventVisitor;

impl<'de> Visitor<'de> for EventVisitor {
    type Value = Result<EventJson, EventJsonError>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut reading = MemberReader::default();
        while let Some(member) = map.next_key()? {
            if member == Member::Unknown {
                map.next_value::<IgnoredAny>()?;
            } else {
                let value = map.next_value()?;
                // Of several faults the first counts, and the rest of the object must still be JSON.
                if reading.fault.is_none() {
                    reading.fault = reading.take(member, value).err();
                }
            }
        }
        Ok(reading.finish())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        drain(list)?;
        Ok(Err(EventJsonError::NotAnObject))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Err(EventJsonError::NotAnObject))
    }

    not_an_object!(visit_bool(bool), visit_u64(u64), visit_i64(i64), visit_f64(f64), visit_str(&str));
}

/// The members that have come so far.
#[derive(Default)]
struct MemberReader {
    event: EventJson,
    seen: [bool; NAMES.len()],
    has_data: bool,
    fault: Option<EventJsonError>,
}

impl MemberReader {
    fn take(&mut self, member: Member, value: MemberValue) -> Result<(), EventJsonError> {
        if std::mem::replace(&mut self.seen[member as usize], true) {
            return Err(EventJsonError::Twice(member.name()));
        }
        let EventJson { channel, channels, uid, fields } = &mut self.event;
        match (member, value) {
            (_, MemberValue::Null) => {}
            (Member::Data, MemberValue::Text(text)) => {
                fields.data = text;
                self.has_data = true;
            }
            (Member::Data, _) => return Err(EventJsonError::Data),
            (Member::Retry, MemberValue::Number(ms)) => fields.retry_ms = Some(ms),
            (Member::Retry, _) => return Err(EventJsonError::Retry),
            (Member::Channels, MemberValue::Texts(_, count)) if count > CHANNELS_PER_EVENT_MAX => {
                return Err(EventJsonError::TooManyChannels(count));
            }
            (Member::Channels, MemberValue::Texts(texts, _)) => *channels = texts,
            (Member::Channels, _) => return Err(EventJsonError::Channels),
            (Member::Channel, MemberValue::Text(text)) => *channel = Some(text),
            (Member::Event, MemberValue::Text(text)) => fields.event = Some(text),
            (Member::Id, MemberValue::Text(text)) => fields.id = Some(text),
            (Member::Uid, MemberValue::Text(text)) => *uid = Some(text),
            (other, _) => return Err(EventJsonError::NotText(other.name())),
        }
        Ok(())
    }

    fn finish(self) -> Result<EventJson, EventJsonError> {
        match self.fault {
            Some(fault) => Err(fault),
            None if !self.has_data => Err(EventJsonError::NoData),
            None => Ok(self.event),
        }
    }
}

fn drain<'de, A: SeqAccess<'de>>(mut list: A) -> Result<(), A::Error> {
    while list.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<EventJson, EventJsonError> {
        serde_json::from_str::<ReadEvent>(json).expect("JSON").0
    }

    fn refused(json: &str) -> EventJsonError {
        read(json).expect_err("a fault")
    }

    #[test]
    fn an_event_is_read_by_the_names_of_its_members() {
        let json = r#"{"retry":7,"id":"i","event":"e","data":"x","channels":["a","b"],"uid":"u","channel":"c"}"#;
        let fields = EventFields { data: "x".into(), event: Some("e".into()), id: Some("i".into()), retry_ms: Some(7) };
        let channels = vec!["a".into(), "b".into()];
        assert_eq!(read(json), Ok(EventJson { channel: Some("c".into()), channels, uid: Some("u".into()), fields }));
    }

    #[test]
    fn unknown_members_are_passed_over_and_null_is_as_good_as_no_member() {
        let data = EventFields { data: "x".into(), ..EventFields::default() };
        for json in [
            r#"{"data":"x"}"#,
            r#"{"later":{"a":[1,{}]},"data":"x","evnt":"e","later":2}"#,
            r#"{"data":"x","channel":null,"channels":null,"event":null,"id":null,"retry":null,"uid":null}"#,
            r#"{"data":"x","channels":[]}"#,
        ] {
            assert_eq!(read(json), Ok(EventJson { fields: data.clone(), ..EventJson::default() }), "{json}");
        }
    }

    /// A library may read a list into the members by their order; other values have no names.
    #[test]
    fn only_an_object_is_an_event() {
        for json in
            ["[]", r#"["demo","x"]"#, r#"["demo",null,"x",null,null,null]"#, "null", "true", "7", "-7", "0.5", "\"x\""]
        {
            assert_eq!(refused(json), EventJsonError::NotAnObject, "{json}");
        }
    }

    #[test]
    fn a_member_that_is_given_twice_is_refused_whatever_the_two_say() {
        for (member, json) in [
            ("data", r#"{"data":"x","data":"x"}"#),
            ("data", r#"{"data":null,"data":"x"}"#),
            ("channel", r#"{"channel":"a","data":"x","channel":"b"}"#),
            ("channels", r#"{"channels":[],"data":"x","channels":["b"]}"#),
            ("id", r#"{"id":"a","data":"x","\u0069d":"b"}"#),
            ("uid", r#"{"uid":"a","data":"x","uid":"a"}"#),
        ] {
            assert_eq!(refused(json), EventJsonError::Twice(member), "{json}");
        }
    }

    #[test]
    fn a_fault_names_its_member_and_says_what_it_takes() {
        for (json, field, told) in [
            ("{}", "data", "data is missing"),
            (r#"{"data":null}"#, "data", "data is missing"),
            (r#"{"data":{"a":1}}"#, "data", "data must be a string: encode the JSON"),
            (r#"{"data":["x"]}"#, "data", "data must be a string: encode the JSON"),
            (r#"{"data":7}"#, "data", "data must be a string"),
            (r#"{"data":"x","channel":["a"]}"#, "channel", "channel must be a string"),
            (r#"{"data":"x","channels":"a"}"#, "channels", "channels must be a list of strings"),
            (r#"{"data":"x","channels":["a",1]}"#, "channels", "channels must be a list of strings"),
            (r#"{"data":"x","channels":{"a":1}}"#, "channels", "channels must be a list of strings"),
            (r#"{"data":"x","event":1}"#, "event", "event must be a string"),
            (r#"{"data":"x","id":1}"#, "id", "id must be a string"),
            (r#"{"data":"x","uid":true}"#, "uid", "uid must be a string"),
            (r#"{"data":"x","retry":-1}"#, "retry", "retry must be a whole number of milliseconds from 0 to 86400000"),
            (r#"{"data":"x","retry":1.5}"#, "retry", "retry must be a whole number"),
            (r#"{"data":"x","retry":"1"}"#, "retry", "retry must be a whole number"),
            // The first of several counts.
            (r#"{"id":1,"data":2,"event":3}"#, "id", "id must be a string"),
        ] {
            let fault = refused(json);
            assert_eq!(fault.field(), Some(field), "{json}");
            assert!(fault.to_string().starts_with(told), "{json}: {fault}");
        }
    }

    #[test]
    fn a_list_of_channels_is_kept_up_to_its_bound_and_counted_beyond_it() {
        let list = |count: usize| format!(r#"{{"data":"x","channels":[{}]}}"#, vec!["\"a\""; count].join(","));
        let most = read(&list(CHANNELS_PER_EVENT_MAX)).expect("so many").channels;
        assert_eq!(most.len(), CHANNELS_PER_EVENT_MAX);
        assert_eq!(refused(&list(1_000)), EventJsonError::TooManyChannels(1_000));
    }

    #[test]
    fn text_that_is_no_json_stays_an_error_of_the_json() {
        let deep = format!("{{\"data\":{}", "[".repeat(1 << 20));
        for json in
            ["", "x", "{", "{\"data\":\"x\"", "{\"data\":\"x\"} x", "{\"data\":\"\\ud800\"}", "{\"data\":1,}", &deep]
        {
            assert!(serde_json::from_str::<ReadEvent>(json).is_err(), "{}", &json[..json.len().min(60)]);
        }
    }
}
