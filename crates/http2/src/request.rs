//! A request out of its fields (RFC 9113, 8). A request that breaks the rules is malformed, and its stream ends.
//!
//! It comes out as one that was sent over HTTP/1 would: the target as a path, the authority as `Host`, the crumbs of cookies as one field.

use http::header::{CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Uri, Version};

/// The connection's own fields, which HTTP/2 has no use for.
const OF_CONNECTION: [&str; 5] = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/// The bounds on one request's fields.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FieldBounds {
    pub(crate) fields: usize,
    pub(crate) bytes: usize,
}

/// A head that cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadHead {
    /// It breaks the rules.
    Malformed,
    /// It is within the rules, and too large.
    TooLarge,
}

/// The fields of a request so far.
#[derive(Debug)]
pub(crate) struct RequestFields {
    bounds: FieldBounds,
    bytes: usize,
    method: Option<Method>,
    has_scheme: bool,
    path: Option<Vec<u8>>,
    authority: Option<HeaderValue>,
    headers: HeaderMap,
    cookies: Vec<u8>,
    bad: Option<BadHead>,
}

impl RequestFields {
    pub(crate) fn new(bounds: FieldBounds) -> Self {
        Self {
            bounds,
            bytes: 0,
            method: None,
            has_scheme: false,
            path: None,
            authority: None,
            headers: HeaderMap::new(),
            cookies: Vec::new(),
            bad: None,
        }
    }

    /// One field more. Behind the first fault the others are read for the decoder's sake alone.
    pub(crate) fn take(&mut self, name: &[u8], value: &[u8]) {
        self.bytes += name.len() + value.len() + 4;
        if self.bad == Some(BadHead::Malformed) {
            return;
        }
        if self.bytes > self.bounds.bytes || self.headers.len() >= self.bounds.fields {
            self.bad = Some(BadHead::TooLarge);
            return;
        }
        let taken = match name.strip_prefix(b":") {
            Some(name) => self.take_pseudo_field(name, value),
            None => self.take_field(name, value),
        };
        if taken.is_none() {
            self.bad = Some(BadHead::Malformed);
        }
    }

    fn take_pseudo_field(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        if !self.headers.is_empty() || !self.cookies.is_empty() {
            return None;
        }
        let is_second = match name {
            b"method" => self.method.replace(Method::from_bytes(value).ok()?).is_some(),
            b"scheme" => std::mem::replace(&mut self.has_scheme, true),
            b"path" => self.path.replace(value.to_vec()).is_some(),
            b"authority" => self.authority.replace(field_value(value)?).is_some(),
            _ => true,
        };
        (!is_second).then_some(())
    }

    fn take_field(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        // It refuses upper case.
        let name = HeaderName::from_lowercase(name).ok()?;
        let value = field_value(value)?;
        if OF_CONNECTION.contains(&name.as_str()) || name == "te" && value != "trailers" {
            return None;
        }
        if name == COOKIE {
            if !self.cookies.is_empty() {
                self.cookies.extend_from_slice(b"; ");
            }
            self.cookies.extend_from_slice(value.as_bytes());
            return Some(());
        }
        self.headers.append(name, value);
        Some(())
    }

    /// The bytes of all of them so far.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether they may stand behind a body. Nobody here has a use for them.
    pub(crate) fn are_trailers(&self) -> bool {
        let has_pseudo_fields = self.method.is_some() || self.path.is_some() || self.authority.is_some();
        self.bad.is_none() && !has_pseudo_fields && !self.has_scheme
    }

    /// The request, and the length of its body if it tells that.
    pub(crate) fn into_request(mut self) -> Result<(Request<()>, Option<u64>), BadHead> {
        if let Some(bad) = self.bad {
            return Err(bad);
        }
        self.add_cookies();
        let length = self.content_length()?;
        let method = self.method.ok_or(BadHead::Malformed)?;
        let is_whole = self.has_scheme && self.path.is_some();
        let is_connect = method == Method::CONNECT && !self.has_scheme && self.path.is_none();
        if !is_whole && !is_connect {
            return Err(BadHead::Malformed);
        }
        let uri = target(self.path.unwrap_or_else(|| b"/".to_vec()), &method)?;
        match (self.authority, self.headers.get(HOST)) {
            (Some(authority), Some(host)) if !authority.as_bytes().eq_ignore_ascii_case(host.as_bytes()) => {
                return Err(BadHead::Malformed);
            }
            (Some(authority), None) => drop(self.headers.insert(HOST, authority)),
            _ => {}
        }
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.headers;
        Ok((request, length))
    }

    fn add_cookies(&mut self) {
        if !self.cookies.is_empty() {
            let cookies = HeaderValue::from_bytes(&self.cookies).expect("values in a row are a value");
            self.headers.insert(COOKIE, cookies);
        }
    }

