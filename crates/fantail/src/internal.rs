//! The internal listener's routes: publishing, looking, and ending things. Runs on the control thread.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fantail_feed::{Feed, FeedState, Receipt};
use fantail_hub::Hub;
use fantail_shard::{Admission, Command, ConnectionId, ConnectionSummary};
use fantail_telemetry::{CONTENT_TYPE as METRICS_TYPE, Metrics, StatusClass};
use fantail_wire::{ChannelName, Publication};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, ORIGIN};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::feed_figures::FeedFigures;
use crate::intake::NodeIntake;
use crate::problem::{Answer, Problem};
use crate::public::check_host;
use crate::publish_body::{self, Items};
use crate::request_log::{self, RequestLine};

/// Items of a listing, unless the query says otherwise, and the most it may say.
const LISTED_DEFAULT: usize = 100;
const LISTED_MAX: usize = 10_000;

/// Publishers keep connections open between events; clients' pools expect servers to keep them for about a minute.
const IDLE_MIN: Duration = Duration::from_secs(75);

/// How often it is told at most that there is no room.
const FULL_LOG_INTERVAL: Duration = Duration::from_mins(1);

/// Everything that the routes look at or act on.
pub(crate) struct Internal {
    pub(crate) feed: Arc<Feed<NodeIntake>>,
    pub(crate) feed_figures: FeedFigures,
    pub(crate) intake: Arc<Mutex<NodeIntake>>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) shards: Vec<mpsc::Sender<Command>>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) draining: watch::Receiver<bool>,
    pub(crate) effective: Value,
    pub(crate) publish_body_bytes_max: usize,
    pub(crate) head_bytes_max: usize,
    pub(crate) request_deadline: Duration,
    /// Connections that are served at a time.
    pub(crate) connections_max: usize,
}

