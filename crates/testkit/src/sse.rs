//! A browser's reading of `text/event-stream`, in pieces of any size.
//!
//! Owns the WHATWG rules (HTML standard, section 9.2) and nothing of HTTP. It follows the standard to the letter: a
//! lenient reader would forgive the very faults that it must show. `block.rs` takes the text apart, for load generators
//! too.
//! generators too.

mod block;

pub use block::{SseBlock, SseBlocks};

/// One dispatched event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The event type; `message` when the stream named none.
    pub event: String,
    /// The data lines, joined by line feeds.
    pub data: String,
    /// The last event id at the time of dispatch, which a browser would send on reconnect.
    pub id: String,
    /// The id that stood in this very block, if one did.
    pub own_id: Option<String>,
    /// The `retry` in this block, in milliseconds.
    pub retry: Option<u64>,
}

/// An incremental parser. One per connection: a frame cut by a lost connection must not glue to the next.
#[derive(Debug, Default)]
pub struct Parser {
    blocks: SseBlocks,
    last_event_id: String,
    retry: Option<u64>,
    comments: u64,
    unknown_lines: u64,
    bytes: u64,
}

impl Parser {
    /// Takes more bytes and returns the events that they completed.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        self.bytes += bytes.len() as u64;
        let mut blocks = std::mem::take(&mut self.blocks);
        blocks.feed(bytes, |block| events.extend(self.take(&block)));
        self.blocks = blocks;
        events
    }

    /// The id that a browser would send as `Last-Event-ID` now, as of the last blank line.
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// The reconnection time in force, in milliseconds, if the stream ever set one.
    pub fn retry(&self) -> Option<u64> {
        milliseconds(&self.blocks.unfinished()).or(self.retry)
    }

    /// The comment lines so far, keepalives among them.
    pub fn comments(&self) -> u64 {
        self.comments + u64::from(self.blocks.unfinished().comments)
    }

    /// The lines so far with a field name that the standard does not know; the sign of a torn frame.
    pub fn unknown_lines(&self) -> u64 {
        self.unknown_lines + u64::from(self.blocks.unfinished().unknown_lines)
    }

    /// The bytes so far.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the stream stands in the middle of a block, so that an end now would lose its beginning.
    pub fn in_mid_block(&self) -> bool {
        self.blocks.in_mid_block()
    }

    fn take(&mut self, block: &SseBlock<'_>) -> Option<Event> {
        self.comments += u64::from(block.comments);
        self.unknown_lines += u64::from(block.unknown_lines);
        let retry = milliseconds(block);
        self.retry = retry.or(self.retry);
        let own_id = block.id.map(text);
        if let Some(id) = &own_id {
            self.last_event_id.clone_from(id);
        }
        if block.data_lines == 0 {
            return None;
        }
        let event = if block.event.is_empty() { "message".into() } else { text(block.event) };
        let id = self.last_event_id.clone();
        Some(Event { event, data: text(&block.joined_data()), id, own_id, retry })
    }
}

/// A number too large to hold is still all digits; saturating keeps it "very long".
fn milliseconds(block: &SseBlock<'_>) -> Option<u64> {
    block.retry.map(|digits| text(digits).parse().unwrap_or(u64::MAX))
}

