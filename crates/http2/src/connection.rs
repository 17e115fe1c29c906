//! One connection: its frames in order, its streams, its windows, and the bounds on all that a client may ask for.
//!
//! This file has the way in; `connection/output.rs` has the way out.
//!
//! A fault of a stream ends that stream with `RST_STREAM`, and is told to its owner. A [`Fault`] ends the connection.

mod output;
mod unfinished;

use http::Request;

use self::unfinished::{Block, Receiving, Unfinished};
use crate::budget::{Budget, ENDED_STREAM, ENDED_TAB, FRAME};
use crate::fields::encode_head;
use crate::frame::{
    ACK, END_HEADERS, END_STREAM, ErrorCode, Fault, FrameHead, Kind, NUMBER_MAX, PADDED, PAYLOAD_BYTES_MAX, PREFACE,
    PRIORITY, SETTING_CONCURRENT_STREAMS_MAX, SETTING_HEADER_LIST_BYTES_MAX, SETTING_HEADER_TABLE_SIZE, write_head,
    write_ping, write_reset, write_settings, write_settings_ack, write_window_update,
};
use crate::frame_reader::{Frame, FrameReader};
use crate::hpack::Decoder;
use crate::open_streams::{OpenStreams, widened};
use crate::peer_settings;
use crate::request::{BadHead, FieldBounds, RequestFields};

/// The window that every stream and every connection begins with, for both sides (RFC 9113, 6.9.2).
const WINDOW: i32 = 65_535;

/// Bodies are dropped. A client gets the connection's window back in steps of this; that of a stream it does not get back.
const BODY_STEP: u32 = WINDOW as u32 / 2;

/// Bytes of heads that are held for requests that are not whole, or not decided, in times of the bound of one head. Four times that of an honest
/// client with a hundred tabs.
const HEADS_HELD: usize = 4;

/// The operator's bounds, the same for all connections.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Streams that are open at a time.
    pub streams_max: u32,
    /// Names and values of a request, and four bytes for each field.
    pub head_bytes_max: usize,
    /// Fields of a request.
    pub fields_max: usize,
}

/// The meaning of a client's bytes.
#[derive(Debug)]
pub enum Incoming {
    /// A request has come whole. Its stream is open, and nobody owns it.
    Request {
        /// The stream.
        stream: u32,
        /// Its head.
        request: Box<Request<()>>,
        /// It had a body, which is dropped.
        has_body: bool,
    },
    /// A stream is over, by the client or by its fault.
    Ended {
        /// Its owner.
        owner: u32,
    },
    /// A stream may be sent more.
    Opened {
        /// Its owner.
        owner: u32,
    },
    /// All streams may be sent more.
    AllOpened,
}

/// A connection of a client. Idle, it costs its own size and 12 bytes for each stream.
#[derive(Debug)]
pub struct Connection {
    reader: FrameReader,
    decoder: Decoder,
    streams: OpenStreams,
    unfinished: Option<Box<Unfinished>>,
    /// Bytes of text that all streams together may be sent.
    window: i32,
    /// The window of a new stream.
    initial_window: i32,
    /// The highest stream that the client has opened.
    last_stream: u32,
    /// All streams of the client up to here were opened. Those between here and the highest were passed over, which closed them too.
    contiguous_to: u32,
    /// Bytes of bodies for which the client has not got its window back.
    body_bytes: u32,
    budget: Budget,
    /// Bytes of the preface that have come.
    preface: u8,
    has_settings: bool,
    has_acknowledged: bool,
    client_leaves: bool,
}

impl Connection {
    /// A connection that has just been opened. Its first answer is appended to `control`.
    pub fn begin(bounds: &Bounds, control: &mut Vec<u8>) -> Self {
        let settings = [
            (SETTING_HEADER_TABLE_SIZE, 0),
            (SETTING_CONCURRENT_STREAMS_MAX, bounds.streams_max),
            (SETTING_HEADER_LIST_BYTES_MAX, bounds.head_bytes_max as u32),
        ];
        write_settings(&settings, control);
        Self {
            reader: FrameReader::default(),
            decoder: Decoder::new(),
            streams: OpenStreams::default(),
            unfinished: None,
            window: WINDOW,
            initial_window: WINDOW,
            last_stream: 0,
            contiguous_to: 0,
            body_bytes: 0,
            budget: Budget::new(),
            preface: 0,
            has_settings: false,
            has_acknowledged: false,
            client_leaves: false,
        }
    }

