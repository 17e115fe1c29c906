//! One line for each request, at the level `debug`: the client, its request and the answer.
//!
//! Below that level it notes nothing and makes no system call.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use fantail_shard::ConnectionId;
use fantail_telemetry::escape;
use http::{Method, Request, StatusCode, Uri};
use tracing::{Level, debug, enabled};

/// The options of ours, whose values may be shown. Of any other, such as a token for a proxy in front, only its name is
/// shown.
const SHOWN_OPTIONS: [&str; 8] = ["channel", "event", "id", "last_event_id", "limit", "prefix", "replay", "retry"];

/// Stands in the place of a value that may be secret; settings are hidden in the same way.
const HIDDEN: &str = "***";

pub(crate) struct RequestLine {
    listener: &'static str,
    peer: Option<SocketAddr>,
    client: Option<IpAddr>,
    method: Method,
    target: String,
    started: Instant,
}

/// Whether lines are written at all.
pub(crate) fn is_on() -> bool {
    enabled!(Level::DEBUG)
}

impl RequestLine {
    /// Notes the request, if lines are written. `client` is the address that a trusted proxy gives.
    pub(crate) fn begin<B>(
        listener: &'static str,
        peer: Option<SocketAddr>,
        client: Option<IpAddr>,
        request: &Request<B>,
    ) -> Option<Self> {
        is_on().then(|| Self {
            listener,
            peer,
            client,
            method: request.method().clone(),
            target: target(request.uri()),
            started: Instant::now(),
        })
    }

    /// Writes the line: the request was answered, or became the stream of this name.
    pub(crate) fn end(self, status: StatusCode, connection: Option<ConnectionId>) {
        debug!(
            listener = self.listener,
            peer = self.peer.map(display),
            client = self.client.map(display),
            method = %escape(self.method.as_str()),
            path = %escape(&self.target),
            status = status.as_u16(),
            connection = connection.map(display),
            duration_us = self.started.elapsed().as_micros() as u64,
            "a request"
        );
    }
}

/// Path and query, without the values that may be secret.
fn target(uri: &Uri) -> String {
    let mut target = uri.path().to_owned();
    let options = uri.query().into_iter().flat_map(|query| query.split('&'));
    for (index, option) in options.enumerate() {
        target.push(if index == 0 { '?' } else { '&' });
        match option.split_once('=') {
            Some((name, _)) if SHOWN_OPTIONS.contains(&name) => target.push_str(option),
            Some((name, _)) => target.extend([name, "=", HIDDEN]),
            None => target.push_str(HIDDEN),
        }
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_values_that_we_know_are_shown() {
        for (sent, shown) in [
            ("/sse/a", "/sse/a"),
            ("/sse?channel=a&channel=b&replay=3", "/sse?channel=a&channel=b&replay=3"),
            ("/sse/a?token=hunter2&limit=1", "/sse/a?token=***&limit=1"),
            ("/sse/a?hunter2", "/sse/a?***"),
            ("/sse/a?%63hannel=hunter2&Channel=hunter2&=hunter2", "/sse/a?%63hannel=***&Channel=***&=***"),
            ("http://user:hunter2@host/sse/a?token=a=b", "/sse/a?token=***"),
        ] {
            assert_eq!(target(&sent.parse().expect("a URI")), shown);
        }
    }
}
