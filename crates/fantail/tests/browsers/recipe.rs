//! The nginx files in `deploy`, with the addresses of a test in place of their own.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/nginx").join(file);
    let mut text = fs::read_to_string(path).unwrap();
    let listen = ("listen 80;", format!("listen 127.0.0.1:{port};"));
    for (theirs, ours) in [listen].iter().chain(places) {
        assert_eq!(text.matches(theirs).count(), 1, "{theirs} stands once in the file");
        text = text.replace(theirs, ours);
    }
    text
}
