//! A web origin: scheme, host and port, compared as parsed and never as text.
//!
//! Matching text by suffix, prefix or pattern lets `evil-example.com` or `example.com.evil.net` pass for `example.com`. So this
//! file offers equality, and the question whether a host is a subdomain of another, which is asked label by label.

use std::fmt;
use std::str::FromStr;

use url::Host;

/// A web origin in its canonical form: lower-case scheme, ASCII host, explicit default port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: String,
    host: Host,
    /// The default port of `http` and `https` is filled in, so that `https://a` equals `https://a:443`. Other schemes have
    /// no default.
    port: Option<u16>,
}

/// The reason why a text is no origin that may be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// The text is empty.
    #[error("an origin is empty; write scheme and host, such as https://app.example.com")]
    Empty,
    /// `null`: sandboxed frames and local files of any site share it, so it would allow everyone.
    #[error("`null` is the origin of any sandboxed page and cannot be allowed")]
    Null,
    /// A `*` stands beside or inside origins.
    #[error("`*` stands alone for any origin, or for the subdomains of a domain, such as https://*.example.com")]
    Wildcard,
    /// There is no `scheme://`, or its scheme has bytes that no scheme may have.
    #[error("an origin starts with its scheme, such as https://app.example.com")]
    Scheme,
    /// Something follows host and port.
    #[error("an origin ends after host and port; leave out the path and a final slash")]
    Path,
    /// A `user@` stands before the host.
    #[error("an origin has no user name or password")]
    UserInfo,
    /// The host is not a domain name or an address.
    #[error("the host of the origin is not a domain name or an address")]
    Host,
    /// The port is not a number from 1 to 65535.
    #[error("the port of the origin is not a number from 1 to 65535")]
    Port,
}

impl Origin {
    /// Reads one origin, as an operator writes it or a browser sends it.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        match text {
            "" => return Err(OriginError::Empty),
            "null" => return Err(OriginError::Null),
            _ if text.contains('*') => return Err(OriginError::Wildcard),
            _ => {}
        }
        let (scheme, authority) = text.split_once("://").ok_or(OriginError::Scheme)?;
        let scheme = parse_scheme(scheme)?;
        refuse_other_parts(authority)?;
        let (host, port) = split_port(authority)?;
        let host = parse_host(host)?;
        let port = port.or_else(|| default_port(&scheme));
        Ok(Self { scheme, host, port })
    }
}

/// All origins of one scheme and port whose hosts are subdomains of a domain: `https://*.example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginPattern {
    /// The origin of the domain itself, which does not match.
    domain: Origin,
}

impl OriginPattern {
    /// Reads `scheme://*.domain[:port]`. The domain has at least two labels: `*.com` would be half the web.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        let (scheme, authority) = text.split_once("://*.").ok_or(OriginError::Wildcard)?;
        let domain = Origin::parse(&format!("{scheme}://{authority}"))?;
        match &domain.host {
            Host::Domain(name) if name.trim_end_matches('.').contains('.') => Ok(Self { domain }),
            _ => Err(OriginError::Wildcard),
        }
    }

    /// Whether the origin's host is a subdomain, at any depth, with the same scheme and port.
    pub fn matches(&self, origin: &Origin) -> bool {
        let (Host::Domain(domain), Host::Domain(host)) = (&self.domain.host, &origin.host) else { return false };
        let is_below =
            host.strip_suffix(domain.as_str()).is_some_and(|before| before.len() > 1 && before.ends_with('.'));
        is_below && self.domain.scheme == origin.scheme && self.domain.port == origin.port
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        Self::parse(text)
    }
}

/// Writes the form that a browser sends, without a default port.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        match self.port {
            Some(port) if default_port(&self.scheme) != Some(port) => write!(f, ":{port}"),
            _ => Ok(()),
        }
    }
}

fn parse_scheme(scheme: &str) -> Result<String, OriginError> {
    let starts_with_letter = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    let rest_fits = scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    if starts_with_letter && rest_fits { Ok(scheme.to_ascii_lowercase()) } else { Err(OriginError::Scheme) }
}

fn refuse_other_parts(authority: &str) -> Result<(), OriginError> {
    if authority.contains('@') {
        Err(OriginError::UserInfo)
    } else if authority.contains(['/', '\\', '?', '#']) {
        Err(OriginError::Path)
    } else {
        Ok(())
    }
}

/// Splits `host:port`. Colons inside the brackets of an IPv6 address belong to the host.
fn split_port(authority: &str) -> Result<(&str, Option<u16>), OriginError> {
    let host_end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    let Some(colon) = authority[host_end..].find(':') else {
        return Ok((authority, None));
    };
    let (host, port) = authority.split_at(host_end + colon);
    let digits = &port[1..];
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(OriginError::Port);
    }
    match digits.parse() {
        Ok(0) | Err(_) => Err(OriginError::Port),
        Ok(port) => Ok((host, Some(port))),
    }
}