/// Line ends are ASCII and so never part of a longer character: decoding by lines gives the same as decoding the whole
/// stream.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses `bytes` whole, byte by byte, and cut in two at every offset: all must agree.
    fn parse(bytes: &[u8]) -> (Vec<Event>, Parser) {
        let mut whole = Parser::default();
        let events = whole.feed(bytes);
        let mut single = Parser::default();
        let singly: Vec<Event> = bytes.iter().flat_map(|byte| single.feed(&[*byte])).collect();
        assert_eq!(events, singly, "byte by byte gives other events");
        for offset in 0..=bytes.len() {
            let mut halves = Parser::default();
            let mut halved = halves.feed(&bytes[..offset]);
            halved.extend(halves.feed(&bytes[offset..]));
            assert_eq!(events, halved, "a cut at {offset} gives other events");
            assert_eq!(whole.last_event_id(), halves.last_event_id());
            assert_eq!(whole.in_mid_block(), halves.in_mid_block());
        }
        (events, whole)
    }

    fn data(text: impl AsRef<[u8]>) -> Vec<String> {
        parse(text.as_ref()).0.into_iter().map(|event| event.data).collect()
    }

    #[test]
    fn a_full_block_gives_type_data_id_and_retry() {
        let (events, parser) = parse(b": hello\nretry: 2500\nid: 7\nevent: news\ndata: one\ndata: two\n\n");
        let id = String::from("7");
        let expected =
            Event { event: "news".into(), data: "one\ntwo".into(), own_id: Some(id.clone()), id, retry: Some(2500) };
        assert_eq!(events, [expected]);
        assert_eq!((parser.comments(), parser.retry(), parser.unknown_lines()), (1, Some(2500), 0));
    }

    #[test]
    fn cr_lf_and_crlf_may_be_mixed() {
        assert_eq!(data("data:1\rdata:2\r\n\r\ndata:3\n\rdata:4\r\r"), ["1\n2", "3", "4"]);
        assert_eq!(data("data:test\r\ndata\ndata:test\r\n\r\n"), ["test\n\ntest"]);
    }

    #[test]
    fn only_cr_and_lf_break_lines() {
        let text = "a\u{85}b\u{2028}c\u{2029}d\u{b}e\u{c}f";
        assert_eq!(data(format!("data: {text}\n\n")), [text]);
    }

    #[test]
    fn one_byte_order_mark_is_dropped_and_a_second_one_is_not() {
        assert_eq!(data("\u{feff}data:1\n\n\u{feff}data:2\n\ndata:3\n\n"), ["1", "3"]);
        assert_eq!(data("\u{feff}\u{feff}data:1\n\ndata:2\n\n"), ["2"]);
        assert_eq!(data(": first\ndata: \u{feff}x\n\n"), ["\u{feff}x"]);
    }

    #[test]
    fn exactly_one_space_is_dropped() {
        assert_eq!(data("data:\ttest\rdata: \ndata:test\n\n"), ["\ttest\n\ntest"]);
        assert_eq!(data("data:  x \n\n"), [" x "]);
    }

    #[test]
    fn empty_data_is_an_event_and_no_data_is_none() {
        assert_eq!(data("data:\n\ndata\ndata\n\nevent: x\n\ndata:end\n\n"), ["", "\n", "end"]);
    }

    #[test]
    fn an_event_type_ends_with_its_block() {
        let (events, _) = parse(b"event: a\ndata:1\n\ndata:2\n\nevent:b\n\ndata:3\n\nevent:\ndata:4\n\n");
        let types: Vec<_> = events.iter().map(|event| event.event.as_str()).collect();
        assert_eq!(types, ["a", "message", "message", "message"]);
    }

    #[test]
    fn an_id_lasts_until_another_and_needs_no_data() {
        let (events, parser) = parse("id: \u{2026}\n\ndata:1\n\nid:b\ndata:2\n\nid\ndata:3\n\n".as_bytes());
        let ids: Vec<_> = events.iter().map(|event| (event.id.as_str(), event.own_id.is_some())).collect();
        assert_eq!(ids, [("\u{2026}", false), ("b", true), ("", true)]);
        assert_eq!(parser.last_event_id(), "");
    }

    #[test]
    fn an_id_counts_only_from_its_blank_line_on() {
        let (events, parser) = parse(b"id:1\ndata:a\n\nid:2\ndata:b\n");
        assert_eq!(events.len(), 1);
        assert_eq!(parser.last_event_id(), "1");
        assert!(parser.in_mid_block());
    }

    #[test]
    fn an_id_with_nul_is_ignored() {
        for id in ["\0id", "i\0d", "id\0", "\0", " \0"] {
            let (_, parser) = parse(format!("id: kept\n\nid:{id}\ndata:x\n\n").as_bytes());
            assert_eq!(parser.last_event_id(), "kept");
        }
        assert_eq!(data("data:\0\n\n"), ["\0"]);
    }

    #[test]
    fn only_digits_set_the_reconnection_time() {
        for bad in ["1000x", "", " 5", "-1", "+1", "1 ", "\u{661}"] {
            let (_, parser) = parse(format!("retry: 3\nretry: {bad}\n\n").as_bytes());
            assert_eq!(parser.retry(), Some(3), "{bad:?}");
        }
        assert_eq!(parse(b"retry:99999999999999999999\n").1.retry(), Some(u64::MAX));
    }

    #[test]
    fn unknown_fields_are_ignored_and_counted() {
        let (events, parser) =
            parse(b"data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacomment\nDATA: no\n\n");
        assert_eq!(events[0].data, "test\n");
        assert_eq!(parser.unknown_lines(), 4);
    }

    #[test]
    fn an_unfinished_block_is_never_dispatched() {
        let text = b"id: 1\nevent: x\ndata: one\n\n";
        for end in 0..text.len() {
            assert_eq!(parse(&text[..end]).0, []);
        }
    }

    #[test]
    fn bad_utf8_becomes_the_replacement_character() {
        assert_eq!(data(b"data: ok\xe2\x82\ndata: \xff\n\n"), ["ok\u{fffd}\n\u{fffd}"]);
    }

    #[test]
    fn a_long_comment_costs_nothing() {
        let text = format!(":{}\ndata:1\n\n", "x".repeat(3_000));
        let mut parser = Parser::default();
        assert_eq!(parser.feed(text.as_bytes()).len(), 1);
        assert_eq!((parser.comments(), parser.in_mid_block()), (1, false));
    }
}
