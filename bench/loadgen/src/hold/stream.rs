//! One stream: the text so far, and the event that it waits for. The checker does the checking, and a `StreamConnection` brings
//! the text.

use std::rc::Rc;

use crate::clock::now_nanos;
use crate::hold::connection::Over;
use crate::hold::decoder::Decoder;
use crate::hold::order::{Checker, Expectation};
use crate::message::Handshake;

/// A stream that is to be opened, or opened again.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) expectation: Expectation,
    /// The last id it saw, if it is to come back. Streams of one channel share the text.
    pub(crate) last_id: Option<Rc<[u8]>>,
}

/// An opening, open or ended stream.
#[derive(Debug)]
pub(crate) struct Stream {
    identity: Identity,
    decoder: Decoder,
    /// Whether the opening was reported.
    opened: bool,
    /// Whether it was told to read no more.
    stopped: bool,
    /// Whether the end was reported.
    ended: bool,
}

/// The parts that all streams of a worker share.
#[derive(Debug)]
pub(crate) struct StreamReader {
    /// One buffer for all of them.
    pub(crate) buffer: Vec<u8>,
    pub(crate) checker: Checker,
    pub(crate) ids: Ids,
}

/// The latest ids, shared by the streams that saw them: thousands of streams with the same event hold one text. It does
/// nothing unless it is asked to remember.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    latest: Option<Rc<[u8]>>,
    remember: bool,
}

/// News of a stream.
#[derive(Debug)]
pub(crate) enum StreamChange {
    /// The head has come, so many nanoseconds after the connection began, and behind such a handshake. Of the streams of one
    /// connection the first alone tells the handshake.
    Opened { nanos: u64, handshake: Option<Handshake> },
    /// It never became a stream.
    Failed { reason: String },
    /// It was one and is over.
    Ended,
}

/// The receive buffer of a stream that stopped reading.
pub(crate) const STOPPED_RECEIVE_BYTES: usize = 4096;

impl Stream {
    pub(crate) fn new(identity: Identity) -> Self {
        Self { identity, decoder: Decoder::default(), opened: false, stopped: false, ended: false }
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn expectation(&mut self) -> &mut Expectation {
        &mut self.identity.expectation
    }

    /// Reads no more from now on; true unless it already did not.
    pub(crate) fn stop(&mut self) -> bool {
        let reads = self.reads();
        self.stopped = true;
        reads
    }

    /// Whether its text is read.
    pub(crate) fn reads(&self) -> bool {
        self.opened && !self.stopped && !self.ended
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether it has ever been a stream, so that events were due to it.
    pub(crate) fn was_opened(&self) -> bool {
        self.opened
    }

    /// Whether events are due to it.
    pub(crate) fn is_due(&self) -> bool {
        self.opened && !self.stopped
    }

    /// A head of HTTP/2 has come with this status.
    pub(crate) fn open(&mut self, status: Option<u16>) -> Result<(), Over> {
        self.decoder.open(status).map_err(|fault| fault.to_string())
    }

    /// Reads the events in this text, which came at `now_nanos`, and checks them.
    pub(crate) fn read(
        &mut self,
        text: &[u8],
        now_nanos: u64,
        checker: &mut Checker,
        ids: &mut Ids,
    ) -> Result<(), Over> {
        let Self { identity: Identity { expectation, last_id }, decoder, .. } = self;
        let fed = decoder.feed(text, &mut |event| {
            ids.note(event.id, last_id);
            checker.check(expectation, event, now_nanos);
        });
        fed.map_err(|fault| fault.to_string())?;
        if decoder.is_ended() { Err("stream ended with its head".to_owned()) } else { Ok(()) }
    }

    /// The news that its head has come, once.
    pub(crate) fn announce(&mut self, begun_nanos: u64, handshake: Option<Handshake>) -> Option<StreamChange> {
        if self.opened || self.ended || !self.decoder.is_open() {
            return None;
        }
        self.opened = true;
        Some(StreamChange::Opened { nanos: now_nanos().saturating_sub(begun_nanos), handshake })
    }

    /// The news that it is over, once.
    pub(crate) fn end(&mut self, reason: Over) -> Option<StreamChange> {
        if std::mem::replace(&mut self.ended, true) {
            return None;
        }
        Some(if self.opened { StreamChange::Ended } else { StreamChange::Failed { reason } })
    }
}

impl StreamReader {
    pub(crate) fn new(buffer_bytes: usize) -> anyhow::Result<Self> {
        Ok(Self { buffer: vec![0; buffer_bytes], checker: Checker::new()?, ids: Ids::default() })
    }
}

impl Ids {
    pub(crate) fn remember(&mut self) {
        self.remember = true;
    }

    /// Makes `id` the last one a stream saw.
    fn note(&mut self, id: Option<&[u8]>, last: &mut Option<Rc<[u8]>>) {
        let Some(id) = id.filter(|_| self.remember) else { return };
        if self.latest.as_deref() != Some(id) {
            self.latest = Some(id.into());
        }
        last.clone_from(&self.latest);
    }
}
