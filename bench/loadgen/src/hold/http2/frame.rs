//! Frames of HTTP/2 (RFC 9113, 4 and 6) as a client reads and writes them. Pure. It shares nothing with the server that it
//! measures, so that a mistake there cannot hide here.

use crate::hold::connection::Over;

/// The first bytes of every client.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEAD_BYTES: usize = 9;
/// Servers write no longer payload unless they are asked to.
const PAYLOAD_BYTES_MAX: u32 = 1 << 14;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
const PRIORITY_BYTES: usize = 5;

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) length: u32,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

/// The next part of what came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// A DATA frame has begun. All of its payload counts for windows, its padding too.
    DataBegins { stream: u32, length: u32 },
    /// The next text of that frame.
    Text { stream: u32, text: &'a [u8] },
    /// The stream ends behind the text so far.
    DataEnds { stream: u32 },
    /// A whole frame of another kind.
    Other { head: FrameHead, payload: &'a [u8] },
}

/// Reads frames that come in pieces of any size. It keeps no text: that is handed on as it comes.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    state: State,
}

#[derive(Debug)]
enum State {
    /// In the head of a frame.
    Head { bytes: [u8; HEAD_BYTES], count: usize },
    /// Before the length of a DATA frame's padding.
    PaddingLength { head: FrameHead },
    /// In a DATA frame, with so much of its text and padding still to come.
    Data { head: FrameHead, text: u32, padding: u32 },
    /// In another frame.
    Other { head: FrameHead, payload: Vec<u8> },
}

impl Default for State {
    fn default() -> Self {
        Self::Head { bytes: [0; HEAD_BYTES], count: 0 }
    }
}

impl FrameHead {
    fn read(bytes: [u8; HEAD_BYTES]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = bytes;
        let length = u32::from_be_bytes([0, a, b, c]);
        // The highest bit has no meaning.
        Self { length, kind, flags, stream: u32::from_be_bytes(stream) & (u32::MAX >> 1) }
    }

    pub(crate) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn checked(self) -> Result<Self, Over> {
        if self.length <= PAYLOAD_BYTES_MAX {
            return Ok(self);
        }
        Err(format!("the server does not speak HTTP/2: no frame has {} bytes", self.length))
    }
}