    /// Streams that are open.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// The owners of the streams that have one.
    pub fn owners(&self) -> impl Iterator<Item = u32> {
        self.streams.owners()
    }

    /// Whether the client will ask for nothing more.
    pub fn client_leaves(&self) -> bool {
        self.client_leaves
    }

    /// Whether the client owes something: its preface, the rest of a frame or a request, a window for a small answer, or that it knows our
    /// settings.
    pub fn is_owed(&self) -> bool {
        let knows = self.has_settings && self.has_acknowledged;
        !knows || self.reader.is_amid_frame() || self.unfinished.as_deref().is_some_and(Unfinished::is_owed)
    }

    /// The client has sent a record of TLS with less than the head of a frame.
    pub fn charge_for_record(&mut self) -> Result<(), Fault> {
        self.budget.pay(FRAME)
    }

    /// Time has passed: the client may ask for more again.
    pub fn refill(&mut self, points: u16) {
        self.budget.earn(points);
    }

    /// Goes on with the input until it means something. None if it is used up. Answers are appended to `control`.
    pub fn receive(
        &mut self,
        input: &mut &[u8],
        bounds: &Bounds,
        control: &mut Vec<u8>,
    ) -> Result<Option<Incoming>, Fault> {
        self.receive_preface(input)?;
        while let Some(frame) = self.reader.next(input)? {
            if let Some(incoming) = self.take(&frame, bounds, control)? {
                return Ok(Some(incoming));
            }
        }
        Ok(None)
    }

    fn receive_preface(&mut self, input: &mut &[u8]) -> Result<(), Fault> {
        let left = &PREFACE[usize::from(self.preface)..];
        let (preface, rest) = input.split_at(left.len().min(input.len()));
        if !left.starts_with(preface) {
            return Err(Fault::protocol("a preface of another protocol"));
        }
        *input = rest;
        self.preface += preface.len() as u8;
        Ok(())
    }

    fn take(&mut self, frame: &Frame<'_>, bounds: &Bounds, control: &mut Vec<u8>) -> Result<Option<Incoming>, Fault> {
        let Frame { head, payload } = frame;
        if !self.has_settings && (head.kind != Kind::Settings || head.has(ACK)) {
            return Err(Fault::protocol("a connection begins with settings"));
        }
        let block = self.unfinished.as_ref().and_then(|unfinished| unfinished.block.as_ref()).map(|block| block.stream);
        if block.is_some() != (head.kind == Kind::Continuation) || block.is_some_and(|stream| stream != head.stream) {
            return Err(Fault::protocol("a header block is not told in one piece"));
        }
        let is_of_connection = matches!(head.kind, Kind::Settings | Kind::Ping | Kind::GoAway);
        let is_of_either = matches!(head.kind, Kind::WindowUpdate | Kind::Unknown(_));
        if !is_of_either && is_of_connection != (head.stream == 0) {
            return Err(Fault::protocol("a frame of a stream for the connection, or the other way round"));
        }
        if head.kind != Kind::Headers {
            self.budget.pay(FRAME)?;
        }
        match head.kind {
            Kind::Data => self.take_data(*head, payload, control),
            Kind::Headers => self.take_headers(*head, payload, bounds, control),
            Kind::Continuation => self.take_fragment(head.has(END_HEADERS), payload, bounds, control),
            Kind::Priority if depends_on_itself(head.stream, payload) == Some(true) => {
                Err(Fault::protocol("a stream that depends on itself"))
            }
            Kind::Priority | Kind::Unknown(_) => Ok(None),
            Kind::ResetStream => self.take_reset(head.stream),
            Kind::Settings => self.take_settings(*head, payload, control),
            Kind::PushPromise => Err(Fault::protocol("clients push nothing")),
            Kind::Ping => {
                if !head.has(ACK) {
                    write_ping(true, payload, control);
                }
                Ok(None)
            }
            Kind::GoAway => {
                self.client_leaves = true;
                Ok(None)
            }
            Kind::WindowUpdate => self.take_window_update(head.stream, payload, control),
        }
    }

