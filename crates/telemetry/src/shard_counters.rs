//! One shard's counters. Its thread alone writes them.

use std::ops::Deref;

use crossbeam::utils::CachePadded;
use fantail_wire::SlowPolicy;

use crate::counter::{ByLabel, Counter, Gauge};
use crate::label::label;

label! {
    /// Why a stream ended. Every end has exactly one reason, so that the reasons add up to the
    /// streams opened minus those still open.
    pub enum CloseReason {
        /// The client ended the connection in order.
        ClientClosed = "client_closed",
        /// The client reset the connection.
        ClientReset = "client_reset",
        /// A write failed otherwise.
        WriteFailed = "write_failed",
        /// The stream accepted no byte for the progress deadline.
        Stalled = "stalled",
        /// Its client was slower than what its channel's log keeps, and the policy is to disconnect.
        Overrun = "overrun",
        /// It delivered as many events as the client asked for.
        LimitReached = "limit_reached",
        /// Its channel was deleted.
        ChannelDeleted = "channel_deleted",
        /// An operator ended it.
        Kicked = "kicked",
        /// It was ended in the drain window.
        Drained = "drained",
        /// The feed did not confirm its channels in time.
        FollowTimeout = "follow_timeout",
        /// The client sent more than 64 KiB into its stream.
        InputFlood = "input_flood",
        /// The node holds as many channels as it may.
        Refused = "refused",
        /// Its address has made as many channels as one may.
        TooManyChannels = "too_many_channels",
        /// The token that opened it has come to its end.
        TokenExpired = "token_expired",
        /// It was open for as long as one stream may be.
        Lifetime = "lifetime",
        /// An operator took back the right to read it.
        Revoked = "revoked",
        /// It took no byte for a second while the process was nearly out of memory.
        Memory = "memory",
        /// The client sent something into an encrypted stream, such as a new key.
        TlsInput = "tls_input",
        /// Its client broke the rules of HTTP/2.
        ProtocolFault = "protocol_fault",
    }
}

label! {
    /// The fault of a client that ended its HTTP/2 connection.
    pub enum Http2Fault {
        /// A frame that may not come there, or bytes that are none.
        Protocol = "protocol",
        /// More text than a window lets, or a window that is too large.
        FlowControl = "flow_control",
        /// A frame for a stream that is closed.
        StreamClosed = "stream_closed",
        /// A frame of a length that it cannot have.
        FrameSize = "frame_size",
        /// A header block that cannot be read.
        Compression = "compression",
        /// Too much of something that is allowed, or something that was begun and not ended.
        Flood = "flood",
    }
}

label! {
    /// The setting whose bound a connection or a stream would have passed.
    pub enum Bound {
        /// Its address has as many connections open as one may.
        ConnectionsPerAddress = "connections_per_address_max",
        /// Its address has opened as many connections in this second as one may.
        ConnectionsPerSecond = "connections_per_second_per_address",
        /// As many streams are open as may be.
        Streams = "streams_max",
        /// Its subject has as many streams open as one may.
        StreamsPerSubject = "streams_per_subject_max",
        /// Its token has as many streams open as one may.
        StreamsPerToken = "streams_per_token_max",
        /// The process is short of memory.
        Memory = "memory_max",
    }
}

label! {
/// The fate of a connection for which there was no room.
    pub enum TurnedAway {
        /// It asked for a stream and was told to come back later.
        Told = "told",
        /// It sent no whole request within its deadline.
        Silent = "silent",
        /// It was closed without an answer, since newcomers needed its place in the reserve.
        Cut = "cut",
        /// Its TLS handshake was under way, and a newer one needed its place (`tls_handshakes_max`).
        Handshake = "handshake",
    }
}

label! {
    /// Why a TLS handshake failed.
    pub enum HandshakeFailure {
        /// The client sent a request of HTTP in the clear, and was answered with 400.
        PlainHttp = "plain_http",
        /// The client began, and the handshake was not done in its time.
        Late = "late",
        /// The client went away in the middle.
        Gone = "gone",
        /// The client does not take the server's certificate, or refuses the handshake otherwise.
        Refused = "refused",
        /// The client has shown no certificate, or one that is not taken.
        ClientCertificate = "client_certificate",
        /// Client and server have no version or cipher of TLS in common.
        NothingInCommon = "nothing_in_common",
        /// The client sent something else than a handshake of TLS.
        Malformed = "malformed",
    }
}

