//! Names, ids, events and their text form.

use fantail_feed::ReadEvent;
use fantail_testkit::sse::Parser;
use fantail_wire::{
    CHANNEL_NAME_BYTES_MAX, ChannelName, ChannelPattern, Event, EventFields, EventId, Framing, PublisherId, encode,
};

use crate::envelope;

/// A channel's name holds nothing that Redis, a URL, JSON or a log would read otherwise; a pattern fits what it must.
pub(super) fn channel(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (name, pattern) = text.split_once('\n').unwrap_or((text, "*"));
    let parsed = ChannelName::parse(name);
    if parsed.is_ok() {
        assert!((1..=CHANNEL_NAME_BYTES_MAX).contains(&name.len()));
        assert!(!name.contains(['*', '?', '[', ']', '{', '}', '\\', '^', ',', '+', '"', '%', ' ']) && name.is_ascii());
        assert!(name.split('/').all(|segment| !matches!(segment, "" | "." | "..")));
        assert!(ChannelPattern::parse(name).is_ok_and(|itself| itself.matches(parsed.as_ref().expect("a name"))));
    }
    if let (Ok(name), Ok(pattern)) = (parsed, ChannelPattern::parse(pattern)) {
        assert_eq!(pattern.matches(&name), fits(pattern.as_str().as_bytes(), name.as_str().as_bytes()));
    }
}

/// The meaning of a pattern, computed plainly: which beginnings of the name fit so far.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for &byte in pattern {
        if byte == b'*' {
            let first = reached.iter().position(|&fits| fits).unwrap_or(reached.len());
            reached[first..].fill(true);
        } else {
            for at in (0..name.len()).rev() {
                reached[at + 1] = reached[at] && name[at] == byte;
            }
            reached[0] = false;
        }
    }
    reached[name.len()]
}

/// An id of ours has one spelling, and no publisher can give it.
pub(super) fn cursor(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(id) = EventId::parse(text) {
        assert_eq!(id.to_string(), text);
        assert!(EventId::has_our_form(text));
    }
    if let Ok(id) = PublisherId::parse(text) {
        assert_eq!(id.as_str(), text);
        assert!(EventId::parse(text).is_err() && !text.contains(['\r', '\n', '\0']));
    }
}

/// An event as JSON: what is read is what a plain reader of JSON finds under these names.
pub(super) fn event_json(data: &[u8]) {
    let Ok(ReadEvent(Ok(event))) = serde_json::from_slice(data) else { return };
    let json: serde_json::Value = serde_json::from_slice(data).unwrap_or_default();
    if json.is_object() {
        assert_eq!(json["data"].as_str(), Some(event.fields.data.as_str()));
        assert_eq!(json["id"].as_str(), event.fields.id.as_deref());
        assert_eq!(json["retry"].as_u64(), event.fields.retry_ms);
    }
}

/// An envelope that is read and written again is the same event.
pub(super) fn envelope(data: &[u8]) {
    let channel = ChannelName::parse("c").expect("a name");
    if let Ok((read, siblings)) = envelope::Envelope::read(data, &channel) {
        assert!(
            siblings
                .is_none_or(|siblings| siblings.channels.iter().any(|name| name == "c") && !siblings.uid.is_empty())
        );
        let _ = read.validate();
    }
    if let Ok(event) = envelope::Envelope::read_alone(data) {
        let written = envelope::write_event(&event);
        assert_eq!(envelope::Envelope::read_alone(&written).ok(), Some(event));
    }
}

/// An event that is encoded and read as a browser reads it is the same event, and one event.
pub(super) fn sse(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut parts = text.splitn(4, '\u{1}');
    let mut part = || parts.next().map(str::to_owned);
    let (event, id, retry) = (part(), part(), part());
    let fields = EventFields {
        event,
        id: id.filter(|id| !id.is_empty()),
        retry_ms: retry.and_then(|ms| ms.parse().ok()),
        data: part().unwrap_or_else(|| text.to_owned()),
    };
    let Ok(event) = fields.validate() else { return };
    let Ok(frame) = encode(&event, Some("abcdefghijkl.1.2"), 1 << 20) else { return };
    let mut parser = Parser::default();
    let read = parser.feed(frame.bytes(Framing::CloseDelimited));
    assert!(!parser.in_mid_block() && parser.unknown_lines() == 0 && parser.comments() == 0);
    let [read] = &read[..] else { panic!("{} events", read.len()) };
    assert_eq!(read.data, lines(&event));
    assert_eq!(read.event, event.event.as_ref().map_or("message", |kind| kind.as_str()));
    assert_eq!(read.id, event.id.as_ref().map_or("abcdefghijkl.1.2", |id| id.as_str()));
    assert_eq!(read.retry, event.retry_ms.map(u64::from));
}

/// The data as a client gets it: every break is a line feed.
fn lines(event: &Event) -> String {
    event.data.replace("\r\n", "\n").replace('\r', "\n")
}
