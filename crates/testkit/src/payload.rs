//! The text that test events carry: its publisher, its place in every order, and proof that it is whole.
//!
//! Server-Sent Events carry text. This one is hostile on purpose: line feeds, colons, leading spaces, text that looks
//! like fields. It has no CR, which every SSE client turns into LF.

use serde::{Deserialize, Serialize};

use crate::random::Random;

/// The pieces of padding. A server that splits, trims or decodes wrongly spoils one of these.
const PIECES: &[&str] = &[
    "abc",
    "x",
    " ",
    "  ",
    ":",
    ": ",
    "\t",
    "data: ",
    "id: 1",
    "event:",
    "\u{e9}",
    "\u{1f600}",
    "\u{2028}",
    "\u{85}",
    "\u{a0}",
    "\u{feff}",
    "\"",
    "\\",
    "{}",
    "0",
];

/// A decoded payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// The number of its publisher.
    pub publisher: u32,
    /// Its number in that publisher's order, across all channels, from 0.
    pub order: u64,
    /// Its channels, each with its number among that publisher's events there, from 0.
    pub places: Vec<(String, u64)>,
    /// The rest.
    pub padding: String,
}

/// The reason why a text is not a whole payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// It ends too early.
    Cut,
    /// It differs from the sent text.
    Corrupted,
}

/// A flaw, and the key of the payload if the text still tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flawed {
    /// The flaw.
    pub flaw: Flaw,
    /// Publisher and order.
    pub key: Option<(u32, u64)>,
}

/// The first part of the text, as JSON. Its names are short, since a payload of 128 bytes must hold it.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    p: u32,
    o: u64,
    at: Vec<(String, u64)>,
    /// Bytes of padding.
    n: usize,
    /// Sixteen hex digits over the header with this field empty, and the padding.
    sum: String,
}

/// A payload of one channel with one publisher: about `size` bytes, never fewer than its header takes.
pub fn payload(channel: &str, seq: u64, size: usize, random: &mut Random) -> String {
    Payload::new(0, seq, vec![(channel.into(), seq)], size, random).encode()
}

impl Payload {
    /// A payload whose text has `size` bytes, give or take one, or as many as its header takes if that is more.
    pub fn new(publisher: u32, order: u64, places: Vec<(String, u64)>, size: usize, random: &mut Random) -> Self {
        let mut payload = Self { publisher, order, places, padding: String::new() };
        // The header grows with the digits of the padding's length. Where a digit is gained no padding fits exactly, so
        // the second pass may still be off by one byte.
        for _ in 0..2 {
            let header_bytes = payload.encode().len() - payload.padding.len();
            payload.padding = "-".repeat(size.saturating_sub(header_bytes));
        }
        payload.padding = padding(payload.padding.len(), random);
        payload
    }

    /// The text.
    pub fn encode(&self) -> String {
        let sum = String::new();
        let mut header =
            Header { p: self.publisher, o: self.order, at: self.places.clone(), n: self.padding.len(), sum };
        let unsigned = to_json(&header);
        header.sum = format!("{:016x}", hash([unsigned.as_bytes(), self.padding.as_bytes()]));
        format!("{}{}", to_json(&header), self.padding)
    }

    /// Reads a text back and proves that it is whole.
    pub fn parse(text: &str) -> Result<Self, Flawed> {
        let mut headers = serde_json::Deserializer::from_str(text).into_iter::<Header>();
        let header = match headers.next() {
            Some(Ok(header)) => header,
            Some(Err(error)) if error.is_eof() => return Err(Flawed { flaw: Flaw::Cut, key: None }),
            None => return Err(Flawed { flaw: Flaw::Cut, key: None }),
            Some(Err(_)) => return Err(Flawed { flaw: Flaw::Corrupted, key: None }),
        };
        let padding = text[headers.byte_offset()..].to_owned();
        let key = Some((header.p, header.o));
        if padding.len() < header.n {
            return Err(Flawed { flaw: Flaw::Cut, key });
        }
        let payload = Self { publisher: header.p, order: header.o, places: header.at, padding };
        // Encoding again compares every byte, the checksum among them.
        if payload.encode() == text { Ok(payload) } else { Err(Flawed { flaw: Flaw::Corrupted, key }) }
    }
}

/// FNV-1a, for comparing texts; nobody forges a test event.
pub fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let bytes = parts.into_iter().flatten();
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn to_json(header: &Header) -> String {
    serde_json::to_string(header).expect("numbers and strings always have a JSON form")
}

fn padding(bytes: usize, random: &mut Random) -> String {
    let has_lines = random.chance(1, 4);
    let mut text = String::with_capacity(bytes);
    while text.len() < bytes {
        let line_end = has_lines && random.chance(1, 8);
        let piece = if line_end { "\n" } else { random.pick(PIECES).copied().unwrap_or("x") };
        text.push_str(if text.len() + piece.len() <= bytes { piece } else { "x" });
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

    use super::*;

    #[test]
    fn a_payload_has_its_size_and_reads_back() {
        let mut random = Random::from_seed(1);
        for size in 0..1_200 {
            let text = payload("news \"today\"", 99, size, &mut random);
            let parsed = Payload::parse(&text).unwrap();
            assert_eq!((parsed.order, parsed.places), (99, vec![("news \"today\"".into(), 99)]));
            let header_bytes = text.len() - parsed.padding.len();
            let fits = text.len().abs_diff(size) <= 1 || parsed.padding.is_empty();
            assert!(fits && header_bytes < 90, "{size}: {}", text.len());
            assert!(!text.contains('\r'));
        }
    }

    #[test]
    fn some_payloads_have_several_lines_and_some_do_not() {
        let mut random = Random::from_seed(2);
        let texts: Vec<_> = (0..100).map(|seq| payload("c", seq, 400, &mut random)).collect();
        let with_lines = texts.iter().filter(|text| text.contains('\n')).count();
        assert!((10..50).contains(&with_lines), "{with_lines}");
    }

    #[test]
    fn every_shorter_text_is_cut() {
        let text = payload("c", 7, 300, &mut Random::from_seed(3));
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            assert_eq!(Payload::parse(&text[..end]).unwrap_err().flaw, Flaw::Cut, "at {end}");
        }
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let text = payload("c", 7, 200, &mut Random::from_seed(4));
        for (at, character) in text.char_indices() {
            let changed = if character == '7' { '8' } else { '7' };
            let wrong = format!("{}{changed}{}", &text[..at], &text[at + character.len_utf8()..]);
            assert!(Payload::parse(&wrong).is_err(), "{wrong}");
        }
        let longer = Payload::parse(&format!("{text}x")).unwrap_err();
        assert_eq!(longer, Flawed { flaw: Flaw::Corrupted, key: Some((0, 7)) });
    }
}