label! {
    for SlowPolicy {
        Disconnect: "It is ended; the client comes back with its last id and is told of the gap",
        Skip: "It is told of the gap and goes on with what is still there",
        Latest: "It is told of the gap and goes on with the newest event",
    }
}

label! {
    /// The first digit of an answer's status.
    pub enum StatusClass {
        /// More of the answer follows.
        Informational = "1xx",
        /// Done.
        Success = "2xx",
        /// To be asked for elsewhere.
        Redirection = "3xx",
        /// The request was at fault.
        ClientError = "4xx",
        /// Not possible now.
        ServerError = "5xx",
    }
}

/// One shard's counters, alone on their cache lines, so that a scrape or a neighbour never slows
/// the shard's own writes.
#[derive(Debug, Default)]
pub struct ShardCounters(CachePadded<ShardFields>);

/// The counters themselves; each one's meaning for users stands in `rows.rs`.
#[derive(Debug, Default)]
pub struct ShardFields {
    /// Connections taken from the listener.
    pub connections_accepted: Counter,
    /// Connections open now, streams included.
    pub connections_open: Gauge,
    /// Connections open now that speak HTTP/2.
    pub http2_connections: Gauge,
    /// HTTP/2 connections that ended by a fault of their client.
    pub http2_faults: ByLabel<Http2Fault, { Http2Fault::COUNT }>,
    /// Connections in the reserve, for which there was no room.
    pub connections_turning_away: Gauge,
    /// Connections that were in the reserve and became no stream.
    pub turned_away: ByLabel<TurnedAway, { TurnedAway::COUNT }>,
    /// TLS handshakes that failed, by the cause.
    pub tls_handshakes_failed: ByLabel<HandshakeFailure, { HandshakeFailure::COUNT }>,
    /// Connections and streams refused, by the bound.
    pub refused: ByLabel<Bound, { Bound::COUNT }>,
    /// Connections that did not begin with the header of the PROXY protocol, which was demanded.
    pub proxy_headers_missing: Counter,
    /// Requests answered on the public listener, by class of status.
    pub requests: ByLabel<StatusClass, { StatusClass::COUNT }>,
    /// Requests told to come back later.
    pub shed: Counter,
    /// Streams opened.
    pub streams_opened: Counter,
    /// Streams open now.
    pub streams_open: Gauge,
    /// Streams ended, by reason.
    pub streams_closed: ByLabel<CloseReason, { CloseReason::COUNT }>,
    /// Streams that are in the middle of a frame or short of the watermark.
    pub streams_behind: Gauge,
    /// Bytes kept only because their clients have not taken them yet: rests of frames, and what HTTP/2 connections are owed.
    pub unsent_bytes: Gauge,
    /// Frames of events written whole to a stream.
    pub deliveries: Counter,
    /// Bytes accepted by the sockets of streams.
    pub delivered_bytes: Counter,
    /// Write calls on the sockets of streams.
    pub write_calls: Counter,
    /// Write calls after which the socket took no more.
    pub write_blocked: Counter,
    /// Keepalive comments written.
    pub keepalives: Counter,
    /// Gap events written.
    pub gaps_sent: Counter,
    /// Streams that began with a client's id that is not known here.
    pub ids_unknown: Counter,
    /// Times a live stream had missed something, by what became of it.
    pub overruns: ByLabel<SlowPolicy, { SlowPolicy::ALL.len() }>,
    /// Passes over a channel's subscribers.
    pub passes: Counter,
    /// Slices of time that passes were cut into.
    pub slices: Counter,
    /// Times the shard was woken for work from another thread.
    pub wakes: Counter,
}

impl Deref for ShardCounters {
    type Target = ShardFields;

    #[inline]
    fn deref(&self) -> &ShardFields {
        &self.0
    }
}

impl StatusClass {
    /// The class of a status code; what is no status code counts as our own fault.
    pub fn of(status: u16) -> Self {
        match status {
            100..200 => Self::Informational,
            200..300 => Self::Success,
            300..400 => Self::Redirection,
            400..500 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_belongs_to_its_class() {
        let table = [(101, "1xx"), (200, "2xx"), (299, "2xx"), (308, "3xx"), (431, "4xx"), (503, "5xx"), (999, "5xx")];
        for (status, word) in table {
            assert_eq!(StatusClass::of(status).as_str(), word);
        }
    }

    #[test]
    fn counters_of_two_shards_share_no_cache_line() {
        // Two lines, because processors fetch them in pairs.
        assert_eq!(align_of::<ShardCounters>() % 128, 0);
        assert_eq!(size_of::<ShardCounters>() % 128, 0);
    }
}
