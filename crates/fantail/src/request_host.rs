//! The host that a request is for: that it names one, and that this listener answers to it.

use fantail_access::HostPolicy;
use http::header::HOST;
use http::uri::Authority;
use http::{Request, StatusCode, Version};

use crate::problem::Problem;

/// Refuses a request without a `Host`, with two, or with one that names no host (RFC 9112, section 3.2): a proxy in
/// between may have read it differently. Refuses with 421 one whose `Host`, or target, is a name that is not in `hosts`,
/// which `setting` lists. A request without a host, as in HTTP/1.0, comes from no browser.
pub(crate) fn check_host<B>(request: &Request<B>, hosts: &HostPolicy, setting: &str) -> Result<(), Problem> {
    let in_header = only_host(request)?;
    let named = in_header.iter().chain(request.uri().authority()).map(Authority::host);
    let Some(host) = named.into_iter().find(|host| !hosts.accepts(host)) else { return Ok(()) };
    let variable = format!("FANTAIL_{}", setting.to_uppercase());
    let detail = format!(
        "this listener does not answer to the name {host:?}: use an IP address or localhost, \
         or list the name in the setting {setting} ({variable}={host})"
    );
    Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail).of("host"))
}

fn only_host<B>(request: &Request<B>) -> Result<Option<Authority>, Problem> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let refused = || Problem::field("host", "a request names one host in its Host header");
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if host.is_empty() => Ok(None),
        (Some(host), None) => {
            let authority = Authority::try_from(host.as_bytes()).ok();
            authority.filter(|authority| !authority.as_str().contains('@')).map(Some).ok_or_else(refused)
        }
        (None, _) if request.version() <= Version::HTTP_10 => Ok(None),
        _ => Err(refused()),
    }
}
