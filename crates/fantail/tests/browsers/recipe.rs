//! The nginx file in `deploy`, for tests.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// The nginx file in `deploy`, with the addresses of a test in place of its own.
pub(crate) fn recipe(port: u16, node: SocketAddr, origin: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/nginx/fantail.conf");
    let mut text = fs::read_to_string(path).unwrap();
    for (theirs, ours) in [
        ("listen 80;", format!("listen 127.0.0.1:{port};")),
        ("server 127.0.0.1:8080;", format!("server {node};")),
        ("https://app.example.com", origin.to_owned()),
    ] {
        assert_eq!(text.matches(theirs).count(), 1, "{theirs} stands once in the file");
        text = text.replace(theirs, &ours);
    }
    text
}
