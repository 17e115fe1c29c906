//! Header blocks of HPACK (RFC 7541), as far as a client of streams needs them: a request is written, and the status of an answer is
//! read. Neither side has a dynamic table, since the client allows none and uses none. Pure.

use crate::hold::stream_request::StreamRequest;

/// The values of `:status` in the static table, from index 8 on.
const STATUSES: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
const STATUS_FIRST: u8 = 8;
const STATUS_LAST: u8 = 14;

/// Whole fields of the static table.
const METHOD_GET: u8 = 0x82;
const SCHEME_HTTP: u8 = 0x86;
const SCHEME_HTTPS: u8 = 0x87;
/// Names in the static table.
const AUTHORITY: u32 = 1;
const PATH: u32 = 4;
const ACCEPT: u32 = 19;
const USER_AGENT: u32 = 58;

/// A field that no table remembers, and the bits of its name's index.
const NEVER_INDEXED: u8 = 0x10;
const NAME_BITS: u32 = 4;
const STRING_BITS: u32 = 7;

/// Bits of the Huffman codes of `0` to `2`, and of all other digits. The first digit with a longer code has this one.
const SHORT_CODE_BITS: u32 = 5;
const LONG_CODE_BITS: u32 = 6;
const LONG_CODE_FIRST: u16 = 0x19;
const SHORT_CODES: u16 = 3;

/// The header block of a request.
pub(crate) fn request_block(request: &StreamRequest<'_>) -> Vec<u8> {
    let StreamRequest { is_encrypted, host, path, last_id } = request;
    let mut out = vec![METHOD_GET, if *is_encrypted { SCHEME_HTTPS } else { SCHEME_HTTP }];
    let fields =
        [(PATH, *path), (AUTHORITY, *host), (ACCEPT, StreamRequest::ACCEPT), (USER_AGENT, StreamRequest::USER_AGENT)];
    for (name, value) in fields {
        write_integer(NEVER_INDEXED, NAME_BITS, name, &mut out);
        write_string(value.as_bytes(), &mut out);
    }
    if let Some(id) = last_id {
        out.push(NEVER_INDEXED);
        write_string(b"last-event-id", &mut out);
        write_string(id, &mut out);
    }
    out
}

/// The status of an answer. It comes first in a block; only changes of the table's size may stand before it.
pub(crate) fn status(mut block: &[u8]) -> Option<u16> {
    while let Some((0x20..=0x3f, _)) = block.split_first() {
        read_integer(&mut block, 5)?;
    }
    let first = *block.first()?;
    if first & 0x80 != 0 {
        return STATUSES.get(usize::from((first & 0x7f).checked_sub(STATUS_FIRST)?)).copied();
    }
    let name_bits = if first & 0x40 != 0 { 6 } else { NAME_BITS };
    let name = read_integer(&mut block, name_bits)?;
    if !(u32::from(STATUS_FIRST)..=u32::from(STATUS_LAST)).contains(&name) {
        return None;
    }
    let is_coded = block.first()? & 0x80 != 0;
    let length = read_integer(&mut block, STRING_BITS)?;
    let value = block.get(..usize::try_from(length).ok()?)?;
    if is_coded { digits_of_code(value) } else { std::str::from_utf8(value).ok()?.parse().ok() }
}

/// Three digits in the Huffman code, which has 5 or 6 bits for each.
fn digits_of_code(coded: &[u8]) -> Option<u16> {
    let mut bits = coded.iter().flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1)));
    let mut take = |count: u32, begun: u16| (0..count).try_fold(begun, |code, _| Some(code << 1 | bits.next()?));
    (0..3).try_fold(0, |number: u16, _| {
        let short = take(SHORT_CODE_BITS, 0)?;
        let digit = if short < SHORT_CODES {
            short
        } else {
            let long = take(LONG_CODE_BITS - SHORT_CODE_BITS, short)?;
            long.checked_sub(LONG_CODE_FIRST)? + SHORT_CODES
        };
        (digit < 10).then_some(number * 10 + digit)
    })
}

/// An integer (RFC 7541, 5.1), in the low bits of a byte and as many more bytes as it needs.
fn write_integer(first: u8, prefix_bits: u32, value: u32, out: &mut Vec<u8>) {
    let prefix = (1_u32 << prefix_bits) - 1;
    if value < prefix {
        out.push(first | value as u8);
        return;
    }
    out.push(first | prefix as u8);
    let mut rest = value - prefix;
    while rest > 0x7f {
        out.push(0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn write_string(text: &[u8], out: &mut Vec<u8>) {
    write_integer(0, STRING_BITS, text.len() as u32, out);
    out.extend_from_slice(text);
}

fn read_integer(block: &mut &[u8], prefix_bits: u32) -> Option<u32> {
    let (first, mut rest) = block.split_first()?;
    let prefix = (1_u32 << prefix_bits) - 1;
    let mut value = u32::from(*first) & prefix;
    if value == prefix {
        for shift in [0, 7, 14] {
            let (byte, behind) = rest.split_first()?;
            rest = behind;
            value += u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                *block = rest;
                return Some(value);
            }
        }
        return None;
    }
    *block = rest;
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_names_its_stream_in_fields_that_no_table_remembers() {
        let request = StreamRequest { is_encrypted: true, host: "a:1", path: "/sse/x", last_id: Some(b"t.7") };
        let expected = [
            &b"\x82\x87\x14\x06/sse/x\x11\x03a:1"[..],
            b"\x1f\x04\x11text/event-stream\x1f\x2b\x0ffantail-loadgen",
            b"\x10\x0dlast-event-id\x03t.7",
        ];
        assert_eq!(request_block(&request), expected.concat());
    }

    #[test]
    fn long_paths_have_their_length_in_several_bytes() {
        for length in [1, 126, 127, 128, 254, 255, 1_000, 20_000] {
            let path = "x".repeat(length);
            let request = StreamRequest { is_encrypted: false, host: "a", path: &path, last_id: None };
            let block = request_block(&request);
            let mut rest = &block[3..];
            assert_eq!(read_integer(&mut rest, STRING_BITS), Some(length as u32));
            assert_eq!(&rest[..length], path.as_bytes());
        }
    }

    #[test]
    fn status_is_read_in_every_form_that_servers_write() {
        for (block, expected) in [
            (&b"\x88rest"[..], Some(200)),
            (b"\x8e", Some(500)),
            // The table gets smaller first, in one step or two.
            (b"\x20\x88", Some(200)),
            (b"\x20\x3f\xe1\x1f\x88", Some(200)),
            // As text: indexed, not indexed, never indexed.
            (b"\x48\x03503", Some(503)),
            (b"\x08\x03429", Some(429)),
            (b"\x18\x03200", Some(200)),
            // In the Huffman code: 302 as in RFC 7541, C.6.1, then 307 as in C.6.2, and 429.
            (b"\x48\x82\x64\x02", Some(302)),
            (b"\x48\x83\x64\x0e\xff", Some(307)),
            (b"\x48\x83\x68\x4f\xff", Some(429)),
            (b"\x48\x82\x18\xc7", None),
            // No status at all, and blocks that are cut.
            (b"\x85", None),
            (b"\x0f\x0d\x010", None),
            (b"", None),
            (b"\x20", None),
            (b"\x48\x035", None),
            (b"\xff", None),
        ] {
            assert_eq!(status(block), expected, "{block:?}");
        }
    }
}
