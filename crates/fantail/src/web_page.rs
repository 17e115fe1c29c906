//! Keeps web pages from the internal listener, which a browser on the same machine or network can reach.

use fantail_access::HostPolicy;
use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{Request, StatusCode};

use crate::problem::Problem;

/// What a browser says of the page that asks, to servers that it trusts the way to.
const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Refuses what a browser sends for a page of another site. No other client sends these headers.
pub(crate) fn refuse_pages<B>(request: &Request<B>) -> Result<(), Problem> {
    let headers = request.headers();
    if headers.contains_key(ORIGIN) {
        let detail = "this listener is not for web pages: it refuses requests with an Origin";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail).of("origin"));
    }
    // `none` is a person who typed the address, and `same-origin` what was loaded from here.
    let of_a_page = |site: &http::HeaderValue| site != "none" && site != "same-origin";
    if headers.get_all(SEC_FETCH_SITE).iter().any(of_a_page) {
        let detail = "this listener is not for web pages: it refuses what a browser asks for another site";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail).of(SEC_FETCH_SITE));
    }
    Ok(())
}

/// Refuses a request that was sent to a name that is none of `hosts`. One without a host, as HTTP/1.0 has it, was sent by
/// no browser.
pub(crate) fn refuse_other_names<B>(request: &Request<B>, hosts: &HostPolicy) -> Result<(), Problem> {
    let in_header = request.headers().get(HOST).filter(|host| !host.is_empty());
    let in_header = in_header.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let named = in_header.iter().chain(request.uri().authority()).map(Authority::host);
    match named.into_iter().find(|host| !hosts.accepts(host)) {
        None => Ok(()),
        Some(host) => {
            let detail = format!(
                "this listener does not answer to the name {host:?}: use an IP address or localhost, \
                 or list the name in the setting internal_hosts (FANTAIL_INTERNAL_HOSTS={host})"
            );
            Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail).of("host"))
        }
    }
}
