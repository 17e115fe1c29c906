//! The internal listener's routes: publish, inspect, end. They run in the control loop.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fantail_access::{HostPolicy, NeededRight, RateLimit, TooOften};
use fantail_config::{Config, Limits};
use fantail_feed::Receipt;
use fantail_shard::{ConnectionId, ConnectionSummary, ShardCommand};
use fantail_telemetry::StatusClass;
use fantail_wire::{ChannelName, Publication};
use http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::bounded_server::{BoundedServer, Handshaking};
use crate::health::{Health, only_read};
use crate::hosted_shard;
use crate::internal_access::{InternalAccess, RequestRights};
use crate::json_answer::json_answer;
use crate::listening_socket::ListeningSocket;
use crate::problem::{Answer, Problem};
use crate::publish_batch::{BatchResults, ReceiptBody};
use crate::publish_body::{self, Items};
use crate::request_host::check_host;
use crate::request_log::RequestLine;
use crate::response_head::with_headers;
use crate::revocations::Revocation;
use crate::running_node::RunningNode;
use crate::settings_json::settings_json;
use crate::tls::{FailedHandshakes, TlsServer};
use crate::web_page::refuse_pages;

/// Items of a listing, unless the query says otherwise, and the most that the query may ask for.
const LISTED_DEFAULT: usize = 100;
const LISTED_MAX: usize = 10_000;

/// Events of one request that are published before other tasks of the thread get their turn: as many as one write to a stream
/// takes.
const ITEMS_PER_TURN: usize = 64;

/// Publishers keep connections open between events; clients' pools expect servers to keep them for about a minute.
const IDLE_MIN: Duration = Duration::from_secs(75);

/// The parts that the routes look at or act on.
pub(crate) struct Internal {
    node: Arc<RunningNode>,
    health: Arc<Health>,
    access: Arc<InternalAccess>,
    /// The names that requests may be sent to.
    hosts: HostPolicy,
    limits: Limits,
    /// How often each token may publish; none without a bound.
    publish_rate: Option<Mutex<RateLimit<usize>>>,
    started: Instant,
    /// Connections that are served at a time.
    connections_max: usize,
    /// The settings in force, secrets hidden.
    effective: Value,
}

/// Serves for ever.
pub(crate) async fn run(listener: ListeningSocket, tls: Option<Arc<TlsServer>>, internal: Arc<Internal>) {
    let mut http = http1::Builder::new();
    // A client that closes its side right behind its request is still answered.
    http.timer(TokioTimer::new())
        .half_close(true)
        .header_read_timeout(internal.limits.request_deadline.max(IDLE_MIN))
        .max_buf_size(internal.limits.head_bytes_max.max(8 * 1024) * 2);
    let handshaking = tls.map(|tls| {
        let metrics = Arc::clone(&internal.node.metrics);
        let failed = FailedHandshakes::new("internal", move |failure| {
            metrics.hub().tls_handshakes_failed.add(failure, 1);
        });
        Arc::new(Handshaking { tls, failed })
    });
    let server = BoundedServer {
        listener,
        handshaking,
        connections_max: internal.connections_max,
        connection_deadline: None,
        http,
        told_when_full: "the internal listener is full; does a publisher leak connections",
    };
    server.run(move |request, peer| Arc::clone(&internal).answer(request, peer)).await;
}

impl Internal {
    pub(crate) fn new(
        config: &Config,
        node: Arc<RunningNode>,
        health: Arc<Health>,
        access: Arc<InternalAccess>,
        connections_max: usize,
    ) -> Self {
        Self {
            node,
            health,
            access,
            hosts: HostPolicy::new(&config.internal.internal_hosts),
            limits: config.limits.clone(),
            publish_rate: publish_rate(config.limits.publish_rate_max),
            started: Instant::now(),
            connections_max,
            effective: settings_json(config),
        }
    }

