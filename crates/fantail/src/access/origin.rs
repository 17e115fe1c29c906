//! The operator's own service, which decides whether a stream may be opened.
//!
//! It gets a `GET` with the headers of the client's request that the operator has chosen, the request's target and the
//! channels. Its status decides: 2xx allows, 401 and 403 deny, all else means that it cannot decide now. So it fails closed.
//!
//! Equal questions are asked once: those that come while one is under way wait for its answer, which holds for a short
//! while.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use fantail_access::{ClientCertificate, GrantFields};
use fantail_config::Access;
use fantail_wire::{ChannelName, EventFields, Frame, encode};
use http::header::{CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue};
use http::{Request, StatusCode};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::{AskedStream, unix_second};
use crate::http_client::{Pool, Server, ServerUrl};

/// The header of a question that names the client by its certificate.
const CLIENT_SUBJECT_FIELD: &str = "fantail-client-subject";

const ANSWER_BYTES_MAX: usize = 64 * 1024;
const FIRST_EVENT_BYTES_MAX: usize = 32 * 1024;
const CACHED_MAX: usize = 10_000;

/// The service, and its answers of the last seconds.
pub(super) struct Origin {
    pool: Pool,
    headers: Vec<HeaderName>,
    deadline: Duration,
    cache_for: Duration,
    cache: Mutex<HashMap<Fingerprint, Cached>>,
    hashers: [RandomState; 2],
}

/// Stands for a question; two questions have the same one with a chance of 1 in 2^128.
type Fingerprint = [u64; 2];

struct Cached {
    until: Instant,
    answer: Arc<OnceCell<Arc<OriginAnswer>>>,
}

/// A question to the service.
pub(crate) struct OriginQuestion {
    headers: HeaderMap,
    fingerprint: Fingerprint,
}

#[derive(Debug)]
pub(super) enum OriginAnswer {
    /// `at` is the second of the answer since 1970.
    Allowed {
        fields: GrantFields,
        first_event: Option<Frame>,
        at: u64,
    },
    Denied(StatusCode),
    Unavailable,
}

impl Origin {
    pub(super) fn new(url: &str, access: &Access) -> anyhow::Result<Self> {
        let url = ServerUrl::parse(url).map_err(anyhow::Error::msg)?;
        let ca = access.token_jwks_ca.as_deref().filter(|_| url.is_tls());
        let server = Server::new(url, ca).map_err(anyhow::Error::msg)?;
        // The service must be shown the token that was checked, and not another person's alone.
        let is_passed = |header: &str| access.origin_headers.iter().any(|name| name.eq_ignore_ascii_case(header));
        let token = access.token_header.iter().filter(|name| !is_passed(name));
        let headers = access.origin_headers.iter().chain(token).map(|name| HeaderName::from_bytes(name.as_bytes()));
        Ok(Self {
            pool: Pool::new(server),
            headers: headers.collect::<Result<_, _>>().context("origin_headers")?,
            deadline: access.origin_deadline,
            cache_for: access.origin_cache,
            cache: Mutex::default(),
            hashers: [RandomState::new(), RandomState::new()],
        })
    }

    /// Whether the service may judge by cookies of this request.
    pub(super) fn passes_cookies(&self, headers: &HeaderMap) -> bool {
        self.headers.contains(&COOKIE) && headers.contains_key(COOKIE)
    }

    /// The question about a request for these channels.
    pub(super) fn question<B>(
        &self,
        request: &Request<B>,
        channels: &[ChannelName],
        asked: &AskedStream<'_>,
    ) -> OriginQuestion {
        let mut headers = HeaderMap::new();
        for name in &self.headers {
            for value in request.headers().get_all(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        // A client that writes this field itself must not pass for one with a certificate.
        headers.remove(CLIENT_SUBJECT_FIELD);
        let listed = channels.iter().map(ChannelName::as_str).collect::<Vec<_>>().join(",");
        let target = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let mut set = |name: &'static str, value: &str| {
            // Names of channels are visible ASCII. A request's target and a certificate's names have no control characters.
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                headers.insert(name, value);
            }
        };
        set("fantail-channels", &listed);
        set("x-forwarded-uri", target);
        set("x-forwarded-method", request.method().as_str());
        // The service may decide by the address, so another address is another question.
        set("x-forwarded-for", &asked.client.unwrap_or_else(|| asked.peer.ip()).to_canonical().to_string());
        if let Some(subject) = asked.certificate.and_then(ClientCertificate::subject) {
            set(CLIENT_SUBJECT_FIELD, subject);
        }
        let fingerprint = self.fingerprint(&headers);
        OriginQuestion { headers, fingerprint }
    }

    fn fingerprint(&self, headers: &HeaderMap) -> Fingerprint {
        let fields: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        [self.hashers[0].hash_one(&fields), self.hashers[1].hash_one(&fields)]
    }

