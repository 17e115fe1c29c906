//! Takes SSE text apart into blocks, in pieces of any size. A whole block is a view of the bytes that came: bytes are
//! copied only while their block is not whole. A pass over thousands of streams costs one look at each byte.
//!
//! Owns lines and fields as the HTML standard defines them (section 9.2), and no state but the block under way.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

const BOM: &[u8] = "\u{feff}".as_bytes();

/// The fields of the lines up to a blank one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SseBlock<'a> {
    /// The event type; empty if none is named.
    pub event: &'a [u8],
    /// The last `data` line.
    pub data: &'a [u8],
    /// How many `data` lines there are.
    pub data_lines: u32,
    /// The id that it sets.
    pub id: Option<&'a [u8]>,
    /// The reconnection time that it sets, in digits.
    pub retry: Option<&'a [u8]>,
    /// How many comment lines there are.
    pub comments: u32,
    /// The lines with a field name that the standard does not know.
    pub unknown_lines: u32,
    /// Its lines.
    pub text: &'a [u8],
}

/// The blocks of one stream.
#[derive(Debug, Default)]
pub struct SseBlocks {
    unfinished: Vec<u8>,
    /// Whether there was a block: a byte order mark stands before the first one only.
    begun: bool,
    /// A CR ended the last block; an LF right behind it belongs to it.
    after_cr: bool,
}

impl SseBlocks {
    /// Takes more bytes and hands each block that they complete to `each`.
    pub fn feed(&mut self, mut text: &[u8], mut each: impl FnMut(SseBlock<'_>)) {
        if self.after_cr && !text.is_empty() {
            text = text.strip_prefix(b"\n").unwrap_or(text);
            self.after_cr = false;
        }
        if self.unfinished.is_empty() {
            let taken = self.take_blocks(text, &mut each);
            self.unfinished.extend_from_slice(&text[taken..]);
        } else {
            let mut whole = std::mem::take(&mut self.unfinished);
            whole.extend_from_slice(text);
            let taken = self.take_blocks(&whole, &mut each);
            whole.drain(..taken);
            self.unfinished = whole;
        }
    }

    /// The bytes that are kept of a block that is not whole.
    pub const fn unfinished_bytes(&self) -> usize {
        self.unfinished.len()
    }

    /// The fields in the whole lines of a block that is not whole.
    pub fn unfinished(&self) -> SseBlock<'_> {
        let mut block = SseBlock::default();
        if let Some(end) = self.unfinished.iter().rposition(|byte| is_line_end(*byte)) {
            lines(without_bom(&self.unfinished[..end], self.begun)).for_each(|line| block.read_line(line));
        }
        block
    }

    /// Whether an end now would lose something: a line that has begun, or one that is no comment.
    pub fn in_mid_block(&self) -> bool {
        let is_whole = self.unfinished.last().is_none_or(|byte| is_line_end(*byte));
        !is_whole || lines(&self.unfinished).any(|line| !line.is_empty() && !line.starts_with(b":"))
    }

    /// Hands over every whole block and returns how many bytes they take.
    fn take_blocks(&mut self, text: &[u8], each: &mut impl FnMut(SseBlock<'_>)) -> usize {
        let mut block = SseBlock::default();
        let mut taken = 0;
        let mut at = text.len() - without_bom(text, self.begun).len();
        while let Some(length) = memchr2(b'\n', b'\r', &text[at..]) {
            let line = &text[at..at + length];
            let end = at + length;
            at = if text[end..].starts_with(b"\r\n") { end + 2 } else { end + 1 };
            if !line.is_empty() {
                block.read_line(line);
                continue;
            }
            block.text = &text[taken..end];
            each(block);
            block = SseBlock::default();
            (taken, self.begun) = (at, true);
        }
        self.after_cr = taken > 0 && taken == text.len() && text.ends_with(b"\r");
        taken
    }
}

impl<'a> SseBlock<'a> {
    /// All `data` lines, joined by line feeds.
    pub fn joined_data(&self) -> Cow<'a, [u8]> {
        if self.data_lines < 2 {
            return Cow::Borrowed(self.data);
        }
        let data: Vec<_> = lines(without_bom(self.text, false)).filter_map(|line| value_of(line, b"data")).collect();
        Cow::Owned(data.join(&b'\n'))
    }

