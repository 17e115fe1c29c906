//! Finds events in SSE text, however it is cut. Bytes are copied only when an event is not whole yet; an event that
//! arrives whole is a view of the read buffer. Understands line ends of LF and CRLF, not a lone CR: no server worth
//! measuring sends that.

/// The most unfinished bytes kept for one stream.
const UNFINISHED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One event, as far as a check needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    /// Its type; empty for a plain message.
    pub(crate) kind: &'a [u8],
    /// Its last `data` line.
    pub(crate) data: &'a [u8],
    /// None for a block that only sets the id.
    pub(crate) data_lines: u32,
    /// The id it sets, if any.
    pub(crate) id: Option<&'a [u8]>,
}

/// The events of one stream.
#[derive(Debug, Default)]
pub(crate) struct Events {
    unfinished: Vec<u8>,
}

/// An event grew beyond every bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventTooLong;

impl Events {
    /// Reads a piece of text, handing each event that is whole to `each`.
    pub(crate) fn feed(&mut self, text: &[u8], each: &mut impl FnMut(Event<'_>)) -> Result<(), EventTooLong> {
        if self.unfinished.is_empty() {
            let taken = take_events(text, each);
            self.unfinished.extend_from_slice(&text[taken..]);
        } else {
            self.unfinished.extend_from_slice(text);
            let taken = take_events(&self.unfinished, each);
            self.unfinished.drain(..taken);
        }
        if self.unfinished.len() > UNFINISHED_BYTES_MAX { Err(EventTooLong) } else { Ok(()) }
    }
}

/// Hands over every whole event and returns how many bytes they took.
fn take_events(text: &[u8], each: &mut impl FnMut(Event<'_>)) -> usize {
    const NOTHING: Event<'static> = Event { kind: b"", data: b"", data_lines: 0, id: None };
    let mut taken = 0;
    let mut line_start = 0;
    let mut event = NOTHING;
    while let Some(length) = memchr::memchr(b'\n', &text[line_start..]) {
        let line = &text[line_start..line_start + length];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        line_start += length + 1;
        if !line.is_empty() {
            event.read_line(line);
            continue;
        }
        if event.data_lines > 0 || event.id.is_some() {
            each(event);
        }
        event = NOTHING;
        taken = line_start;
    }
    taken
}

impl<'a> Event<'a> {
    fn read_line(&mut self, line: &'a [u8]) {
        if let Some(value) = field(line, b"data") {
            self.data = value;
            self.data_lines += 1;
        } else if let Some(value) = field(line, b"event") {
            self.kind = value;
        } else if let Some(value) = field(line, b"id") {
            self.id = Some(value);
        }
    }
}

/// The value of `line` if it is the field `name`.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    match line.strip_prefix(name)? {
        [] => Some(b""),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_is_told_with_data_and_alone() {
        let mut ids = Vec::new();
        let fed = Events::default().feed(b"id: a.1\n\n: x\n\ndata: y\nid: a.2\n\n", &mut |event| {
            ids.push((event.id.map(<[u8]>::to_vec), event.data_lines));
        });
        assert_eq!(fed, Ok(()));
        assert_eq!(ids, [(Some(b"a.1".to_vec()), 0), (Some(b"a.2".to_vec()), 1)]);
    }

    fn read(pieces: &[&[u8]]) -> Vec<(String, String, u32)> {
        let mut events = Events::default();
        let mut seen = Vec::new();
        for piece in pieces {
            let fed = events.feed(piece, &mut |event| {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                if event.data_lines > 0 {
                    seen.push((text(event.kind), text(event.data), event.data_lines));
                }
            });
            assert_eq!(fed, Ok(()));
        }
        seen
    }

    fn event(kind: &str, data: &str) -> (String, String, u32) {
        (kind.to_owned(), data.to_owned(), 1)
    }

    #[test]
    fn events_are_the_same_however_the_text_is_cut() {
        let text = b": hi\nretry: 3\nid: a.1\n\nid: a.2\ndata: one\n\n:\n\nevent: x\r\ndata:two\r\n\r\ndata\n\n";
        let expected = [event("", "one"), event("x", "two"), event("", "")];
        for cut in 0..=text.len() {
            let (front, back) = text.split_at(cut);
            assert_eq!(read(&[front, back]), expected, "cut at {cut}");
        }
        let bytes: Vec<_> = text.chunks(1).collect();
        assert_eq!(read(&bytes), expected);
    }

    #[test]
    fn event_without_its_blank_line_is_not_one() {
        assert_eq!(read(&[b"data: one\n"]), []);
    }

    #[test]
    fn several_data_lines_are_counted() {
        assert_eq!(read(&[b"data: a\ndata: b\n\n"]), [(String::new(), "b".to_owned(), 2)]);
    }

    #[test]
    fn field_names_must_match_whole() {
        assert_eq!(read(&[b"database: x\ndata2: y\n data: z\n\n"]), []);
    }

    #[test]
    fn endless_event_is_a_fault() {
        let mut events = Events::default();
        assert_eq!(events.feed(&vec![b'x'; UNFINISHED_BYTES_MAX + 1], &mut |_| ()), Err(EventTooLong));
    }
}