/// Accepts for ever; each connection is a task of its own. Without room for another it waits until one ends, and the
/// others wait in the kernel's backlog.
pub(crate) async fn run(listener: TcpListener, internal: Arc<Internal>) {
    let room = Arc::new(Semaphore::new(internal.connections_max));
    let mut told_full: Option<Instant> = None;
    loop {
        if room.available_permits() == 0 && told_full.is_none_or(|at| at.elapsed() > FULL_LOG_INTERVAL) {
            told_full = Some(Instant::now());
            warn!(
                connections_max = internal.connections_max,
                "the internal listener is full; does a publisher leak connections"
            );
        }
        let place = Arc::clone(&room).acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((socket, _)) => {
                let internal = Arc::clone(&internal);
                tokio::spawn(async move {
                    serve(socket, internal).await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept on the internal listener");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(socket: TcpStream, internal: Arc<Internal>) {
    // An answer is small and nothing follows it: do not wait for more.
    let _ = socket.set_nodelay(true);
    let peer = request_log::is_on().then(|| socket.peer_addr().ok()).flatten();
    let mut http = http1::Builder::new();
    // A client that closes its side right behind its request is still answered.
    http.timer(TokioTimer::new())
        .half_close(true)
        .header_read_timeout(internal.request_deadline.max(IDLE_MIN))
        .max_buf_size(internal.head_bytes_max.max(8 * 1024) * 2);
    let service = service_fn(|request| answer(request, peer, &internal));
    if let Err(error) = http.serve_connection(TokioIo::new(socket), service).await {
        debug!(%error, "an internal connection ended");
    }
}

async fn answer(
    request: Request<Incoming>,
    peer: Option<SocketAddr>,
    internal: &Internal,
) -> Result<Answer, Infallible> {
    let line = RequestLine::begin("internal", peer, None, &request);
    let answer = internal.route(request).await.unwrap_or_else(Answer::from);
    internal.metrics.hub().requests.add(StatusClass::of(answer.status().as_u16()), 1);
    if let Some(line) = line {
        line.end(answer.status(), None);
    }
    Ok(answer)
}

impl Internal {
    async fn route(&self, request: Request<Incoming>) -> Result<Answer, Problem> {
        // A web page must not reach this listener through a browser that can.
        if request.headers().contains_key(ORIGIN) {
            let detail = "this listener is not for web pages: it refuses requests with an Origin";
            return Err(Problem::new(StatusCode::FORBIDDEN, detail).of("origin"));
        }
        check_host(&request)?;
        let path = percent_decode_str(request.uri().path()).decode_utf8();
        let path = path.map_err(|_| Problem::field("path", "the path is not UTF-8"))?.into_owned();
        // The targets of `CONNECT` and `OPTIONS *` begin with no slash, and are not found.
        let path = path.strip_prefix('/').unwrap_or_default();
        let (head, rest) = path.split_once('/').map_or((path, None), |(head, rest)| (head, Some(rest)));
        let query = request.uri().query().unwrap_or_default().to_owned();
        match (head, rest) {
            ("publish", None) => self.publish_json(only(request, "POST")?).await,
            ("publish", Some(channel)) => self.publish_raw(channel, &query, only(request, "POST")?).await,
            ("channels", None) => only(request, "GET").and_then(|_| self.list_channels(&query)),
            ("channels", Some(channel)) => match *request.method() {
                Method::GET => self.show_channel(channel),
                Method::DELETE => self.delete_channel(channel),
                _ => Err(Problem::method("GET, DELETE")),
            },
            ("connections", None) => {
                only(request, "GET")?;
                self.list_connections(&query).await
            }
            ("connections", Some(id)) => {
                only(request, "DELETE")?;
                self.end_connection(id).await
            }
            ("livez", None) => only(request, "GET").map(|_| json_answer(StatusCode::OK, &json!({"status": "ok"}))),
            ("readyz", None) => only(request, "GET").map(|_| self.ready()),
            ("metrics", None) => only(request, "GET").map(|_| self.show_metrics()),
            ("config", None) => only(request, "GET").map(|_| json_answer(StatusCode::OK, &self.effective)),
            _ => Err(Problem::not_found(
                "there are /publish, /channels, /connections, /livez, /readyz, /metrics and /config",
            )),
        }
    }

    async fn publish_raw(&self, channel: &str, query: &str, request: Request<Incoming>) -> Result<Answer, Problem> {
        let publication = publish_body::raw(channel, query, self.body(request).await?)?;
        let receipt = self.feed.publish(&publication).await?;
        Ok(json_answer(StatusCode::ACCEPTED, &receipt_json(&receipt)))
    }

    async fn publish_json(&self, request: Request<Incoming>) -> Result<Answer, Problem> {
        match publish_body::json(&self.body(request).await?)? {
            Items::One(item) => {
                let receipt = self.feed.publish(&item?).await?;
                Ok(json_answer(StatusCode::ACCEPTED, &receipt_json(&receipt)))
            }
            Items::Many(items) => {
                let mut results = Vec::with_capacity(items.len());
                for item in items {
                    results.push(self.publish_item(item).await.unwrap_or_else(|problem| problem.to_json()));
                }
                Ok(json_answer(StatusCode::ACCEPTED, &Value::Array(results)))
            }
        }
    }

    async fn publish_item(&self, item: Result<Publication, Problem>) -> Result<Value, Problem> {
        Ok(receipt_json(&self.feed.publish(&item?).await?))
    }

    fn list_channels(&self, query: &str) -> Result<Answer, Problem> {
        let (prefix, max) = listing(query)?;
        let channels: Vec<Value> = self.hub.summaries(&prefix, max).iter().map(channel_json).collect();
        Ok(json_answer(StatusCode::OK, &json!({ "channels": channels })))
    }

    fn show_channel(&self, name: &str) -> Result<Answer, Problem> {
        let summary = self.hub.summary(&ChannelName::parse(name)?);
        let summary =
            summary.ok_or_else(|| Problem::not_found("nobody follows this channel and nothing of it is kept"))?;
        Ok(json_answer(StatusCode::OK, &channel_json(&summary)))
    }

    fn delete_channel(&self, name: &str) -> Result<Answer, Problem> {
        let name = ChannelName::parse(name)?;
        if self.intake.lock().publisher.delete(&name) {
            Ok(json_answer(StatusCode::OK, &json!({ "deleted": name.as_str() })))
        } else {
            Err(Problem::not_found("nobody follows this channel and nothing of it is kept"))
        }
    }

    async fn list_connections(&self, query: &str) -> Result<Answer, Problem> {
        let (_, max) = listing(query)?;
        let mut connections = Vec::new();
        for shard in &self.shards {
            let max = max - connections.len();
            let (reply, answer) = oneshot::channel();
            if shard.send(Command::List { max, reply }).await.is_ok() {
                connections.extend(answer.await.unwrap_or_default().iter().map(connection_json));
            }
        }
        Ok(json_answer(StatusCode::OK, &json!({ "connections": connections })))
    }

    async fn end_connection(&self, id: &str) -> Result<Answer, Problem> {
        let unknown = || Problem::not_found("there is no such connection");
        let parsed: ConnectionId = id.parse().map_err(|()| unknown())?;
        let shard = self.shards.get(usize::from(parsed.shard)).ok_or_else(unknown)?;
        let (reply, answer) = oneshot::channel();
        let sent = shard.send(Command::Kick { id: parsed, reply }).await.is_ok();
        if sent && answer.await.unwrap_or(false) {
            Ok(json_answer(StatusCode::OK, &json!({ "ended": id })))
        } else {
            Err(unknown())
        }
    }

    /// Ready means: new streams get their events. Existing ones are served either way.
    fn ready(&self) -> Answer {
        let draining = *self.draining.borrow();
        // With one lane away the others are still worth coming for.
        let connected = self.feed.state() != FeedState::Connecting;
        let open: u64 = self.metrics.shards().iter().map(|shard| shard.connections_open.get()).sum();
        let max = self.admission.max();
        let ready = connected && !draining && open < max as u64;
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let feed = self.metrics.hub().feed_state().as_str();
        let mut body = json!({
            "status": if ready { "ready" } else { "not ready" },
            "feed": feed, "draining": draining, "connections": open, "connections_max": max,
        });
        if let Some(reason) = self.feed.trouble() {
            body["reason"] = reason.into();
        }
        json_answer(status, &body)
    }

    fn show_metrics(&self) -> Answer {
        self.feed_figures.bring_up_to_date(self.feed.counters(), &self.metrics.hub());
        typed(StatusCode::OK, METRICS_TYPE, self.metrics.render().into_bytes())
    }

    /// The request's body, refused as soon as it is known to be too long.
    async fn body(&self, request: Request<Incoming>) -> Result<Vec<u8>, Problem> {
        let max = self.publish_body_bytes_max;
        let too_long = || {
            let detail = format!("a publish body has at most {max} bytes");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).of("body")
        };
        let announced = request.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > max) {
            return Err(too_long());
        }
        match Limited::new(request.into_body(), max).collect().await {
            Ok(body) => Ok(body.to_bytes().into()),
            Err(error) if error.is::<LengthLimitError>() => Err(too_long()),
            Err(error) => Err(Problem::field("body", format!("the body did not arrive whole: {error}"))),
        }
    }
}

/// The request, if its method is the only one that its path answers.
fn only(request: Request<Incoming>, allow: &'static str) -> Result<Request<Incoming>, Problem> {
    if request.method() == allow { Ok(request) } else { Err(Problem::method(allow)) }
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

fn receipt_json(receipt: &Receipt) -> Value {
    let mut json = serde_json::Map::new();
    if let Some(id) = receipt.id {
        json.insert("id".into(), id.to_string().into());
    }
    if let Some(subscribers) = receipt.subscribers {
        json.insert("subscribers".into(), subscribers.into());
    }
    Value::Object(json)
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

fn json_answer(status: StatusCode, body: &Value) -> Answer {
    let mut text = serde_json::to_vec(body).expect("a JSON value has a text");
    text.push(b'\n');
    typed(status, "application/json", text)
}

fn typed(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
