//! The head of a response: its status, its headers, and how its body is framed.

use memchr::memmem;

use super::Framing;
use crate::error::{Error, Result};

const HEAD_BYTES_MAX: usize = 64 << 10;

/// The head of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The minor version of HTTP/1 that the server spoke.
    pub minor_version: u8,
    /// The status code.
    pub status: u16,
    /// Names as sent, values without surrounding blanks, in order.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// All headers of that name.
    pub fn headers_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let found = self.headers.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Reads the head at the beginning of `bytes`, and how many bytes it takes. None while it is not whole.
    pub fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>> {
        match memmem::find(bytes, b"\r\n\r\n") {
            Some(end) => Ok(Some((parse(&bytes[..end])?, end + 4))),
            None if bytes.len() > HEAD_BYTES_MAX => {
                Err(Error::Protocol(format!("response head is longer than {HEAD_BYTES_MAX} bytes")))
            }
            None => Ok(None),
        }
    }

    /// How the body behind it is framed.
    pub fn framing(&self, answers_head_request: bool) -> Result<Framing> {
        if answers_head_request || self.status == 204 || self.status == 304 {
            return Ok(Framing::None);
        }
        let encoding = self.header("transfer-encoding");
        let length = self.header("content-length");
        match (encoding, length) {
            (Some(_), _) if self.minor_version == 0 => {
                Err(Error::Protocol("Transfer-Encoding in an HTTP/1.0 response".into()))
            }
            (Some(_), Some(_)) => Err(Error::Protocol("both Transfer-Encoding and Content-Length".into())),
            (Some(encoding), None) if encoding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
            (Some(encoding), None) => Err(Error::Protocol(format!("unknown Transfer-Encoding {encoding:?}"))),
            (None, Some(length)) => {
                let parsed = length.parse().map_err(|_| Error::Protocol(format!("bad Content-Length {length:?}")))?;
                Ok(Framing::Length(parsed))
            }
            (None, None) => Ok(Framing::Close),
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Head> {
    let text = String::from_utf8_lossy(bytes);
    let bad = |line: &str| Error::Protocol(format!("bad line {line:?} in the response head"));
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let (version, rest) = first.split_once(' ').ok_or_else(|| bad(first))?;
    let minor_version = match version {
        "HTTP/1.1" => 1,
        "HTTP/1.0" => 0,
        _ => return Err(bad(first)),
    };
    let status = rest.get(..3).and_then(|code| code.parse().ok()).ok_or_else(|| bad(first))?;
    let header = |line: &str| match line.split_once(':') {
        Some((name, value)) if !name.is_empty() && !name.ends_with([' ', '\t']) => {
            Ok((name.to_owned(), value.trim().to_owned()))
        }
        _ => Err(bad(line)),
    };
    Ok(Head { minor_version, status, headers: lines.map(header).collect::<Result<_>>()? })
}
