//! The content of an event, by which its receiver can check it: number, send time, channel, a hash over everything
//! else, and padding up to the wished length. It is printable and free of quotes, so it stands in JSON as it is.

use std::hash::{BuildHasher as _, Hasher as _};
use std::io::Write as _;

use foldhash::fast::FixedState;

/// Enough for the longest head and one byte of padding.
pub(crate) const PAYLOAD_BYTES_MIN: u32 = 72;
pub(crate) const PAYLOAD_BYTES_MAX: u32 = 1024 * 1024;

const HASH_DIGITS: usize = 16;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The checked fields of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Payload {
    /// Counts from 1 within its channel.
    pub(crate) number: u64,
    pub(crate) sent_nanos: u64,
    pub(crate) channel: u32,
}

/// Writes payloads of one length.
#[derive(Debug)]
pub(crate) struct PayloadWriter {
    length: usize,
    pattern: Vec<u8>,
}

impl PayloadWriter {
    pub(crate) fn new(length: u32) -> Self {
        let length = usize::try_from(length.clamp(PAYLOAD_BYTES_MIN, PAYLOAD_BYTES_MAX)).unwrap_or_default();
        let pattern = ALPHABET.iter().copied().cycle().take(length + ALPHABET.len()).collect();
        Self { length, pattern }
    }

    /// Appends one payload.
    pub(crate) fn write(&self, payload: Payload, out: &mut Vec<u8>) {
        let start = out.len();
        // Writing into a Vec cannot fail, here and below.
        let _ = write!(out, "{} {} {} ", payload.number, payload.sent_nanos, payload.channel);
        let head = out.len() - start;
        // Each event begins its padding elsewhere in the pattern, so no two neighbours carry the same bytes.
        let shift = usize::try_from(payload.number % 64).unwrap_or_default();
        let padding = &self.pattern[shift..][..self.length.saturating_sub(head + HASH_DIGITS + 1)];
        let hash = hash(&out[start..], padding);
        let _ = write!(out, "{hash:016x} ");
        out.extend_from_slice(padding);
    }
}

/// Reads a payload back; `None` if any byte of it has changed.
pub(crate) fn read(data: &[u8]) -> Option<Payload> {
    let mut rest = data;
    let number = take_number(&mut rest)?;
    let sent_nanos = take_number(&mut rest)?;
    let channel = u32::try_from(take_number(&mut rest)?).ok()?;
    let head = &data[..data.len() - rest.len()];
    let (digits, rest) = rest.split_at_checked(HASH_DIGITS)?;
    let padding = rest.strip_prefix(b" ")?;
    (hash(head, padding) == hex(digits)?).then_some(Payload { number, sent_nanos, channel })
}

fn hash(head: &[u8], padding: &[u8]) -> u64 {
    let mut hasher = FixedState::with_seed(1).build_hasher();
    hasher.write(head);
    hasher.write(padding);
    hasher.finish()
}

/// Takes a decimal number and the space behind it.
fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for (at, byte) in rest.iter().enumerate() {
        match byte {
            b'0'..=b'9' => value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?,
            b' ' if at > 0 => {
                *rest = &rest[at + 1..];
                return Some(value);
            }
            _ => return None,
        }
    }
    None
}

fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value: u64, byte| {
        let digit = char::from(*byte).to_digit(16)?;
        Some(value << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(number: u64, length: u32) -> Vec<u8> {
        let mut out = Vec::new();
        PayloadWriter::new(length).write(Payload { number, sent_nanos: 1_234_567_890_123, channel: 7 }, &mut out);
        out
    }

    #[test]
    fn payload_has_the_wished_length_and_reads_back() {
        for length in [PAYLOAD_BYTES_MIN, 128, 1000, 65_536] {
            let bytes = written(42, length);
            assert_eq!(bytes.len(), length as usize);
            let expected = Payload { number: 42, sent_nanos: 1_234_567_890_123, channel: 7 };
            assert_eq!(read(&bytes), Some(expected));
        }
    }

    #[test]
    fn largest_fields_fit_the_smallest_payload() {
        let mut out = Vec::new();
        let largest = Payload { number: u64::MAX, sent_nanos: u64::MAX, channel: u32::MAX };
        PayloadWriter::new(PAYLOAD_BYTES_MIN).write(largest, &mut out);
        assert_eq!(out.len(), PAYLOAD_BYTES_MIN as usize);
        assert_eq!(read(&out), Some(largest));
    }

    #[test]
    fn every_cut_is_noticed() {
        let bytes = written(42, 128);
        for length in 0..bytes.len() {
            assert_eq!(read(&bytes[..length]), None, "cut to {length}");
        }
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let bytes = written(42, 128);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(read(&changed), None, "changed at {at}");
        }
    }

    #[test]
    fn appended_bytes_are_noticed() {
        let mut bytes = written(42, 128);
        bytes.push(b'A');
        assert_eq!(read(&bytes), None);
    }
}
