//! The bytes of a client, read off the socket, opened, and given to the protocol.

use std::num::NonZeroU32;
use std::rc::Rc;

use fantail_http2::{ErrorCode, HEAD_BYTES, Incoming};
use fantail_telemetry::CloseReason;

use super::connection::{Connection, Phase};
use super::{ConnectionKey, Connections, Http2Request, Http2Stream, reason_of};
use crate::streams::{Input, Key};
use crate::tick::Tick;
use crate::tls_record::{RECORD_BYTES_MAX, Record, Unsealed};

/// Read at a time, behind the beginning of a record that was kept.
const READ_BYTES: usize = 16 * 1024;

/// One client does not keep a shard busy: what is more is read in the next turn.
const READS_PER_TURN: usize = 4;

/// Something that a client's bytes mean for streams.
pub(crate) enum News {
    /// This one is over.
    Ended(Key),
    /// This one may be sent more.
    Opened(Key),
    /// All of the connection may be sent more.
    AllOpened,
    /// The client said something of TLS that a bare key has no answer to.
    Foreign,
}

impl Connections {
    /// Reads what the client has sent.
    pub(crate) fn read(&mut self, key: ConnectionKey, now: Tick, news: &mut Vec<News>) {
        let mut input = std::mem::take(&mut self.input);
        input.resize(RECORD_BYTES_MAX + READ_BYTES, 0);
        self.slab[key].has_more_input = false;
        for read in 1..=READS_PER_TURN {
            if !self.read_once(key, &mut input, news) {
                break;
            }
            if read == READS_PER_TURN {
                self.slab[key].has_more_input = true;
                self.look_later(key);
            }
        }
        self.input = input;
        let connection = &mut self.slab[key];
        connection.note_input(now);
        if !connection.is_flushed() {
            self.look_later(key);
        }
    }

    /// Takes the text that was read before the connection came here.
    pub(crate) fn take_early(&mut self, key: ConnectionKey, text: &[u8], now: Tick, news: &mut Vec<News>) {
        self.take(key, text, news);
        self.slab[key].note_input(now);
    }

    /// Reads once. False if there is nothing more to read now.
    fn read_once(&mut self, key: ConnectionKey, input: &mut [u8], news: &mut Vec<News>) -> bool {
        let connection = &mut self.slab[key];
        let kept = connection.partial_record.as_ref().map_or(0, |partial| partial.len());
        let read = match connection.socket.read_input(&mut input[kept..kept + READ_BYTES]) {
            Ok(Input::Bytes(read)) => read,
            Ok(Input::Nothing) => return false,
            Ok(Input::End) => {
                self.fail(key, CloseReason::ClientClosed);
                return false;
            }
            Err(error) => {
                self.fail(key, reason_of(&error));
                return false;
            }
        };
        if let Some(partial) = connection.partial_record.take() {
            input[..kept].copy_from_slice(&partial);
        }
        if connection.is_listening() {
            let input = &mut input[..kept + read];
            if connection.tls.is_some() { self.take_records(key, input, news) } else { self.take(key, input, news) }
        }
        true
    }

    fn take_records(&mut self, key: ConnectionKey, mut input: &mut [u8], news: &mut Vec<News>) {
        loop {
            let connection = &mut self.slab[key];
            let Some(tls) = connection.tls.as_mut().filter(|_| connection.phase.is_open()) else { return };
            let whole = match Record::first(input) {
                Record::Whole(whole) => whole,
                Record::Partial => {
                    connection.partial_record = (!input.is_empty()).then(|| Box::from(&*input));
                    return;
                }
                Record::Nonsense => return self.end_with_fault(key, ErrorCode::Protocol),
            };
            let (record, rest) = input.split_at_mut(whole);
            input = rest;
            match tls.unsealer.unseal(record) {
                Unsealed::Text(text) if text.len() < HEAD_BYTES && connection.protocol.charge_for_record().is_err() => {
                    return self.end_with_fault(key, ErrorCode::EnhanceYourCalm);
                }
                Unsealed::Text(text) => self.take(key, text, news),
                Unsealed::End => return self.fail(key, CloseReason::ClientClosed),
                Unsealed::Forged => return self.end_with_fault(key, ErrorCode::Protocol),
                Unsealed::Foreign => {
                    connection.is_deaf = true;
                    news.push(News::Foreign);
                    return;
                }
            }
        }
    }

    fn take(&mut self, key: ConnectionKey, mut text: &[u8], news: &mut Vec<News>) {
        loop {
            let Self { slab, bounds, asked, .. } = self;
            let connection = &mut slab[key];
            if !connection.phase.is_open() {
                return;
            }
            match connection.control(|protocol, control| protocol.receive(&mut text, bounds, control)) {
                Ok(None) => return,
                Ok(Some(Incoming::Request { stream, request, has_body })) => {
                    let Some(id) = NonZeroU32::new(stream) else { return };
                    let stream = Http2Stream { connection: key, generation: connection.generation, id };
                    asked.push((Rc::clone(&connection.requests), Http2Request { stream, request, has_body }));
                    if self.is_draining {
                        self.ask_to_leave(key);
                    }
                }
                Ok(Some(Incoming::Ended { owner })) => news.push(News::Ended(owner)),
                Ok(Some(Incoming::Opened { owner })) => news.push(News::Opened(owner)),
                Ok(Some(Incoming::AllOpened)) => news.push(News::AllOpened),
                Err(fault) => {
                    tracing::debug!(peer = ?connection.socket.peer(), %fault, "an HTTP/2 client broke the rules");
                    return self.end_with_fault(key, fault.code);
                }
            }
        }
    }
}

impl Connection {
    /// Whether anything that the client says still means something.
    fn is_listening(&self) -> bool {
        self.phase.is_open() && !self.is_deaf
    }
}

impl Phase {
    /// Whether there are streams, or may be.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Leaving)
    }
}
