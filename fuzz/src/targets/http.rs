//! Targets, headers and bodies of requests.

use std::net::IpAddr;
use std::sync::LazyLock;

use fantail_access::{
    CorsPolicy, ForwardedField, HostPolicy, Origin, PROXY_HEADER_BYTES_MAX, ProxyHeader, TrustedProxies,
    read_proxy_header,
};
use std::ffi::OsString;
use std::path::Path;

use fantail_config::{Access, Parsed, parse_flags, resolve};
use fantail_wire::{ChannelName, Publication};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};

use crate::credentials::TokenPlaces;
use crate::publish_body::{self, Items};
use crate::request_host::check_host;
use crate::subscribe_request::SubscribeRequest;
use crate::web_page::refuse_pages;

const CHANNELS_MAX: usize = 4;

static ACCESS: LazyLock<Access> = LazyLock::new(|| {
    let file = "access = \"token\"\ntoken_secret = \"a-secret-of-thirty-two-bytes-abc\"\ntoken_header = \"x-token\"\n\
                token_cookie = \"session\"\ntoken_query = \"tok\"\n";
    let Parsed::Run { flags, .. } = parse_flags(&[]) else { panic!("no flags are given") };
    let variables: Vec<(OsString, OsString)> = vec![("FANTAIL_CONFIG".into(), "f.toml".into())];
    let config = resolve(&flags, &variables, &|_: &Path| Ok(file.to_owned()));
    config.unwrap_or_else(|faults| panic!("{faults}")).access
});

/// The input as the lines of a head: the first one is the target, the others are header fields. `None` if that is no request.
fn request(data: &[u8]) -> Option<Request<()>> {
    let mut lines = data.split(|&byte| byte == b'\n');
    let target: Uri = std::str::from_utf8(lines.next()?).ok()?.parse().ok()?;
    let mut headers = HeaderMap::new();
    for line in lines.take(32) {
        let at = line.iter().position(|&byte| byte == b':')?;
        let name = HeaderName::from_bytes(&line[..at]).ok()?;
        headers.append(name, HeaderValue::from_bytes(line[at + 1..].trim_ascii()).ok()?);
    }
    let mut request = Request::new(());
    (*request.uri_mut(), *request.headers_mut()) = (target, headers);
    Some(request)
}

/// A token that is found stood in the request; a cookie gives none to a page of another site.
pub(super) fn credentials(data: &[u8]) {
    let Some(request) = request(data) else { return };
    let places = TokenPlaces::new(&ACCESS);
    let unlisted = places.find(&request, false);
    assert_eq!(unlisted.is_ok(), places.find(&request, false).is_ok());
    let Ok(token) = unlisted else { return };
    let listed = places.find(&request, true);
    assert_eq!(listed.as_ref().ok(), Some(&token), "a listed page has more rights and not fewer");
    let origins: Vec<_> = request.headers().get_all("origin").iter().collect();
    let stands_elsewhere = |name: &str| request.headers().contains_key(name);
    let is_cookie_alone = !stands_elsewhere("authorization")
        && !stands_elsewhere("x-token")
        && request.headers().get_all("cookie").iter().any(|value| value.as_bytes().starts_with(b"session="));
    if is_cookie_alone {
        assert!(origins.len() <= 1);
        assert!(
            origins.iter().all(|origin| *origin != "null" && !origin.as_bytes().ends_with(b"evil.example"))
                || hosts_evil(&request)
        );
    }
}

fn hosts_evil(request: &Request<()>) -> bool {
    request.headers().get_all("host").iter().any(|host| host.as_bytes().to_ascii_lowercase().ends_with(b"evil.example"))
}

/// The internal listener answers to addresses, to localhost and to the names of the operator, and to no page.
pub(super) fn host(data: &[u8]) {
    let Some(request) = request(data) else { return };
    if refuse_pages(&request).is_ok() {
        assert!(!request.headers().contains_key("origin"));
    }
    if check_host(&request, &HostPolicy::new(["fantail.internal"]), "internal_hosts").is_err() {
        return;
    }
    let host = request.headers().get("host").and_then(|host| Authority::try_from(host.as_bytes()).ok());
    for authority in host.iter().chain(request.uri().authority()) {
        let bare = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let name = bare.strip_suffix('.').unwrap_or(&bare);
        let is_known = bare.parse::<IpAddr>().is_ok() || name == "localhost" || name == "fantail.internal";
        assert!(is_known, "{authority}");
    }
}

