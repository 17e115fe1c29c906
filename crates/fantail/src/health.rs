//! Liveness, readiness and metrics, for monitoring that changes nothing.
//!
//! The internal listener answers this beside its other routes, and the health listener answers nothing else. No answer
//! holds a secret or a name that a client or a publisher chose. With a token there are the settings as well.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use fantail_config::Config;
use fantail_feed::FeedState;
use fantail_telemetry::TextFormat;
use http::header::ACCEPT;
use http::{HeaderMap, Method, Request, StatusCode};
use hyper::server::conn::http1;
use serde_json::json;
use tokio::sync::watch;

use crate::bounded_server::BoundedServer;
use crate::feed_figures::FeedFigures;
use crate::health_guard::HealthGuard;
use crate::json_answer::{json_answer, typed_answer};
use crate::listening_socket::ListeningSocket;
use crate::problem::{Answer, Problem};
use crate::request_log::RequestLine;
use crate::running_node::RunningNode;

/// Connections to the health listener that are served at a time.
pub(crate) const CONNECTIONS_MAX: usize = 32;

/// A probe is one small request; connections that send none must not hold all places.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(5);

/// The sources of the answers.
pub(crate) struct Health {
    node: Arc<RunningNode>,
    feed_figures: FeedFigures,
    draining: watch::Receiver<bool>,
    guard: HealthGuard,
}

/// Answers health on a listener of its own, for ever. A request needs no particular `Host`: nothing can be changed
/// here, and a web page could learn nothing but numbers.
pub(crate) async fn run(listener: ListeningSocket, health: Arc<Health>) {
    let mut http = http1::Builder::new();
    // One request for each connection, so that nobody holds a place between two probes.
    http.half_close(true).keep_alive(false);
    let server = BoundedServer {
        listener,
        handshaking: None,
        connections_max: CONNECTIONS_MAX,
        connection_deadline: Some(CONNECTION_DEADLINE),
        http,
        told_when_full: "the health listener is full; is something else than probes connected to it",
    };
    server
        .run(move |request, peer| {
            let line = RequestLine::begin("health", Some(peer), None, &request);
            let answer = health.answer(&request).unwrap_or_else(Answer::from);
            if let Some(line) = line {
                line.end(answer.status(), None);
            }
            ready(Ok(answer))
        })
        .await;
}

impl Health {
    /// The health of this node; `draining` becomes true when it is about to end.
    pub(crate) fn new(node: Arc<RunningNode>, draining: watch::Receiver<bool>, config: &Config) -> Self {
        Self { node, feed_figures: FeedFigures::default(), draining, guard: HealthGuard::new(config) }
    }

    /// The answer to a request of the path `/{name}`, if it is about health.
    pub(crate) fn find<B>(&self, name: &str, request: &Request<B>) -> Option<Result<Answer, Problem>> {
        let show: fn(&Self, &HeaderMap) -> Answer = match name {
            // The second name is that of older probes.
            "livez" | "healthz" => |_, _| json_answer(StatusCode::OK, &json!({ "status": "ok" })),
            "readyz" => |health, _| health.ready(),
            "metrics" => Self::show_metrics,
            _ => return None,
        };
        Some(only_read(request).map(|()| show(self, request.headers())))
    }

    fn answer<B>(&self, request: &Request<B>) -> Result<Answer, Problem> {
        let name = request.uri().path().strip_prefix('/').unwrap_or_default();
        match name {
            "metrics" => self.guard.check(request.headers())?,
            "config" => return self.guard.config(request),
            _ => {}
        }
        let unknown = || {
            Err(Problem::not_found(
                "there are /livez (also /healthz), /readyz and /metrics, and with health_token /config",
            ))
        };
        self.find(name, request).unwrap_or_else(unknown)
    }

    /// Ready means that new streams get their events. Existing ones are served either way.
    fn ready(&self) -> Answer {
        let draining = *self.draining.borrow();
        // If one lane is away, clients of the others may still come.
        let connected = self.node.feed.state() != FeedState::Connecting;
        let admission = &self.node.admission;
        let (open, max) = (admission.open(), admission.max());
        let (streams, streams_max) = (admission.streams(), admission.streams_max());
        let short_of_memory = self.node.memory.trouble();
        let ready = connected && !draining && open < max && streams < streams_max && short_of_memory.is_none();
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let feed = self.node.metrics.hub().feed_state().as_str();
        let mut body = json!({
            "status": if ready { "ready" } else { "not ready" },
            "feed": feed, "draining": draining, "connections": open, "connections_max": max,
        });
        let reason = match self.node.feed.trouble() {
            _ if draining => Some("the node drains".to_owned()),
            _ if open >= max => Some(format!("all {max} connections are open (connections_max)")),
            _ if streams >= streams_max => Some(format!("all {streams_max} streams are open (streams_max)")),
            _ if short_of_memory.is_some() => short_of_memory,
            None if !connected => Some("the feed is not connected yet".to_owned()),
            trouble => trouble,
        };
        if let Some(reason) = reason {
            body["reason"] = reason.into();
        }
        json_answer(status, &body)
    }

    fn show_metrics(&self, headers: &HeaderMap) -> Answer {
        let format = TextFormat::accepted(headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok()));
        self.feed_figures.bring_up_to_date(self.node.feed.counters(), &self.node.metrics.hub());
        typed_answer(StatusCode::OK, format.content_type(), self.node.metrics.render(format).into_bytes())
    }
}

/// Refuses every method but those that read. The HTTP server leaves out the body of the answer to `HEAD`.
pub(crate) fn only_read<B>(request: &Request<B>) -> Result<(), Problem> {
    match *request.method() {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(Problem::method("GET, HEAD")),
    }
}
