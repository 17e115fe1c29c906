//! Event ids: names of places in a feed's numbering, readable on any node.

use std::fmt;

/// Characters of a term: lower-case RFC 4648 base32.
const TERM_ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Length of a term in characters: 60 bits, so that two processes do not meet on one by chance.
const TERM_CHARS: usize = 12;

/// Length of the longest id: a term, two numbers of 64 bits and one of 32, with a dot before each.
const ID_CHARS_MAX: usize = TERM_CHARS + 2 * (1 + 20) + 1 + 10;

/// One unbroken line of numbering. Numbers of different terms cannot be compared.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Term([u8; TERM_CHARS]);

/// `<term>.<ms>.<number>`, and a fourth part `.<unnumbered>` for a gap between two numbers.
///
/// Made of `[a-z0-9.]` alone: browsers send it back as `Last-Event-ID`, and a colon or a length over 128 bytes would
/// make every cross-origin reconnect cost a CORS preflight. The longest has 12 + 1 + 20 + 1 + 20 + 1 + 10 = 65
/// bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventId {
    /// The numbering this id belongs to.
    pub term: Term,
    /// When it was numbered, in milliseconds since the Unix epoch; never falls while numbers rise.
    pub ms: u64,
    /// The number within the term, from 1; 0 is the place before the first event.
    pub number: u64,
    /// Counts unnumbered entries behind `number`: 0 for the numbered event itself.
    pub unnumbered: u32,
}

/// Not an id of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not of the form <term>.<ms>.<number>")]
pub struct IdError;

impl Term {
    /// The term that the low 60 bits of `random` spell.
    pub fn from_random(random: u64) -> Self {
        let mut chars = [0; TERM_CHARS];
        for (i, c) in chars.iter_mut().enumerate() {
            *c = TERM_ALPHABET[(random >> (5 * i)) as usize & 31];
        }
        Self(chars)
    }

    /// Reads a term back.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let chars: [u8; TERM_CHARS] = text.as_bytes().try_into().map_err(|_| IdError)?;
        let known = chars.iter().all(|c| TERM_ALPHABET.contains(c));
        known.then_some(Self(chars)).ok_or(IdError)
    }

    /// The term as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a term is made of ASCII letters and digits")
    }
}

impl EventId {
    /// The id of an event that has a number.
    pub fn new(term: Term, ms: u64, number: u64) -> Self {
        Self { term, ms, number, unnumbered: 0 }
    }

    /// Reads an id back. Only the one canonical spelling is read: no sign, no leading zero.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let mut parts = text.split('.');
        let term = Term::parse(parts.next().ok_or(IdError)?)?;
        let ms = decimal(parts.next())?;
        let number = decimal(parts.next())?;
        let unnumbered = match parts.next() {
            None => 0,
            part => u32::try_from(decimal(part)?).ok().filter(|&n| n > 0).ok_or(IdError)?,
        };
        parts.next().is_none().then_some(Self { term, ms, number, unnumbered }).ok_or(IdError)
    }

    /// Whether `text` could be taken for one of ours: a term, then two or three groups of digits, even impossible ones.
    pub fn has_our_form(text: &str) -> bool {
        let mut parts = text.split('.');
        let term = parts.next().is_some_and(|t| Term::parse(t).is_ok());
        let groups = parts.clone().count();
        term && (2..=3).contains(&groups) && parts.all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
    }
}

fn decimal(part: Option<&str>) -> Result<u64, IdError> {
    let digits = part.ok_or(IdError)?;
    let canonical = digits == "0" || (!digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()));
    canonical.then(|| digits.parse().ok()).flatten().ok_or(IdError)
}

/// Written at once, and from its end: formatting part by part costs several times as much, for every event.
impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; ID_CHARS_MAX];
        let mut start = text.len();
        if self.unnumbered > 0 {
            start = write_part(&mut text[..start], self.unnumbered.into());
        }
        start = write_part(&mut text[..start], self.number);
        start = write_part(&mut text[..start], self.ms);
        text[start - TERM_CHARS..start].copy_from_slice(&self.term.0);
        let text = &text[start - TERM_CHARS..];
        f.write_str(std::str::from_utf8(text).expect("an id is made of ASCII letters, digits and dots"))
    }
}

/// Writes a dot and `number` to the end of `text` and returns where they begin.
fn write_part(text: &mut [u8], mut number: u64) -> usize {
    let mut start = text.len();
    loop {
        start -= 1;
        text[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text[start - 1] = b'.';
    start - 1
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_what_was_written() {
        let term = Term::from_random(0x0123_4567_89ab_cdef);
        for (number, unnumbered) in [(0, 0), (1, 0), (u64::MAX, u32::MAX)] {
            let id = EventId { term, ms: 1_760_000_000_000, number, unnumbered };
            assert_eq!(EventId::parse(&id.to_string()), Ok(id));
            assert!(EventId::has_our_form(&id.to_string()));
        }
    }

    #[test]
    fn the_longest_id_needs_no_preflight() {
        let id = EventId { term: Term::from_random(u64::MAX), ms: u64::MAX, number: u64::MAX, unnumbered: u32::MAX };
        let text = id.to_string();
        assert_eq!(text.len(), ID_CHARS_MAX);
        assert!(text.len() <= 128 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.'), "{text}");
    }

    #[test]
    fn other_spellings_are_no_ids() {
        let good = "abcdefghijkl.1760000000000.42";
        assert!(EventId::parse(good).is_ok());
        for bad in [
            "",
            ".",
            "abcdefghijkl",
            "abcdefghijkl.1",
            "abcdefghijk.1.2",
            "ABCDEFGHIJKL.1.2",
            "abcdefghijkl.01.2",
            "abcdefghijkl.1.+2",
            "abcdefghijkl.1.-2",
            "abcdefghijkl.1.2.0",
            "abcdefghijkl.1.2.3.4",
            "abcdefghijkl.1.",
            "abcdefghijkl..1",
            "abcdefghijkl.1.18446744073709551616",
            "abcdefghijkl.1.2\0",
            "abcdefghij\u{e9}.1.2",
        ] {
            assert_eq!(EventId::parse(bad), Err(IdError), "{bad:?}");
        }
    }

    #[test]
    fn a_publisher_cannot_forge_a_number_that_we_would_not_write() {
        assert!(EventId::has_our_form("abcdefghijkl.1.99999999999999999999999"));
        assert!(EventId::has_our_form("abcdefghijkl.01.02"));
        assert!(!EventId::has_our_form("v1.2.3"));
        assert!(!EventId::has_our_form("abcdefghijkl.1.x"));
    }
}
