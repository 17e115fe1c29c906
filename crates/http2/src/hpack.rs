//! Header blocks, read (RFC 7541).
//!
//! A client may use the dynamic table until it has acknowledged that this side has none. Most send their first request before. From the
//! acknowledgment on the decoder has no state, and an idle connection keeps nothing for it.

use std::collections::VecDeque;
use std::fmt;

use crate::huffman;
use crate::static_table::STATIC_TABLE;

/// The size of the table before anything was agreed.
const TABLE_BYTES: usize = 4096;

/// Bytes that an entry counts for beside its name and value.
const ENTRY_BYTES: usize = 32;

/// A block that cannot be read. The two sides do not agree any more, which ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HpackError;

/// The reader of header blocks.
#[derive(Debug)]
pub struct Decoder {
    /// Made when the first field comes into it.
    table: Option<Box<DynamicTable>>,
    /// The client knows that there is no table.
    is_stateless: bool,
}

/// A name and a value.
type Entry = (Box<[u8]>, Box<[u8]>);

#[derive(Debug)]
struct DynamicTable {
    /// The newest first.
    entries: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
}

impl fmt::Display for HpackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a header block that cannot be read")
    }
}

impl std::error::Error for HpackError {}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// The reader of a new connection.
    pub fn new() -> Self {
        Self { table: None, is_stateless: false }
    }

    /// The client has acknowledged that there is no table.
    ///
    /// It should say so once more in its next block. Some do not, since they never use the table: they are read all the same.
    pub fn forget_table(&mut self) {
        self.table = None;
        self.is_stateless = true;
    }

    /// Reads a whole block, and gives each field to `take`.
    pub fn decode(&mut self, block: &[u8], mut take: impl FnMut(&[u8], &[u8])) -> Result<(), HpackError> {
        let mut rest = block;
        let mut may_resize = true;
        // Strings are decoded here; a field is gone before the next one is read.
        let mut text = Vec::new();
        while let Some(&first) = rest.first() {
            if first & 0xe0 == 0x20 {
                let bytes = integer(&mut rest, 5)?;
                if !may_resize {
                    return Err(HpackError);
                }
                self.resize(bytes)?;
                continue;
            }
            may_resize = false;
            if first & 0x80 != 0 {
                let index = integer(&mut rest, 7)?;
                let (name, value) = self.field(index)?;
                take(name, value);
                continue;
            }
            let is_remembered = first & 0xc0 == 0x40;
            let index = integer(&mut rest, if is_remembered { 6 } else { 4 })?;
            text.clear();
            if index == 0 {
                string(&mut rest, &mut text)?;
            } else {
                text.extend_from_slice(self.field(index)?.0);
            }
            let name_bytes = text.len();
            string(&mut rest, &mut text)?;
            let (name, value) = text.split_at(name_bytes);
            take(name, value);
            if is_remembered {
                self.remember(name, value);
            }
        }
        Ok(())
    }

    fn field(&self, index: usize) -> Result<(&[u8], &[u8]), HpackError> {
        let index = index.checked_sub(1).ok_or(HpackError)?;
        if let Some((name, value)) = STATIC_TABLE.get(index) {
            return Ok((name.as_bytes(), value.as_bytes()));
        }
        let table = self.table.as_ref().ok_or(HpackError)?;
        let (name, value) = table.entries.get(index - STATIC_TABLE.len()).ok_or(HpackError)?;
        Ok((name, value))
    }

    fn resize(&mut self, bytes: usize) -> Result<(), HpackError> {
        if bytes > if self.is_stateless { 0 } else { TABLE_BYTES } {
            return Err(HpackError);
        }
        if !self.is_stateless {
            let table = self.table.get_or_insert_default();
            table.bytes_max = bytes;
            table.make_room(0);
        }
        Ok(())
    }

    fn remember(&mut self, name: &[u8], value: &[u8]) {
        if self.is_stateless {
            return;
        }
        let table = self.table.get_or_insert_default();
        let bytes = name.len() + value.len() + ENTRY_BYTES;
        table.make_room(bytes);
        // An entry that is larger than the table empties it, and is no error.
        if bytes <= table.bytes_max {
            table.bytes += bytes;
            table.entries.push_front((name.into(), value.into()));
        }
    }
}

impl Default for DynamicTable {
    fn default() -> Self {
        Self { entries: VecDeque::new(), bytes: 0, bytes_max: TABLE_BYTES }
    }
}

impl DynamicTable {
    fn make_room(&mut self, bytes: usize) {
        while self.bytes + bytes > self.bytes_max
            && let Some((name, value)) = self.entries.pop_back()
        {
            self.bytes -= name.len() + value.len() + ENTRY_BYTES;
        }
    }
}

/// An integer with a prefix of so many bits (RFC 7541, 5.1). Nothing here is as large as 2^28.
fn integer(rest: &mut &[u8], prefix_bits: u32) -> Result<usize, HpackError> {
    let (first, mut behind) = rest.split_first().ok_or(HpackError)?;
    let prefix = (1 << prefix_bits) - 1;
    let mut value = usize::from(first & prefix);
    if value == usize::from(prefix) {
        for shift in [0, 7, 14, 21] {
            let (byte, left) = behind.split_first().ok_or(HpackError)?;
            behind = left;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                *rest = behind;
                return Ok(value);
            }
        }
        return Err(HpackError);
    }
    *rest = behind;
    Ok(value)
}

