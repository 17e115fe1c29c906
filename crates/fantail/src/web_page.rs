//! Keeps web pages from the internal listener, which a browser on the same machine or network can reach.

use http::header::ORIGIN;
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
