//! The places of a request in which a token may stand.

use std::borrow::Cow;

use fantail_config::Access;
use http::header::{AUTHORIZATION, COOKIE, HOST, HeaderMap, ORIGIN};
use http::uri::Authority;
use http::{Request, StatusCode};

use crate::problem::Problem;

/// The operator's choice of places.
#[derive(Debug)]
pub(super) struct TokenPlaces {
    header: Option<String>,
    cookie: Option<String>,
    query: Option<String>,
}

impl TokenPlaces {
    pub(super) fn new(access: &Access) -> Self {
        Self {
            header: access.token_header.as_ref().map(|name| name.to_ascii_lowercase()),
            cookie: access.token_cookie.clone(),
            query: access.token_query.clone(),
        }
    }

    /// The request's token: that of the header if there is one, then that of `Authorization: Bearer`, the cookie's, the
    /// query's. Two in one place are refused, since a proxy in between may read the other one. The header comes first because
    /// a proxy that writes it passes on what the client has shown to the proxy itself.
    pub(super) fn find<'a, B>(&self, request: &'a Request<B>, is_listed_page: bool) -> Result<Cow<'a, str>, Problem> {
        let headers = request.headers();
        if let Some(name) = &self.header
            && let Some(token) = only("header", headers.get_all(name).iter().map(|value| text(value.as_bytes())))?
        {
            return Ok(token?.trim().into());
        }
        if let Some(token) = bearer(headers)? {
            return Ok(token.into());
        }
        if let Some(name) = &self.cookie
            && let Some(token) = only("cookie", cookies(headers, name))?
        {
            refuse_other_sites(headers, is_listed_page)?;
            return Ok(text(token)?.to_owned().into());
        }
        if let Some(name) = &self.query {
            let query = request.uri().query().unwrap_or_default().as_bytes();
            let values = form_urlencoded::parse(query).filter(|(key, _)| key == name.as_str()).map(|(_, value)| value);
            if let Some(token) = only("query", values)? {
                return Ok(token);
            }
        }
        let detail = "a token is needed: Authorization: Bearer TOKEN, or another place that the operator has chosen";
        Err(Problem::new(StatusCode::UNAUTHORIZED, detail).of("token"))
    }
}

/// The token of `Authorization: Bearer` (RFC 6750, 2.1). Credentials of another kind are for somebody else.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let bearer = headers.get_all(AUTHORIZATION).iter().filter_map(|value| {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    only("authorization", bearer)
}

/// The values of the cookies of that name (RFC 6265, 4.2.1).
fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b';'));
    pairs.filter_map(move |pair| {
        let pair = pair.trim_ascii();
        let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        Some(unquoted.unwrap_or(value))
    })
}

fn only<T>(place: &str, mut values: impl Iterator<Item = T>) -> Result<Option<T>, Problem> {
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        let detail = format!("the {place} has two tokens, and which one is meant cannot be known");
        return Err(Problem::new(StatusCode::UNAUTHORIZED, detail).of("token"));
    }
    Ok(first)
}

fn text(bytes: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(bytes).map_err(|_| Problem::new(StatusCode::UNAUTHORIZED, "the token is no text").of("token"))
}

/// Refuses the requests of pages of other sites. A browser sends the user's cookies along with them, so any page could
/// otherwise open streams in the user's name, though it could not read them.
pub(super) fn refuse_other_sites(headers: &HeaderMap, is_listed_page: bool) -> Result<(), Problem> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let is_other_site = match (origins.next(), origins.next()) {
        (None, _) => headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site"),
        (Some(origin), None) => !is_listed_page && !is_own(origin.as_bytes(), headers),
        (Some(_), Some(_)) => true,
    };
    if is_other_site {
        let detail = "a page of another site may not use the cookie; the operator lists such pages in cors_origin";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail).of("origin"));
    }
    Ok(())
}

/// Whether the origin is the host that was asked. Its scheme does not matter: a proxy in front may have ended TLS.
fn is_own(origin: &[u8], headers: &HeaderMap) -> bool {
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let authority =
        |text: &str| text.parse::<Authority>().ok().map(|authority| authority.as_str().to_ascii_lowercase());
    let of_origin = text(origin).and_then(|origin| origin.split_once("://")).and_then(|(_, rest)| authority(rest));
    let asked = headers.get(HOST).and_then(|host| text(host.as_bytes())).and_then(authority);
    of_origin.is_some() && of_origin == asked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> TokenPlaces {
        TokenPlaces {
            header: Some("x-access-token".into()),
            cookie: Some("session".into()),
            query: Some("token".into()),
        }
    }

    fn find(target: &str, headers: &[(&str, &str)]) -> Result<String, u16> {
        let mut request = Request::get(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        places().find(&request, false).map(Cow::into_owned).map_err(|problem| problem.status.as_u16())
    }

    #[test]
    fn the_first_place_that_has_a_token_is_the_one() {
        let all = [("x-access-token", "h"), ("authorization", "bearer  a "), ("cookie", "x=1; session=c")];
        assert_eq!(find("/sse?token=q", &all), Ok("h".into()));
        assert_eq!(find("/sse?token=q", &all[1..]), Ok("a".into()));
        assert_eq!(find("/sse?token=q", &all[2..]), Ok("c".into()));
        assert_eq!(find("/sse?token=q%2B1", &[("authorization", "Basic YTpi")]), Ok("q+1".into()));
        assert_eq!(find("/sse", &[("cookie", "xsession=1; session=\"c\"")]), Ok("c".into()));
        for headers in [&[][..], &[("cookie", "sessions=1; Session=c; session")], &[("authorization", "Bearer")]] {
            assert_eq!(find("/sse?tokens=q", headers), Err(401), "{headers:?}");
        }
    }

    #[test]
    fn two_tokens_in_one_place_are_refused() {
        for headers in [
            &[("authorization", "Bearer a"), ("authorization", "Bearer b")][..],
            &[("x-access-token", "a"), ("x-access-token", "a")],
            &[("cookie", "session=a; session=b")],
            &[("cookie", "session=a"), ("cookie", "session=b")],
        ] {
            assert_eq!(find("/sse", headers), Err(401), "{headers:?}");
        }
        assert_eq!(find("/sse?token=a&token=b", &[]), Err(401));
    }

    #[test]
    fn a_cookie_serves_pages_of_its_own_site_and_listed_ones_alone() {
        let of_page = |origin: &'static str| {
            find("/sse", &[("cookie", "session=c"), ("host", "app.example:8080"), ("origin", origin)])
        };
        for own in ["https://app.example:8080", "http://APP.example:8080"] {
            assert_eq!(of_page(own), Ok("c".into()), "{own}");
        }
        for other in
            ["https://evil.example", "https://app.example", "null", "", "https://app.example:8080.evil.example"]
        {
            assert_eq!(of_page(other), Err(403), "{other}");
        }
        let image = [("cookie", "session=c"), ("sec-fetch-site", "cross-site")];
        assert_eq!(find("/sse", &image), Err(403));
        // An unlisted page cannot send a header without a preflight.
        assert_eq!(find("/sse", &[("authorization", "Bearer a"), ("origin", "https://evil.example")]), Ok("a".into()));
    }
}
