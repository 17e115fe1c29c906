//! The response heads that this program writes itself, on sockets taken from the HTTP server.

use std::time::SystemTime;

use bytes::Bytes;
use fantail_shard::{WholeAnswer, encode_head};
use fantail_telemetry::CloseReason;
use fantail_wire::Framing;
use http::StatusCode;

use crate::problem::{Answer, Problem};

/// Headers that depend on the request: CORS.
pub(crate) type ExtraHeaders = Vec<(&'static str, String)>;

/// Headers of every stream besides CORS. They tell proxies not to buffer, store or change it. The connection is not
/// used again, since its socket leaves the HTTP server.
pub(crate) const STREAM_HEADERS: [(&str, &str); 3] = [
    ("content-type", "text/event-stream"),
    ("cache-control", "no-cache, no-store, no-transform"),
    ("x-accel-buffering", "no"),
];

/// How a head is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadForm {
    /// As text, for a socket of its own.
    Http1(Framing),
    /// As a header block.
    Http2,
}

pub(crate) fn stream_head(form: HeadForm, extra: &ExtraHeaders) -> Bytes {
    head(StatusCode::OK, form, &STREAM_HEADERS, extra)
}

/// A head of HTTP/2. Fields of the connection are left out: there they say nothing, and may not be sent (RFC 9113, 8.2.2).
pub(crate) fn header_block<'a>(status: StatusCode, fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> Bytes {
    let date = httpdate::fmt_http_date(SystemTime::now());
    let mut all: Vec<(&str, &[u8])> = vec![("date", date.as_bytes())];
    for (name, value) in fields.filter(|(name, _)| *name != "connection") {
        all.push((name, value));
    }
    encode_head(status.as_u16(), all).into()
}

/// The whole answer for a stream that cannot begin now, if the client did not ask for the stream type. A browser's
/// `EventSource` gives up for ever on any status but 200 (WHATWG HTML, 9.2.2), so it gets a stream from the shard
/// instead, which says when to come back and ends.
pub(crate) fn shed(reason: CloseReason, form: HeadForm, extra: &ExtraHeaders) -> WholeAnswer {
    let (status, retry_after, detail) = match reason {
        CloseReason::TooManyChannels => {
            let detail = "your address has made as many channels as one may: follow those that are there, or wait until \
                          some that nobody follows are forgotten";
            (StatusCode::TOO_MANY_REQUESTS, "10", detail)
        }
        CloseReason::Refused => {
            (StatusCode::SERVICE_UNAVAILABLE, "10", "this node holds as many channels as it may, try again")
        }
        _ => (StatusCode::SERVICE_UNAVAILABLE, "1", "the stream cannot begin now, try again"),
    };
    let body = serde_json::to_vec(&Problem::new(status, detail).to_json()).expect("JSON is written");
    let headers = [("content-type", "application/problem+json"), ("retry-after", retry_after)];
    // The answer ends with the connection of HTTP/1, whatever the version.
    let form = if form == HeadForm::Http2 { form } else { HeadForm::Http1(Framing::CloseDelimited) };
    WholeAnswer { head: head(status, form, &headers, extra), body: body.into() }
}

fn head(status: StatusCode, form: HeadForm, headers: &[(&str, &str)], extra: &ExtraHeaders) -> Bytes {
    let extra = extra.iter().map(|(name, value)| (*name, value.as_str()));
    let fields = headers.iter().copied().chain(extra);
    let (version, coding) = match form {
        HeadForm::Http1(Framing::Chunked) => ("HTTP/1.1", "transfer-encoding: chunked\r\n"),
        HeadForm::Http1(Framing::CloseDelimited) => ("HTTP/1.0", ""),
        HeadForm::Http2 => return header_block(status, fields.map(|(name, value)| (name, value.as_bytes()))),
    };
    let date = httpdate::fmt_http_date(SystemTime::now());
    let mut head = format!("{version} {status}\r\ndate: {date}\r\nconnection: close\r\n{coding}");
    for (name, value) in fields {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.push_str("\r\n");
    head.into()
}

/// Adds headers to an answer of the HTTP server's.
pub(crate) fn with_headers<'a>(mut answer: Answer, headers: impl Iterator<Item = (&'static str, &'a str)>) -> Answer {
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            answer.headers_mut().append(name, value);
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_does_not_accept_event_streams_gets_503() {
        let shed = |reason| {
            let WholeAnswer { head, body } = shed(reason, HeadForm::Http1(Framing::Chunked), &Vec::new());
            String::from_utf8([head, body].concat()).expect("ASCII")
        };
        let plain = shed(CloseReason::Drained);
        assert!(plain.contains(" 503 Service Unavailable\r\n") && plain.contains("\r\nretry-after: 1\r\n"), "{plain}");
        assert!(!plain.contains("chunked"), "{plain}");
        let many = shed(CloseReason::TooManyChannels);
        assert!(
            many.starts_with("HTTP/1.0 429 Too Many Requests\r\n") && many.contains("\r\nretry-after: 10\r\n"),
            "{many}"
        );
    }
}
