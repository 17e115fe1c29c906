//! The scenarios, as data: the load, the opponents and the scale. Other files play them.

use crate::http2_options::Http2Options;
use crate::tls_options::TlsVersion;
use crate::workload::ChannelLayout;

/// One question with its experiment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) question: &'static str,
    pub(crate) over: Transport,
    pub(crate) play: Play,
}

/// The protocols that streams are opened over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transport {
    /// The version of TLS; `None` if streams are plain.
    pub(crate) tls: Option<TlsVersion>,
    pub(crate) http2: Http2Options,
}

/// The kinds of experiments.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Play {
    /// Memory per idle stream, as a slope between two stream counts: those of the scale, or given ones.
    Memory { channels: ChannelLayout, counts: Option<[u32; 2]>, peers: &'static [&'static str] },
    /// CPU of idle streams that get nothing but keepalives.
    Keepalive,
    /// The same rounds on two servers in turn. Streams: those of the scale, or a given number.
    Pairs { streams: Option<u32>, loads: &'static [ScenarioLoad], against: &'static [&'static str] },
    /// Streams opened as fast as it goes.
    Connect { peers: &'static [&'static str] },
    /// Streams opened as fast as it goes, with full handshakes, and again with resumed ones.
    Handshakes { peers: &'static [&'static str] },
    /// Deliveries at a slow pace while others open streams with full handshakes, beside the same deliveries in quiet.
    ServingWhileHandshaking { peers: &'static [&'static str] },
    /// New streams while all others are served without pause.
    HeadWhileServing { peers: &'static [&'static str] },
    /// All connections reset at once; all come back for the events that they missed.
    Return { events_away: u64 },
    /// One stream in ten stops reading; paired with a server on which none does.
    Slow { payload: u32, events: u64 },
    /// One stream of each connection stops reading; paired with a server on which none does.
    StuckTab { streams: u32 },
    /// The way in from Redis, at the highest rate.
    Redis { channels: ChannelLayout },
    /// The way in from ownCloud's stream.
    OwnCloud,
    /// Every event for one stream, on two servers in turn. Streams: half of the scale's, so that one process holds both
    /// sides, or a given number.
    Unicast { streams: Option<u32>, loads: &'static [UnicastLoad], against: &'static [&'static str] },
    /// Every event for one stream, over two ways into Fantail in turn. The way of the loads is the first.
    UnicastWays { streams: u32, loads: &'static [UnicastLoad], other: UnicastWay },
    /// Latency of events for one stream at shares of the highest rate.
    UnicastCurve { peers: &'static [&'static str] },
}

/// One workload of `Pairs`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScenarioLoad {
    pub(crate) label: &'static str,
    pub(crate) channels: ChannelLayout,
    pub(crate) payload: u32,
    pub(crate) in_flight: u64,
    /// Deliveries per stream and round.
    pub(crate) events_per_stream: u64,
    pub(crate) rounds: u32,
}

/// One workload of `Unicast`. All of a scenario go the same way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UnicastLoad {
    pub(crate) label: &'static str,
    /// The difference from the others of its scenario.
    pub(crate) short: &'static str,
    pub(crate) way: UnicastWay,
    /// The rate of an open loop; `None` for a closed one.
    pub(crate) per_second: Option<f64>,
}

/// How events come to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnicastWay {
    /// Kept connections with one POST each under way.
    Http { connections: u32 },
    /// One connection to Redis, and so many events under way in a closed loop.
    Redis { in_flight: u64 },
    /// One connection to ownCloud's stream in NATS, and so many events under way in a closed loop.
    OwnCloud { in_flight: u64 },
}

/// The scale of everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) streams: u32,
    pub(crate) streams_few: u32,
    pub(crate) rounds_most: u32,
    pub(crate) events_divisor: u64,
    pub(crate) keepalive_seconds: u64,
    /// The measured time of a round of events for one stream.
    pub(crate) unicast_seconds: f64,
    pub(crate) unicast_rounds: u32,
    /// The most peers per scenario; the first named ones are taken.
    pub(crate) peers_most: usize,
}

const ONE: ChannelLayout = ChannelLayout::Count(1);
const SINGLE: ScenarioLoad = ScenarioLoad {
    label: "one event at a time, 128 B",
    channels: ONE,
    payload: 128,
    in_flight: 1,
    events_per_stream: 16,
    rounds: 3,
};
const BURST: ScenarioLoad =
    ScenarioLoad { label: "eight events together, 128 B", in_flight: 8, events_per_stream: 48, ..SINGLE };

