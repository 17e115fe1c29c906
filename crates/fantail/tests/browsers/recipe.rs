//! The files for proxies in `deploy`, with the addresses of a test in place of their own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The file for streams that need nothing of nginx but to be passed on.
pub(crate) fn recipe(port: u16, node: SocketAddr, origin: &str) -> String {
    let places = [(NODE, format!("server {node};")), (ORIGIN, origin.to_owned())];
    given("fantail.conf", port, &places)
}

/// A file with a service that knows the users.
pub(crate) fn site(file: &str, port: u16, node: SocketAddr, service: SocketAddr) -> String {
    given(file, port, &[(NODE, format!("server {node};")), ("server 127.0.0.1:3000;", format!("server {service};"))])
}

const NODE: &str = "server 127.0.0.1:8080;";
const ORIGIN: &str = "https://app.example.com";

fn given(file: &str, port: u16, places: &[(&str, String)]) -> String {
    let listen = ("listen 80;", format!("listen 127.0.0.1:{port};"));
    deployed(&format!("nginx/{file}"), &[&[listen], places].concat())
}

/// A file below `deploy` with these texts in place of its own.
pub(crate) fn deployed(file: &str, places: &[(&str, String)]) -> String {
    let mut text = fs::read_to_string(deploy().join(file)).unwrap();
    for (theirs, ours) in places {
        assert_eq!(text.matches(theirs).count(), 1, "{theirs} stands once in {file}");
        text = text.replace(theirs, ours);
    }
    text
}

pub(crate) fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}
