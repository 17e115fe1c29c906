//! Opens the streams of one `Open` command: no faster than ordered, and never with more unanswered requests than fit
//! into a server's accept queue. It knows the next streams and the answered ones; the sockets are the worker's.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::clock::now_nanos;
use crate::hold::connect;
use crate::hold::connection::Connection;
use crate::hold::http2;
use crate::hold::order::Expectation;
use crate::hold::stream::Identity;
use crate::hold::stream_connection::StreamConnection;
use crate::hold::stream_request::StreamRequest;
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
    connections_begun: u32,
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
            connections_begun: 0,
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
    pub(crate) fn next_number(&self) -> Option<usize> {
        let elapsed = Duration::from_nanos(now_nanos().saturating_sub(self.began_nanos));
        let due = 1.0 + elapsed.as_secs_f64() * f64::from(self.plan.connects_per_second);
        let unanswered = self.begun - self.answered;
        let waits = unanswered >= UNANSWERED_MAX || f64::from(self.connections_begun) >= due;
        (self.begun < self.plan.streams && !waits).then_some(self.connections_begun as usize)
    }

    /// The streams of the next new connection.
    pub(crate) fn next_streams(&self) -> Vec<Identity> {
        let Open { channels, first_stream, streams, published, http2, .. } = &self.plan;
        let count = http2.streams_per_connection.unwrap_or(1).min(streams - self.begun);
        let identity = |number| {
            let stream = first_stream + number;
            let channel = stream % channels;
            let next = published_on(channel, *channels, *published) + 1;
            Identity { expectation: Expectation { stream, channel, next }, last_id: None }
        };
        (self.begun..self.begun + count).map(identity).collect()
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

    /// Begins a connection with these streams. Each goes on behind its id, if it has one.
    pub(crate) fn begin(&mut self, mut streams: Vec<Identity>) -> io::Result<StreamConnection> {
        let number = self.connections_begun as usize;
        self.connections_begun += 1;
        self.begun += streams.len() as u32;
        let Open { subscribe, sources, http2, .. } = &self.plan;
        let source = (!sources.is_empty()).then(|| sources[number % sources.len()]);
        let socket = connect::begin(subscribe.address, source)?;
        let first_words = self.first_words(&streams);
        let connection = match &self.tls {
            None => Connection::plain(socket, first_words),
            Some(client) => Connection::encrypted(socket, client.begin(first_words)?),
        };
        Ok(match http2.streams_per_connection {
            // Its one stream.
            None => StreamConnection::http1(connection, streams.swap_remove(0)),
            Some(_) => StreamConnection::http2(connection, http2.window, streams),
        })
    }

    /// The requests of these streams.
    fn first_words(&self, streams: &[Identity]) -> Vec<u8> {
        let Open { subscribe, channel_prefix, http2: options, .. } = &self.plan;
        let paths: Vec<_> = streams
            .iter()
            .map(|stream| subscribe.path(&channel_name(channel_prefix, stream.expectation.channel)))
            .collect();
        let requests = paths.iter().zip(streams).map(|(path, stream)| StreamRequest {
            is_encrypted: self.tls.is_some(),
            host: &subscribe.host,
            path,
            last_id: stream.last_id.as_deref(),
        });
        match options.streams_per_connection {
            None => requests.flat_map(|request| request.http1_head().into_bytes()).collect(),
            Some(_) => http2::first_words(options.window, requests),
        }
    }
}
