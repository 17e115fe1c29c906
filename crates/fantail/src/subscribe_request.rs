//! A subscribe request: its target and headers, checked.

use fantail_hub::Resume;
use fantail_wire::ChannelName;
use http::{HeaderMap, Uri};
use percent_encoding::percent_decode_str;
use smallvec::SmallVec;

use crate::problem::Problem;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SubscribeRequest {
    /// Each channel once. None if the client's right decides them.
    pub(crate) channels: SmallVec<[ChannelName; 1]>,
    pub(crate) resume: Resume,
    pub(crate) limit: Option<u64>,
}

/// The options of the query. Unknown ones are ignored: clients add their own to get round caches.
#[derive(Default)]
struct Query {
    channels: Vec<String>,
    last_event_id: Option<String>,
    replay: Option<String>,
    limit: Option<String>,
}

impl SubscribeRequest {
    /// Reads the request; `in_path` follows the slash of the stream path and is still encoded.
    pub(crate) fn parse(
        in_path: Option<&str>,
        uri: &Uri,
        headers: &HeaderMap,
        channels_max: usize,
    ) -> Result<Self, Problem> {
        let query = Query::parse(uri.query().unwrap_or_default());
        let resume = resume(&query, headers)?;
        let limit = query.limit.as_deref().map(limit).transpose()?;
        let channels = channels(in_path, query.channels, channels_max)?;
        Ok(Self { channels, resume, limit })
    }
}

impl Query {
    fn parse(text: &str) -> Self {
        let mut query = Self::default();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            let value = value.into_owned();
            match &*name {
                "channel" => query.channels.push(value),
                "last_event_id" => query.last_event_id = Some(value),
                "replay" => query.replay = Some(value),
                "limit" => query.limit = Some(value),
                _ => {}
            }
        }
        query
    }
}

fn channels(
    in_path: Option<&str>,
    in_query: Vec<String>,
    channels_max: usize,
) -> Result<SmallVec<[ChannelName; 1]>, Problem> {
    let mut names = in_query;
    if let Some(encoded) = in_path {
        if !names.is_empty() {
            return Err(Problem::field("channel", "name channels in the path or in the query, not in both"));
        }
        let decoded = percent_decode_str(encoded).decode_utf8();
        names.push(decoded.map_err(|_| Problem::field("channel", "a channel name is UTF-8"))?.into_owned());
    }
    let mut channels: SmallVec<[ChannelName; 1]> = SmallVec::new();
    for name in names {
        let channel = ChannelName::parse(&name)?;
        if !channels.contains(&channel) {
            channels.push(channel);
        }
        if channels.len() > channels_max {
            return Err(Problem::field("channel", format!("a stream follows at most {channels_max} channels")));
        }
    }
    Ok(channels)
}

/// The header comes first, since browsers send it on reconnects with the same URL. The query's id comes next. A replay
/// comes last: it is for first connects.
fn resume(query: &Query, headers: &HeaderMap) -> Result<Resume, Problem> {
    let replay = query.replay.as_deref().map(replay).transpose()?;
    let header = headers.get("last-event-id").map(http::HeaderValue::as_bytes).filter(|id| !id.is_empty());
    if let Some(id) = header {
        // Nobody gives an id with bytes that are not UTF-8, nor one with replacement characters, so it is unknown
        // either way.
        return Ok(Resume::After(String::from_utf8_lossy(id).into_owned()));
    }
    if let Some(id) = query.last_event_id.as_ref().filter(|id| !id.is_empty()) {
        return Ok(Resume::After(id.clone()));
    }
    Ok(match replay {
        None | Some(0) => Resume::Live,
        Some(events) => Resume::Replay(events),
    })
}

fn replay(text: &str) -> Result<usize, Problem> {
    if text == "all" {
        return Ok(usize::MAX);
    }
    text.parse().map_err(|_| Problem::field("replay", "replay is a number of events, or all"))
}

fn limit(text: &str) -> Result<u64, Problem> {
    let limit = text.parse().ok().filter(|&n| n > 0);
    limit.ok_or_else(|| Problem::field("limit", "limit is a number of events, at least 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(in_path: Option<&str>, query: &str, last_event_id: Option<&[u8]>) -> Result<SubscribeRequest, Problem> {
        let uri = format!("/sse?{query}").parse().expect("a valid URI");
        let mut headers = HeaderMap::new();
        if let Some(id) = last_event_id {
            headers.insert("last-event-id", http::HeaderValue::from_bytes(id).expect("a valid header"));
        }
        SubscribeRequest::parse(in_path, &uri, &headers, 3)
    }

    fn names(request: &SubscribeRequest) -> Vec<&str> {
        request.channels.iter().map(ChannelName::as_str).collect()
    }

    #[test]
    fn channels_come_from_the_path_or_the_query_each_once() {
        assert_eq!(names(&parse(None, "", None).expect("valid")), [""; 0]);
        assert_eq!(names(&parse(Some("user%3A1/x"), "", None).expect("valid")), ["user:1/x"]);
        assert_eq!(names(&parse(None, "channel=a&channel=b&channel=a&_=1", None).expect("valid")), ["a", "b"]);
    }

    #[test]
    fn bad_channels_and_options_name_their_field() {
        let field = |in_path, query| parse(in_path, query, None).expect_err("a problem").field;
        assert_eq!(field(Some("a"), "channel=b"), Some("channel"));
        assert_eq!(field(Some("%ff"), ""), Some("channel"));
        assert_eq!(field(Some("a*"), ""), Some("channel"));
        assert_eq!(field(None, "channel=a&channel=b&channel=c&channel=d"), Some("channel"));
        for bad in ["limit=0", "limit=-1", "limit=x", "limit=", "limit=99999999999999999999"] {
            assert_eq!(field(Some("a"), bad), Some("limit"), "{bad}");
        }
        for bad in ["replay=x", "replay=-1", "replay="] {
            assert_eq!(field(Some("a"), bad), Some("replay"), "{bad}");
        }
    }

    #[test]
    fn the_header_wins_over_the_query_and_an_id_over_a_replay() {
        let resume = |query, header: Option<&[u8]>| parse(Some("a"), query, header).expect("valid").resume;
        assert_eq!(resume("", None), Resume::Live);
        assert_eq!(resume("replay=0", None), Resume::Live);
        assert_eq!(resume("replay=all", None), Resume::Replay(usize::MAX));
        assert_eq!(resume("replay=5&last_event_id=q", None), Resume::After("q".into()));
        assert_eq!(resume("last_event_id=q", Some(b"h")), Resume::After("h".into()));
        assert_eq!(resume("last_event_id=q", Some(b"")), Resume::After("q".into()));
        assert_eq!(resume("", Some(b"\xff")), Resume::After("\u{fffd}".into()));
    }
}
