//! The right to read a stream: decided at once where possible, after a question otherwise.
//!
//! [`ReadAccess::decide`] never waits. It allows, denies, or names the question that must be answered first: for keys
//! that are not known yet, or for the operator's own service. [`ReadAccess::ask`] waits for the answer, and the request
//! is decided again with it. While a question waits, hyper keeps the buffers of its connection, so the bound on
//! questions (`origin_questions_max`) is a bound on memory.

mod credentials;
mod key_files;
mod key_store;
mod origin;
mod right;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use fantail_access::{
    CHANNELS_FIELD, ChannelRules, ClientCertificate, EXPIRES_IN_FIELD, Grant, GrantFields, RevocationList, RevokedName,
    SESSION_FIELD, SUBJECT_FIELD, TokenError, TokenRules, TooManyRevocations, TrustedProxies, check_token,
};
use fantail_config::{Access, AccessMode, Config, RevokedAnswer};
use fantail_shard::StreamRight;
use fantail_wire::ChannelName;
use http::{HeaderMap, Request, StatusCode};
use parking_lot::RwLock;
use tokio::sync::Semaphore;

use self::credentials::{TokenPlaces, refuse_other_sites};
pub(crate) use self::key_files::{check as check_key_files, read_file};
pub(crate) use self::key_store::{FILES_INTERVAL, KeyStore};
use self::origin::{Origin, OriginAnswer, OriginQuestion};
pub(crate) use self::right::{fingerprint, key_fingerprint, unix_second};
use crate::problem::Problem;

/// The operator's rules for readers, for all shards.
pub(crate) struct ReadAccess {
    mode: AccessMode,
    tokens: TokenPlaces,
    keys: Arc<KeyStore>,
    token_rules: TokenRules,
    channel_rules: ChannelRules,
    origin: Option<Origin>,
    trusted_proxies: TrustedProxies,
    /// The fingerprint of the authorities of client certificates.
    client_authorities: AtomicU64,
    lifetime_max: Option<Duration>,
    revoked_status: StatusCode,
    revocations: RwLock<RevocationList>,
    /// Questions that may wait at once.
    questions: Semaphore,
}

/// The parts of a request that decide about access.
pub(crate) struct AskedStream<'a> {
    pub(crate) channels: &'a [ChannelName],
    pub(crate) peer: SocketAddr,
    /// The client's address, as a trusted proxy says it.
    pub(crate) client: Option<IpAddr>,
    /// The certificate that the client has shown.
    pub(crate) certificate: Option<&'a ClientCertificate>,
    /// The request comes from a page whose origin is on the operator's list.
    pub(crate) is_listed_page: bool,
}

/// The answers so far about one request.
#[derive(Default)]
pub(crate) struct Answers {
    /// The key set was asked for: whether it is newer than the request.
    keys_are_new: Option<bool>,
    origin: Option<Arc<OriginAnswer>>,
    /// A question could not be put.
    unavailable: bool,
}

/// The question that must be answered before a decision.
pub(crate) enum Question {
    /// The token names a key that is not known, and there may be a newer set.
    Keys,
    /// The operator's own service decides.
    Origin(Box<OriginQuestion>),
}

pub(crate) enum Verdict {
    Allowed(Box<Permission>),
    Ask(Question),
    /// No service can be asked now.
    ComeBackLater,
}

pub(crate) struct Permission {
    pub(crate) channels: Vec<ChannelName>,
    pub(crate) right: Option<StreamRight>,
    /// An event that the operator's service sends first.
    pub(crate) first_event: Option<fantail_wire::Frame>,
    grant: Option<Grant>,
    /// The versions of revocations, keys and authorities that it was decided with.
    version: (u64, u64, u64),
}

impl ReadAccess {
    /// Key files are read here; they were checked before.
    pub(crate) fn new(config: &Config) -> anyhow::Result<Self> {
        let access = &config.access;
        Ok(Self {
            mode: access.access.unwrap_or(AccessMode::Open),
            tokens: TokenPlaces::new(access),
            keys: Arc::new(KeyStore::load(access)?),
            token_rules: token_rules(access),
            channel_rules: channel_rules(access),
            origin: access
                .origin_url
                .as_deref()
                .map(|url| Origin::new(url, access))
                .transpose()
                .context("origin_url")?,
            trusted_proxies: TrustedProxies::new(config.public.trusted_proxies.clone(), config.public.forwarded_header),
            client_authorities: AtomicU64::new(0),
            lifetime_max: access.stream_lifetime_max,
            revoked_status: match access.revoked_answer {
                RevokedAnswer::Forbidden => StatusCode::FORBIDDEN,
                RevokedAnswer::NoContent => StatusCode::NO_CONTENT,
            },
            revocations: RwLock::default(),
            questions: Semaphore::new(access.origin_questions_max),
        })
    }

    /// The keys that tokens are checked with.
    pub(crate) fn keys(&self) -> &Arc<KeyStore> {
        &self.keys
    }

    /// The authorities by which clients count now, 0 without any.
    pub(crate) fn client_authorities(&self) -> u64 {
        self.client_authorities.load(Ordering::Acquire)
    }

