//! The part of HTTP that the floor reads: the channel of a request, the end of its head and the length of its body. It
//! never looks at the method, because the floor serves one thing on each port.

/// Largest head and largest body kept; beyond it the connection is closed.
pub(crate) const HEAD_BYTES_MAX: usize = 8 * 1024;
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;

/// One request at the start of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ParsedRequest {
    /// More bytes are needed.
    Partial,
    /// Not a request this program can read.
    Refused,
    /// The body stands between `body_start` and `end`; the next request begins at `end`.
    Whole { body_start: usize, end: usize },
}

/// The length of the head including its blank line, if it is whole.
pub(crate) fn head_length(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// The channel that a head asks for: the last part of its path, without a query. A head without a path asks for the
/// channel without a name.
pub(crate) fn channel(head: &[u8]) -> &[u8] {
    let path = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let path = path.split(|byte| *byte == b'?').next().unwrap_or_default();
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// Reads the first request of `bytes`.
pub(crate) fn read(bytes: &[u8]) -> ParsedRequest {
    let Some(body_start) = head_length(bytes) else {
        return if bytes.len() > HEAD_BYTES_MAX { ParsedRequest::Refused } else { ParsedRequest::Partial };
    };
    match content_length(&bytes[..body_start]) {
        Some(length) if length > BODY_BYTES_MAX => ParsedRequest::Refused,
        Some(length) if bytes.len() < body_start + length => ParsedRequest::Partial,
        Some(length) => ParsedRequest::Whole { body_start, end: body_start + length },
        None => ParsedRequest::Refused,
    }
}

/// The body length; a head without the field has no body, a chunked one is refused.
fn content_length(head: &[u8]) -> Option<usize> {
    let mut length = Some(0);
    for line in head.split(|byte| *byte == b'\n').skip(1) {
        let mut halves = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (halves.next(), halves.next()) else { continue };
        if name.eq_ignore_ascii_case(b"content-length") {
            length = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok());
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            return None;
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    const POST: &[u8] = b"POST /publish/x HTTP/1.1\r\nHost: a\r\ncontent-length: 5\r\n\r\nhello";

    #[test]
    fn body_is_found_however_the_bytes_arrive() {
        for cut in 0..POST.len() {
            assert_eq!(read(&POST[..cut]), ParsedRequest::Partial, "cut at {cut}");
        }
        let ParsedRequest::Whole { body_start, end } = read(POST) else { panic!("whole request not seen") };
        assert_eq!(&POST[body_start..end], b"hello");
    }

    #[test]
    fn channel_is_the_last_part_of_the_path() {
        assert_eq!(channel(POST), b"x");
        assert_eq!(channel(b"GET /x HTTP/1.1\r\n\r\n"), b"x");
        assert_eq!(channel(b"GET /a/b/x?limit=1/2 HTTP/1.1\r\nHost: a/b\r\n\r\n"), b"x");
        assert_eq!(channel(b"\r\n\r\n"), b"");
    }

    #[test]
    fn second_request_begins_where_the_first_ends() {
        let both = [POST, POST].concat();
        let ParsedRequest::Whole { end, .. } = read(&both) else { panic!("first request not seen") };
        assert_eq!(&both[end..], POST);
    }

    #[test]
    fn unreadable_and_oversized_requests_are_refused() {
        assert_eq!(read(b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"), ParsedRequest::Refused);
        assert_eq!(read(b"POST / HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n"), ParsedRequest::Refused);
        assert_eq!(read(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), ParsedRequest::Refused);
        assert_eq!(read(&vec![b'x'; HEAD_BYTES_MAX + 1]), ParsedRequest::Refused);
    }
}
