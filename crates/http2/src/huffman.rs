//! The Huffman code of HPACK (RFC 7541, 5.2 and appendix B).
//!
//! The code is canonical: codes of one length are in the order of their symbols, and shorter ones come first. So the lengths alone tell it.

/// The lengths of the codes, in bits. The last symbol ends a string, and stands in none.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

const LENGTH_MIN: usize = 5;
const LENGTH_MAX: usize = 30;
const END_OF_STRING: u16 = 256;

/// The code, sorted by length.
struct Code {
    /// The symbols in the order of their codes.
    symbols: [u16; 257],
    /// By length: the first code, the place of its symbol, and how many there are.
    lengths: [(u32, u16, u16); LENGTH_MAX + 1],
}

static CODE: Code = Code::new();

impl Code {
    const fn new() -> Self {
        let mut code = Self { symbols: [0; 257], lengths: [(0, 0, 0); LENGTH_MAX + 1] };
        let (mut next, mut place, mut length) = (0_u32, 0_u16, LENGTH_MIN);
        while length <= LENGTH_MAX {
            code.lengths[length] = (next, place, 0);
            let mut symbol = 0;
            while symbol < LENGTHS.len() {
                if LENGTHS[symbol] as usize == length {
                    code.symbols[place as usize] = symbol as u16;
                    code.lengths[length].2 += 1;
                    (next, place) = (next + 1, place + 1);
                }
                symbol += 1;
            }
            next <<= 1;
            length += 1;
        }
        code
    }
}

/// Appends the text of a coded string. None if it is no such string: the symbol at its end stands within it, or the bits behind the last symbol
/// are more than seven, or not all ones.
pub(crate) fn decode(coded: &[u8], text: &mut Vec<u8>) -> Option<()> {
    let (mut bits, mut length) = (0_u32, 0_usize);
    for byte in coded {
        for shift in (0..8).rev() {
            bits = bits << 1 | u32::from(byte >> shift & 1);
            length += 1;
            let (first, place, count) = CODE.lengths[length.max(LENGTH_MIN)];
            if length < LENGTH_MIN || bits.wrapping_sub(first) >= u32::from(count) {
                if length == LENGTH_MAX {
                    return None;
                }
                continue;
            }
            let symbol = CODE.symbols[usize::from(place) + (bits - first) as usize];
            if symbol == END_OF_STRING {
                return None;
            }
            text.push(symbol as u8);
            (bits, length) = (0, 0);
        }
    }
    (length < 8 && bits == (1 << length) - 1).then_some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(text: &[u8]) -> Vec<u8> {
        let (mut bits, mut length, mut coded) = (0_u64, 0_usize, Vec::new());
        for symbol in text {
            let more = usize::from(LENGTHS[usize::from(*symbol)]);
            let (first, place, count) = CODE.lengths[more];
            let of_length = &CODE.symbols[usize::from(place)..usize::from(place + count)];
            let at = of_length.iter().position(|other| *other == u16::from(*symbol)).expect("each has a code");
            bits = bits << more | u64::from(first + at as u32);
            length += more;
            while length >= 8 {
                length -= 8;
                coded.push((bits >> length) as u8);
            }
        }
        if length > 0 {
            coded.push((bits << (8 - length)) as u8 | (0xff >> length));
        }
        coded
    }

    fn text(coded: &[u8]) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        decode(coded, &mut text).map(|()| text)
    }

    /// RFC 7541, C.4 and C.6.
    #[test]
    fn the_strings_of_the_standard_read_as_it_says() {
        let strings: [(&[u8], &str); 5] = [
            (&[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff], "www.example.com"),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f], "custom-key"),
            (&[0x64, 0x02], "302"),
            (
                &[0x9d, 0x29, 0xad, 0x17, 0x18, 0x63, 0xc7, 0x8f, 0x0b, 0x97, 0xc8, 0xe9, 0xae, 0x82, 0xae, 0x43, 0xd3],
                "https://www.example.com",
            ),
        ];
        for (coded, plain) in strings {
            assert_eq!(text(coded).as_deref(), Some(plain.as_bytes()));
            assert_eq!(encode(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn bits_behind_the_last_symbol_are_ones_and_fewer_than_eight() {
        assert_eq!(text(&[]), Some(Vec::new()));
        // "0" is 00000: three bits are left.
        assert_eq!(text(&[0b0000_0111]).as_deref(), Some(&b"0"[..]));
        assert_eq!(text(&[0b0000_0110]), None);
        assert_eq!(text(&[0b0000_0111, 0xff]), None);
        assert_eq!(text(&[0xff, 0xff, 0xff, 0xff]), None, "the symbol that ends a string");
    }

    proptest! {
        #[test]
        fn any_bytes_read_back(bytes: Vec<u8>) {
            prop_assert_eq!(text(&encode(&bytes)), Some(bytes));
        }

        #[test]
        fn no_other_coding_of_a_text_is_read(coded: Vec<u8>) {
            if let Some(text) = text(&coded) {
                prop_assert_eq!(encode(&text), coded);
            }
        }
    }
}
