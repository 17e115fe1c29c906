//! Opens the streams of one `Open` command: no faster than ordered, and never with more unanswered requests than fit
//! into a server's accept queue. It knows the next stream and the answered ones; the sockets are the worker's.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::clock::now_nanos;
use crate::hold::connect;
use crate::hold::connection::Connection;
use crate::hold::order::Expectation;
use crate::hold::stream::Begun;
use crate::hold::tls::TlsClient;
use crate::latency::Latency;
use crate::message::{Handshake, Handshakes, Open, Opened, channel_name, published_on};

/// The most requests without an answer. More would measure the listen queue instead of the server.
const UNANSWERED_MAX: u32 = 512;

/// The progress of one `Open`.
#[derive(Debug)]
pub(crate) struct Opener {
    plan: Open,
    /// None for plain connections.
    tls: Option<Rc<TlsClient>>,
    began_nanos: u64,
    begun: u32,
    answered: u32,
    open: u32,
    failed: BTreeMap<String, u64>,
    time_to_head: Latency,
    handshakes: Handshakes,
}

impl Opener {
    pub(crate) fn new(plan: Open, tls: Option<Rc<TlsClient>>) -> anyhow::Result<Self> {
        Ok(Self {
            plan,
            tls,
            began_nanos: now_nanos(),
            begun: 0,
            answered: 0,
            open: 0,
            failed: BTreeMap::new(),
            time_to_head: Latency::new()?,
            handshakes: Handshakes::default(),
        })
    }

    pub(crate) fn open(&self) -> u32 {
        self.open
    }

    /// Whether every stream of the plan has been answered or has failed.
    pub(crate) fn is_done(&self) -> bool {
        self.answered == self.plan.streams
    }

    /// Whether streams are still unanswered after the deadline.
    pub(crate) fn is_overdue(&self) -> bool {
        !self.is_done() && now_nanos().saturating_sub(self.began_nanos) > self.plan.deadline_seconds * 1_000_000_000
    }

    /// Whether it opens streams again that were open before.
    pub(crate) fn is_returning(&self) -> bool {
        self.plan.returning
    }

    /// The number of the next connection, if its time has come.
    pub(crate) fn next_number(&mut self) -> Option<usize> {
        let elapsed = Duration::from_nanos(now_nanos().saturating_sub(self.began_nanos));
        let due = 1.0 + elapsed.as_secs_f64() * f64::from(self.plan.connects_per_second);
        let unanswered = self.begun - self.answered;
        if self.begun == self.plan.streams || unanswered >= UNANSWERED_MAX || f64::from(self.begun) >= due {
            return None;
        }
        let number = self.begun;
        self.begun += 1;
        Some(number as usize)
    }

    /// Begins the connection of a new stream.
    pub(crate) fn begin_new(&self, number: usize) -> io::Result<Begun> {
        let Open { channels, first_stream, published, .. } = &self.plan;
        let stream = first_stream + u32::try_from(number).unwrap_or_default();
        let channel = stream % channels;
        let next = published_on(channel, *channels, *published) + 1;
        self.begin(number, Expectation { stream, channel, next }, None)
    }

    pub(crate) fn note_opened(&mut self, nanos: u64, handshake: Option<Handshake>) {
        if let Some(handshake) = handshake {
            self.handshakes.note(handshake);
        }
        self.answered += 1;
        self.open += 1;
        self.time_to_head.record(nanos);
    }

    pub(crate) fn note_failed(&mut self, reason: String) {
        self.answered += 1;
        *self.failed.entry(reason).or_default() += 1;
    }

    /// Gives up on streams without an answer; those that were never begun fail too.
    pub(crate) fn give_up(&mut self) {
        let reason = format!("no head within {} s", self.plan.deadline_seconds);
        let rest = u64::from(self.plan.streams - self.answered);
        *self.failed.entry(reason).or_default() += rest;
        self.answered = self.plan.streams;
    }

    pub(crate) fn outcome(self) -> Opened {
        Opened {
            open: self.open,
            failed: self.failed,
            began_nanos: self.began_nanos,
            ended_nanos: now_nanos(),
            time_to_head: self.time_to_head.samples(),
            handshakes: self.handshakes,
        }
    }

    /// Begins the connection of a stream, behind an id if it has one.
    pub(crate) fn begin(&self, number: usize, expectation: Expectation, last_id: Option<&[u8]>) -> io::Result<Begun> {
        let Open { subscribe, sources, .. } = &self.plan;
        let source = (!sources.is_empty()).then(|| sources[number % sources.len()]);
        let socket = connect::begin(subscribe.address, source)?;
        let path = subscribe.path(&channel_name(&self.plan.channel_prefix, expectation.channel));
        let resume = last_id.map(|id| format!("Last-Event-ID: {}\r\n", String::from_utf8_lossy(id)));
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\nUser-Agent: fantail-loadgen\r\n{}\r\n",
            subscribe.host,
            resume.unwrap_or_default()
        );
        let connection = match &self.tls {
            None => Connection::plain(socket, request),
            Some(client) => Connection::encrypted(socket, client.begin(request)?),
        };
        Ok(Begun { connection, expectation })
    }
}
