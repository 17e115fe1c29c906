//! Frames out of bytes that come in pieces.
//!
//! A frame that has come whole is read where it lies. One that has not is kept until it has. Payloads that nobody reads are passed over as
//! they come: those of DATA, and those of unknown types.

use std::borrow::Cow;

use crate::frame::{ErrorCode, Fault, FrameHead, HEAD_BYTES, Kind, PADDED, PAYLOAD_BYTES_MAX};

/// The place in the client's bytes.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    /// The beginning of a frame that has not come whole.
    partial: Vec<u8>,
    /// Bytes of a payload that are still to be passed over.
    passing_over: u32,
}

/// A frame. Its payload is empty if it is passed over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) head: FrameHead,
    pub(crate) payload: Cow<'a, [u8]>,
}

impl FrameReader {
    /// Takes the next frame off the input. None if there is no whole one: then the input is used up.
    pub(crate) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Frame<'a>>, Fault> {
        let passed = (self.passing_over as usize).min(input.len());
        *input = &input[passed..];
        self.passing_over -= passed as u32;
        if self.passing_over > 0 {
            return Ok(None);
        }
        let Some(head) = self.head(input) else { return Ok(None) };
        check_length(head)?;
        if !is_read(head) {
            self.drop_head(input);
            self.passing_over = head.length;
            return Ok(Some(Frame { head, payload: Cow::default() }));
        }
        let whole = HEAD_BYTES + head.length as usize;
        if self.partial.is_empty()
            && let Some((frame, rest)) = input.split_at_checked(whole)
        {
            *input = rest;
            return Ok(Some(Frame { head, payload: Cow::Borrowed(&frame[HEAD_BYTES..]) }));
        }
        self.keep_up_to(whole, input);
        if self.partial.len() < whole {
            return Ok(None);
        }
        let payload = std::mem::take(&mut self.partial).split_off(HEAD_BYTES);
        Ok(Some(Frame { head, payload: Cow::Owned(payload) }))
    }

    /// Whether a frame has begun and not ended.
    pub(crate) fn is_amid_frame(&self) -> bool {
        self.passing_over > 0 || !self.partial.is_empty()
    }

    fn head(&mut self, input: &mut &[u8]) -> Option<FrameHead> {
        if self.partial.is_empty()
            && let Some(head) = input.first_chunk()
        {
            return Some(FrameHead::read(head));
        }
        self.keep_up_to(HEAD_BYTES, input);
        self.partial.first_chunk().map(FrameHead::read)
    }

    fn drop_head(&mut self, input: &mut &[u8]) {
        if self.partial.is_empty() {
            *input = &input[HEAD_BYTES..];
        }
        self.partial = Vec::new();
    }

    fn keep_up_to(&mut self, length: usize, input: &mut &[u8]) {
        let more = length.saturating_sub(self.partial.len()).min(input.len());
        self.partial.extend_from_slice(&input[..more]);
        *input = &input[more..];
    }
}

/// Whether anyone looks at the payload. The padding of DATA is checked, so a padded one is read.
fn is_read(head: FrameHead) -> bool {
    match head.kind {
        Kind::Data => head.has(PADDED),
        Kind::GoAway | Kind::Unknown(_) => false,
        _ => true,
    }
}

/// Refuses a frame by its head, so that nothing of it must be kept.
fn check_length(head: FrameHead) -> Result<(), Fault> {
    let length = head.length as usize;
    let fits = match head.kind {
        Kind::Priority => length == 5,
        Kind::ResetStream | Kind::WindowUpdate => length == 4,
        Kind::Settings => length.is_multiple_of(6),
        Kind::Ping => length == 8,
        Kind::GoAway => length >= 8,
        _ => true,
    };
    if fits && length <= PAYLOAD_BYTES_MAX {
        return Ok(());
    }
    Err(Fault::new(ErrorCode::FrameSize, "a frame of a length that it cannot have"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{write_data, write_ping, write_settings};

    fn read(reader: &mut FrameReader, mut input: &[u8]) -> Vec<(Kind, Vec<u8>)> {
        let mut frames = Vec::new();
        while let Some(frame) = reader.next(&mut input).expect("valid") {
            frames.push((frame.head.kind, frame.payload.into_owned()));
        }
        assert!(input.is_empty());
        frames
    }

    #[test]
    fn frames_are_the_same_wherever_their_bytes_are_cut() {
        let mut bytes = Vec::new();
        write_settings(&[(1, 0), (3, 100)], &mut bytes);
        write_data(1, b"passed over", true, &mut bytes);
        bytes.extend_from_slice(&[0, 0, 3, 200, 0, 0, 0, 0, 0, 1, 2, 3]);
        write_ping(false, b"12345678", &mut bytes);
        let whole = read(&mut FrameReader::default(), &bytes);
        assert_eq!(whole.len(), 4);
        assert_eq!(whole[3], (Kind::Ping, b"12345678".to_vec()));
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let mut reader = FrameReader::default();
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                let frames: Vec<_> = pieces.into_iter().flat_map(|piece| read(&mut reader, piece)).collect();
                assert_eq!(frames, whole, "cut at {first} and {second}");
                assert!(!reader.is_amid_frame());
            }
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_by_its_head() {
        for (length, kind) in [(16_385_u32, 1_u8), (7, 6), (9, 6), (3, 3), (5, 8), (5, 4), (4, 2), (7, 7), (16_385, 0)]
        {
            let [_, a, b, c] = length.to_be_bytes();
            let head = [a, b, c, kind, 0, 0, 0, 0, 1];
            let fault = FrameReader::default().next(&mut &head[..]).expect_err("refused");
            assert_eq!(fault.code, ErrorCode::FrameSize, "{kind} of {length}");
        }
    }

    #[test]
    fn payloads_that_nobody_reads_are_not_kept() {
        let mut reader = FrameReader::default();
        let head = data_head_of(16_384);
        assert_eq!(read(&mut reader, &head).len(), 1);
        assert!(read(&mut reader, &[0; 10_000]).is_empty());
        assert!(reader.is_amid_frame() && reader.partial.capacity() == 0);
        assert!(read(&mut reader, &[0; 6_384]).is_empty());
        assert!(!reader.is_amid_frame());
    }

    fn data_head_of(length: usize) -> [u8; HEAD_BYTES] {
        crate::frame::data_head(1, length)
    }
}