    /// Answers, and counts the answer.
    async fn answer(self: Arc<Self>, mut request: Request<Incoming>, peer: SocketAddr) -> Result<Answer, Infallible> {
        let line = RequestLine::begin("internal", Some(peer), None, &request);
        let answer = match refuse_other_codings(request.headers()) {
            Ok(()) => self.route(&mut request).await.unwrap_or_else(Answer::from),
            // Where the body ends is in doubt, so nothing behind it is read.
            Err(problem) => with_headers(problem.into(), [("connection", "close")].into_iter()),
        };
        self.node.metrics.hub().requests.add(StatusClass::of(answer.status().as_u16()), 1);
        if let Some(line) = line {
            line.end(answer.status(), None);
        }
        Ok(answer)
    }

    async fn route(&self, request: &mut Request<Incoming>) -> Result<Answer, Problem> {
        refuse_pages(request)?;
        check_host(request, &self.hosts, "internal_hosts")?;
        let path = percent_decode_str(request.uri().path()).decode_utf8();
        let path = path.map_err(|_| Problem::field("path", "the path is not UTF-8"))?.into_owned();
        // The targets of `CONNECT` and `OPTIONS *` begin with no slash, and are not found.
        let path = path.strip_prefix('/').unwrap_or_default();
        let (head, rest) = path.split_once('/').map_or((path, None), |(head, rest)| (head, Some(rest)));
        let query = request.uri().query().unwrap_or_default().to_owned();
        // Probes show no token.
        if let ("livez" | "healthz" | "readyz", None) = (head, rest) {
            return self.health.find(head, request).unwrap_or_else(unknown_path);
        }
        let rights = self.access.rights(request.headers())?;
        match (head, rest) {
            ("publish", channel) => {
                only(request, "POST")?;
                match channel {
                    None => self.publish_json(&rights, request).await,
                    Some(channel) => self.publish_raw(&rights, channel, &query, request).await,
                }
            }
            // On the heap: the future of a request is copied whole into its connection, and most requests publish.
            _ => Box::pin(self.operate(&rights, (head, rest), &query, request)).await,
        }
    }

    /// The routes of operators.
    async fn operate(
        &self,
        rights: &RequestRights,
        (head, rest): (&str, Option<&str>),
        query: &str,
        request: &mut Request<Incoming>,
    ) -> Result<Answer, Problem> {
        match (head, rest) {
            ("channels", Some(channel)) if request.method() == Method::DELETE => {
                rights.check(NeededRight::Operate)?;
                self.delete_channel(channel)
            }
            ("connections", Some(id)) => {
                only(request, "DELETE")?;
                rights.check(NeededRight::Operate)?;
                self.end_connection(id).await
            }
            ("revoke", None) => {
                only(request, "POST")?;
                rights.check(NeededRight::Operate)?;
                self.revoke(request).await
            }
            _ => {
                rights.check(NeededRight::Read)?;
                self.show(head, rest, query, request).await
            }
        }
    }

    /// The routes that change nothing.
    async fn show(
        &self,
        head: &str,
        rest: Option<&str>,
        query: &str,
        request: &Request<Incoming>,
    ) -> Result<Answer, Problem> {
        match (head, rest) {
            ("channels", None) => {
                only_read(request)?;
                self.list_channels(query).await
            }
            ("channels", Some(channel)) => match *request.method() {
                Method::GET | Method::HEAD => self.show_channel(channel),
                _ => Err(Problem::method("GET, HEAD, DELETE")),
            },
            ("connections", None) => {
                only_read(request)?;
                self.list_connections(query).await
            }
            ("config", None) => only_read(request).map(|()| json_answer(StatusCode::OK, &self.effective)),
            (name, None) => self.health.find(name, request).unwrap_or_else(unknown_path),
            _ => unknown_path(),
        }
    }

    async fn publish_raw(
        &self,
        rights: &RequestRights,
        channel: &str,
        query: &str,
        request: &mut Request<Incoming>,
    ) -> Result<Answer, Problem> {
        let publication = publish_body::raw(channel, query, self.body(request).await?)?;
        let receipt = hosted_shard::delivering(self.publish(rights, Ok(publication))).await?;
        Ok(json_answer(StatusCode::ACCEPTED, &ReceiptBody::from(&receipt)))
    }