    fn take_settings(
        &mut self,
        head: FrameHead,
        payload: &[u8],
        control: &mut Vec<u8>,
    ) -> Result<Option<Incoming>, Fault> {
        if head.has(ACK) {
            if !payload.is_empty() {
                return Err(Fault::new(ErrorCode::FrameSize, "an acknowledgment with settings"));
            }
            self.has_acknowledged = true;
            self.decoder.forget_table();
            return Ok(None);
        }
        self.has_settings = true;
        write_settings_ack(control);
        let Some(window) = peer_settings::initial_window(payload)? else { return Ok(None) };
        let more = window - self.initial_window;
        self.initial_window = window;
        if !self.streams.move_windows(more) {
            return Err(Fault::new(ErrorCode::FlowControl, "a window that is too large"));
        }
        Ok(self.opened_all(more > 0, control))
    }

    fn take_window_update(
        &mut self,
        stream: u32,
        payload: &[u8],
        control: &mut Vec<u8>,
    ) -> Result<Option<Incoming>, Fault> {
        let more = payload.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes) & NUMBER_MAX);
        if stream == 0 {
            if more == 0 {
                return Err(Fault::protocol("a window that opens by nothing"));
            }
            let window = widened(self.window, more);
            self.window = window.ok_or(Fault::new(ErrorCode::FlowControl, "a window that is too large"))?;
            return Ok(self.opened_all(true, control));
        }
        self.check_not_idle(stream)?;
        let Some(open) = self.streams.get_mut(stream) else { return Ok(None) };
        if more == 0 {
            return self.end_with_fault(stream, ErrorCode::Protocol, control);
        }
        let Some(window) = widened(open.window, more) else {
            return self.end_with_fault(stream, ErrorCode::FlowControl, control);
        };
        open.window = window;
        let owner = open.owner();
        self.push_parked(control);
        Ok(owner.map(|owner| Incoming::Opened { owner }))
    }

    fn opened_all(&mut self, are_wider: bool, control: &mut Vec<u8>) -> Option<Incoming> {
        are_wider.then(|| {
            self.push_parked(control);
            Incoming::AllOpened
        })
    }

    fn take_reset(&mut self, stream: u32) -> Result<Option<Incoming>, Fault> {
        self.check_not_idle(stream)?;
        let is_tab = self.streams.get(stream).is_some_and(|open| open.owner().is_some());
        self.budget.pay(if is_tab { ENDED_TAB } else { ENDED_STREAM })?;
        Ok(self.close(stream).map(|owner| Incoming::Ended { owner }))
    }

    fn take_data(&mut self, head: FrameHead, payload: &[u8], control: &mut Vec<u8>) -> Result<Option<Incoming>, Fault> {
        self.check_not_idle(head.stream)?;
        self.give_window_back(head.length, control)?;
        let mut text_bytes = u64::from(head.length);
        if head.has(PADDED) {
            let padding = *payload.first().ok_or(Fault::new(ErrorCode::FrameSize, "padding without its length"))?;
            let padding = u64::from(padding) + 1;
            text_bytes = text_bytes.checked_sub(padding).ok_or(Fault::protocol("more padding than payload"))?;
        }
        let receiving = self.unfinished.as_mut().map(|unfinished| unfinished.receiving.iter_mut());
        let Some(one) = receiving.and_then(|mut all| all.find(|one| one.stream == head.stream)) else {
            // It may have been on its way when its stream was reset, so it costs no more than other frames.
            write_reset(head.stream, ErrorCode::StreamClosed, control);
            return Ok(self.close(head.stream).map(|owner| Incoming::Ended { owner }));
        };
        one.received += text_bytes;
        one.window_used += head.length;
        if one.length.is_some_and(|length| one.received > length) {
            return self.end_with_fault(head.stream, ErrorCode::Protocol, control);
        }
        if one.window_used > WINDOW as u32 {
            return self.end_with_fault(head.stream, ErrorCode::FlowControl, control);
        }
        // Nothing wants a body, so its stream never gets more window than the first. One that has used that up is too long.
        let is_too_long = one.window_used == WINDOW as u32;
        if head.has(END_STREAM) {
            return self.end_body(head.stream, control);
        }
        if is_too_long {
            self.refuse(head.stream, 413, false, control);
        }
        Ok(None)
    }

    /// A request has come whole. Its body must be as long as it said.
    fn end_body(&mut self, stream: u32, control: &mut Vec<u8>) -> Result<Option<Incoming>, Fault> {
        let receiving = &mut self.unfinished().receiving;
        let at = receiving.iter().position(|one| one.stream == stream);
        let Some(Receiving { request, length, received, .. }) = at.map(|at| receiving.swap_remove(at)) else {
            return Ok(None);
        };
        self.slim();
        if length.is_some_and(|length| length != received) {
            return self.end_with_fault(stream, ErrorCode::Protocol, control);
        }
        Ok(Some(Incoming::Request { stream, request, has_body: received > 0 }))
    }

    /// Bodies are dropped as they come, so the connection's window goes back at once, in steps.
    fn give_window_back(&mut self, bytes: u32, control: &mut Vec<u8>) -> Result<(), Fault> {
        self.body_bytes += bytes;
        if self.body_bytes > WINDOW as u32 {
            return Err(Fault::new(ErrorCode::FlowControl, "more than the connection's window"));
        }
        if self.body_bytes >= BODY_STEP {
            write_window_update(0, self.body_bytes, control);
            self.body_bytes = 0;
        }
        Ok(())
    }

    fn take_headers(
        &mut self,
        head: FrameHead,
        payload: &[u8],
        bounds: &Bounds,
        control: &mut Vec<u8>,
    ) -> Result<Option<Incoming>, Fault> {
        let too_short = Fault::new(ErrorCode::FrameSize, "a head without what its flags tell");
        let mut fragment = payload;
        if head.has(PADDED) {
            let (padding, rest) = fragment.split_first().ok_or(too_short)?;
            let length = rest.len().checked_sub(usize::from(*padding));
            fragment = &rest[..length.ok_or(Fault::protocol("more padding than payload"))?];
        }
        let mut is_faulty = false;
        if head.has(PRIORITY) {
            is_faulty = depends_on_itself(head.stream, fragment).ok_or(too_short)?;
            fragment = &fragment[5..];
        }
        if head.stream.is_multiple_of(2) {
            return Err(Fault::protocol("a stream with an even number"));
        }
        let (stream, ends_stream) = (head.stream, head.has(END_STREAM));
        self.unfinished().block = Some(Block { stream, ends_stream, is_faulty, bytes: Vec::new() });
        self.take_fragment(head.has(END_HEADERS), fragment, bounds, control)
    }

    fn take_fragment(
        &mut self,
        is_last: bool,
        fragment: &[u8],
        bounds: &Bounds,
        control: &mut Vec<u8>,
    ) -> Result<Option<Incoming>, Fault> {
        let Some(block) = &mut self.unfinished().block else { return Ok(None) };
        // A coded field is hardly ever longer than the plain one.
        if block.bytes.len() + fragment.len() > 2 * bounds.head_bytes_max + PAYLOAD_BYTES_MAX {
            return Err(Fault::new(ErrorCode::EnhanceYourCalm, "a header block without an end"));
        }
        block.bytes.extend_from_slice(fragment);
        if !is_last {
            return Ok(None);
        }
        let block = self.unfinished().block.take();
        let outcome = block.map_or(Ok(None), |block| self.take_block(block, bounds, control));
        self.slim();
        outcome
    }

    /// A header block has come whole. It is decoded whatever becomes of its stream: the decoder may have state yet.
    fn take_block(&mut self, block: Block, bounds: &Bounds, control: &mut Vec<u8>) -> Result<Option<Incoming>, Fault> {
        let Block { stream, ends_stream, is_faulty, bytes } = block;
        let mut fields = RequestFields::new(FieldBounds { fields: bounds.fields_max, bytes: bounds.head_bytes_max });
        let decoded = self.decoder.decode(&bytes, |name, value| fields.take(name, value));
        decoded.map_err(|_| Fault::new(ErrorCode::Compression, "a header block that cannot be read"))?;
        if self.streams.get(stream).is_some() {
            let is_receiving = self.unfinished().is_receiving(stream);
            if is_receiving && ends_stream && fields.are_trailers() {
                return self.end_body(stream, control);
            }
            let code = if is_receiving { ErrorCode::Protocol } else { ErrorCode::StreamClosed };
            return self.end_with_fault(stream, code, control);
        }
        if stream <= self.contiguous_to && ends_stream && fields.are_trailers() {
            // They were on their way when their stream was reset.
            self.budget.pay(FRAME)?;
            return Ok(None);
        }
        self.open(stream)?;
        if is_faulty {
            return self.end_with_fault(stream, ErrorCode::Protocol, control);
        }
        if self.streams.len() >= bounds.streams_max as usize {
            return self.end_with_fault(stream, ErrorCode::RefusedStream, control);
        }
        let head_bytes = fields.bytes();
        let (request, length) = match fields.into_request() {
            Ok((request, length)) if !ends_stream || length.is_none_or(|length| length == 0) => (request, length),
            Ok(_) | Err(BadHead::Malformed) => return self.end_with_fault(stream, ErrorCode::Protocol, control),
            Err(BadHead::TooLarge) => {
                self.budget.pay(ENDED_STREAM)?;
                self.refuse(stream, 431, ends_stream, control);
                return Ok(None);
            }
        };
        if self.unfinished().head_bytes() + head_bytes > HEADS_HELD * bounds.head_bytes_max {
            return self.end_with_fault(stream, ErrorCode::RefusedStream, control);
        }
        self.unfinished().heads.push((stream, head_bytes));
        self.streams.open(stream, self.initial_window);
        let request = Box::new(request);
        if ends_stream {
            return Ok(Some(Incoming::Request { stream, request, has_body: false }));
        }
        self.unfinished().receiving.push(Receiving { stream, request, length, received: 0, window_used: 0 });
        Ok(None)
    }

    /// The client opens a stream. Its numbers go up.
    fn open(&mut self, stream: u32) -> Result<(), Fault> {
        if stream <= self.contiguous_to {
            return Err(Fault::new(ErrorCode::StreamClosed, "a head for a stream that is closed"));
        }
        if stream <= self.last_stream {
            return Err(Fault::protocol("a stream with a lower number than one before"));
        }
        if self.contiguous_to == self.last_stream
            && stream == self.last_stream + if self.last_stream == 0 { 1 } else { 2 }
        {
            self.contiguous_to = stream;
        }
        self.last_stream = stream;
        Ok(())
    }

    fn check_not_idle(&self, stream: u32) -> Result<(), Fault> {
        if stream > self.last_stream || stream.is_multiple_of(2) {
            return Err(Fault::protocol("a frame for a stream that nobody has opened"));
        }
        Ok(())
    }

    /// Ends a stream with the code of a fault. It may be closed already, or not have been opened at all.
    fn end_with_fault(
        &mut self,
        stream: u32,
        code: ErrorCode,
        control: &mut Vec<u8>,
    ) -> Result<Option<Incoming>, Fault> {
        self.budget.pay(ENDED_STREAM)?;
        write_reset(stream, code, control);
        Ok(self.close(stream).map(|owner| Incoming::Ended { owner }))
    }

    /// Answers with a bare status, and takes nothing more of the request.
    fn refuse(&mut self, stream: u32, status: u16, has_ended: bool, control: &mut Vec<u8>) {
        write_head(stream, &encode_head(status, []), true, control);
        if !has_ended {
            write_reset(stream, ErrorCode::NoError, control);
        }
        self.close(stream);
    }

    fn close(&mut self, stream: u32) -> Option<u32> {
        if let Some(unfinished) = &mut self.unfinished {
            unfinished.forget(stream);
        }
        self.slim();
        self.streams.close(stream)?.owner()
    }

    fn unfinished(&mut self) -> &mut Unfinished {
        self.unfinished.get_or_insert_default()
    }

    fn slim(&mut self) {
        if self.unfinished.as_deref().is_some_and(Unfinished::is_empty) {
            self.unfinished = None;
        }
    }
}

/// Whether a stream's priority names the stream itself. None if there is no whole priority.
fn depends_on_itself(stream: u32, priority: &[u8]) -> Option<bool> {
    let (on, _) = priority.split_first_chunk::<4>().filter(|(_, weight)| !weight.is_empty())?;
    Some(u32::from_be_bytes(*on) & NUMBER_MAX == stream)
}

#[cfg(test)]
mod tests;
