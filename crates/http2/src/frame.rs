//! Frames as bytes (RFC 9113, 4 and 6): their heads, their types, and the few that this side writes.

use std::fmt;

/// The first bytes of every client.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes in front of a frame's payload.
pub const HEAD_BYTES: usize = 9;

/// The longest payload that either side takes unless it says otherwise. This side never says otherwise, and never writes a longer one:
/// a frame that was begun must be kept until it is finished.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 14;

/// Streams and windows have numbers of 31 bits.
pub(crate) const NUMBER_MAX: u32 = (1 << 31) - 1;

pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
pub(crate) const PADDED: u8 = 0x8;
pub(crate) const PRIORITY: u8 = 0x20;

pub(crate) const SETTING_HEADER_TABLE_SIZE: u16 = 1;
pub(crate) const SETTING_ENABLE_PUSH: u16 = 2;
pub(crate) const SETTING_CONCURRENT_STREAMS_MAX: u16 = 3;
pub(crate) const SETTING_INITIAL_WINDOW: u16 = 4;
pub(crate) const SETTING_PAYLOAD_BYTES_MAX: u16 = 5;
pub(crate) const SETTING_HEADER_LIST_BYTES_MAX: u16 = 6;

/// The type of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Data,
    Headers,
    Priority,
    ResetStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// One that this side does not know, and so passes over.
    Unknown(u8),
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) length: u32,
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

/// The reason of an error (RFC 9113, 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// It is none.
    NoError = 0,
    /// The rules of the protocol were broken.
    Protocol = 1,
    /// This side failed.
    Internal = 2,
    /// More was sent than a window lets, or a window is too large.
    FlowControl = 3,
    /// A frame for a stream that is closed.
    StreamClosed = 5,
    /// A frame of a length that it cannot have.
    FrameSize = 6,
    /// A request that was not looked at: it may be sent again.
    RefusedStream = 7,
    /// The stream is not wanted any more.
    Cancel = 8,
    /// A header block that cannot be read.
    Compression = 9,
    /// Too much of something that is allowed.
    EnhanceYourCalm = 11,
}

/// An error that ends the whole connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The code that the client is told.
    pub code: ErrorCode,
    /// The fault, for those who look after the node.
    pub detail: &'static str,
}

impl Fault {
    pub(crate) const fn new(code: ErrorCode, detail: &'static str) -> Self {
        Self { code, detail }
    }

    pub(crate) const fn protocol(detail: &'static str) -> Self {
        Self::new(ErrorCode::Protocol, detail)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail)
    }
}

impl Kind {
    fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::ResetStream,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            other => Self::Unknown(other),
        }
    }

    fn byte(self) -> u8 {
        match self {
            Self::Data => 0,
            Self::Headers => 1,
            Self::Priority => 2,
            Self::ResetStream => 3,
            Self::Settings => 4,
            Self::PushPromise => 5,
            Self::Ping => 6,
            Self::GoAway => 7,
            Self::WindowUpdate => 8,
            Self::Continuation => 9,
            Self::Unknown(byte) => byte,
        }
    }
}

impl FrameHead {
    pub(crate) fn read(bytes: &[u8; HEAD_BYTES]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = *bytes;
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind: Kind::from_byte(kind),
            flags,
            stream: u32::from_be_bytes(stream) & NUMBER_MAX,
        }
    }

    pub(crate) fn bytes(self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..3].copy_from_slice(&self.length.to_be_bytes()[1..]);
        (bytes[3], bytes[4]) = (self.kind.byte(), self.flags);
        bytes[5..].copy_from_slice(&self.stream.to_be_bytes());
        bytes
    }

    pub(crate) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The head of a DATA frame that does not end its stream.
#[inline]
pub fn data_head(stream: u32, length: usize) -> [u8; HEAD_BYTES] {
    FrameHead { length: length as u32, kind: Kind::Data, flags: 0, stream }.bytes()
}

