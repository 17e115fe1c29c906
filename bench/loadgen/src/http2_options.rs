//! HTTP/2 of the streams, as the command line has it: how many share a connection, and their window. Nothing here speaks HTTP/2;
//! `hold/http2.rs` does.

use clap::Args;
use serde::{Deserialize, Serialize};

/// The most streams of one connection. Few servers let more in.
const STREAMS_PER_CONNECTION_MAX: i64 = 1_000;
/// Windows have numbers of 31 bits.
pub(crate) const WINDOW_MAX: u32 = (1 << 31) - 1;

/// How streams are opened over HTTP/2. It is over TLS at an `https://` URL; else the server must know it beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args, Serialize, Deserialize)]
pub(crate) struct Http2Options {
    /// Open streams over HTTP/2, so many on each connection [default: over HTTP/1.1]
    #[arg(long = "http2", id = "http2", value_name = "STREAMS", value_parser = clap::value_parser!(u32).range(1..=STREAMS_PER_CONNECTION_MAX))]
    pub(crate) streams_per_connection: Option<u32>,

    /// The window of each stream over HTTP/2. It is opened again when half of it is used, but for streams that stop reading
    #[arg(long = "http2-window", id = "http2_window", value_name = "BYTES", default_value_t = WINDOW_MAX,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(WINDOW_MAX)))]
    pub(crate) window: u32,
}

impl Http2Options {
    pub(crate) const HTTP1: Self = Self { streams_per_connection: None, window: WINDOW_MAX };

    /// HTTP/2 with so many streams on each connection.
    pub(crate) const fn with_streams(streams: u32) -> Self {
        Self { streams_per_connection: Some(streams), ..Self::HTTP1 }
    }

    /// The connections that so many streams need.
    pub(crate) fn connections(self, streams: u32) -> u32 {
        streams.div_ceil(self.streams_per_connection.unwrap_or(1))
    }
}

impl Default for Http2Options {
    fn default() -> Self {
        Self::HTTP1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_share_connections_over_http2_alone() {
        let connections = |options: Http2Options| [1, 100, 101].map(|streams| options.connections(streams));
        assert_eq!(connections(Http2Options::HTTP1), [1, 100, 101]);
        assert_eq!(connections(Http2Options::with_streams(100)), [1, 1, 2]);
    }
}
