//! The bodies of publish requests: raw data, one JSON object, an array, or NDJSON.

use std::fmt;

use fantail_feed::{EventJson, EventJsonError, ReadEvent};
use fantail_wire::{ChannelName, EventFields, Publication};
use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};

use crate::problem::Problem;

/// Events of one batch: each has a result in the answer, which must not grow far beyond the request.
const EVENTS_PER_BATCH_MAX: usize = 10_000;

/// The content of a body: one event with its own answer, or a batch with a result for each event.
#[derive(Debug)]
pub(crate) enum Items {
    One(Result<Publication, Problem>),
    Many(Vec<Result<Publication, Problem>>),
}

/// Reads `POST /publish/{channel}`: the body is the data, the rest stands in the query.
pub(crate) fn raw(channel: &str, query: &str, body: Vec<u8>) -> Result<Publication, Problem> {
    let channel = ChannelName::parse(channel)?;
    let mut fields = EventFields::from_data(body)?;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "event" => fields.event = Some(value.into_owned()),
            "id" => fields.id = Some(value.into_owned()),
            "retry" => {
                let ms = value.parse().map_err(|_| Problem::field("retry", "retry is a number of milliseconds"))?;
                fields.retry_ms = Some(ms);
            }
            _ => {
                let detail = format!("the query takes event, id and retry, not {:?}", &*name);
                return Err(Problem::field("query", detail));
            }
        }
    }
    Ok(Publication::new([channel], fields.validate()?))
}

/// Reads `POST /publish`. The whole body must be JSON before any of it is published.
pub(crate) fn json(body: &[u8]) -> Result<Items, Problem> {
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => Err(Problem::field("body", "the body is empty; it holds a JSON object, an array or NDJSON")),
        Some(b'[') => array(body),
        Some(_) => lines(body),
    }
}

fn array(body: &[u8]) -> Result<Items, Problem> {
    let Batch { events, count } = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    if count > EVENTS_PER_BATCH_MAX {
        return Err(too_many());
    }
    Ok(Items::Many(events.into_iter().map(publication).collect()))
}

/// One object, or several behind each other.
fn lines(body: &[u8]) -> Result<Items, Problem> {
    let mut events = Vec::new();
    for event in serde_json::Deserializer::from_slice(body).into_iter() {
        events.push(publication(event.map_err(|error| malformed(&error))?));
        if events.len() > EVENTS_PER_BATCH_MAX {
            return Err(too_many());
        }
    }
    match events.len() {
        1 => Ok(Items::One(events.remove(0))),
        _ => Ok(Items::Many(events)),
    }
}

/// The events of an array. Those beyond the bound are counted and not kept.
struct Batch {
    events: Vec<ReadEvent>,
    count: usize,
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BatchVisitor;

        impl<'de> Visitor<'de> for BatchVisitor {
            type Value = Batch;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of events")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Batch, A::Error> {
                let mut events = Vec::new();
                while events.len() < EVENTS_PER_BATCH_MAX {
                    match list.next_element()? {
                        Some(event) => events.push(event),
                        None => return Ok(Batch { count: events.len(), events }),
                    }
                }
                let mut count = events.len();
                while list.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Batch { events, count })
            }
        }

        deserializer.deserialize_seq(BatchVisitor)
    }
}

fn malformed(error: &serde_json::Error) -> Problem {
    let what = if error.is_eof() { "the JSON ends too early" } else { "the body is not JSON" };
    let detail = format!("{what} at line {} column {}: {error}", error.line(), error.column());
    Problem::field("body", detail)
}

fn too_many() -> Problem {
    let detail = format!("a batch has at most {EVENTS_PER_BATCH_MAX} events; publish it in parts");
    Problem::new(http::StatusCode::PAYLOAD_TOO_LARGE, detail).of("body")
}

fn publication(ReadEvent(event): ReadEvent) -> Result<Publication, Problem> {
    let EventJson { channel, channels, fields, uid: _ } = event?;
    let names = match channel {
        Some(one) if channels.is_empty() => vec![one],
        None if !channels.is_empty() => channels,
        _ => return Err(Problem::field("channel", "name either one channel, or several in channels")),
    };
    let channels = names.iter().map(|name| ChannelName::parse(name)).collect::<Result<Vec<_>, _>>()?;
    Ok(Publication::new(channels, fields.validate()?))
}

