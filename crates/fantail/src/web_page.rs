//! Keeps web pages from the internal listener, which a browser on the same machine or network can reach, and foreign names from both listeners.

use fantail_access::HostPolicy;
use http::header::ORIGIN;
use http::uri::Authority;
use http::{Request, StatusCode};

use crate::problem::Problem;

/// A browser tells with this how the page that asks is related to the server. It does so only if it trusts the way
/// there.
const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Refuses the requests of pages of other sites. No other client sends these headers.
pub(crate) fn refuse_pages<B>(request: &Request<B>) -> Result<(), Problem> {
    let headers = request.headers();
    if headers.contains_key(ORIGIN) {
        let detail = "this listener is not for web pages: it refuses requests with an Origin";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail).of("origin"));
    }
    // `none` is a person who typed the address; `same-origin` is a page that was loaded from here.
    let of_a_page = |site: &http::HeaderValue| site != "none" && site != "same-origin";
    if headers.get_all(SEC_FETCH_SITE).iter().any(of_a_page) {
        let detail = "this listener is not for web pages: it refuses what a browser asks for another site";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail).of(SEC_FETCH_SITE));
    }
    Ok(())
}

/// Refuses a request whose `Host`, or target, is a name that is not in `hosts`, which `setting` lists. A request without a host, as in HTTP/1.0, comes from
/// no browser.
pub(crate) fn refuse_other_names<B>(
    request: &Request<B>,
    in_header: Option<&Authority>,
    hosts: &HostPolicy,
    setting: &str,
) -> Result<(), Problem> {
    let named = in_header.into_iter().chain(request.uri().authority()).map(Authority::host);
    match named.into_iter().find(|host| !hosts.accepts(host)) {
        None => Ok(()),
        Some(host) => {
            let variable = format!("FANTAIL_{}", setting.to_uppercase());
            let detail = format!(
                "this listener does not answer to the name {host:?}: use an IP address or localhost, \
                 or list the name in the setting {setting} ({variable}={host})"
            );
            Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail).of("host"))
        }
    }
}