/// An origin is printed as it is read again, and one that is not listed is never let in.
pub(super) fn origin(data: &[u8]) {
    let policy = CorsPolicy::parse(&["https://app.example", "http://localhost:3000"]).expect("origins");
    let policy = policy.with_credentials();
    let decision = policy.decide(data.split(|&byte| byte == b'\n'));
    let text = std::str::from_utf8(data).ok();
    let parsed = text.and_then(|text| Origin::parse(text).ok());
    if decision.is_allowed() {
        let shown = parsed.as_ref().expect("an origin").to_string();
        assert!(["https://app.example", "http://localhost:3000"].contains(&shown.as_str()), "{shown}");
        assert!(decision.headers().all(|(_, value)| !value.contains(['\r', '\n', '\0', '*'])));
    }
    if let Some(origin) = parsed {
        assert_eq!(Origin::parse(&origin.to_string()), Ok(origin));
    }
}

/// A client's address comes from trusted proxies alone, and stands in the field that they write.
pub(super) fn forwarded(data: &[u8]) {
    client(data, ForwardedField::XForwardedFor, b"6.6.6.6, ");
    client(data, ForwardedField::Forwarded, b"for=6.6.6.6, ");
}

fn client(data: &[u8], field: ForwardedField, forged: &[u8]) {
    let (trusted, stranger) = ("10.0.0.1".parse().expect("an address"), "203.0.113.1".parse().expect("an address"));
    let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().expect("a network")], field);
    let values: Vec<_> = data.split(|&byte| byte == b'\n').collect();
    assert_eq!(proxies.client(stranger, values.iter().copied()), None);
    let Some(client) = proxies.client(trusted, values.iter().copied()) else { return };
    // What a client puts before the entry of its proxy changes nothing.
    if !proxies.contains(client) {
        let values: Vec<_> = [forged].into_iter().chain(values).collect();
        assert_eq!(proxies.client(trusted, values.iter().copied()), Some(client));
    }
}

/// A header of the PROXY protocol ends where it ends, however its bytes come, and whatever the client sends behind it.
pub(super) fn proxy_header(data: &[u8]) {
    let read = read_proxy_header(data);
    let Ok(ProxyHeader::Complete { bytes, .. }) = read else { return };
    assert!(bytes <= data.len().min(PROXY_HEADER_BYTES_MAX));
    assert_eq!(read_proxy_header(&data[..bytes]), read);
    assert_eq!(read_proxy_header(&[data, b"PROXY TCP4"].concat()), read);
    for end in 0..bytes {
        assert_eq!(read_proxy_header(&data[..end]), Ok(ProxyHeader::Incomplete), "{end}");
    }
}

/// A subscribe names valid channels, each once and not too many.
pub(super) fn subscribe(data: &[u8]) {
    let Some(request) = request(data) else { return };
    let in_path = request.uri().path().strip_prefix("/sse/");
    let Ok(subscribe) = SubscribeRequest::parse(in_path, request.uri(), request.headers(), CHANNELS_MAX) else {
        return;
    };
    assert!(subscribe.channels.len() <= CHANNELS_MAX && subscribe.limit != Some(0));
    for (index, channel) in subscribe.channels.iter().enumerate() {
        assert!(ChannelName::check(channel.as_str()).is_ok());
        assert!(!subscribe.channels[..index].contains(channel));
    }
}

/// A body that is published is published to valid channels, of which an event has each once.
pub(super) fn publish(data: &[u8]) {
    match publish_body::json(data) {
        Ok(Items::One(one)) => one.iter().for_each(judge),
        Ok(Items::Many(many)) => many.iter().flatten().for_each(judge),
        Err(problem) => assert!(!problem.detail.is_empty()),
    }
    let mut lines = data.splitn(3, |&byte| byte == b'\n');
    let mut text = || String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let (channel, query) = (text(), text());
    let body = data.to_vec();
    publish_body::raw(&channel, &query, body).iter().for_each(judge);
}

fn judge(publication: &Publication) {
    assert!(!publication.channels.is_empty());
    for (index, channel) in publication.channels.iter().enumerate() {
        assert!(ChannelName::check(channel.as_str()).is_ok());
        assert!(!publication.channels[..index].contains(channel));
    }
}
