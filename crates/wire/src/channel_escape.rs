//! Any text as a part of a channel's name, and back.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Writes any text as a part of a channel's name. Letters, digits, `-`, `_` and `.` stand for themselves. Each other byte
/// becomes `~` and two hexadecimal digits: `bob:x` becomes `bob~3ax`. Two texts never give the same part.
///
/// Dots alone become `~2e`, since a path cannot have the parts `.` and `..`. An empty text becomes `~`.
pub fn escape_in_channel(text: &str) -> Cow<'_, str> {
    if text.is_empty() {
        return Cow::Borrowed("~");
    }
    let only_dots = text.bytes().all(|byte| byte == b'.');
    let stays = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || (byte == b'.' && !only_dots);
    if text.bytes().all(stays) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if stays(byte) {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "~{byte:02x}").expect("a String takes everything");
        }
    }
    Cow::Owned(escaped)
}

/// The text that [`escape_in_channel`] has written as `part`. `None` if it writes no text so.
pub fn unescape_in_channel(part: &str) -> Option<String> {
    if part == "~" {
        return Some(String::new());
    }
    let mut pieces = part.split('~');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok().filter(|text| escape_in_channel(text) == part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ChannelName;

    #[test]
    fn a_part_that_no_text_becomes_is_read_as_none() {
        for part in ["", "a~", "a~3", "a~3A", "a~61", "a:b", "~ff", "a~~", "~+1", ".."] {
            assert_eq!(unescape_in_channel(part), None, "{part}");
        }
    }

    proptest! {
        #[test]
        fn two_texts_never_give_the_same_part_and_any_text_is_read_back(a in ".{0,20}", b in ".{0,20}") {
            let (one, other) = (escape_in_channel(&a), escape_in_channel(&b));
            prop_assert_eq!(a == b, one == other);
            prop_assert!(ChannelName::check(&one).is_ok(), "{}", one);
            prop_assert!(!one.contains([':', '/', '@', '=', '*']));
            prop_assert_eq!(unescape_in_channel(&one), Some(a));
        }
    }
}
