//! The requests of a round: everything but the payload is written once per channel, before the measurement.

use std::ops::Range;

use crate::message::channel_name;
use crate::payload::{Payload, PayloadWriter};
use crate::publisher::{write_body_around, write_request};
use crate::target::ServerUnderTest;

/// A byte that stands in no request.
const PLACEHOLDER: u8 = 0;

/// Writes requests that differ in their payload only.
#[derive(Debug)]
pub(crate) struct Requests {
    payloads: PayloadWriter,
    by_channel: Vec<RequestTemplate>,
}

#[derive(Debug)]
struct RequestTemplate {
    text: Box<[u8]>,
    payload: Range<usize>,
}

impl Requests {
    pub(crate) fn new(target: &ServerUnderTest, prefix: &str, channels: u32, payload_bytes: u32) -> Self {
        let template = |channel| RequestTemplate::new(target, &channel_name(prefix, channel), payload_bytes as usize);
        Self { payloads: PayloadWriter::new(payload_bytes), by_channel: (0..channels).map(template).collect() }
    }

    /// Appends the request of one event.
    pub(crate) fn write(&self, event: Payload, out: &mut Vec<u8>) {
        let RequestTemplate { text, payload } = &self.by_channel[event.channel as usize];
        out.extend_from_slice(&text[..payload.start]);
        self.payloads.write(event, out);
        out.extend_from_slice(&text[payload.end..]);
    }
}

impl RequestTemplate {
    fn new(target: &ServerUnderTest, channel: &str, payload_bytes: usize) -> Self {
        let (mut body, mut text) = (Vec::new(), Vec::new());
        write_body_around(target, channel, &mut body, |out| out.resize(out.len() + payload_bytes, PLACEHOLDER));
        write_request(target, channel, &body, &mut text);
        let start = text.iter().position(|byte| *byte == PLACEHOLDER).unwrap_or(text.len());
        let end = text.len().min(start + payload_bytes);
        Self { text: text.into(), payload: start..end }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a value that does not parse is a failed test")]
    use super::*;

    fn written(words: &[&str]) -> String {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        let target = ServerUnderTest::from_words("a", &words).unwrap();
        let mut out = Vec::new();
        let requests = Requests::new(&target, "x", 3, 72);
        requests.write(Payload { number: 5, sent_nanos: 6, channel: 2 }, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn payload_stands_in_its_place_and_the_length_is_right() {
        let post = written(&["publish=http://127.0.0.1:1/{channel}", "body=<{data}|{channel}>", "header=A: b"]);
        assert!(
            post.starts_with("POST /x-2 HTTP/1.1\r\nHost: 127.0.0.1:1\r\nContent-Length: 78\r\nA: b\r\n\r\n<5 6 2 ")
        );
        assert!(post.ends_with("|x-2>") && !post.contains('\0'), "{post:?}");
    }

    #[test]
    fn redis_gets_a_publish_command() {
        let publish = written(&["publish=redis://127.0.0.1:1/fantail:{channel}"]);
        assert!(publish.starts_with("*3\r\n$7\r\nPUBLISH\r\n$11\r\nfantail:x-2\r\n$72\r\n5 6 2 "), "{publish:?}");
    }
}
