//! The heads of answers, written without state: no field is remembered, so a head is the same for every connection.

use crate::static_table::STATIC_TABLE;

/// A status and fields as a header block. Names are in lower case.
pub fn encode_head<'a>(status: u16, fields: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut block = Vec::new();
    let digits = status.to_string();
    match STATIC_TABLE.iter().position(|field| *field == (":status", &digits)) {
        Some(at) => block.push(0x80 | (at as u8 + 1)),
        None => literal(":status", digits.as_bytes(), &mut block),
    }
    for (name, value) in fields {
        literal(name, value, &mut block);
    }
    block
}

/// A field that nobody is to remember (RFC 7541, 6.2.2).
fn literal(name: &str, value: &[u8], block: &mut Vec<u8>) {
    if let Some(at) = STATIC_TABLE.iter().position(|(known, _)| *known == name) {
        integer(at + 1, 4, block);
    } else {
        block.push(0);
        integer(name.len(), 7, block);
        block.extend_from_slice(name.as_bytes());
    }
    integer(value.len(), 7, block);
    block.extend_from_slice(value);
}

fn integer(value: usize, prefix_bits: u32, block: &mut Vec<u8>) {
    let prefix = (1 << prefix_bits) - 1;
    if value < prefix {
        return block.push(value as u8);
    }
    block.push(prefix as u8);
    let mut rest = value - prefix;
    while rest >= 0x80 {
        block.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    block.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hpack::Decoder;

    #[test]
    fn a_head_reads_back_by_any_decoder_at_any_time() {
        let long = "x".repeat(300);
        let fields = [("content-type", "text/event-stream"), ("x-accel-buffering", "no"), ("vary", long.as_str())];
        let mut decoder = Decoder::new();
        for stateless in [false, true] {
            for status in [200, 204, 404, 421, 503] {
                let block = encode_head(status, fields.map(|(name, value)| (name, value.as_bytes())));
                let mut read = Vec::new();
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("ASCII");
                decoder.decode(&block, |name, value| read.push((text(name), text(value)))).expect("valid");
                assert_eq!(read[0], (":status".to_owned(), status.to_string()));
                let expected = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
                assert_eq!(read[1..], expected);
            }
            if !stateless {
                decoder.forget_table();
            }
        }
    }
}
