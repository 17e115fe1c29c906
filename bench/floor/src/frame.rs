//! One event as SSE text inside one HTTP/1.1 chunk, and the two fixed answers. Built once per event, never per stream.

use std::io::Write as _;

/// The answer to every stream request.
pub(crate) const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Content-Type: text/event-stream\r\n\
    Cache-Control: no-cache, no-store, no-transform\r\n\
    Transfer-Encoding: chunked\r\n\
    Connection: close\r\n\r\n";

/// A comment, which resets no client state.
pub(crate) const KEEPALIVE: &[u8] = b"3\r\n:\n\n\r\n";

/// Keeps one buffer for all events, so that framing allocates nothing once it has grown.
#[derive(Debug, Default)]
pub(crate) struct Framer {
    text: Vec<u8>,
    frame: Vec<u8>,
    number: u64,
}

impl Framer {
    /// Frames `data`. The id has the length of a real server's id, so that both send the same number of bytes.
    pub(crate) fn frame(&mut self, data: &[u8]) -> &[u8] {
        self.number += 1;
        self.text.clear();
        // Writing into a Vec cannot fail, here and below.
        let _ = writeln!(self.text, "id: abcdefghijkl.1760000000000.{:06}", self.number);
        for line in data.split(|byte| *byte == b'\n') {
            self.text.extend_from_slice(b"data: ");
            self.text.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
            self.text.push(b'\n');
        }
        self.text.push(b'\n');
        self.frame.clear();
        let _ = write!(self.frame, "{:x}\r\n", self.text.len());
        self.frame.extend_from_slice(&self.text);
        self.frame.extend_from_slice(b"\r\n");
        &self.frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_is_one_chunk_with_id_and_data() {
        let mut framer = Framer::default();
        let frame = framer.frame(b"hello");
        let text = "id: abcdefghijkl.1760000000000.000001\ndata: hello\n\n";
        assert_eq!(frame, format!("{:x}\r\n{text}\r\n", text.len()).as_bytes());
    }

    #[test]
    fn line_breaks_in_the_body_become_data_lines() {
        let mut framer = Framer::default();
        let frame = String::from_utf8_lossy(framer.frame(b"a\r\nb\nc")).into_owned();
        assert!(frame.contains("\ndata: a\ndata: b\ndata: c\n\n\r\n"), "{frame:?}");
    }

    #[test]
    fn frames_do_not_leak_into_each_other() {
        let mut framer = Framer::default();
        let long = framer.frame(&[b'x'; 500]).len();
        let short = framer.frame(b"y").to_vec();
        assert!(short.len() < long);
        assert!(short.ends_with(b"000002\ndata: y\n\n\r\n"));
    }
}
