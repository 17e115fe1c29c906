//! A client's reading of `text/event-stream`, byte by byte as it comes (WHATWG HTML, 9.2.6).
//!
//! Keeps the last id and the reconnection time for the next connection, also from blocks that are no event. There is
//! one reader for each connection, since half an event of a lost connection must not glue to the next. It knows nothing
//! of HTTP.

use std::mem;

use memchr::memchr2;

/// The most that is kept of one event: far above what a server sends, and far below a machine's memory.
const EVENT_BYTES_MAX: usize = 32 << 20;

const BOM: &[u8] = "\u{feff}".as_bytes();

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StreamEvent {
    /// The event type; `message` if the server named none.
    pub(super) kind: String,
    /// The data lines, joined by LF.
    pub(super) data: String,
    /// The last id as of this event, which may come from an earlier one; empty for none.
    pub(super) id: String,
    /// The reconnection time that came with this event, in milliseconds.
    pub(super) retry_ms: Option<u64>,
}

/// The event grew beyond the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge;

/// The state between two reads.
#[derive(Debug, Default)]
pub(super) struct EventReader {
    /// The line that is not complete yet.
    line: Vec<u8>,
    /// Whether the first line, which may begin with a byte order mark, is complete.
    begun: bool,
    /// The last line ended with a CR; an LF right after it belongs to it.
    after_cr: bool,
    block: Block,
    /// As of the last blank line.
    last_event_id: String,
    retry_ms: Option<u64>,
}

/// The fields since the last blank line.
#[derive(Debug, Default)]
struct Block {
    event: String,
    data: Option<String>,
    id: Option<String>,
    retry_ms: Option<u64>,
}

impl EventReader {
    /// A reader for the stream that goes on after `last_event_id`, which stays the last id until there is a newer one.
    pub(super) fn resuming(last_event_id: String) -> Self {
        Self { last_event_id, ..Self::default() }
    }

    /// Takes more bytes and returns the events that they completed.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Result<Vec<StreamEvent>, TooLarge> {
        let mut events = Vec::new();
        while !bytes.is_empty() {
            if mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = memchr2(b'\r', b'\n', bytes);
            self.line.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
            if self.line.len() + self.block.data.as_ref().map_or(0, String::len) > EVENT_BYTES_MAX {
                return Err(TooLarge);
            }
            let Some(end) = end else { break };
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            events.extend(self.end_line());
        }
        Ok(events)
    }

    /// The newest reconnection time, in milliseconds.
    pub(super) fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// Whether the end of the stream now would cut a line or a block.
    pub(super) fn in_mid_event(&self) -> bool {
        !self.line.is_empty() || self.block.data.is_some()
    }

    /// The id to come back with; empty for none.
    pub(super) fn into_last_event_id(self) -> String {
        self.last_event_id
    }

    fn end_line(&mut self) -> Option<StreamEvent> {
        let line = mem::take(&mut self.line);
        let first = !mem::replace(&mut self.begun, true);
        let line = line.strip_prefix(BOM).filter(|_| first).unwrap_or(&line);
        if line.is_empty() {
            return self.end_block();
        }
        // Line ends are ASCII and so never part of another character: decoding by lines is decoding the whole.
        let line = String::from_utf8_lossy(line);
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        self.field(name, value.strip_prefix(' ').unwrap_or(value));
        None
    }

    /// Other fields are ignored, also the empty name of a comment.
    fn field(&mut self, name: &str, value: &str) {
        match name {
            "event" => value.clone_into(&mut self.block.event),
            "data" => match &mut self.block.data {
                None => self.block.data = Some(value.to_owned()),
                Some(data) => data.extend(["\n", value]),
            },
            "id" if !value.contains('\0') => self.block.id = Some(value.to_owned()),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                // A number beyond 64 bits is no time that anyone waits.
                let ms = value.parse().unwrap_or(u64::MAX);
                self.block.retry_ms = Some(ms);
                self.retry_ms = Some(ms);
            }
            _ => {}
        }
    }

    fn end_block(&mut self) -> Option<StreamEvent> {
        let Block { event, data, id, retry_ms } = mem::take(&mut self.block);
        if let Some(id) = id {
            self.last_event_id = id;
        }
        let kind = if event.is_empty() { "message".to_owned() } else { event };
        data.map(|data| StreamEvent { kind, data, id: self.last_event_id.clone(), retry_ms })
    }
}

impl std::fmt::Display for TooLarge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "an event has more than {EVENT_BYTES_MAX} bytes")
    }
}

impl std::error::Error for TooLarge {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

    use super::*;

    fn event(event: &str, data: &str, id: &str) -> StreamEvent {
        StreamEvent { kind: event.into(), data: data.into(), id: id.into(), retry_ms: None }
    }

    /// Reads a stream that came in pieces of `size` bytes.
    fn read_in_pieces(stream: &[u8], size: usize) -> (Vec<StreamEvent>, EventReader) {
        let mut reader = EventReader::default();
        let events = stream.chunks(size).flat_map(|piece| reader.read(piece).unwrap()).collect();
        (events, reader)
    }