const HTTP1: Transport = Transport { tls: None, http2: Http2Options::HTTP1 };
const TLS: Transport = Transport { tls: Some(TlsVersion::V1_3), ..HTTP1 };
const TLS_1_2: Transport = Transport { tls: Some(TlsVersion::V1_2), ..HTTP1 };
const HTTP2_TABS: Transport = Transport { tls: None, http2: Http2Options::with_streams(TABS) };
const HTTP2_ONE: Transport = Transport { tls: None, http2: Http2Options::with_streams(1) };
const HTTP2_TLS_ONE: Transport = Transport { tls: Some(TlsVersion::V1_3), ..HTTP2_ONE };
/// A stream that stops reading fills its window in less than a second.
const HTTP2_SMALL_WINDOWS: Transport =
    Transport { tls: None, http2: Http2Options { window: 16 * 1024, ..Http2Options::with_streams(TABS) } };

/// The streams of one connection, as many as Fantail lets in by itself.
const TABS: u32 = 100;
/// The streams of 50 connections.
const TABS_OF_FIFTY: u32 = 50 * TABS;

const POSTS: UnicastLoad = UnicastLoad {
    label: "closed loop, one POST under way",
    short: "1 connection",
    way: UnicastWay::Http { connections: 1 },
    per_second: None,
};
const MESSAGES: UnicastLoad = UnicastLoad {
    label: "closed loop over Redis, 64 events under way",
    short: "64 in flight",
    way: UnicastWay::Redis { in_flight: 64 },
    ..POSTS
};

/// The name under which our own program takes part.
pub(crate) const OURS: &str = "fantail";

/// The name under which the reference loop takes part.
pub(crate) const FLOOR: &str = "floor";

/// Our own program with plain streams, beside the one whose streams are encrypted.
pub(crate) const PLAIN: &str = "fantail-plain";

