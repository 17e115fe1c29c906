//! Every error of an HTTP request becomes an answer here, as `application/problem+json` (RFC 9457).

use std::time::Duration;

use bytes::Bytes;
use fantail_feed::PublishError;
use fantail_wire::{ChannelNameError, EventError};
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

/// The body of all answers that are no stream.
pub(crate) type Answer = Response<Full<Bytes>>;

/// An error of a request: the fault, its place, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    /// The part of the request at fault.
    pub(crate) field: Option<&'static str>,
    pub(crate) detail: String,
    /// For 405: the allowed methods.
    allow: Option<&'static str>,
    /// Seconds after which another try makes sense.
    retry_after: Option<u64>,
}

#[derive(Serialize)]
struct Body<'a> {
    title: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'static str>,
    detail: &'a str,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, field: None, detail: detail.into(), allow: None, retry_after: None }
    }

    /// A fault of one field of the request.
    pub(crate) fn field(field: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail).of(field)
    }

    /// The same, of this field.
    pub(crate) fn of(self, field: &'static str) -> Self {
        Self { field: Some(field), ..self }
    }

    /// The same, in these words.
    pub(crate) fn saying(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, what).of("path")
    }

    pub(crate) fn method(allow: &'static str) -> Self {
        let detail = format!("this path answers {allow}");
        Self { field: Some("method"), allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, detail) }
    }

    /// More than may come in a second; after `wait` there is room.
    pub(crate) fn too_often(detail: impl Into<String>, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Self { retry_after: Some(seconds.max(1)), ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail) }
    }

    /// The problem as a JSON object, for one event of several.
    pub(crate) fn to_json(&self) -> serde_json::Map<String, serde_json::Value> {
        match serde_json::to_value(self.body()) {
            Ok(serde_json::Value::Object(json)) => json,
            _ => unreachable!("plain fields become a JSON object"),
        }
    }

    fn body(&self) -> Body<'_> {
        let title = self.status.canonical_reason().unwrap_or("Error");
        Body { title, status: self.status.as_u16(), field: self.field, detail: &self.detail }
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        if problem.status == StatusCode::NO_CONTENT {
            // It has no body (RFC 9110, 15.3.5), so it tells no more than that.
            let mut answer = Response::new(Full::default());
            *answer.status_mut() = problem.status;
            return answer;
        }
        let body = serde_json::to_vec(&problem.body()).expect("plain fields become JSON");
        let mut answer = Response::new(Full::from(body));
        *answer.status_mut() = problem.status;
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(allow) = problem.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if problem.status == StatusCode::UNAUTHORIZED {
            // RFC 9110, 11.6.1: a 401 names how to log in.
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if problem.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Some(seconds) = problem.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        answer
    }
}

impl From<ChannelNameError> for Problem {
    fn from(error: ChannelNameError) -> Self {
        Self::field("channel", error.to_string())
    }
}

impl From<EventError> for Problem {
    fn from(error: EventError) -> Self {
        Self::field(error.field(), error.to_string())
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        let detail = error.to_string();
        match error {
            PublishError::Encode(_) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail).of("data"),
            PublishError::TooManyChannels { .. } | PublishError::Lane(_) => Self::field("channels", detail),
            PublishError::Form(_) => Self::new(StatusCode::BAD_REQUEST, detail),
            PublishError::Unavailable(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, detail),
        }
    }
}