    /// Clients count by these authorities from now on.
    pub(crate) fn set_client_authorities(&self, fingerprint: u64) {
        self.client_authorities.store(fingerprint, Ordering::Release);
    }

    /// Takes the rights of a name back for those that come from now on.
    pub(crate) fn revoke(&self, name: RevokedName, now: u64, until: u64) -> Result<(), TooManyRevocations> {
        self.revocations.write().add(name, now, until)?;
        if let Some(origin) = &self.origin {
            origin.forget_answers();
        }
        Ok(())
    }

    /// Decides with the answers so far. Never waits.
    pub(crate) fn decide<B>(
        &self,
        request: &Request<B>,
        asked: &AskedStream<'_>,
        answers: &Answers,
    ) -> Result<Verdict, Problem> {
        if answers.unavailable {
            return Ok(Verdict::ComeBackLater);
        }
        let version = self.version();
        let now = u64::from(unix_second());
        let (mut grant, mut first_event) = (None, None);
        if self.mode.checks_tokens() {
            match (self.grant_of_token(request, asked, answers.keys_are_new, now)?, answers.keys_are_new) {
                (Some(granted), _) => grant = Some(granted),
                (None, None) => return Ok(Verdict::Ask(Question::Keys)),
                // A browser must not give up on a token whose key will be known in a moment.
                (None, Some(_)) => return Ok(Verdict::ComeBackLater),
            }
        }
        if self.mode.asks_origin() {
            let origin = self.origin.as_ref().expect("the settings name its URL");
            let channels = match &grant {
                Some(grant) => choose(grant, asked.channels)?,
                None => asked.channels.to_vec(),
            };
            let Some(answer) = &answers.origin else {
                if origin.passes_cookies(request.headers()) {
                    refuse_other_sites(request.headers(), asked.is_listed_page)?;
                }
                return Ok(Verdict::Ask(Question::Origin(Box::new(origin.question(request, &channels, asked)))));
            };
            match &**answer {
                OriginAnswer::Denied(status) => {
                    return Err(Problem::new(*status, "the service that decides who may read has refused this stream"));
                }
                OriginAnswer::Unavailable => return Ok(Verdict::ComeBackLater),
                OriginAnswer::Allowed { fields, first_event: event, at } => {
                    // As of its answer: what was taken back since stays taken back, though the answer is kept.
                    grant = Some(narrowed(grant, grant_of(fields.clone(), &channels, *at)?, &channels));
                    first_event.clone_from(event);
                }
            }
        }
        if self.mode == AccessMode::Certificate {
            grant = Some(self.grant_of_certificate(asked.certificate)?);
        }
        if self.mode == AccessMode::Proxy {
            grant = Some(self.grant_of_proxy(request.headers(), asked, now)?);
        }
        let channels = match &grant {
            Some(grant) => choose(grant, asked.channels)?,
            None if asked.channels.is_empty() => {
                return Err(Problem::field("channel", "name a channel: /sse/{channel} or /sse?channel=a&channel=b"));
            }
            None => asked.channels.to_vec(),
        };
        if grant.as_ref().and_then(|grant| grant.expires_at).is_some_and(|ends_at| ends_at <= now) {
            return Err(Problem::new(StatusCode::FORBIDDEN, "the right to read has ended"));
        }
        if let Some(grant) = &grant
            && self.revocations.read().contains(grant, now)
        {
            return Err(Problem::new(self.revoked_status, "the right to read was taken back"));
        }
        let right = right::of(grant.as_ref(), self.lifetime_max, now);
        Ok(Verdict::Allowed(Box::new(Permission { channels, right, first_event, grant, version })))
    }

    /// Waits for the answer to a question. If the question cannot be put, the answers say so. The asking stands on the heap: else the future
    /// of each request would have room for it.
    pub(crate) async fn ask(&self, question: Question, answers: &mut Answers) {
        let Ok(_place) = self.questions.try_acquire() else {
            answers.unavailable = true;
            return;
        };
        match question {
            Question::Keys => {
                answers.keys_are_new = Some(Box::pin(self.keys.look_for_newer()).await);
            }
            Question::Origin(question) => {
                let origin = self.origin.as_ref().expect("it has made the question");
                answers.origin = Some(Box::pin(origin.ask(*question)).await);
            }
        }
    }

    /// Whether a permission still holds when the stream is about to begin: a right may have been revoked since.
    pub(crate) fn still_holds(&self, permission: &Permission) -> bool {
        if self.version() == permission.version {
            return true;
        }
        let Some(grant) = &permission.grant else { return true };
        let key_is_known = grant.key.is_none_or(|key| match self.mode {
            AccessMode::Certificate => key == self.client_authorities.load(Ordering::Acquire),
            _ => self.keys.current().has(key),
        });
        key_is_known && !self.revocations.read().contains(grant, u64::from(unix_second()))
    }

    fn version(&self) -> (u64, u64, u64) {
        (self.revocations.read().version(), self.keys.version(), self.client_authorities.load(Ordering::Acquire))
    }