    fn content_length(&self) -> Result<Option<u64>, BadHead> {
        let mut lengths = self.headers.get_all(CONTENT_LENGTH).iter();
        let Some(length) = lengths.next() else { return Ok(None) };
        let digits = length.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        match (digits.and_then(|digits| digits.parse().ok()), lengths.next()) {
            (Some(length), None) => Ok(Some(length)),
            _ => Err(BadHead::Malformed),
        }
    }
}

/// A value begins and ends with no space, and has no character that ends a line.
fn field_value(value: &[u8]) -> Option<HeaderValue> {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if is_blank(value.first()) || is_blank(value.last()) {
        return None;
    }
    HeaderValue::from_bytes(value).ok()
}

fn target(path: Vec<u8>, method: &Method) -> Result<Uri, BadHead> {
    let begins_well = path.starts_with(b"/") || path == b"*" && method == Method::OPTIONS;
    let target = PathAndQuery::from_maybe_shared(bytes::Bytes::from(path)).ok().filter(|_| begins_well);
    target.map(Uri::from).ok_or(BadHead::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: [(&str, &str); 4] =
        [(":method", "GET"), (":scheme", "https"), (":path", "/sse/a?x=1"), (":authority", "a.example")];

    fn read(fields: &[(&str, &str)]) -> Result<(Request<()>, Option<u64>), BadHead> {
        let mut request = RequestFields::new(FieldBounds { fields: 8, bytes: 1_000 });
        for (name, value) in fields {
            request.take(name.as_bytes(), value.as_bytes());
        }
        request.into_request()
    }

    fn with(more: &[(&str, &str)]) -> Result<(Request<()>, Option<u64>), BadHead> {
        read(&[&GET, more].concat())
    }

    #[test]
    fn a_request_comes_out_as_one_of_http_1_would() {
        let crumbs = [("cookie", "a=1"), ("accept", "text/event-stream"), ("cookie", "b=2"), ("te", "trailers")];
        let (request, length) = with(&crumbs).expect("valid");
        assert_eq!((request.method(), request.uri().to_string().as_str()), (&Method::GET, "/sse/a?x=1"));
        assert_eq!(
            (&request.headers()["host"], &request.headers()["cookie"]),
            (&"a.example".parse().expect("a value"), &"a=1; b=2".parse().expect("a value"))
        );
        assert_eq!((request.version(), length), (Version::HTTP_2, None));
        let (request, length) =
            read(&[(":method", "POST"), (":scheme", "http"), (":path", "/"), ("host", "b"), ("content-length", "12")])
                .expect("valid");
        assert_eq!((&request.headers()["host"], length), (&"b".parse().expect("a value"), Some(12)));
        assert!(read(&[(":method", "CONNECT"), (":authority", "a:1")]).is_ok());
        assert!(read(&[(":method", "OPTIONS"), (":scheme", "http"), (":path", "*")]).is_ok());
        assert!(with(&[("host", "A.EXAMPLE")]).is_ok());
    }

    #[test]
    fn a_malformed_request_is_refused_whatever_its_fault() {
        for fault in [
            &[("Accept", "x")][..],
            &[("a b", "x")],
            &[("", "x")],
            &[("connection", "close")],
            &[("keep-alive", "1")],
            &[("proxy-connection", "x")],
            &[("transfer-encoding", "chunked")],
            &[("upgrade", "h2c")],
            &[("te", "gzip")],
            &[(":status", "200")],
            &[(":protocol", "websocket")],
            &[(":unknown", "x")],
            &[(":path", "/again")],
            &[(":method", "GET")],
            &[("accept", "x"), (":scheme", "https")],
            &[("cookie", "x=1"), (":extra", "x")],
            &[("x", "a\r\nb: c")],
            &[("x", "a\0")],
            &[("x", " a")],
            &[("x", "a\t")],
            &[("host", "b.example")],
            &[("content-length", "+1")],
            &[("content-length", "1"), ("content-length", "1")],
            &[("content-length", "99999999999999999999")],
        ] {
            assert_eq!(with(fault).err(), Some(BadHead::Malformed), "{fault:?}");
        }
        for missing in &GET[..3] {
            let fields: Vec<_> = GET.iter().filter(|field| *field != missing).copied().collect();
            assert_eq!(read(&fields).err(), Some(BadHead::Malformed), "without {}", missing.0);
        }
        for path in ["", "sse", "*", "http://a/", "/a b"] {
            let fields = [GET[0], GET[1], (":path", path)];
            assert_eq!(read(&fields).err(), Some(BadHead::Malformed), "{path}");
        }
        assert_eq!(read(&[(":method", "CONNECT"), (":path", "/")]).err(), Some(BadHead::Malformed));
    }

    #[test]
    fn a_head_that_is_too_large_is_told_from_one_that_breaks_the_rules() {
        let long = "x".repeat(1_000);
        assert_eq!(with(&[("x", &long)]).err(), Some(BadHead::TooLarge));
        assert_eq!(with(&[("x", "1"); 9]).err(), Some(BadHead::TooLarge));
        assert_eq!(with(&[("Bad", "1"), ("x", &long)]).err(), Some(BadHead::Malformed));
    }
}
