//! An engine with real sockets and a hub of its own, for tests that decide what happens between two slices.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fantail_http2::Bounds;
use fantail_hub::{Hub, HubSettings, LogLimits, NumberedBy, Publisher, Resume};
use fantail_wire::{BareBlocks, ChannelName, ChannelPattern, Event, Framing, Publication, SlowPolicy, Term};
use mio::Poll;

use crate::admission::Admission;
use crate::connections::{ConnectionKey, Http2Connection, Http2Stream, Requests};
use crate::engine::Engine;
use crate::shard::{Http2Settings, ShardSettings};
use crate::slice::Slice;
use crate::slow_policies::SlowPolicies;
use crate::streams::{Key, Sealer, StreamRight, Subscribe, SubscribeOn};
use crate::tls_record::{TlsSealer, TlsUnsealer};

/// Bounds of HTTP/2 connections.
pub(crate) const HTTP2: Http2Settings = Http2Settings {
    bounds: Bounds { streams_max: 100, head_bytes_max: 16_384, fields_max: 64 },
    request_deadline: Duration::from_mins(1),
};

/// An engine, the control loop's side of its hub, and the clients' side of its sockets.
pub(crate) struct Harness {
    pub(crate) engine: Engine,
    pub(crate) publisher: Publisher,
    listener: TcpListener,
    admission: Arc<Admission>,
    _poll: Poll,
}

impl Harness {
    pub(crate) fn new(slow_policy: SlowPolicy, log_events_max: usize) -> Self {
        let log = LogLimits { entries_max: log_events_max, bytes_max: 1 << 30, age_ms_max: u64::MAX };
        let settings = HubSettings {
            log,
            // Nothing is kept of it, so its floor is its newest event.
            patterns: vec![(ChannelPattern::parse("none").expect("a pattern"), LogLimits { entries_max: 0, ..log })],
            ..HubSettings::unbounded(NumberedBy::Node(Term::from_random(7)), || 1000)
        };
        let (hub, publisher) = Hub::new(settings, Arc::default());
        let minute = Duration::from_mins(1);
        let settings = ShardSettings {
            keepalive_interval: minute,
            follow_deadline: minute,
            progress_deadline: minute,
            retry_ms: 1000,
            slow_policies: SlowPolicies::new([slow_policy; 2]),
            control_events: true,
            http2: HTTP2,
            bare_blocks: BareBlocks::Closed,
        };
        let poll = Poll::new().expect("a poll");
        let registry = poll.registry().try_clone().expect("its registry");
        let admission = Admission::new(10_000);
        let engine = Engine::new(hub, 0, registry, settings, Arc::default(), Arc::clone(&admission));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        Self { engine, publisher, listener, admission, _poll: poll }
    }

    /// Opens a live stream of `channels`; the client's side of it.
    pub(crate) fn open(&mut self, channels: &[&str]) -> (Key, TcpStream) {
        self.open_with(channels, None)
    }

    pub(crate) fn open_with(&mut self, channels: &[&str], right: Option<StreamRight>) -> (Key, TcpStream) {
        self.open_as(channels, right, None)
    }

    pub(crate) fn open_as(
        &mut self,
        channels: &[&str],
        right: Option<StreamRight>,
        sealer: Option<Sealer>,
    ) -> (Key, TcpStream) {
        let (socket, client) = self.sockets();
        self.engine.streams.counters().connections_open.add(1);
        let permit = self.admission.try_permit().expect("there is room");
        let id = self.engine.subscribe(Subscribe {
            right,
            holder_permit: right.map(|right| self.admission.try_holder(right.holder).expect("there is room")),
            ..self.request(SubscribeOn::Socket { socket, permit, sealer }, channels)
        });
        let (key, _) = id.and_then(|id| id.of_shard(0)).expect("there is one shard");
        (key, client)
    }

    /// Opens an HTTP/2 connection; its key, and the client's side of it.
    pub(crate) fn open_connection(
        &mut self,
        tls: Option<(TlsSealer, TlsUnsealer)>,
        requests: Rc<dyn Requests>,
    ) -> (ConnectionKey, TcpStream) {
        let (socket, client) = self.sockets();
        self.engine.streams.counters().connections_open.add(1);
        let permit = self.admission.try_permit().expect("there is room");
        let (text, address_permit) = (Vec::new(), None);
        let key = self.engine.serve_http2(Http2Connection { socket, tls, text, permit, address_permit, requests });
        (key, client)
    }

    /// Makes a stream of a request. False if its HTTP/2 stream is over.
    pub(crate) fn open_tab(&mut self, tab: Http2Stream, channels: &[&str]) -> bool {
        let request = self.request(SubscribeOn::Tab(tab), channels);
        self.engine.subscribe(request).is_some()
    }

    fn request(&self, on: SubscribeOn, channels: &[&str]) -> Subscribe {
        Subscribe {
            on,
            forwarded: None,
            right: None,
            stream_permit: self.admission.try_stream().expect("there is room"),
            holder_permit: None,
            address_permit: None,
            maker: None,
            channels: channels.iter().map(|name| ChannelName::parse(name).expect("a name")).collect(),
            resume: Resume::Live,
            limit: None,
            framing: Framing::CloseDelimited,
            head: Bytes::from_static(b"head\n"),
            first_event: None,
            shed: None,
        }
    }

    pub(crate) fn publish(&mut self, channels: &[&str], data: &str) {
        let channels = channels.iter().map(|name| ChannelName::parse(name).expect("a name"));
        self.publisher.publish(&Publication::new(channels, Event::text(data))).expect("small enough");
    }

    /// The two ends of a new connection, the shard's first.
    fn sockets(&self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(self.listener.local_addr().expect("bound")).expect("loopback takes it");
        let (socket, _) = self.listener.accept().expect("it is there");
        socket.set_nonblocking(true).expect("a socket can be");
        // Each write comes at once.
        for socket in [&socket, &client] {
            socket.set_nodelay(true).expect("a socket can be");
        }
        (socket, client)
    }

    /// Turns until nothing is left to do.
    pub(crate) fn settle(&mut self) {
        while self.engine.turn() {}
    }
}

/// A slice that is over after the fewest steps there are.
pub(crate) fn shortest() -> Slice {
    Slice::begin(Duration::ZERO)
}

/// The text that has come through, up to `end`, which must come.
pub(crate) fn read_to(client: &mut TcpStream, end: &str) -> String {
    client.set_read_timeout(Some(Duration::from_secs(30))).expect("it can be set");
    let (mut text, mut chunk) = (String::new(), [0; 4096]);
    while !text.ends_with(end) {
        let taken = client.read(&mut chunk).unwrap_or_else(|error| panic!("{error} behind {text:?}"));
        assert!(taken > 0, "no {end:?} in {text:?}");
        text.push_str(std::str::from_utf8(&chunk[..taken]).expect("text"));
    }
    text
}