    async fn publish_json(&self, rights: &RequestRights, request: &mut Request<Incoming>) -> Result<Answer, Problem> {
        match publish_body::json(&self.body(request).await?)? {
            Items::One(item) => {
                let receipt = hosted_shard::delivering(self.publish(rights, item)).await?;
                Ok(json_answer(StatusCode::ACCEPTED, &ReceiptBody::from(&receipt)))
            }
            Items::Many(items) => {
                let mut results = BatchResults::default();
                for (number, item) in items.into_iter().enumerate() {
                    if number > 0 && number % ITEMS_PER_TURN == 0 {
                        tokio::task::yield_now().await;
                    }
                    results.push(self.publish(rights, item).await);
                }
                Ok(results.into_answer())
            }
        }
    }

    async fn publish(&self, rights: &RequestRights, item: Result<Publication, Problem>) -> Result<Receipt, Problem> {
        let publication = item?;
        rights.check(NeededRight::Publish(&publication.channels))?;
        self.check_rate(rights)?;
        Ok(self.node.feed.publish(&publication).await?)
    }

    /// Refuses an event that comes too soon behind those before it.
    fn check_rate(&self, rights: &RequestRights) -> Result<(), Problem> {
        let Some(rate) = &self.publish_rate else { return Ok(()) };
        rate.lock().take(rights.token_number(), self.started.elapsed()).map_err(|TooOften(wait)| {
            self.node.metrics.hub().publishes_refused.add(1);
            let max = self.limits.publish_rate_max;
            Problem::too_often(
                format!("this token publishes more than {max} events in a second (publish_rate_max)"),
                wait,
            )
        })
    }

    async fn list_channels(&self, query: &str) -> Result<Answer, Problem> {
        let (prefix, max) = listing(query)?;
        let hub = Arc::clone(&self.node.hub);
        // All names may have to be looked at, and there may be a million.
        let find = move || -> Vec<Value> { hub.summaries(&prefix, max).iter().map(channel_json).collect() };
        let channels = tokio::task::spawn_blocking(find).await.unwrap_or_default();
        Ok(json_answer(StatusCode::OK, &json!({ "channels": channels })))
    }

    fn show_channel(&self, name: &str) -> Result<Answer, Problem> {
        let summary = self.node.hub.summary(&ChannelName::parse(name)?);
        let summary =
            summary.ok_or_else(|| Problem::not_found("nobody follows this channel and nothing of it is kept"))?;
        Ok(json_answer(StatusCode::OK, &channel_json(&summary)))
    }

    fn delete_channel(&self, name: &str) -> Result<Answer, Problem> {
        let name = ChannelName::parse(name)?;
        if self.node.intake.lock().publisher.delete(&name) {
            Ok(json_answer(StatusCode::OK, &json!({ "deleted": name.as_str() })))
        } else {
            Err(Problem::not_found("nobody follows this channel and nothing of it is kept"))
        }
    }

    async fn list_connections(&self, query: &str) -> Result<Answer, Problem> {
        let (_, max) = listing(query)?;
        let mut connections = Vec::new();
        for shard in &self.node.shards {
            let max = max - connections.len();
            let (reply, answer) = oneshot::channel();
            if shard.send(ShardCommand::List { max, reply }).await.is_ok() {
                connections.extend(answer.await.unwrap_or_default().iter().map(connection_json));
            }
        }
        Ok(json_answer(StatusCode::OK, &json!({ "connections": connections })))
    }

    async fn end_connection(&self, id: &str) -> Result<Answer, Problem> {
        let unknown = || Problem::not_found("there is no such connection");
        let parsed: ConnectionId = id.parse().map_err(|()| unknown())?;
        let shard = self.node.shards.get(usize::from(parsed.shard)).ok_or_else(unknown)?;
        let (reply, answer) = oneshot::channel();
        let sent = shard.send(ShardCommand::Kick { id: parsed, reply }).await.is_ok();
        if sent && answer.await.unwrap_or(false) {
            Ok(json_answer(StatusCode::OK, &json!({ "ended": id })))
        } else {
            Err(unknown())
        }
    }

