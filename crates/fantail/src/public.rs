//! The public listener's routes: a request becomes a stream or an answer.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fantail_access::{ClientCertificate, CorsDecision, CorsPolicy, HostPolicy, TrustedProxies};
use fantail_config::{Config, TlsStreamState};
use fantail_wire::{ChannelName, Framing, Lanes};
use http::header::{ACCEPT, HeaderMap, ORIGIN};
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::body::Body;
use smallvec::SmallVec;

use crate::access::{Answers, AskedStream, Permission, Question, ReadAccess, Verdict};
use crate::address_bound::{self, AddressBound};
use crate::memory::MemoryBound;
use crate::new_connections::NewConnections;
use crate::problem::{Answer, Problem};
use crate::request_host::check_host;
use crate::response_head::{ExtraHeaders, STREAM_HEADERS, with_headers};
use crate::subscribe_request::SubscribeRequest;

const METHODS: &str = "GET, HEAD, OPTIONS";

/// The listener's name for itself in answers to publishers.
pub(crate) const PUBLIC_LISTENER: &str = "this is the public listener";

/// The operator's settings for public requests.
pub(crate) struct PublicSettings {
    /// The names that streams may be asked for under.
    hosts: HostPolicy,
    /// With a leading slash and none at the end.
    pub(crate) path: String,
    pub(crate) channels_max: usize,
    /// The addresses that are charged for the channels that their streams make.
    pub(crate) channel_makers: AddressBound,
    pub(crate) connections: NewConnections,
    pub(crate) memory: Arc<MemoryBound>,
    /// How channels are divided; a stream follows those of one lane.
    pub(crate) lanes: Lanes,
    pub(crate) head_bytes_max: usize,
    pub(crate) uri_bytes_max: usize,
    pub(crate) request_deadline: Duration,
    pub(crate) cors: CorsPolicy,
    pub(crate) trusted_proxies: TrustedProxies,
    /// Connections begin with a header of the PROXY protocol.
    pub(crate) proxy_protocol: bool,
    pub(crate) access: Arc<ReadAccess>,
    /// The part of a TLS connection that its stream keeps.
    pub(crate) tls_stream_state: TlsStreamState,
    /// Clients without TLS may speak HTTP/2, if they begin with it.
    pub(crate) http2_plain: bool,
}

/// The other end of a connection, as far as it can be known before a request.
#[derive(Clone, Copy)]
pub(crate) struct Client<'a> {
    pub(crate) peer: SocketAddr,
    pub(crate) certificate: Option<&'a ClientCertificate>,
}

/// The outcome of a request.
pub(crate) enum Decision {
    Answer(Answer),
    /// The decision needs an answer first. Then the request is decided again.
    Ask(Question),
    /// A stream that cannot begin, since its right cannot be decided now.
    ComeBackLater(Box<Accepted>),
    /// The socket becomes a stream, if there is room.
    Stream(Box<Accepted>),
}

pub(crate) struct Accepted {
    pub(crate) request: SubscribeRequest,
    /// None for a stream that cannot begin.
    pub(crate) permission: Option<Box<Permission>>,
    pub(crate) framing: Framing,
    /// Headers that depend on the request.
    pub(crate) extra: ExtraHeaders,
    /// The client named the stream type. If the stream cannot begin, the client still gets one, which ends with the
    /// reason.
    pub(crate) names_stream: bool,
}

impl PublicSettings {
    /// The settings of the operator. `lanes` tells how channels are divided.
    pub(crate) fn new(
        config: &Config,
        lanes: Lanes,
        access: Arc<ReadAccess>,
        memory: Arc<MemoryBound>,
    ) -> anyhow::Result<Self> {
        let (public, limits) = (&config.public, &config.limits);
        let trusted_proxies = TrustedProxies::new(public.trusted_proxies.clone(), public.forwarded_header);
        let hosts = match public.public_hosts.as_slice() {
            [] => HostPolicy::new(["*"]),
            names => HostPolicy::new(names),
        };
        Ok(Self {
            hosts,
            path: public.path.clone(),
            channels_max: config.streams.channels_per_stream_max,
            channel_makers: AddressBound::new(limits.channels_per_address_max, address_bound::CHANNELS_MAX),
            lanes,
            head_bytes_max: limits.head_bytes_max,
            uri_bytes_max: limits.uri_bytes_max,
            request_deadline: limits.request_deadline,
            cors: cors_policy(config)?,
            connections: NewConnections::new(limits, trusted_proxies.clone()),
            memory,
            trusted_proxies,
            proxy_protocol: public.proxy_protocol,
            access,
            tls_stream_state: config.tls.tls_stream_state,
            http2_plain: config.http2.http2_plain,
        })
    }

    /// The client's address, if `peer` is a trusted proxy that gives it.
    pub(crate) fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> Option<IpAddr> {
        if self.trusted_proxies.is_empty() {
            return None;
        }
        let values = headers.get_all(self.trusted_proxies.field().name()).iter().map(http::HeaderValue::as_bytes);
        self.trusted_proxies.client(peer.ip(), values)
    }

    /// Decides about a request with the answers so far.
    pub(crate) fn decide<B: Body>(&self, request: &Request<B>, client: Client<'_>, answers: &Answers) -> Decision {
        let cors = self.cors.decide(request.headers().get_all(ORIGIN).iter().map(http::HeaderValue::as_bytes));
        let decision =
            self.route(request, client, &cors, answers).unwrap_or_else(|problem| Decision::Answer(problem.into()));
        let decision = match decision {
            Decision::Answer(answer) if request.method() == Method::OPTIONS => {
                Decision::Answer(with_headers(answer, cors.preflight_headers()))
            }
            Decision::Answer(answer) => Decision::Answer(with_headers(answer, cors.headers())),
            other => other,
        };
        if request.body().is_end_stream() { decision } else { closing(decision) }
    }

