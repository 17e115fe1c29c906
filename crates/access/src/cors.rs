//! The CORS decision: whether a page of this origin may read the answer, and which headers say so.
//!
//! Every answer of the public listener asks here, errors included: without CORS headers a page sees an error only as a
//! failure without a status. The policy echoes only origins that are on its list. It allows credentials only if the
//! operator asked for that, and only to listed origins.

use std::collections::HashSet;
use std::sync::Arc;

use crate::origin::{Origin, OriginError, OriginPattern};

/// How long a browser may keep a preflight's answer. Chromium cuts longer times down to this.
pub const PREFLIGHT_MAX_AGE_SECONDS: u32 = 7200;

const ALLOW_ORIGIN: &str = "access-control-allow-origin";
const ALLOW_CREDENTIALS: (&str, &str) = ("access-control-allow-credentials", "true");

/// A preflight is granted this: to read a stream, with the request headers of stream clients.
/// `Last-Event-ID` is here because a long or unusual id makes a browser ask before every reconnect.
const PREFLIGHT_GRANTS: [(&str, &str); 2] =
    [("access-control-allow-methods", "GET, HEAD"), ("access-control-max-age", "7200")];
const ALLOW_HEADERS: &str = "access-control-allow-headers";
const REQUEST_HEADERS: &str = "Last-Event-ID, Cache-Control, Authorization";

/// A page may read this header of an answer, beside those that every page may (Fetch, CORS-safelisted response-header name).
const EXPOSE_HEADERS: (&str, &str) = ("access-control-expose-headers", "Retry-After");

/// Which origins may read, fixed at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorsPolicy {
    allowed: Allowed,
    credentials: bool,
    /// The request headers that a preflight grants.
    request_headers: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Allowed {
    /// There is no list. No CORS header is ever sent, so only pages of the same origin can read.
    None,
    /// `*`. This is safe only as long as no answer depends on a cookie.
    Any,
    Listed {
        exact: HashSet<Origin>,
        below: Vec<OriginPattern>,
    },
}

/// An entry of the list that cannot be part of a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("origin {entry:?}: {reason}")]
pub struct CorsPolicyError {
    /// The entry as it was written.
    pub entry: String,
    /// The reason for the refusal.
    pub reason: OriginError,
}

/// The answer to one request's `Origin`, to be turned into headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorsDecision {
    allow_origin: Option<String>,
    vary: bool,
    credentials: bool,
    request_headers: Arc<str>,
}

impl CorsPolicy {
    /// Allows exactly these origins; an empty list turns CORS off.
    pub fn new(origins: Vec<Origin>) -> Self {
        Self::listed(origins.into_iter().collect(), Vec::new())
    }

    /// Allows every origin.
    pub fn any() -> Self {
        Self::of(Allowed::Any)
    }

    fn listed(exact: HashSet<Origin>, below: Vec<OriginPattern>) -> Self {
        let is_empty = exact.is_empty() && below.is_empty();
        Self::of(if is_empty { Allowed::None } else { Allowed::Listed { exact, below } })
    }

    fn of(allowed: Allowed) -> Self {
        Self { allowed, credentials: false, request_headers: REQUEST_HEADERS.into() }
    }

    /// Lets pages of listed origins read with cookies (`withCredentials`). Where any origin may read this changes nothing:
    /// every page on the web could read as the person who has it open.
    #[must_use]
    pub fn with_credentials(self) -> Self {
        Self { credentials: matches!(self.allowed, Allowed::Listed { .. }), ..self }
    }

    /// Lets pages send this header too, such as one with a token.
    #[must_use]
    pub fn with_request_header(self, name: &str) -> Self {
        Self { request_headers: format!("{}, {name}", self.request_headers).into(), ..self }
    }

