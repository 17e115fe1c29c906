//! The SSE encoder: an event's one way into text (WHATWG HTML, 9.2.5 and 9.2.6).
//!
//! It writes LF only, one `data:` line for each line of the text, and always a space after the colon, since a client
//! removes exactly one. CRLF is one break, a lone CR and a lone LF are breaks; U+2028, U+0085, VT and FF are not.

use crate::{BareBlocks, Event, Frame};

/// Why an event cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The encoded frame passes its bound. A text of line breaks alone grows sevenfold, so the bound is on the result.
    #[error("the encoded event has {found} bytes, more than the {max} allowed")]
    TooLarge {
        /// The bound in bytes.
        max: usize,
        /// The encoded size in bytes.
        found: usize,
    },
}

/// Encodes `event` with `id` into one frame of at most `bytes_max` bytes of text.
///
/// `id` stands in the frame if the event has none of its own; an event that cannot be resumed from gets `None`.
pub fn encode(event: &Event, id: Option<&str>, bytes_max: usize) -> Result<Frame, EncodeError> {
    encode_among(BareBlocks::Closed, event, id, bytes_max)
}

/// The same, among blocks without data that end so. With [`BareBlocks::Joined`] the id stands behind the event: clients of that
/// kind keep an id at its line, and would otherwise keep that of an event of which they have only the beginning.
pub fn encode_among(bare: BareBlocks, event: &Event, id: Option<&str>, bytes_max: usize) -> Result<Frame, EncodeError> {
    let id = event.id.as_ref().map(crate::PublisherId::as_str).or(id);
    let retry = event.retry_ms.map(|ms| ms.to_string());
    let (before, behind) = match bare {
        BareBlocks::Closed => (id, None),
        BareBlocks::Joined => (None, id),
    };
    let kind = event.event.as_ref().map(crate::EventType::as_str);
    let fields = [("id", before), ("event", kind), ("retry", retry.as_deref())];

    let fields_len: usize = fields
        .iter()
        .chain(&[("id", behind)])
        .filter_map(|(name, value)| value.map(|v| name.len() + 2 + v.len() + 1))
        .sum();
    let data_len: usize = lines(&event.data).map(|line| "data: ".len() + line.len() + 1).sum();
    let text_len = fields_len + data_len + 1;
    if text_len > bytes_max {
        return Err(EncodeError::TooLarge { max: bytes_max, found: text_len });
    }
    Ok(Frame::build(text_len, |out| {
        for (name, value) in fields {
            if let Some(value) = value {
                write_field(out, name, value);
            }
        }
        for line in lines(&event.data) {
            write_field(out, "data", line);
        }
        out.push(b'\n');
        if let Some(id) = behind {
            write_field(out, "id", id);
        }
    }))
}

/// One field on a line of its own. The value must hold no line break.
pub(crate) fn write_field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.push(b'\n');
}

/// The lines of `text`: at least one, and one more after each break.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = memchr::memchr2(b'\r', b'\n', text.as_bytes()) else {
            return rest.take();
        };
        let break_len = if text[end..].starts_with("\r\n") { 2 } else { 1 };
        rest = Some(&text[end + break_len..]);
        Some(&text[..end])
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{EventFields, Framing, opening_frame};

    fn text(event: &Event, id: Option<&str>) -> String {
        let frame = encode(event, id, 1 << 20).expect("small enough");
        String::from_utf8(frame.bytes(Framing::CloseDelimited).to_vec()).expect("UTF-8")
    }

    #[test]
    fn fields_stand_in_order_and_end_with_a_blank_line() {
        let fields = EventFields {
            data: "a\nb".into(),
            event: Some("tick".into()),
            id: Some("mine".into()),
            retry_ms: Some(1500),
        };
        let event = fields.validate().expect("valid");
        assert_eq!(text(&event, Some("ours")), "id: mine\nevent: tick\nretry: 1500\ndata: a\ndata: b\n\n");
    }

    /// A client that keeps an id at its line is cut off behind each byte. It never keeps the id of an event that it has not got
    /// whole, for it would come back behind that.
    #[test]
    fn among_joined_blocks_no_cut_leaves_a_client_with_the_id_of_an_event_that_it_lacks() {
        let mut stream = opening_frame(1000, None, BareBlocks::Joined).bytes(Framing::CloseDelimited).to_vec();
        let event = EventFields { data: "l1\nl2".into(), event: Some("tick".into()), ..EventFields::default() };
        let event = event.validate().expect("valid");
        for id in ["1", "2", "3"] {
            let frame = encode_among(BareBlocks::Joined, &event, Some(id), 1000).expect("small");
            stream.extend_from_slice(frame.bytes(Framing::CloseDelimited));
        }
        let mut whole = 0;
        for cut in 0..=stream.len() {
            let text = std::str::from_utf8(&stream[..cut]).expect("ASCII");
            let got = text.matches("data: l2\n\n").count();
            let mut lines = text.split_inclusive('\n').filter_map(|line| line.strip_prefix("id: ")?.strip_suffix('\n'));
            let kept = lines.next_back().map_or(0, |id| id.parse::<usize>().expect("a number"));
            assert!(kept <= got && got <= kept + 1, "{text:?}");
            whole = whole.max(kept);
        }
        assert_eq!(whole, 3);
    }

    #[test]
    fn every_kind_of_line_break_starts_a_data_line() {
        for (data, lines) in [
            ("", "data: \n"),
            ("\r\n", "data: \ndata: \n"),
            ("\n\r", "data: \ndata: \ndata: \n"),
            ("a\rb\nc\r\nd", "data: a\ndata: b\ndata: c\ndata: d\n"),
            (" lead", "data:  lead\n"),
            ("\u{feff}bom", "data: \u{feff}bom\n"),
            ("a\u{2028}b\u{85}c\u{b}d\u{c}e", "data: a\u{2028}b\u{85}c\u{b}d\u{c}e\n"),
            ("event: forged\n\nid: 1", "data: event: forged\ndata: \ndata: id: 1\n"),
            ("nul\0stays", "data: nul\0stays\n"),
        ] {
            assert_eq!(text(&Event::text(data), None), format!("{lines}\n"), "{data:?}");
        }
    }

    #[test]
    fn the_bound_is_on_the_encoded_text() {
        let event = Event::text("\n".repeat(100));
        let found = 101 * 7 + 1;
        assert_eq!(encode(&event, None, found - 1), Err(EncodeError::TooLarge { max: found - 1, found }));
        assert!(encode(&event, None, found).is_ok());
    }

    /// A client's reading of one event's text, written from the standard's parsing rules and not from the encoder.
    fn decode(text: &str) -> Vec<String> {
        let mut events = Vec::new();
        let mut data: Option<String> = None;
        for line in text.split('\n') {
            if line.is_empty() {
                events.extend(data.take());
            } else if let Some(value) = line.strip_prefix("data:") {
                let value = value.strip_prefix(' ').unwrap_or(value);
                match &mut data {
                    Some(d) => {
                        d.push('\n');
                        d.push_str(value);
                    }
                    none => *none = Some(value.to_owned()),
                }
            } else {
                panic!("unexpected line {line:?}");
            }
        }
        events
    }

    proptest! {
        #[test]
        fn a_client_reads_back_the_text_with_breaks_as_lf(data in "[\r\n:x \u{e9}\u{2028}]{0,40}") {
            let expected = data.replace("\r\n", "\n").replace('\r', "\n");
            prop_assert_eq!(decode(&text(&Event::text(data), None)), vec![expected]);
        }
    }
}