    async fn revoke(&self, request: &mut Request<Incoming>) -> Result<Answer, Problem> {
        let ended = Revocation::parse(&self.body(request).await?)?.carry_out(&self.node).await?;
        Ok(json_answer(StatusCode::OK, &json!({ "ended": ended })))
    }

    /// The request's body, refused as soon as it is known to be too long.
    async fn body(&self, request: &mut Request<Incoming>) -> Result<Vec<u8>, Problem> {
        let max = self.limits.publish_body_bytes_max;
        let too_long = || {
            let detail = format!("a publish body has at most {max} bytes");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).of("body")
        };
        let announced = request.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > max) {
            return Err(too_long());
        }
        let (body, mut whole) = (request.body_mut(), Vec::new());
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|error| Problem::field("body", format!("the body did not arrive whole: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            if whole.len() + data.len() > max {
                return Err(too_long());
            }
            // Most bodies come in one piece, which need not be copied.
            if whole.is_empty() { whole = data.into() } else { whole.extend_from_slice(&data) }
        }
        Ok(whole)
    }
}

fn publish_rate(per_second: usize) -> Option<Mutex<RateLimit<usize>>> {
    let per_second = u32::try_from(per_second).ok().filter(|&rate| rate > 0)?;
    Some(Mutex::new(RateLimit::new(per_second)))
}

fn unknown_path() -> Result<Answer, Problem> {
    Err(Problem::not_found(
        "there are /publish, /channels, /connections, /revoke, /livez, /healthz, /readyz, /metrics and /config",
    ))
}

/// Refuses a body that is more than chunked: it would be published as it is coded, and two codings are what smuggled
/// requests are made of.
fn refuse_other_codings(headers: &HeaderMap) -> Result<(), Problem> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(only), None) if only.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(Problem::field(
            "transfer-encoding",
            "a body is sent in chunks or with its length, without another coding",
        )),
    }
}

/// Refuses a request whose method is not the only one that its path answers.
fn only(request: &Request<Incoming>, allow: &'static str) -> Result<(), Problem> {
    if request.method() == allow { Ok(()) } else { Err(Problem::method(allow)) }
}

/// The options of a listing: which prefix, and at most how many.
fn listing(query: &str) -> Result<(String, usize), Problem> {
    let (mut prefix, mut max) = (String::new(), LISTED_DEFAULT);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "prefix" => prefix = value.into_owned(),
            "limit" => {
                let limit = value.parse().ok().filter(|n| (1..=LISTED_MAX).contains(n));
                max = limit.ok_or_else(|| Problem::field("limit", format!("limit is from 1 to {LISTED_MAX}")))?;
            }
            _ => return Err(Problem::field("query", "a listing takes prefix and limit")),
        }
    }
    Ok((prefix, max))
}

fn channel_json(summary: &fantail_hub::ChannelSummary) -> Value {
    json!({
        "channel": summary.name.as_str(), "streams": summary.streams, "followed": summary.followed,
        "log_entries": summary.log_entries, "log_bytes": summary.log_bytes,
    })
}

fn connection_json(summary: &ConnectionSummary) -> Value {
    json!({
        "id": summary.id.to_string(), "peer": summary.peer.map(|peer| peer.to_string()),
        "forwarded": summary.forwarded.map(|client| client.to_string()), "state": summary.state,
        "age_seconds": summary.age.as_secs(), "last_id": summary.last_id,
        "channels": summary.channels.iter().map(ChannelName::as_str).collect::<Vec<_>>(),
        "unsent_bytes": summary.unsent_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_answer<F>(_: impl FnOnce(Arc<Internal>, Request<Incoming>, SocketAddr) -> F) -> usize {
        size_of::<F>()
    }

    /// hyper copies the future of each request into its connection. At 9 KB, and twice that with its wrapper, the copies took 0.4 us of a
    /// publish.
    #[test]
    fn the_future_of_a_request_is_small() {
        let size = size_of_answer(Internal::answer);
        assert!(size <= 2048, "{size}");
    }
}