    /// Reads the operator's list: origins, patterns such as `https://*.example.com`, or a single `*` for any origin. All bad
    /// entries come back together.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, Vec<CorsPolicyError>> {
        if let [only] = entries
            && only.as_ref() == "*"
        {
            return Ok(Self::any());
        }
        let (mut exact, mut below, mut errors) = (HashSet::new(), Vec::new(), Vec::new());
        for entry in entries.iter().map(AsRef::as_ref) {
            let read = if entry.contains("://*.") {
                OriginPattern::parse(entry).map(|pattern| below.push(pattern))
            } else {
                Origin::parse(entry).map(|origin| exact.extend([origin]))
            };
            if let Err(reason) = read {
                errors.push(CorsPolicyError { entry: entry.to_owned(), reason });
            }
        }
        if errors.is_empty() { Ok(Self::listed(exact, below)) } else { Err(errors) }
    }

    /// Decides for a request with these `Origin` header values. It needs all of them: a request with two is refused, and a
    /// lookup of "the" header would hide the second.
    pub fn decide<'a>(&self, origin_headers: impl IntoIterator<Item = &'a [u8]>) -> CorsDecision {
        let mut values = origin_headers.into_iter();
        let (first, second) = (values.next(), values.next());
        let allow_origin = match (&self.allowed, first, second) {
            (Allowed::None, ..) | (_, _, Some(_)) | (Allowed::Listed { .. }, None, None) => None,
            (Allowed::Any, ..) => Some("*".to_owned()),
            (Allowed::Listed { exact, below }, Some(value), None) => echo_if_listed(exact, below, value),
        };
        // A cache must keep the answers apart even when this one allows nobody.
        let vary = matches!(self.allowed, Allowed::Listed { .. });
        let request_headers = Arc::clone(&self.request_headers);
        CorsDecision { credentials: self.credentials && allow_origin.is_some(), allow_origin, vary, request_headers }
    }
}

impl CorsDecision {
    /// Whether a page of the asking origin may read the answer.
    pub fn is_allowed(&self) -> bool {
        self.allow_origin.is_some()
    }

    /// Whether the asking origin is one of the operator's list, and not just one of any.
    pub fn is_listed(&self) -> bool {
        self.vary && self.is_allowed()
    }

    /// The headers of an ordinary answer, success or error alike. Names are in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let allow = self.allow_origin.as_deref().map(|value| (ALLOW_ORIGIN, value));
        let vary = self.vary.then_some(("vary", "Origin"));
        let exposed = self.is_allowed().then_some(EXPOSE_HEADERS);
        allow.into_iter().chain(self.credentials.then_some(ALLOW_CREDENTIALS)).chain(vary).chain(exposed)
    }

    /// The headers of the answer to `OPTIONS`. An origin that is refused learns no grants.
    pub fn preflight_headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let grants = PREFLIGHT_GRANTS.into_iter().chain([(ALLOW_HEADERS, &*self.request_headers)]);
        self.headers().chain(grants.filter(|_| self.is_allowed()))
    }
}