    /// The grant of the request's token. `None` if its key may be in a newer set than that in force.
    fn grant_of_token<B>(
        &self,
        request: &Request<B>,
        asked: &AskedStream<'_>,
        keys_are_new: Option<bool>,
        now: u64,
    ) -> Result<Option<Grant>, Problem> {
        let token = self.tokens.find(request, asked.is_listed_page)?;
        match check_token(&token, &self.keys.current(), &self.token_rules, now) {
            Ok(token) => {
                let grant = Grant::of_token(&token, &self.channel_rules);
                grant.map(Some).map_err(|error| Problem::new(StatusCode::FORBIDDEN, error.to_string()).of("token"))
            }
            Err(TokenError::UnknownKey(_) | TokenError::Algorithm | TokenError::Signature)
                if self.keys.may_have_newer() && keys_are_new != Some(true) =>
            {
                Ok(None)
            }
            Err(error) => Err(Problem::new(StatusCode::UNAUTHORIZED, error.to_string()).of("token")),
        }
    }

    /// The grant of the client's certificate.
    fn grant_of_certificate(&self, certificate: Option<&ClientCertificate>) -> Result<Grant, Problem> {
        let Some(certificate) = certificate else {
            let detail = "show a certificate: the names in it say which channels you may read";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, detail).of("certificate"));
        };
        if certificate.authorities() != self.client_authorities.load(Ordering::Acquire) {
            let detail = "the authorities have changed since this connection began: connect again";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, detail).of("certificate"));
        }
        let grant = Grant::of_certificate(certificate, &self.channel_rules.templates);
        grant.map_err(|error| Problem::new(StatusCode::FORBIDDEN, error.to_string()).of("certificate"))
    }

    /// The grant that a trusted proxy has written into the request.
    fn grant_of_proxy(&self, headers: &HeaderMap, asked: &AskedStream<'_>, now: u64) -> Result<Grant, Problem> {
        if !self.trusted_proxies.contains(asked.peer.ip()) {
            let detail = "streams are opened through a proxy alone, and this connection comes from none";
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        }
        let mut fields = GrantFields::default();
        for name in [CHANNELS_FIELD, SUBJECT_FIELD, SESSION_FIELD, EXPIRES_IN_FIELD] {
            let mut values = headers.get_all(name).iter();
            if let (Some(value), second) = (values.next(), values.next()) {
                // A proxy that adds its field to the client's own would let the client grant itself channels.
                if second.is_some() {
                    let detail = format!("{name} is given twice: the proxy must replace what a client sends");
                    return Err(Problem::field("headers", detail));
                }
                let value = value.to_str().map_err(|_| Problem::field("headers", format!("{name} is no text")))?;
                fields.set_field(name, value).map_err(|error| Problem::field("headers", error.to_string()))?;
            }
        }
        if fields.channels.as_ref().is_none_or(Vec::is_empty) {
            let detail = format!("the proxy has granted no channel: it writes them into {CHANNELS_FIELD}");
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        }
        grant_of(fields, &[], now)
    }
}

/// The conditions that a token's claims must meet.
pub(crate) fn token_rules(access: &Access) -> TokenRules {
    TokenRules {
        issuers: access.token_issuers.clone(),
        audiences: access.token_audiences.clone(),
        claims_required: access.token_claims_required.clone(),
        leeway_seconds: access.token_leeway.as_secs(),
    }
}

/// The places of a token that name channels.
pub(crate) fn channel_rules(access: &Access) -> ChannelRules {
    ChannelRules { claim: access.token_channels_claim.clone(), templates: access.channel_templates.clone() }
}

fn choose(grant: &Grant, asked: &[ChannelName]) -> Result<Vec<ChannelName>, Problem> {
    grant.choose(asked).map_err(|denied| Problem::new(StatusCode::FORBIDDEN, denied.to_string()).of("channel"))
}

fn grant_of(fields: GrantFields, asked: &[ChannelName], now: u64) -> Result<Grant, Problem> {
    let asked = asked.iter().map(|channel| channel.as_str().to_owned());
    let refused =
        |error| Problem::new(StatusCode::BAD_GATEWAY, format!("the right to read was not understood: {error}"));
    fields.grant(asked, now).map_err(refused)
}

/// The channels that both a token and the operator's service allow. The service has seen the channels that the token
/// chose, and may remove some. If it names others, those of the token's patterns are added.
fn narrowed(of_token: Option<Grant>, of_origin: Grant, chosen: &[ChannelName]) -> Grant {
    let Some(token) = of_token else { return of_origin };
    let mut channels: Vec<_> = chosen.iter().filter(|channel| of_origin.allows(channel)).cloned().collect();
    for channel in of_origin.channels {
        if token.allows(&channel) && !channels.contains(&channel) {
            channels.push(channel);
        }
    }
    let expires_at = match (token.expires_at, of_origin.expires_at) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    let issued_at = token.issued_at.min(of_origin.issued_at);
    let subject = token.subject.or(of_origin.subject);
    let session = token.session.or(of_origin.session);
    Grant { channels, patterns: Vec::new(), subject, session, expires_at, issued_at, ..token }
}