impl From<EventJsonError> for Problem {
    fn from(error: EventJsonError) -> Self {
        Self::field(error.field().unwrap_or("body"), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many(body: &str) -> Vec<Result<Publication, Problem>> {
        match json(body.as_bytes()).expect("JSON") {
            Items::Many(items) => items,
            Items::One(item) => panic!("one item: {item:?}"),
        }
    }

    #[test]
    fn an_object_an_array_and_ndjson_are_told_apart() {
        let one = r#"{"channel":"a","data":"x"}"#;
        assert!(matches!(json(one.as_bytes()), Ok(Items::One(Ok(_)))));
        assert_eq!(many(&format!("[{one},{one}]")).len(), 2);
        assert_eq!(many(&format!("{one}\n{one}\n{one}\n")).len(), 3);
        assert_eq!(many("[]").len(), 0);
    }

    #[test]
    fn a_batch_has_so_many_events_and_no_more() {
        let event = r#"{"channel":"a","data":"x"}"#;
        for (separator, start, end) in [(",", "[", "]"), ("\n", "", "")] {
            let batch = |count| format!("{start}{}{end}", vec![event; count].join(separator));
            assert_eq!(many(&batch(EVENTS_PER_BATCH_MAX)).len(), EVENTS_PER_BATCH_MAX);
            let problem = json(batch(EVENTS_PER_BATCH_MAX + 1).as_bytes()).expect_err("a problem");
            assert_eq!((problem.status.as_u16(), problem.field), (413, Some("body")));
        }
    }

    #[test]
    fn an_event_for_several_channels_names_each_once() {
        let body = r#"{"channels":["a","b","a"],"data":"x","event":"e","id":"i","retry":5}"#;
        let Ok(Items::One(Ok(publication))) = json(body.as_bytes()) else { panic!("valid") };
        assert_eq!(publication.channels.iter().map(ChannelName::as_str).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(publication.event.retry_ms, Some(5));
    }

    #[test]
    fn malformed_json_is_refused_with_its_place() {
        for (body, place) in [("{\n \"data\": x}", "line 2 column 10"), ("{\"a\":", "line 1 column 5"), ("", "empty")] {
            let problem = json(body.as_bytes()).expect_err("a problem");
            assert_eq!(problem.field, Some("body"));
            assert!(problem.detail.contains(place), "{}", problem.detail);
        }
    }

    #[test]
    fn every_bad_item_names_its_field() {
        for (body, field) in [
            (r#"{"data":"x"}"#, "channel"),
            (r#"{"channel":"a","channels":["b"],"data":"x"}"#, "channel"),
            (r#"{"channels":[],"data":"x"}"#, "channel"),
            (r#"{"channel":"*","data":"x"}"#, "channel"),
            (r#"{"channel":"a"}"#, "data"),
            (r#"{"channel":"a","data":{}}"#, "data"),
            (r#"{"channel":"a","data":"x","data":"y"}"#, "data"),
            (r#"{"channel":"a","data":"x","event":"fantail.gap"}"#, "event"),
            (r#"{"channel":"a","data":"x","id":"a\nb"}"#, "id"),
            (r#"{"channel":"a","data":"x","retry":-1}"#, "retry"),
            (r#"{"channel":"a","data":"x","retry":99999999999}"#, "retry"),
            ("7", "body"),
            (r#""x""#, "body"),
        ] {
            let Ok(Items::One(Err(problem))) = json(body.as_bytes()) else { panic!("{body}") };
            assert_eq!(problem.field, Some(field), "{body}");
        }
    }

    #[test]
    fn raw_data_takes_its_other_fields_from_the_query() {
        let publication = raw("a", "event=e&id=i&retry=5", b"x\ny".to_vec()).expect("valid");
        assert_eq!((publication.event.data.as_str(), publication.event.retry_ms), ("x\ny", Some(5)));
        let field = |query, body: &[u8]| raw("a", query, body.to_vec()).expect_err("a problem").field;
        assert_eq!(field("retry=1x", b""), Some("retry"));
        assert_eq!(field("typo=1", b""), Some("query"));
        assert_eq!(field("", b"\xff"), Some("data"));
    }
}
