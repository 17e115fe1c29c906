//! Answers with a body.

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use crate::problem::Answer;

/// JSON, on a line of its own in a terminal.
pub(crate) fn json_answer(status: StatusCode, body: &impl Serialize) -> Answer {
    let mut text = serde_json::to_vec(body).expect("values of ours have a text");
    text.push(b'\n');
    typed_answer(status, "application/json", text)
}

/// Bytes of a type.
pub(crate) fn typed_answer(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
