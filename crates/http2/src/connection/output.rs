//! The way out of a connection: heads, small answers, the room for text, and the ends of streams.

use bytes::Bytes;

use super::Connection;
use super::unfinished::Parked;
use crate::frame::{
    ErrorCode, NUMBER_MAX, PAYLOAD_BYTES_MAX, write_data, write_go_away, write_head, write_ping, write_reset,
};

/// Text of a frame that is worth its answer, however small its stream's window is.
const WHOLE_FRAME: i32 = 256;

/// Bytes of small answers that the client's windows do not let out. A client that wants answers and opens no window loses some.
const PARKED_BYTES_MAX: usize = PAYLOAD_BYTES_MAX;

impl Connection {
    /// Gives an open stream to its owner. False if it is not open any more.
    pub fn give(&mut self, stream: u32, owner: u32) -> bool {
        self.forget_head(stream);
        self.streams.give(stream, owner)
    }

    fn forget_head(&mut self, stream: u32) {
        if let Some(unfinished) = &mut self.unfinished {
            unfinished.forget_head(stream);
        }
        self.slim();
    }

    /// Sends the head of a stream whose text follows.
    pub fn send_head(&mut self, stream: u32, block: &[u8], control: &mut Vec<u8>) {
        if self.streams.get(stream).is_some() {
            write_head(stream, block, false, control);
        }
    }

    /// Sends a small answer whole, as the client's windows let it out. False if the stream is not open any more.
    pub fn answer(&mut self, stream: u32, block: &[u8], body: Bytes, control: &mut Vec<u8>) -> bool {
        if self.streams.get(stream).is_none() {
            return false;
        }
        self.forget_head(stream);
        write_head(stream, block, body.is_empty(), control);
        if body.is_empty() {
            self.close(stream);
            return true;
        }
        self.unfinished().parked.push(Parked { stream, body });
        self.push_parked(control);
        if self.parked_bytes() > PARKED_BYTES_MAX {
            self.reset(stream, ErrorCode::EnhanceYourCalm, control);
        }
        true
    }

    /// Bytes of small answers that no window lets out yet.
    pub fn parked_bytes(&self) -> usize {
        self.unfinished.as_ref().map_or(0, |unfinished| unfinished.parked_bytes())
    }

    /// Bytes of text that a stream may be sent, when so many of the connection's window are spoken for.
    #[inline]
    pub fn room(&self, stream: u32, spoken_for: usize) -> usize {
        let of_all = usize::try_from(self.window).unwrap_or(0).saturating_sub(spoken_for);
        let of_stream = self.streams.get(stream).map_or(0, |open| usize::try_from(open.window).unwrap_or(0));
        of_all.min(of_stream)
    }

    /// A frame with so many bytes of a stream's text was begun, which its room allows.
    #[inline]
    pub fn spend(&mut self, stream: u32, bytes: usize) {
        let bytes = (bytes as u32).cast_signed();
        self.window -= bytes;
        let Some(open) = self.streams.get_mut(stream) else { return };
        open.window -= bytes;
        // A client that opens its window by single bytes pays for each.
        if open.window > 0 || bytes >= WHOLE_FRAME {
            self.budget.earn_for_text();
        }
    }

    /// Ends a stream behind all of its text.
    pub fn end(&mut self, stream: u32, control: &mut Vec<u8>) {
        if self.streams.get(stream).is_some() {
            write_data(stream, &[], true, control);
            self.close(stream);
        }
    }

    /// Ends a stream at once.
    pub fn reset(&mut self, stream: u32, code: ErrorCode, control: &mut Vec<u8>) {
        if self.streams.get(stream).is_some() {
            write_reset(stream, code, control);
            self.close(stream);
        }
    }

    /// Ends the requests that have not come whole, and the answers that no window lets out.
    pub fn reset_unfinished(&mut self, control: &mut Vec<u8>) {
        for stream in self.unfinished.as_ref().map_or_else(Vec::new, |unfinished| unfinished.streams()) {
            self.reset(stream, ErrorCode::Cancel, control);
        }
    }

    /// Asks the client to open no more streams. Those that it opens before it knows are served.
    pub fn ask_to_leave(&self, control: &mut Vec<u8>) {
        write_go_away(NUMBER_MAX, ErrorCode::NoError, control);
    }

    /// The last frame of the connection.
    pub fn say_goodbye(&self, code: ErrorCode, control: &mut Vec<u8>) {
        write_go_away(self.last_stream, code, control);
    }

    /// Asks the client whether it is there.
    pub fn ping(&self, control: &mut Vec<u8>) {
        write_ping(false, b"fantail\0", control);
    }

    /// Sends what the windows let out of small answers.
    pub(super) fn push_parked(&mut self, control: &mut Vec<u8>) {
        let Some(unfinished) = &mut self.unfinished else { return };
        let mut parked = std::mem::take(&mut unfinished.parked);
        parked.retain_mut(|one| {
            loop {
                let bytes = self.room(one.stream, 0).min(one.body.len()).min(PAYLOAD_BYTES_MAX);
                if bytes == 0 {
                    return true;
                }
                let text = one.body.split_to(bytes);
                self.spend(one.stream, bytes);
                write_data(one.stream, &text, one.body.is_empty(), control);
                if one.body.is_empty() {
                    self.streams.close(one.stream);
                    return false;
                }
            }
        });
        self.unfinished().parked = parked;
        self.slim();
    }
}
