//! The server that a command talks to: its URL, and the authorities that vouch for it.

use std::path::Path;

use clap::{Arg, ArgMatches};
use fantail_config::{Faults, Location};

use super::text;
use crate::http_client::{Server, ServerUrl};

/// The flags for the authorities, and for the certificate that is shown to the server.
pub(super) fn tls_args() -> [Arg; 3] {
    let file = |name: &'static str| Arg::new(name).long(name).value_name("FILE");
    [
        file("ca").help("PEM file with the authorities that vouch for an https:// server, instead of the system's"),
        file("cert").requires("key").help("PEM file with a certificate to show to a server that asks for one"),
        file("key").requires("cert").help("PEM file with the key of --cert"),
    ]
}

/// The server in the argument `url`, if it passes the command's own `check`. Faults of the URL are told at `place`, behind
/// `prefix`.
pub(super) fn read(
    matches: &ArgMatches,
    (place, prefix): (Location, &str),
    check: impl FnOnce(&ServerUrl) -> Result<(), String>,
    faults: &mut Faults,
) -> Option<Server> {
    let url = ServerUrl::parse(text(matches, "url").unwrap_or_default()).and_then(|url| check(&url).map(|()| url));
    let url = url.map_err(|reason| faults.push(place.clone(), format!("{prefix}{reason}"))).ok()?;
    of_url(url, matches, (place, prefix), faults)
}

/// The server of a URL, with the files of [`tls_args`].
pub(super) fn of_url(
    url: ServerUrl,
    matches: &ArgMatches,
    (place, prefix): (Location, &str),
    faults: &mut Faults,
) -> Option<Server> {
    let ca = text(matches, "ca").map(Path::new);
    // Without the flag, the fault is the URL's: it asks for authorities that the system does not have.
    let (place, prefix) = if ca.is_some() { (Location::Flag("--ca".into()), "") } else { (place, prefix) };
    let server = Server::new(url, ca).map_err(|reason| faults.push(place, format!("{prefix}{reason}"))).ok()?;
    let Some((certificate, key)) = text(matches, "cert").zip(text(matches, "key")) else { return Some(server) };
    let shown = server.showing(Path::new(certificate), Path::new(key));
    shown.map_err(|reason| faults.push(Location::Flag("--cert".into()), reason)).ok()
}
