//! Text that a client or a publisher sent, made safe for a log line.
//!
//! Without this a channel name could end the line and forge the next one, move the cursor of the
//! terminal that shows it, or fill the disk.

use std::fmt;

/// Bytes of foreign text that a log line shows; the rest is only counted.
pub const ESCAPED_BYTES_MAX: usize = 256;

/// Foreign text, escaped when it is displayed.
#[derive(Clone, Copy)]
pub struct Escaped<'a>(&'a [u8]);

/// Wraps foreign text for a log line: `channel = %escape(name)`.
pub fn escape<T: AsRef<[u8]> + ?Sized>(text: &T) -> Escaped<'_> {
    Escaped(text.as_ref())
}

/// Printable ASCII stays, quote and backslash get a backslash, every other byte becomes `\xNN`.
/// Letters beyond ASCII are escaped too: some of them reverse or hide the text around them.
impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown, rest) = self.0.split_at(self.0.len().min(ESCAPED_BYTES_MAX));
        for byte in shown {
            match byte {
                b'"' | b'\\' => write!(f, "\\{}", char::from(*byte))?,
                b' '..=b'~' => write!(f, "{}", char::from(*byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        if rest.is_empty() { Ok(()) } else { write!(f, "...and {} bytes more", rest.len()) }
    }
}

impl fmt::Debug for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_cannot_leave_its_place_in_the_line() {
        let table: [(&str, &[u8], &str); 8] = [
            ("plain text stays", b"news.42 ~", "news.42 ~"),
            ("a forged second line", b"a\r\nERROR b", "a\\x0d\\x0aERROR b"),
            ("a terminal escape", b"\x1b[2J", "\\x1b[2J"),
            ("the other escape introducer", "\u{9b}2J".as_bytes(), "\\xc2\\x9b2J"),
            ("the end of a quoted value", b"a\" level=\"error", "a\\\" level=\\\"error"),
            ("an escape that is none", b"\\x0a", "\\\\x0a"),
            ("text that reads backwards", "\u{202e}x".as_bytes(), "\\xe2\\x80\\xaex"),
            ("NUL, DEL and no text at all", b"\0\x7f\xff", "\\x00\\x7f\\xff"),
        ];
        for (attack, sent, shown) in table {
            assert_eq!(escape(sent).to_string(), shown, "{attack}");
            assert_eq!(format!("{:?}", escape(sent)), format!("\"{shown}\""), "{attack}");
        }
    }

    #[test]
    fn long_text_is_cut_and_the_rest_counted() {
        let bound = "a".repeat(ESCAPED_BYTES_MAX);
        assert_eq!(escape(&bound).to_string(), bound);
        let longer = "a".repeat(ESCAPED_BYTES_MAX + 1000);
        assert_eq!(escape(&longer).to_string(), format!("{bound}...and 1000 bytes more"));
    }
}