    fn route<B: Body>(
        &self,
        request: &Request<B>,
        Client { peer, certificate }: Client<'_>,
        cors: &CorsDecision,
        answers: &Answers,
    ) -> Result<Decision, Problem> {
        self.check_sizes(request)?;
        check_host(request, &self.hosts, "public_hosts")?;
        let in_path = self.channel_in_path(request.uri().path()).map_err(|problem| for_publishers(problem, request))?;
        match *request.method() {
            Method::OPTIONS => return Ok(Decision::Answer(empty(StatusCode::NO_CONTENT))),
            Method::GET | Method::HEAD => {}
            _ => return Err(for_publishers(Problem::method(METHODS), request)),
        }
        if !request.body().is_end_stream() {
            return Err(Problem::field("body", "a subscribe has no body"));
        }
        let mut subscribe = SubscribeRequest::parse(in_path, request.uri(), request.headers(), self.channels_max)?;
        let asked = AskedStream {
            channels: &subscribe.channels,
            peer,
            client: self.client(peer, request.headers()),
            certificate,
            is_listed_page: cors.is_listed(),
        };
        let permission = match self.access.decide(request, &asked, answers)? {
            Verdict::Allowed(permission) => Some(permission),
            Verdict::ComeBackLater => None,
            Verdict::Ask(question) => return Ok(Decision::Ask(question)),
        };
        if let Some(permission) = &permission {
            subscribe.channels = self.check_channels(&permission.channels)?;
        }
        if request.method() == Method::HEAD {
            return Ok(Decision::Answer(with_headers(empty(StatusCode::OK), STREAM_HEADERS.into_iter())));
        }
        let framing = match request.version() {
            // HTTP/2 delimits it by frames of its own.
            Version::HTTP_10 | Version::HTTP_2 => Framing::CloseDelimited,
            _ => Framing::Chunked,
        };
        let extra: ExtraHeaders = cors.headers().map(|(name, value)| (name, value.to_owned())).collect();
        let is_allowed = permission.is_some();
        let names_stream = names_stream(request.headers());
        let accepted = Box::new(Accepted { request: subscribe, permission, framing, extra, names_stream });
        Ok(if is_allowed { Decision::Stream(accepted) } else { Decision::ComeBackLater(accepted) })
    }

    /// Refuses too many channels, or channels of several lanes.
    fn check_channels(&self, channels: &[ChannelName]) -> Result<SmallVec<[ChannelName; 1]>, Problem> {
        if channels.len() > self.channels_max {
            let detail = format!(
                "you may read {} channels by their names, and a stream follows at most {}: ask for some of them",
                channels.len(),
                self.channels_max
            );
            return Err(Problem::field("channel", detail));
        }
        self.lanes.of_all(channels).map_err(|error| Problem::field("channel", error.to_string()))?;
        Ok(channels.into())
    }

    fn check_sizes<B>(&self, request: &Request<B>) -> Result<(), Problem> {
        let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
        if target > self.uri_bytes_max {
            let detail = format!("the request target has {target} bytes, more than {}", self.uri_bytes_max);
            return Err(Problem::new(StatusCode::URI_TOO_LONG, detail).of("path"));
        }
        // Name, value, colon, space and line end of each field, and the request line.
        let fields: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        let head = target + fields;
        if head > self.head_bytes_max {
            let detail = format!("the request head has {head} bytes, more than {}", self.head_bytes_max);
            return Err(Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, detail).of("headers"));
        }
        Ok(())
    }

    /// The path behind the stream path's slash, or nothing for the bare stream path.
    fn channel_in_path<'a>(&self, path: &'a str) -> Result<Option<&'a str>, Problem> {
        let rest = path.strip_prefix(&self.path);
        match rest {
            Some("" | "/") => Ok(None),
            Some(rest) if rest.starts_with('/') => Ok(Some(&rest[1..])),
            _ => Err(Problem::not_found(&format!("streams are at {}/{{channel}}", self.path))),
        }
    }
}

fn cors_policy(config: &Config) -> anyhow::Result<CorsPolicy> {
    let cors = &config.cors;
    let policy = CorsPolicy::parse(&cors.cors_origin).map_err(|errors| anyhow::anyhow!("{}", errors[0]))?;
    let policy = if cors.cors_credentials { policy.with_credentials() } else { policy };
    let headers = config.access.token_header.iter().chain(&cors.cors_headers);
    Ok(headers.fold(policy, |policy, name| policy.with_request_header(name)))
}

/// A `POST` is meant for another port.
fn for_publishers<B>(problem: Problem, request: &Request<B>) -> Problem {
    if request.method() != Method::POST {
        return problem;
    }
    problem.saying(format!("{PUBLIC_LISTENER}; publishing is on the internal one, by default 127.0.0.1:8081"))
}

/// Ends the connection behind the answer to a request with a body. Smuggled requests rely on a disagreement about the
/// end of a body, and no request here needs one.
fn closing(decision: Decision) -> Decision {
    match decision {
        Decision::Answer(answer) => Decision::Answer(with_headers(answer, [("connection", "close")].into_iter())),
        other => other,
    }
}

/// Whether the client names the stream type, as every `EventSource` does.
fn names_stream(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| value.contains("text/event-stream"))
}

fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}