fn write(kind: Kind, flags: u8, stream: u32, payload: &[u8], out: &mut Vec<u8>) {
    let head = FrameHead { length: payload.len() as u32, kind, flags, stream };
    out.extend_from_slice(&head.bytes());
    out.extend_from_slice(payload);
}

pub(crate) fn write_data(stream: u32, text: &[u8], ends: bool, out: &mut Vec<u8>) {
    write(Kind::Data, if ends { END_STREAM } else { 0 }, stream, text, out);
}

/// A header block, in as many frames as it needs.
pub(crate) fn write_head(stream: u32, block: &[u8], ends: bool, out: &mut Vec<u8>) {
    let mut fragments = block.chunks(PAYLOAD_BYTES_MAX).peekable();
    let (mut kind, mut flags) = (Kind::Headers, if ends { END_STREAM } else { 0 });
    loop {
        let fragment = fragments.next().unwrap_or_default();
        let is_last = fragments.peek().is_none();
        write(kind, if is_last { flags | END_HEADERS } else { flags }, stream, fragment, out);
        if is_last {
            return;
        }
        (kind, flags) = (Kind::Continuation, 0);
    }
}

pub(crate) fn write_reset(stream: u32, code: ErrorCode, out: &mut Vec<u8>) {
    write(Kind::ResetStream, 0, stream, &(code as u32).to_be_bytes(), out);
}

pub(crate) fn write_settings(settings: &[(u16, u32)], out: &mut Vec<u8>) {
    let payload: Vec<u8> =
        settings.iter().flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    write(Kind::Settings, 0, 0, &payload, out);
}

pub(crate) fn write_settings_ack(out: &mut Vec<u8>) {
    write(Kind::Settings, ACK, 0, &[], out);
}

pub(crate) fn write_ping(is_ack: bool, payload: &[u8], out: &mut Vec<u8>) {
    write(Kind::Ping, if is_ack { ACK } else { 0 }, 0, payload, out);
}

pub(crate) fn write_window_update(stream: u32, more: u32, out: &mut Vec<u8>) {
    write(Kind::WindowUpdate, 0, stream, &more.to_be_bytes(), out);
}

pub(crate) fn write_go_away(last_stream: u32, code: ErrorCode, out: &mut Vec<u8>) {
    let payload = [last_stream.to_be_bytes(), (code as u32).to_be_bytes()].concat();
    write(Kind::GoAway, 0, 0, &payload, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_reads_back_and_the_reserved_bit_of_its_stream_is_passed_over() {
        for kind in (0..=255).map(Kind::from_byte) {
            let head = FrameHead { length: 0x01_02_03, kind, flags: 0x25, stream: 0x7f_00_00_01 };
            let mut bytes = head.bytes();
            assert_eq!(FrameHead::read(&bytes), head);
            bytes[5] |= 0x80;
            assert_eq!(FrameHead::read(&bytes), head);
        }
    }

    #[test]
    fn a_header_block_of_any_size_is_written_in_frames_of_which_the_last_alone_says_so() {
        for size in [0, 1, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX + 1, 3 * PAYLOAD_BYTES_MAX] {
            let mut out = Vec::new();
            write_head(7, &vec![b'x'; size], true, &mut out);
            let (mut heads, mut rest) = (Vec::new(), &out[..]);
            while let Some((head, behind)) = rest.split_first_chunk::<HEAD_BYTES>() {
                let head = FrameHead::read(head);
                rest = &behind[head.length as usize..];
                heads.push(head);
            }
            assert_eq!(heads.len(), size.div_ceil(PAYLOAD_BYTES_MAX).max(1));
            assert_eq!(heads.iter().map(|head| head.length as usize).sum::<usize>(), size);
            for (number, head) in heads.iter().enumerate() {
                let kind = if number == 0 { Kind::Headers } else { Kind::Continuation };
                assert_eq!((head.kind, head.stream), (kind, 7));
                assert_eq!(head.has(END_HEADERS), number + 1 == heads.len());
            }
            assert!(heads[0].has(END_STREAM));
        }
    }
}