/// The URL host parser folds case and turns other scripts into punycode. It would also undo percent-encoding. No browser
/// sends that in an origin, so it is refused first.
fn parse_host(host: &str) -> Result<Host, OriginError> {
    let refused = host.is_empty() || host.contains(|c: char| c == '%' || c == ',' || c.is_whitespace());
    if refused {
        return Err(OriginError::Host);
    }
    Host::parse(host).map_err(|_| OriginError::Host)
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    // A failed unwrap is how a test fails.
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_same_origin_in_other_spellings_is_equal_and_printed_as_browsers_send_it() {
        let spellings = [
            ("https://example.com", "https://example.com"),
            ("HTTPS://Example.COM", "https://example.com"),
            ("https://example.com:443", "https://example.com"),
            ("http://example.com:80", "http://example.com"),
            ("http://example.com:443", "http://example.com:443"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("https://XN--BCHER-KVA.example", "https://xn--bcher-kva.example"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("http://[0:0::1]:3000", "http://[::1]:3000"),
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("capacitor://localhost", "capacitor://localhost"),
        ];
        for (written, sent) in spellings {
            let origin = Origin::parse(written).unwrap();
            assert_eq!(origin.to_string(), sent, "{written}");
            assert_eq!(origin, sent.parse().unwrap(), "{written}");
        }
    }

    #[test]
    fn origins_that_differ_in_one_part_are_different() {
        let listed = Origin::parse("https://example.com").unwrap();
        let others = [
            "http://example.com",
            "https://example.com:8443",
            "https://example.com.",
            "https://www.example.com",
            "https://evil-example.com",
            "https://example.com.evil.net",
            "wss://example.com",
        ];
        for other in others {
            assert_ne!(listed, Origin::parse(other).unwrap(), "{other}");
        }
    }

    #[test]
    fn a_text_that_is_no_origin_is_refused_with_its_reason() {
        let refused = [
            ("", OriginError::Empty),
            ("null", OriginError::Null),
            ("*", OriginError::Wildcard),
            ("https://*.example.com", OriginError::Wildcard),
            ("example.com", OriginError::Scheme),
            ("//example.com", OriginError::Scheme),
            ("://example.com", OriginError::Scheme),
            ("ht tp://example.com", OriginError::Scheme),
            ("https://example.com/", OriginError::Path),
            ("https://example.com/sse", OriginError::Path),
            ("https://example.com?x", OriginError::Path),
            ("https://example.com#x", OriginError::Path),
            ("https://example.com\\@evil.net", OriginError::UserInfo),
            ("https://example.com\\evil.net", OriginError::Path),
            ("https://example.com@evil.net", OriginError::UserInfo),
            ("https://", OriginError::Host),
            ("https://exa mple.com", OriginError::Host),
            ("https://ex%61mple.com", OriginError::Host),
            ("https://a.example,https", OriginError::Host),
            ("https://[::1", OriginError::Port),
            ("https://example.com:", OriginError::Port),
            ("https://example.com:0", OriginError::Port),
            ("https://example.com:+80", OriginError::Port),
            ("https://example.com:65536", OriginError::Port),
        ];
        for (text, reason) in refused {
            assert_eq!(Origin::parse(text), Err(reason), "{text}");
        }
    }

    #[test]
    fn a_pattern_stands_for_subdomains_and_nothing_that_only_looks_like_one() {
        let pattern = OriginPattern::parse("https://*.Example.com").expect("a pattern");
        for (text, matches) in [
            ("https://app.example.com", true),
            ("https://a.b.example.com", true),
            ("https://APP.EXAMPLE.com:443", true),
            ("https://example.com", false),
            ("https://evil-example.com", false),
            ("https://evilexample.com", false),
            ("https://app.example.com.evil.net", false),
            ("http://app.example.com", false),
            ("https://app.example.com:8443", false),
            ("https://.example.com", false),
            ("https://app.example.com.", false),
        ] {
            let origin = Origin::parse(text);
            assert_eq!(origin.is_ok_and(|origin| pattern.matches(&origin)), matches, "{text}");
        }
        for text in [
            "https://*",
            "https://*.com",
            "https://*.",
            "https://a.*.example.com",
            "*.example.com",
            "https://*.*.example.com",
            "https://*.127.0.0.1",
            "https://*.example.com/",
        ] {
            assert!(OriginPattern::parse(text).is_err(), "{text}");
        }
    }
}