/// All scenarios, the most telling first.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "steady-floor",
        question: "How far is fan-out above one bare send per socket?",
        over: HTTP1,
        play: Play::Pairs {
            streams: None,
            loads: &[ScenarioLoad { events_per_stream: 40, rounds: 5, ..SINGLE }],
            against: &[FLOOR],
        },
    },
    Scenario {
        name: "idle-one-channel",
        question: "What does one idle stream cost in memory, all on one channel?",
        over: HTTP1,
        play: Play::Memory {
            channels: ONE,
            counts: None,
            peers: &[FLOOR, "nchan", "hyper-task", "axum", "better-sse", "pushpin", "centrifugo", "mercure"],
        },
    },
    Scenario {
        name: "idle-own-channels",
        question: "What does one idle stream cost in memory, each on a channel of its own?",
        over: HTTP1,
        play: Play::Memory {
            channels: ChannelLayout::PerStream,
            counts: None,
            peers: &["nchan", "hyper-task", "axum"],
        },
    },
    Scenario {
        name: "steady-peers",
        question: "How does fan-out compare with what others run?",
        over: HTTP1,
        play: Play::Pairs {
            streams: None,
            loads: &[SINGLE],
            against: &["nchan", "hyper-task", "axum", "better-sse", "centrifugo", "mercure"],
        },
    },
    Scenario {
        name: "burst",
        question: "What do eight waiting events cost each, when one write carries them?",
        over: HTTP1,
        play: Play::Pairs { streams: None, loads: &[BURST], against: &[FLOOR, "nchan"] },
    },
    Scenario {
        name: "many-channels",
        question: "What does an event cost when every stream has a channel of its own?",
        over: HTTP1,
        play: Play::Pairs {
            streams: None,
            loads: &[ScenarioLoad {
                label: "own channels, 64 events at a time across them, 128 B",
                channels: ChannelLayout::PerStream,
                in_flight: 64,
                events_per_stream: 3,
                ..SINGLE
            }],
            against: &[FLOOR, "nchan", "hyper-task"],
        },
    },
    Scenario {
        name: "unicast-http",
        question: "What does an event for one user cost, posted over kept connections?",
        over: HTTP1,
        play: Play::Unicast {
            streams: None,
            loads: &[
                POSTS,
                UnicastLoad {
                    label: "closed loop, one POST under way on each of 4 connections",
                    short: "4 connections",
                    way: UnicastWay::Http { connections: 4 },
                    ..POSTS
                },
                UnicastLoad {
                    label: "closed loop, one POST under way on each of 16 connections",
                    short: "16 connections",
                    way: UnicastWay::Http { connections: 16 },
                    ..POSTS
                },
            ],
            against: &[FLOOR, "nchan", "centrifugo", "mercure"],
        },
    },
    Scenario {
        name: "unicast-redis",
        question: "What does an event for one user cost, published in Redis?",
        over: HTTP1,
        play: Play::Unicast { streams: None, loads: &[MESSAGES], against: &[FLOOR] },
    },
    Scenario {
        name: "unicast-jetstream",
        question: "What does an event for one user of ownCloud cost, published in its stream, and how late is it?",
        over: HTTP1,
        play: Play::UnicastWays {
            // As many as one process may hold.
            streams: 18_000,
            loads: &[
                UnicastLoad {
                    label: "closed loop, 64 events under way",
                    short: "64 in flight",
                    way: UnicastWay::OwnCloud { in_flight: 64 },
                    ..POSTS
                },
                UnicastLoad {
                    label: "open loop",
                    short: "2,000 per second",
                    way: UnicastWay::OwnCloud { in_flight: 64 },
                    per_second: Some(2_000.0),
                },
            ],
            other: UnicastWay::Redis { in_flight: 64 },
        },
    },
    Scenario {
        name: "unicast-load",
        question: "How long does an event for one user take at 10 to 110 % of what the server can do?",
        over: HTTP1,
        play: Play::UnicastCurve { peers: &[FLOOR, "nchan"] },
    },
    Scenario {
        name: "unicast-one-http",
        question: "How long does one event take when the server has nothing else to do, posted?",
        over: HTTP1,
        play: Play::Unicast {
            streams: Some(1),
            loads: &[UnicastLoad {
                label: "one POST every 10 ms",
                short: "100 per second",
                per_second: Some(100.0),
                ..POSTS
            }],
            against: &["nchan", FLOOR],
        },
    },
    Scenario {
        name: "unicast-one-redis",
        question: "How long does one event take when the server has nothing else to do, published in Redis?",
        over: HTTP1,
        play: Play::Unicast {
            streams: Some(1),
            loads: &[UnicastLoad {
                label: "one message every 10 ms",
                short: "100 per second",
                per_second: Some(100.0),
                ..MESSAGES
            }],
            against: &[FLOOR],
        },
    },
    Scenario {
        name: "payloads",
        question: "How does the size of events change the picture?",
        over: HTTP1,
        play: Play::Pairs {
            streams: None,
            loads: &[
                ScenarioLoad {
                    label: "72 B, the least that carries the check",
                    payload: 72,
                    events_per_stream: 12,
                    ..SINGLE
                },
                ScenarioLoad { label: "1 KiB", payload: 1024, events_per_stream: 12, ..SINGLE },
                ScenarioLoad { label: "16 KiB", payload: 16 * 1024, events_per_stream: 8, ..SINGLE },
            ],
            against: &[FLOOR],
        },
    },
    Scenario {
        name: "keepalive",
        question: "What do idle streams cost in CPU with a keepalive every 15 s?",
        over: HTTP1,
        play: Play::Keepalive,
    },
    Scenario {
        name: "connect-storm",
        question: "How fast do streams open when all come at once?",
        over: HTTP1,
        play: Play::Connect { peers: &["nchan", "hyper-task"] },
    },
    Scenario {
        name: "head-while-serving",
        question: "How long does a new stream wait while all others are served without pause?",
        over: HTTP1,
        play: Play::HeadWhileServing { peers: &["nchan"] },
    },
    Scenario {
        name: "reconnect-storm",
        question: "All connections are reset, all come back: how soon has everyone everything?",
        over: HTTP1,
        play: Play::Return { events_away: 20 },
    },
    Scenario {
        name: "slow-readers",
        question: "What do streams that stop reading cost the others, and the server?",
        over: HTTP1,
        play: Play::Slow { payload: 16 * 1024, events: 6 },
    },
    Scenario {
        name: "redis-one-channel",
        question: "What does the way in from Redis cost per message, on one channel?",
        over: HTTP1,
        play: Play::Redis { channels: ONE },
    },
    Scenario {
        name: "redis-many-channels",
        question: "What does the way in from Redis cost per message, over many channels?",
        over: HTTP1,
        play: Play::Redis { channels: ChannelLayout::PerStream },
    },
    Scenario {
        name: "owncloud",
        question: "What does a message of ownCloud cost a node, by the users that it is for?",
        over: HTTP1,
        play: Play::OwnCloud,
    },
    Scenario {
        name: "tls-steady",
        question: "What does TLS add to fan-out, and how does that compare with kept TLS connections?",
        over: TLS,
        play: Play::Pairs { streams: None, loads: &[SINGLE], against: &[PLAIN, "nchan", "hyper-task", "axum"] },
    },
    Scenario {
        name: "tls-idle",
        question: "What does one idle stream over TLS 1.3 cost in memory?",
        over: TLS,
        play: Play::Memory { channels: ONE, counts: None, peers: &[PLAIN, "nchan", "hyper-task", "axum"] },
    },
    Scenario {
        name: "tls-1.2-idle",
        question: "What does one idle stream over TLS 1.2 cost in memory?",
        over: TLS_1_2,
        play: Play::Memory { channels: ONE, counts: None, peers: &["nchan", "hyper-task"] },
    },
    Scenario {
        name: "tls-burst",
        question: "What do eight waiting events cost each over TLS, when one write carries them?",
        over: TLS,
        play: Play::Pairs { streams: None, loads: &[BURST], against: &[PLAIN, "nchan"] },
    },
    Scenario {
        name: "tls-handshakes",
        question: "How many handshakes does a core do, full and resumed, when all clients come at once?",
        over: TLS,
        play: Play::Handshakes { peers: &[PLAIN, "nchan", "hyper-task"] },
    },
    Scenario {
        name: "tls-reconnect-storm",
        question: "All connections are reset, all come back with their tickets: how soon has everyone everything?",
        over: TLS,
        play: Play::Return { events_away: 20 },
    },
    Scenario {
        name: "tls-serving-while-handshaking",
        question: "How late are events on open streams while others come with full handshakes?",
        over: TLS,
        play: Play::ServingWhileHandshaking { peers: &["nchan"] },
    },
    Scenario {
        name: "tls-slow-readers",
        question: "What do streams over TLS that stop reading cost the others, and the server?",
        over: TLS,
        play: Play::Slow { payload: 16 * 1024, events: 6 },
    },
    Scenario {
        name: "http2-tabs",
        question: "What does an event cost when 100 streams share a connection of HTTP/2?",
        over: HTTP2_TABS,
        play: Play::Pairs {
            streams: Some(TABS_OF_FIFTY),
            // More would take so long over HTTP/1.1 that Fantail closed the publisher's connection to the other one meanwhile.
            loads: &[ScenarioLoad { events_per_stream: 600, ..SINGLE }],
            against: &[PLAIN],
        },
    },
    Scenario {
        name: "http2-tabs-peers",
        question: "How does that compare with others over HTTP/2?",
        over: HTTP2_TABS,
        play: Play::Pairs {
            streams: Some(TABS_OF_FIFTY),
            loads: &[ScenarioLoad { events_per_stream: 300, ..SINGLE }],
            against: &["nchan", "hyper-task", "axum", "mercure"],
        },
    },
    Scenario {
        name: "http2-one",
        question: "What does an event cost when each stream has a connection of HTTP/2 to itself?",
        over: HTTP2_ONE,
        play: Play::Pairs {
            streams: None,
            loads: &[SINGLE],
            against: &[PLAIN, "nchan", "hyper-task", "axum", "mercure"],
        },
    },
    Scenario {
        name: "http2-idle",
        question: "What does one idle stream cost in memory when 100 share a connection of HTTP/2?",
        over: HTTP2_TABS,
        play: Play::Memory {
            channels: ONE,
            // They cost little, so there are many.
            counts: Some([10_000, 90_000]),
            peers: &["nchan", "hyper-task", "axum", "mercure"],
        },
    },
    Scenario {
        name: "http2-tls-idle-one",
        question: "What does an idle connection of HTTP/2 with one stream cost in memory, over TLS?",
        over: HTTP2_TLS_ONE,
        play: Play::Memory { channels: ONE, counts: None, peers: &["nchan", "hyper-task", "axum"] },
    },
    Scenario {
        name: "http2-stuck-tab",
        question: "One of the 100 streams of each connection stops reading: how late are events on the others?",
        over: HTTP2_SMALL_WINDOWS,
        play: Play::StuckTab { streams: TABS_OF_FIFTY },
    },
];

impl Scale {
    pub(crate) const FULL: Self = Self {
        streams: 18_000,
        streams_few: 2_000,
        rounds_most: 9,
        events_divisor: 1,
        keepalive_seconds: 60,
        unicast_seconds: 3.0,
        unicast_rounds: 3,
        peers_most: usize::MAX,
    };
    pub(crate) const QUICK: Self = Self {
        streams: 6_000,
        streams_few: 1_000,
        rounds_most: 2,
        events_divisor: 2,
        keepalive_seconds: 15,
        unicast_seconds: 0.5,
        unicast_rounds: 1,
        peers_most: 2,
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn scenarios_have_names_of_their_own() {
        let names: BTreeSet<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
    }
}
