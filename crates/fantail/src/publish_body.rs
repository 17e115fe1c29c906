//! The bodies of publish requests: raw data, one JSON object, an array, or NDJSON.

use fantail_wire::{ChannelName, EventFields, Publication};
use serde::Deserialize;
use serde_json::Value;

use crate::problem::Problem;

/// One event as JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    channel: Option<String>,
    channels: Option<Vec<String>>,
    data: String,
    event: Option<String>,
    id: Option<String>,
    retry: Option<u64>,
}

/// What a body holds: one event, answered as itself, or a list, answered item by item.
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
    let values: Vec<Value> =
        serde_json::Deserializer::from_slice(body).into_iter().collect::<Result<_, _>>().map_err(|e| malformed(&e))?;
    let mut values = values.into_iter();
    match (values.next(), values.len()) {
        (None, _) => Err(Problem::field("body", "the body is empty; it holds a JSON object, an array or NDJSON")),
        (Some(Value::Array(items)), 0) => Ok(Items::Many(items.into_iter().map(item).collect())),
        (Some(one), 0) => Ok(Items::One(item(one))),
        (Some(first), _) => Ok(Items::Many(std::iter::once(first).chain(values).map(item).collect())),
    }
}

fn malformed(error: &serde_json::Error) -> Problem {
    let what = if error.is_eof() { "the JSON ends too early" } else { "the body is not JSON" };
    let detail = format!("{what} at line {} column {}: {error}", error.line(), error.column());
    Problem::field("body", detail)
}

fn item(value: Value) -> Result<Publication, Problem> {
    let item: Item = serde_json::from_value(value).map_err(|e| {
        Problem::field("body", format!("an event is an object with channel or channels, data, event, id, retry: {e}"))
    })?;
    let names = match (item.channel, item.channels) {
        (Some(one), None) => vec![one],
        (None, Some(several)) if !several.is_empty() => several,
        _ => return Err(Problem::field("channel", "name either one channel or a list of channels")),
    };
    let channels = names.iter().map(|name| ChannelName::parse(name)).collect::<Result<Vec<_>, _>>()?;
    let fields = EventFields { data: item.data, event: item.event, id: item.id, retry_ms: item.retry };
    Ok(Publication::new(channels, fields.validate()?))
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
            (r#"{"channel":"a"}"#, "body"),
            (r#"{"channel":"a","data":{}}"#, "body"),
            (r#"{"channel":"a","data":"x","typo":1}"#, "body"),
            (r#"{"channel":"a","data":"x","event":"fantail.gap"}"#, "event"),
            (r#"{"channel":"a","data":"x","id":"a\nb"}"#, "id"),
            (r#"{"channel":"a","data":"x","retry":-1}"#, "body"),
            (r#"{"channel":"a","data":"x","retry":99999999999}"#, "retry"),
            ("7", "body"),
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