impl FrameReader {
    /// Reads these bytes, and hands their parts to `each`.
    pub(crate) fn read(
        &mut self,
        mut bytes: &[u8],
        each: &mut impl FnMut(Part<'_>) -> Result<(), Over>,
    ) -> Result<(), Over> {
        while !bytes.is_empty() {
            let taken = self.step(bytes, each)?;
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// Reads up to the next border, and tells how many bytes that took: at least one.
    fn step(&mut self, bytes: &[u8], each: &mut impl FnMut(Part<'_>) -> Result<(), Over>) -> Result<usize, Over> {
        match &mut self.state {
            State::Head { bytes: kept, count } => {
                let taken = bytes.len().min(HEAD_BYTES - *count);
                kept[*count..*count + taken].copy_from_slice(&bytes[..taken]);
                *count += taken;
                if *count == HEAD_BYTES {
                    let head = FrameHead::read(*kept).checked()?;
                    self.begin(head, each)?;
                }
                Ok(taken)
            }
            State::PaddingLength { head } => {
                let (head, padding) = (*head, u32::from(bytes[0]));
                let text = head.length.checked_sub(padding + 1).ok_or("a DATA frame has more padding than bytes")?;
                self.state = State::Data { head, text, padding };
                self.end_data_if_whole(each)?;
                Ok(1)
            }
            State::Data { head, text, padding } => {
                let (stream, is_text) = (head.stream, *text > 0);
                let rest = if is_text { text } else { padding };
                let taken = bytes.len().min(*rest as usize);
                *rest -= taken as u32;
                if is_text {
                    each(Part::Text { stream, text: &bytes[..taken] })?;
                }
                self.end_data_if_whole(each)?;
                Ok(taken)
            }
            State::Other { head, payload } => {
                let taken = bytes.len().min(head.length as usize - payload.len());
                payload.extend_from_slice(&bytes[..taken]);
                if payload.len() == head.length as usize {
                    let (head, payload) = (*head, std::mem::take(payload));
                    self.state = State::default();
                    each(Part::Other { head, payload: &payload })?;
                }
                Ok(taken)
            }
        }
    }

    fn begin(&mut self, head: FrameHead, each: &mut impl FnMut(Part<'_>) -> Result<(), Over>) -> Result<(), Over> {
        let FrameHead { length, kind, stream, .. } = head;
        if kind == DATA {
            each(Part::DataBegins { stream, length })?;
            if head.has(PADDED) && length > 0 {
                self.state = State::PaddingLength { head };
                return Ok(());
            }
            self.state = State::Data { head, text: length, padding: 0 };
            return self.end_data_if_whole(each);
        }
        self.state = State::Other { head, payload: Vec::new() };
        if length == 0 {
            self.state = State::default();
            each(Part::Other { head, payload: &[] })?;
        }
        Ok(())
    }

    fn end_data_if_whole(&mut self, each: &mut impl FnMut(Part<'_>) -> Result<(), Over>) -> Result<(), Over> {
        let State::Data { head, text: 0, padding: 0 } = self.state else { return Ok(()) };
        self.state = State::default();
        if head.has(END_STREAM) { each(Part::DataEnds { stream: head.stream }) } else { Ok(()) }
    }
}

/// The header block of a HEADERS frame, without its padding and priority.
pub(crate) fn header_block(head: FrameHead, payload: &[u8]) -> Option<&[u8]> {
    let mut block = payload;
    if head.has(PADDED) {
        let (padding, rest) = block.split_first()?;
        block = rest.get(..rest.len().checked_sub(usize::from(*padding))?)?;
    }
    if head.has(PRIORITY) { block.get(PRIORITY_BYTES..) } else { Some(block) }
}

/// Appends a frame.
pub(crate) fn write(kind: u8, flags: u8, stream: u32, payload: &[u8], out: &mut Vec<u8>) {
    // Nothing that a client here writes is longer than a frame may be.
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

pub(crate) fn write_window_update(stream: u32, more: u32, out: &mut Vec<u8>) {
    write(WINDOW_UPDATE, 0, stream, &more.to_be_bytes(), out);
}

/// A whole frame, for tests.
#[cfg(test)]
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write(kind, flags, stream, payload, &mut out);
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "the frames are constants")]
    use super::*;

    /// The parts of these frames, with neighbouring text put together.
    fn told(wire: &[u8], piece_bytes: usize) -> Result<Vec<String>, Over> {
        let mut reader = FrameReader::default();
        let mut told = Vec::<String>::new();
        for piece in wire.chunks(piece_bytes) {
            reader.read(piece, &mut |part| {
                match part {
                    Part::Text { text, .. } => {
                        let text = String::from_utf8_lossy(text);
                        match told.last_mut().filter(|last| last.starts_with("text ")) {
                            Some(last) => last.push_str(&text),
                            None => told.push(format!("text {text}")),
                        }
                    }
                    Part::DataBegins { stream, length } => told.push(format!("{length} bytes on {stream}")),
                    Part::DataEnds { stream } => told.push(format!("{stream} ends")),
                    Part::Other { head, payload } => told.push(format!("{} with {payload:?}", head.kind)),
                }
                Ok(())
            })?;
        }
        Ok(told)
    }

    #[test]
    fn frames_are_the_same_however_they_are_cut() {
        let wire = [
            frame(SETTINGS, 0, 0, &[]),
            frame(DATA, 0, 3, b"data: first\n"),
            frame(DATA, PADDED, 1, b"\x04data\0\0\0\0"),
            frame(DATA, PADDED | END_STREAM, 5, b"\x00"),
            frame(DATA, END_STREAM, 7, b""),
            frame(PING, ACK, 0, b"12345678"),
            frame(DATA, PADDED, 9, b"\x02\0\0"),
            frame(DATA, 0, 3, b"\n"),
        ]
        .concat();
        let expected = [
            "4 with []",
            "12 bytes on 3",
            "text data: first\n",
            "9 bytes on 1",
            "text data",
            "1 bytes on 5",
            "5 ends",
            "0 bytes on 7",
            "7 ends",
            "6 with [49, 50, 51, 52, 53, 54, 55, 56]",
            "3 bytes on 9",
            "1 bytes on 3",
            "text \n",
        ];
        for piece_bytes in 1..=wire.len() {
            assert_eq!(told(&wire, piece_bytes).unwrap(), expected, "pieces of {piece_bytes}");
        }
    }

    #[test]
    fn text_ends_behind_its_padding() {
        let wire = frame(DATA, PADDED | END_STREAM, 1, b"\x02x\0\0");
        assert_eq!(told(&wire, 3).unwrap(), ["4 bytes on 1", "text x", "1 ends"]);
    }

    #[test]
    fn padding_that_is_longer_than_its_frame_is_a_fault() {
        assert!(told(&frame(DATA, PADDED, 1, b"\x03xx"), 64).is_err());
        assert!(told(&frame(DATA, PADDED, 1, b"\x02xx"), 64).is_ok());
    }

    #[test]
    fn an_answer_of_another_protocol_is_a_fault() {
        let fault = told(b"HTTP/1.1 400 Bad Request\r\n\r\n", 64).unwrap_err();
        assert!(fault.starts_with("the server does not speak HTTP/2"), "{fault}");
    }

    #[test]
    fn header_blocks_lose_padding_and_priority() {
        let block = |flags, payload: &'static [u8]| {
            header_block(FrameHead { length: 0, kind: HEADERS, flags, stream: 1 }, payload)
        };
        assert_eq!(block(0, b"\x88x"), Some(&b"\x88x"[..]));
        assert_eq!(block(PADDED, b"\x01\x88\0"), Some(&b"\x88"[..]));
        assert_eq!(block(PRIORITY, b"\0\0\0\0\0\x88"), Some(&b"\x88"[..]));
        assert_eq!(block(PADDED | PRIORITY, b"\x01\0\0\0\0\0\x88\0"), Some(&b"\x88"[..]));
        assert_eq!(block(PADDED, b"\x02\x88"), None);
        assert_eq!(block(PRIORITY, b"\0\0"), None);
    }
}
