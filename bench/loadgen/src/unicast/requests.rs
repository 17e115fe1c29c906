//! The requests of a round: everything but the payload is written once per channel, before the measurement. A message of ownCloud
//! is written whole for each event.

use std::io::Write as _;
use std::ops::Range;

use fantail_testkit::owncloud_message;

use crate::message::channel_name;
use crate::payload::{Payload, PayloadWriter};
use crate::publisher::{write_body_around, write_request};
use crate::target::ServerUnderTest;
use crate::url_template::Scheme;

/// A byte that stands in no request.
const PLACEHOLDER: u8 = 0;

/// The subject on which NATS says that its stream has an event.
pub(crate) const NATS_ANSWERS: &str = "answers";

/// The type of events in the form of ownCloud.
const OWNCLOUD_TYPE: &str = "userlog-notification";

/// Writes requests that differ in their payload only.
#[derive(Debug)]
pub(crate) struct Requests {
    payloads: PayloadWriter,
    form: Form,
}

#[derive(Debug)]
enum Form {
    ByChannel(Vec<RequestTemplate>),
    /// The payload is in base64, twice, so the whole message changes with it. Channels are users.
    OwnCloud {
        stream: String,
        users: Vec<String>,
    },
}

#[derive(Debug)]
struct RequestTemplate {
    text: Box<[u8]>,
    payload: Range<usize>,
}

impl Requests {
    pub(crate) fn new(target: &ServerUnderTest, prefix: &str, channels: u32, payload_bytes: u32) -> Self {
        let names = (0..channels).map(|channel| channel_name(prefix, channel));
        let form = if target.publish.scheme() == Scheme::Nats {
            let stream = target.publish.path("").trim_start_matches('/').to_owned();
            Form::OwnCloud { stream, users: names.collect() }
        } else {
            let template = |name: String| RequestTemplate::new(target, &name, payload_bytes as usize);
            Form::ByChannel(names.map(template).collect())
        };
        Self { payloads: PayloadWriter::new(payload_bytes), form }
    }

    /// Appends the request of one event.
    pub(crate) fn write(&self, event: Payload, out: &mut Vec<u8>) {
        match &self.form {
            Form::ByChannel(templates) => {
                let RequestTemplate { text, payload } = &templates[event.channel as usize];
                out.extend_from_slice(&text[..payload.start]);
                self.payloads.write(event, out);
                out.extend_from_slice(&text[payload.end..]);
            }
            Form::OwnCloud { stream, users } => {
                let mut data = Vec::new();
                self.payloads.write(event, &mut data);
                let user = users[event.channel as usize].as_str();
                let message = owncloud_message(&[user], OWNCLOUD_TYPE, &String::from_utf8_lossy(&data));
                // Writing into a Vec cannot fail.
                let _ = write!(out, "PUB {stream} {NATS_ANSWERS} {}\r\n{message}\r\n", message.len());
            }
        }
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

    #[test]
    fn owncloud_gets_a_message_for_the_user_of_the_channel() {
        let publish = written(&["publish=nats://127.0.0.1:1/main-queue"]);
        let (line, message) = publish.split_once("\r\n").unwrap();
        let message = message.strip_suffix("\r\n").unwrap();
        assert_eq!(line, format!("PUB main-queue answers {}", message.len()));
        let mut data = Vec::new();
        PayloadWriter::new(72).write(Payload { number: 5, sent_nanos: 6, channel: 2 }, &mut data);
        let data = String::from_utf8(data).unwrap();
        assert_eq!(message, owncloud_message(&["x-2"], OWNCLOUD_TYPE, &data));
    }
}
