//! One connection: all that an idle one costs.

use std::rc::Rc;

use fantail_http2::{Bounds, ErrorCode};
use fantail_hub::Maker;
use fantail_telemetry::CloseReason;

use super::{CONTROL_BYTES_MAX, HEAD_BYTES, Requests};
use crate::streams::Carrier;
use crate::tick::Tick;
use crate::tls_record::{TlsSealer, TlsUnsealer};

/// An open connection. Its tabs are in the slab of streams, and cost it 12 bytes each.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own, and together they cost five bytes")]
pub(crate) struct Connection {
    pub(super) socket: Carrier,
    /// Distinguishes it from earlier ones in the same slot.
    pub(super) generation: u32,
    pub(super) tls: Option<Tls>,
    pub(crate) protocol: fantail_http2::Connection,
    /// Bytes that the socket did not take, or was not given yet.
    pub(super) unsent: Option<Box<Unsent>>,
    /// The beginning of a record that has not come whole.
    pub(super) partial_record: Option<Box<[u8]>>,
    pub(super) requests: Rc<dyn Requests>,
    /// The address among whose sockets it is counted.
    pub(crate) address: Option<Maker>,
    /// When the socket last took bytes.
    pub(crate) written: Tick,
    /// Since when something that the client has begun is not whole, if something is.
    pub(crate) amid_input_since: Option<Tick>,
    /// When its last stream ended, or it began.
    pub(crate) without_streams_since: Tick,
    pub(crate) failed: Option<CloseReason>,
    pub(crate) phase: Phase,
    /// The socket takes nothing now; an event of the poll tells when it does.
    pub(crate) is_blocked: bool,
    /// Its key and counter cannot open what the client sends: nothing more is understood.
    pub(crate) is_deaf: bool,
    pub(super) is_unseen: bool,
    /// How often its tabs were woken: each of them is the first once.
    pub(crate) turns: u16,
    /// There may be more to read than was read in the turn.
    pub(crate) has_more_input: bool,
}

/// Both halves of a TLS connection.
pub(super) struct Tls {
    pub(super) sealer: TlsSealer,
    pub(super) unsealer: TlsUnsealer,
}

/// The bytes of a connection that are on their way.
#[derive(Default)]
pub(super) struct Unsent {
    /// The rest of what was begun, as it goes on the wire.
    pub(super) rest: Vec<u8>,
    /// Frames that are no text, in their order; the first of them may be begun. They go out behind the rest and before any text.
    pub(super) control: Vec<u8>,
}

/// The part of its life that a connection is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It takes requests.
    Open,
    /// Its client is asked to leave; it ends with its last stream.
    Leaving,
    /// Its last frame tells a fault of the client's.
    Faulty,
    /// Its last frame is on its way.
    Ending,
    /// Our side is closed, and the client has a little time to close its own. Closing at once while input is unread would send a reset, which
    /// may destroy the last frames on their way.
    Lingering,
}

impl Connection {
    pub(super) fn begin(
        socket: Carrier,
        tls: Option<(TlsSealer, TlsUnsealer)>,
        requests: Rc<dyn Requests>,
        address: Option<Maker>,
        generation: u32,
        bounds: &Bounds,
        now: Tick,
    ) -> Self {
        let mut unsent = Box::<Unsent>::default();
        let protocol = fantail_http2::Connection::begin(bounds, &mut unsent.control);
        Self {
            socket,
            generation,
            tls: tls.map(|(sealer, unsealer)| Tls { sealer, unsealer }),
            protocol,
            unsent: Some(unsent),
            partial_record: None,
            requests,
            address,
            written: now,
            amid_input_since: Some(now),
            without_streams_since: now,
            failed: None,
            phase: Phase::Open,
            is_blocked: false,
            is_deaf: false,
            is_unseen: false,
            turns: 0,
            has_more_input: false,
        }
    }

    /// Lets the protocol append control frames.
    pub(crate) fn control<R>(&mut self, append: impl FnOnce(&mut fantail_http2::Connection, &mut Vec<u8>) -> R) -> R {
        let mut control = self.unsent.as_mut().map(|unsent| std::mem::take(&mut unsent.control)).unwrap_or_default();
        let outcome = append(&mut self.protocol, &mut control);
        if !control.is_empty() {
            self.unsent.get_or_insert_default().control = control;
        }
        outcome
    }

    pub(super) fn say_goodbye(&mut self, code: ErrorCode) {
        self.control(|protocol, control| protocol.say_goodbye(code, control));
    }

    /// Whether everything is with the kernel.
    pub(crate) fn is_flushed(&self) -> bool {
        self.unsent.is_none()
    }

    /// The client has said something, or something of it was given up. True if something that it has begun is not whole.
    pub(crate) fn note_input(&mut self, now: Tick) -> bool {
        let is_amid = self.protocol.is_owed() || self.partial_record.is_some();
        self.amid_input_since = is_amid.then(|| self.amid_input_since.unwrap_or(now));
        is_amid
    }

    /// Bytes that are kept for the client because it does not take them.
    pub(crate) fn unsent_bytes(&self) -> usize {
        let begun = self.unsent.as_ref().map_or(0, |unsent| unsent.rest.len() + unsent.control.len());
        begun + self.protocol.parked_bytes()
    }

    /// Whether the client, which may have so many streams, asks for more than it reads.
    pub(crate) fn is_flooded(&self, streams_max: u32) -> bool {
        let control_max = CONTROL_BYTES_MAX + HEAD_BYTES * streams_max as usize;
        self.unsent.as_ref().is_some_and(|unsent| unsent.control.len() > control_max)
    }

    /// Whether its key has sealed as much as it may.
    pub(crate) fn is_worn_out(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.sealer.is_worn_out())
    }

    /// Its last frame. Nothing that the client says from now on means anything.
    pub(crate) fn begin_to_end(&mut self, now: Tick) {
        if self.phase.is_open() {
            self.say_goodbye(ErrorCode::NoError);
        }
        self.phase = Phase::Ending;
        self.without_streams_since = now;
    }

    /// The last byte is with the kernel: our side is closed. False if it failed.
    pub(crate) fn close_our_side(&mut self) -> bool {
        self.phase = Phase::Lingering;
        if let Some(tls) = &mut self.tls {
            let close_notify = tls.sealer.seal_close_notify();
            // It is for clients that look for cuts. One whose socket is full goes without.
            let _ = self.socket.put(&[std::io::IoSlice::new(&close_notify)]);
        }
        self.socket.finish().is_ok()
    }

    /// Makes the close a reset, which frees what the kernel holds.
    pub(crate) fn reset_on_close(&self) {
        self.socket.reset_on_close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::Key;

    /// The slot of an idle connection, TLS included. With one stream there come the table of its streams (24), the stream (94), and the peer that
    /// the program keeps for its requests.
    #[test]
    fn an_idle_connection_costs_at_most_344_bytes_of_our_own() {
        let checks = size_of::<Carrier>() - size_of::<std::os::fd::RawFd>();
        let slot = size_of::<Option<Connection>>() - checks;
        assert!(slot <= 344, "{slot}");
    }

    /// The same for one of a hundred streams of a connection.
    #[test]
    fn one_of_a_hundred_idle_streams_costs_at_most_96_bytes_of_our_own() {
        let (id, place) = (size_of::<u32>(), 12);
        let stream = crate::streams::idle_stream_bytes() + 2 * size_of::<Key>();
        // The table grows by halves.
        let sum = stream + id + place * 3 / 2;
        assert!(sum <= 96, "{sum}");
    }
}