fn string(rest: &mut &[u8], text: &mut Vec<u8>) -> Result<(), HpackError> {
    let is_coded = rest.first().ok_or(HpackError)? & 0x80 != 0;
    let length = integer(rest, 7)?;
    let (string, behind) = rest.split_at_checked(length).ok_or(HpackError)?;
    *rest = behind;
    if is_coded {
        return huffman::decode(string, text).ok_or(HpackError);
    }
    text.extend_from_slice(string);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Fields = Vec<(String, String)>;

    fn decode(decoder: &mut Decoder, hex: &str) -> Result<Fields, HpackError> {
        let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
        let block: Vec<u8> = digits.chunks(2).map(byte).collect();
        let mut fields = Fields::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("ASCII");
        decoder.decode(&block, |name, value| fields.push((text(name), text(value))))?;
        Ok(fields)
    }

    fn fields(lines: &[(&str, &str)]) -> Fields {
        lines.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// RFC 7541, C.3 and C.4: three requests of one connection, plain and coded.
    #[test]
    fn the_requests_of_the_standard_read_as_it_says() {
        let plain = [
            "828684410f7777772e6578616d706c652e636f6d",
            "828684be58086e6f2d6361636865",
            "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
        ];
        let coded = [
            "828684418cf1e3c2e5f23a6ba0ab90f4ff",
            "828684be5886a8eb10649cbf",
            "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
        ];
        for blocks in [plain, coded] {
            let mut decoder = Decoder::new();
            let (get, host) = ((":method", "GET"), (":authority", "www.example.com"));
            let expected = [
                fields(&[get, (":scheme", "http"), (":path", "/"), host]),
                fields(&[get, (":scheme", "http"), (":path", "/"), host, ("cache-control", "no-cache")]),
                fields(&[get, (":scheme", "https"), (":path", "/index.html"), host, ("custom-key", "custom-value")]),
            ];
            for (block, expected) in blocks.into_iter().zip(expected) {
                assert_eq!(decode(&mut decoder, block), Ok(expected));
            }
        }
    }

    /// RFC 7541, C.6: answers with a table of 256 bytes, so that entries are evicted.
    #[test]
    fn entries_leave_a_full_table_oldest_first() {
        let mut decoder = Decoder::new();
        let first = "3fe101 488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3";
        let second = "4883640effc1c0bf";
        let third = "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007";
        let date = ("date", "Mon, 21 Oct 2013 20:13:21 GMT");
        let location = ("location", "https://www.example.com");
        let private = ("cache-control", "private");
        assert_eq!(decode(&mut decoder, first), Ok(fields(&[(":status", "302"), private, date, location])));
        assert_eq!(decode(&mut decoder, second), Ok(fields(&[(":status", "307"), private, date, location])));
        let cookie = ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1");
        let later = ("date", "Mon, 21 Oct 2013 20:13:22 GMT");
        let expected = fields(&[(":status", "200"), private, later, location, ("content-encoding", "gzip"), cookie]);
        assert_eq!(decode(&mut decoder, third), Ok(expected));
        assert_eq!(decoder.table.map(|table| (table.entries.len(), table.bytes)), Some((3, 215)));
    }

    #[test]
    fn a_block_that_cannot_be_read_is_an_error_and_no_panic() {
        for hex in
            ["80", "be", "ff8000", "7f", "40", "4001", "400161", "0085f2b24a87ff", "ffffffffffff7f", "8220", "3fe21f"]
        {
            assert_eq!(decode(&mut Decoder::new(), hex), Err(HpackError), "{hex}");
        }
    }

    #[test]
    fn behind_the_acknowledgment_there_is_no_table_whatever_the_client_says() {
        let mut decoder = Decoder::new();
        assert!(decode(&mut decoder, "400a637573746f6d2d6b65790c637573746f6d2d76616c7565").is_ok());
        assert!(decode(&mut decoder, "be").is_ok());
        decoder.forget_table();
        assert!(decoder.table.is_none());
        assert_eq!(decode(&mut decoder, "be"), Err(HpackError));
        assert_eq!(decode(&mut decoder, "2082"), Ok(fields(&[(":method", "GET")])), "it says so itself");
        assert!(decode(&mut decoder, "400a637573746f6d2d6b65790c637573746f6d2d76616c7565").is_ok());
        assert_eq!(decode(&mut decoder, "be"), Err(HpackError));
        assert_eq!(decode(&mut decoder, "3f01"), Err(HpackError), "a table of 32 bytes");
        assert!(decoder.table.is_none());
    }

    #[test]
    fn a_table_holds_no_more_than_was_agreed() {
        let mut decoder = Decoder::new();
        for number in 0..1_000_u32 {
            let name = format!("{:02x}{:02x}", 97 + number % 26, 97 + number / 26 % 26);
            decode(&mut decoder, &format!("4002{name}0178")).expect("valid");
        }
        let table = decoder.table.expect("it is used");
        assert_eq!((table.bytes, table.entries.len()), (4_095, 117));
    }
}