    /// Asks, or waits for the answer to the same question, or takes the one of a moment ago.
    pub(super) async fn ask(&self, question: OriginQuestion) -> Arc<OriginAnswer> {
        let cell = self.cell(question.fingerprint);
        // If the task that asks goes away, one of the waiting tasks asks instead.
        let answer = Arc::clone(cell.get_or_init(|| async { Arc::new(self.answer(question.headers).await) }).await);
        let holds_for = match &*answer {
            OriginAnswer::Unavailable => Duration::ZERO,
            OriginAnswer::Denied(_) => self.cache_for,
            // Not beyond the end of the right.
            OriginAnswer::Allowed { fields, at, .. } => {
                let ends_in = fields.expires_at.map(|ends_at| Duration::from_secs(ends_at.saturating_sub(*at)));
                self.cache_for.min(ends_in.unwrap_or(Duration::MAX))
            }
        };
        if let Some(cached) =
            self.cache.lock().get_mut(&question.fingerprint).filter(|it| Arc::ptr_eq(&it.answer, &cell))
        {
            // The first task with the answer sets its expiry; later ones set no later one.
            cached.until = cached.until.min(Instant::now() + holds_for);
        }
        answer
    }

    /// Forgets all answers: a right was taken back, and the service may decide otherwise now.
    pub(super) fn forget_answers(&self) {
        self.cache.lock().clear();
    }

    fn cell(&self, fingerprint: Fingerprint) -> Arc<OnceCell<Arc<OriginAnswer>>> {
        let now = Instant::now();
        let mut cache = self.cache.lock();
        if let Some(cached) = cache.get(&fingerprint).filter(|cached| cached.until > now) {
            return Arc::clone(&cached.answer);
        }
        if cache.len() >= CACHED_MAX {
            cache.retain(|_, cached| cached.until > now);
        }
        let answer = Arc::default();
        if cache.len() < CACHED_MAX {
            // A question under way is shared for its whole duration, however short answers are kept.
            let until = now + self.cache_for.max(self.deadline);
            cache.insert(fingerprint, Cached { until, answer: Arc::clone(&answer) });
        }
        answer
    }

    async fn answer(&self, headers: HeaderMap) -> OriginAnswer {
        match timeout(self.deadline, self.exchange(headers)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                warn!(error = format!("{error:#}"), "origin_url cannot be asked, clients are told to come back");
                OriginAnswer::Unavailable
            }
            Err(_) => {
                warn!(deadline = ?self.deadline, "origin_url gives no answer in time, clients are told to come back");
                OriginAnswer::Unavailable
            }
        }
    }

    async fn exchange(&self, headers: HeaderMap) -> anyhow::Result<OriginAnswer> {
        // The service decides after this moment, so a revocation that comes before its answer is newer than the right.
        let at = u64::from(unix_second());
        let (head, body) = self.pool.get(headers, ANSWER_BYTES_MAX).await?;
        match head.status {
            status if status.is_success() => allowed(&head.headers, &body, at),
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Ok(OriginAnswer::Denied(status)),
            status => bail!("it answered {status}, which neither allows nor denies"),
        }
    }
}

fn allowed(headers: &HeaderMap, body: &[u8], at: u64) -> anyhow::Result<OriginAnswer> {
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let is_json = kind.eq_ignore_ascii_case(b"application/json");
    if !is_json && body.trim_ascii_start().starts_with(b"{") {
        bail!("its body looks like JSON, and its Content-Type is not application/json");
    }
    let mut by_fields = GrantFields::default();
    for (name, value) in headers {
        if name.as_str().starts_with("fantail-") {
            by_fields.set_field(name.as_str(), value.to_str().with_context(|| format!("{name} is no text"))?)?;
        }
    }
    if !is_json {
        let fields = understood(as_of(by_fields, at))?;
        return Ok(OriginAnswer::Allowed { fields, first_event: None, at });
    }
    if by_fields != GrantFields::default() {
        bail!("it answers with a JSON body and with header fields; which of them counts cannot be known");
    }
    let body: Value = serde_json::from_slice(body).context("its JSON cannot be read")?;
    let fields = understood(as_of(GrantFields::from_json(&body)?, at))?;
    Ok(OriginAnswer::Allowed { fields, first_event: first_event(&body)?, at })
}

/// The same fields, if a grant can be made of them. If not, the service is at fault and not the client.
fn understood(fields: GrantFields) -> anyhow::Result<GrantFields> {
    fields.clone().grant([], 0)?;
    Ok(fields)
}

/// An answer that is kept must not count its seconds anew each time.
fn as_of(fields: GrantFields, at: u64) -> GrantFields {
    let in_seconds = fields.expires_in.map(|seconds| at.saturating_add(seconds));
    let expires_at = [in_seconds, fields.expires_at].into_iter().flatten().min();
    GrantFields { expires_in: None, expires_at, ..fields }
}

/// The event of `"first_event":{"event":"hello","data":"..."}`.
fn first_event(body: &Value) -> anyhow::Result<Option<Frame>> {
    let Some(event) = body.get("first_event").filter(|event| !event.is_null()) else { return Ok(None) };
    let text = |name: &str| match event.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => bail!("first_event.{name} is no text"),
    };
    let data = text("data")?.context("first_event has no data")?;
    let event =
        EventFields { data, event: text("event")?, ..EventFields::default() }.validate().context("first_event")?;
    Ok(Some(encode(&event, None, FIRST_EVENT_BYTES_MAX).context("first_event")?))
}