/// A browser compares the echo byte for byte with the value that it sent, so the value goes back unchanged. It parsed as an
/// origin in ASCII, so it holds nothing that could end a header line.
fn echo_if_listed(exact: &HashSet<Origin>, below: &[OriginPattern], value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.is_ascii())?;
    let origin = Origin::parse(text).ok()?;
    let is_listed = exact.contains(&origin) || below.iter().any(|pattern| pattern.matches(&origin));
    is_listed.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    // A failed unwrap is how a test fails.
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn policy(entries: &[&str]) -> CorsPolicy {
        CorsPolicy::parse(entries).unwrap()
    }

    fn listed() -> CorsPolicy {
        policy(&["https://example.com", "http://localhost:3000", "https://bücher.example"])
    }

    fn headers(decision: &CorsDecision) -> Vec<(&str, &str)> {
        decision.headers().collect()
    }

    #[test]
    fn a_listed_origin_is_echoed_as_it_was_sent() {
        let sent = [
            "https://example.com",
            "https://example.com:443",
            "HTTPS://EXAMPLE.COM",
            "http://localhost:3000",
            "https://xn--bcher-kva.example",
        ];
        for origin in sent {
            let decision = listed().decide([origin.as_bytes()]);
            assert_eq!(
                headers(&decision),
                [("access-control-allow-origin", origin), ("vary", "Origin"), EXPOSE_HEADERS],
                "{origin}"
            );
        }
    }

    #[test]
    fn a_pattern_of_the_list_allows_subdomains() {
        let policy = policy(&["https://*.example.com", "https://other.example"]);
        for (origin, allowed) in
            [("https://a.example.com", true), ("https://other.example", true), ("https://example.com", false)]
        {
            assert_eq!(policy.decide([origin.as_bytes()]).is_listed(), allowed, "{origin}");
        }
    }

    #[test]
    fn hostile_origins_get_vary_and_nothing_else() {
        let attacks: [(&str, &[u8]); 17] = [
            ("another port of the same host", b"https://example.com:8443"),
            ("plain text page of the same host", b"http://example.com"),
            ("tls page where only plain is listed", b"https://localhost:3000"),
            ("a name that ends alike", b"https://evil-example.com"),
            ("a name that starts alike", b"https://example.com.evil.net"),
            ("a subdomain nobody listed", b"https://www.example.com"),
            ("a trailing dot is another origin to browsers", b"https://example.com."),
            ("a sandboxed frame of any site", b"null"),
            ("an empty value", b""),
            ("the wildcard sent by a client", b"*"),
            ("the listed name as user name", b"https://example.com@evil.net"),
            ("the listed name as path", b"https://evil.net/https://example.com"),
            ("two origins in one value", b"https://example.com https://evil.net"),
            ("a value that continues on a new line", b"https://example.com\r\nx: y"),
            ("a NUL after the listed name", b"https://example.com\0.evil.net"),
            ("the name in its own script, which browsers never send", "https://bücher.example".as_bytes()),
            ("bytes that are no text", b"https://example.com\xff"),
        ];
        for (attack, origin) in attacks {
            let decision = listed().decide([origin]);
            assert!(!decision.is_allowed(), "{attack}");
            assert_eq!(headers(&decision), [("vary", "Origin")], "{attack}");
            assert_eq!(decision.preflight_headers().count(), 1, "{attack}");
        }
    }

    #[test]
    fn a_request_without_origin_still_varies_by_it() {
        assert_eq!(headers(&listed().decide([])), [("vary", "Origin")]);
    }

    #[test]
    fn two_origin_headers_are_refused_even_if_both_are_listed() {
        let twice = [b"https://example.com".as_slice(); 2];
        assert!(!listed().decide(twice).is_allowed());
        assert_eq!(headers(&policy(&["*"]).decide(twice)), []);
    }

    #[test]
    fn an_empty_policy_sends_no_cors_header_at_all() {
        let decision = policy(&[]).decide([b"https://example.com".as_slice()]);
        assert_eq!(headers(&decision), []);
        assert_eq!(decision.preflight_headers().count(), 0);
        assert_eq!(CorsPolicy::new(Vec::new()), policy(&[]));
    }

    #[test]
    fn a_lone_star_allows_any_origin_without_vary() {
        for origin in [Some("https://anyone.example"), Some("null"), None] {
            let decision = policy(&["*"]).decide(origin.map(str::as_bytes));
            assert_eq!(headers(&decision), [("access-control-allow-origin", "*"), EXPOSE_HEADERS]);
        }
    }

    #[test]
    fn a_preflight_of_a_listed_origin_is_granted_reading() {
        let decision = listed().with_request_header("x-token").decide([b"https://example.com".as_slice()]);
        let max_age = PREFLIGHT_MAX_AGE_SECONDS.to_string();
        let expected = [
            ("access-control-allow-origin", "https://example.com"),
            ("vary", "Origin"),
            EXPOSE_HEADERS,
            ("access-control-allow-methods", "GET, HEAD"),
            ("access-control-max-age", max_age.as_str()),
            ("access-control-allow-headers", "Last-Event-ID, Cache-Control, Authorization, x-token"),
        ];
        assert_eq!(decision.preflight_headers().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn credentials_are_allowed_to_listed_origins_where_that_was_asked_for() {
        let with = listed().with_credentials();
        let origin = "https://example.com";
        let expected = [(ALLOW_ORIGIN, origin), ALLOW_CREDENTIALS, ("vary", "Origin"), EXPOSE_HEADERS];
        assert_eq!(headers(&with.decide([origin.as_bytes()])), expected);
        assert!(with.decide([origin.as_bytes()]).preflight_headers().any(|header| header == ALLOW_CREDENTIALS));
        for origins in [&[][..], &[b"https://evil.net".as_slice()], &[origin.as_bytes(), origin.as_bytes()]] {
            assert_eq!(headers(&with.decide(origins.iter().copied())), [("vary", "Origin")]);
        }
    }

    #[test]
    fn no_other_answer_allows_credentials() {
        let (any, none) = (policy(&["*"]), policy(&[]));
        for policy in [listed(), any.clone(), any.with_credentials(), none.with_credentials()] {
            let decision = policy.decide([b"https://example.com".as_slice()]);
            let mut names = decision.preflight_headers().map(|(name, _)| name);
            assert!(!names.any(|name| name.contains("credentials")));
        }
    }

    #[test]
    fn all_bad_entries_of_a_list_are_reported_together() {
        let errors = CorsPolicy::parse(&["*", "https://example.com", "null", "https://a/"]).unwrap_err();
        let reasons: Vec<_> = errors.iter().map(|error| error.reason).collect();
        assert_eq!(reasons, [OriginError::Wildcard, OriginError::Null, OriginError::Path]);
        assert_eq!(errors[2].entry, "https://a/");
    }
}