    #[inline]
    fn read_line(&mut self, line: &'a [u8]) {
        if let Some(value) = value_of(line, b"data") {
            self.data = value;
            self.data_lines += 1;
        } else if let Some(value) = value_of(line, b"event") {
            self.event = value;
        } else if let Some(value) = value_of(line, b"id") {
            if memchr(0, value).is_none() {
                self.id = Some(value);
            }
        } else if line.starts_with(b":") {
            self.comments += 1;
        } else if let Some(value) = value_of(line, b"retry") {
            if !value.is_empty() && value.iter().all(u8::is_ascii_digit) {
                self.retry = Some(value);
            }
        } else if !line.is_empty() {
            self.unknown_lines += 1;
        }
    }
}

/// The value of `line` if it is the field `name`.
#[inline]
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    match line.strip_prefix(name)? {
        [] => Some(b""),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

/// The lines of a text, with an empty one where CR and LF stand together.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| is_line_end(*byte))
}

const fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

fn without_bom(text: &[u8], begun: bool) -> &[u8] {
    if begun { text } else { text.strip_prefix(BOM).unwrap_or(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Type, last data line, number of data lines.
    fn read(pieces: &[&[u8]]) -> Vec<(String, String, u32)> {
        let mut blocks = SseBlocks::default();
        let mut seen = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        for piece in pieces {
            blocks.feed(piece, |block| {
                if block.data_lines > 0 {
                    seen.push((text(block.event), text(block.data), block.data_lines));
                }
            });
        }
        seen
    }

    fn event(kind: &str, data: &str) -> (String, String, u32) {
        (kind.to_owned(), data.to_owned(), 1)
    }

    #[test]
    fn blocks_are_the_same_however_the_text_is_cut() {
        let text = b": hi\nretry: 3\nid: a.1\n\nid: a.2\ndata: one\n\n:\n\nevent: x\r\ndata:two\r\n\r\ndata\n\nid:3\rdata:4\r\r";
        let expected = [event("", "one"), event("x", "two"), event("", ""), event("", "4")];
        for cut in 0..=text.len() {
            let (front, back) = text.split_at(cut);
            assert_eq!(read(&[front, back]), expected, "cut at {cut}");
        }
        let bytes: Vec<_> = text.chunks(1).collect();
        assert_eq!(read(&bytes), expected);
    }

    #[test]
    fn an_id_is_told_with_data_and_alone() {
        let mut ids = Vec::new();
        SseBlocks::default().feed(b"id: a.1\n\n: x\n\ndata: y\nid: a.2\n\n", |block| {
            ids.push((block.id.map(<[u8]>::to_vec), block.data_lines));
        });
        assert_eq!(ids, [(Some(b"a.1".to_vec()), 0), (None, 0), (Some(b"a.2".to_vec()), 1)]);
    }

    #[test]
    fn several_data_lines_are_counted_and_joined() {
        let text = b"\xef\xbb\xbfdata: a\r\ndata\r\nid: 1\r\ndata: b\r\n\r\n";
        SseBlocks::default().feed(text, |block| {
            assert_eq!((block.data, block.data_lines), (&b"b"[..], 3));
            assert_eq!(block.joined_data().as_ref(), b"a\n\nb");
        });
        assert_eq!(read(&[text]).len(), 1);
    }

    #[test]
    fn field_names_must_match_whole() {
        assert_eq!(read(&[b"database: x\ndata2: y\n data: z\n\n"]), []);
    }

    #[test]
    fn a_block_without_its_blank_line_is_none() {
        assert_eq!(read(&[b"data: one\n"]), []);
    }
}