    /// The pieces may be of any size.
    #[track_caller]
    fn assert_reads(stream: impl AsRef<[u8]>, expected: &[StreamEvent]) {
        let stream = stream.as_ref();
        for size in 1..=stream.len() {
            assert_eq!(read_in_pieces(stream, size).0, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn lines_end_with_lf_crlf_or_cr() {
        let expected = [event("e", "a\nb", "1"), event("message", "c", "1")];
        for end in ["\n", "\r\n", "\r"] {
            let stream = "event:e\nid: 1\ndata: a\ndata:b\n\n: comment\ndata: c\n\n".replace('\n', end);
            assert_reads(stream, &expected);
        }
        assert_reads(
            "data: a\r\ndata: b\r\n\ndata: c\n\r\n",
            &[event("message", "a\nb", ""), event("message", "c", "")],
        );
    }

    #[test]
    fn an_event_is_there_as_soon_as_its_blank_line_is_even_if_that_is_a_cr() {
        let mut reader = EventReader::default();
        assert_eq!(reader.read(b"data: a\r\r").unwrap(), [event("message", "a", "")]);
        assert_eq!(reader.read(b"\ndata: b\n\n").unwrap(), [event("message", "b", "")]);
    }

    #[test]
    fn a_byte_order_mark_is_dropped_at_the_very_start_only() {
        assert_reads("\u{feff}data: a\n\n", &[event("message", "a", "")]);
        assert_reads("\u{feff}\u{feff}data: a\n\n", &[]);
        assert_reads("\n\u{feff}data: a\n\n", &[]);
    }

    #[test]
    fn one_space_after_the_colon_is_dropped_and_a_line_without_a_colon_is_a_name() {
        assert_reads("data:  a \ndata\ndata:\n\n", &[event("message", " a \n\n", "")]);
        assert_reads("data\n\n", &[event("message", "", "")]);
        assert_reads("Data: a\n data: b\n\n", &[]);
    }

    #[test]
    fn a_block_without_data_is_no_event_but_its_id_and_retry_count() {
        let (events, reader) = read_in_pieces(b":\nretry: 2500\nid: start\n\nevent: e\n\ndata: x\n\n", 1);
        assert_eq!(events, [event("message", "x", "start")]);
        assert_eq!(reader.retry_ms(), Some(2500));
        assert_eq!(reader.into_last_event_id(), "start");
    }

    #[test]
    fn an_id_counts_from_its_blank_line_on_and_an_empty_one_takes_it_back() {
        let id_after = |stream: &[u8]| {
            let mut reader = EventReader::resuming("old".into());
            reader.read(stream).unwrap();
            reader.into_last_event_id()
        };
        assert_eq!(id_after(b"id: new\ndata: cut"), "old");
        assert_eq!(id_after(b"id: new\n\n"), "new");
        assert_eq!(id_after(b"id: n\0ew\n\n"), "old");
        assert_eq!(id_after(b"id\n\n"), "");
    }

    #[test]
    fn a_retry_is_digits_and_nothing_else() {
        for (value, expected) in [("10", Some(10)), ("99999999999999999999", Some(u64::MAX)), ("+1", None), ("", None)]
        {
            let (events, reader) = read_in_pieces(format!("retry: {value}\ndata: x\n\n").as_bytes(), 3);
            assert_eq!((reader.retry_ms(), events[0].retry_ms), (expected, expected), "{value}");
        }
        let (events, _) = read_in_pieces(b"retry: 1\ndata: x\n\ndata: y\n\n", 9);
        assert_eq!((events[0].retry_ms, events[1].retry_ms), (Some(1), None));
    }

    #[test]
    fn letters_cut_between_pieces_are_whole_and_bad_bytes_are_replaced() {
        assert_reads("data: é\u{1f600}\n\n", &[event("message", "é\u{1f600}", "")]);
        assert_reads(b"data: a\xff\n\ndata: b\n\n", &[event("message", "a\u{fffd}", ""), event("message", "b", "")]);
    }

    #[test]
    fn the_reader_knows_whether_an_end_would_cut_an_event() {
        for (stream, expected) in
            [("", false), (": hi\n", false), ("data: x\n\n", false), (": h", true), ("data: x\n", true), ("data", true)]
        {
            assert_eq!(read_in_pieces(stream.as_bytes(), 64).1.in_mid_event(), expected, "{stream:?}");
        }
    }

    #[test]
    fn an_event_without_end_is_refused_whether_its_lines_are_long_or_many() {
        let long = vec![b'x'; EVENT_BYTES_MAX / 2 + 1];
        let mut reader = EventReader::default();
        assert!(reader.read(&long).is_ok());
        assert_eq!(reader.read(&long), Err(TooLarge));

        let mut reader = EventReader::default();
        let line = [&b"data:"[..], &long, b"\n"].concat();
        assert!(reader.read(&line).is_ok());
        assert_eq!(reader.read(&line), Err(TooLarge));
    }
}
