//! Plain HTTP on an encrypted listener.
//!
//! It gets an answer that names the mistake. Without one a person who typed `http://` sees an empty reply, and looks for the fault
//! in the network. The first byte tells a request from a handshake: a method begins with a letter, a record of TLS does not.

use std::convert::Infallible;
use std::io;

use http::StatusCode;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tracing::debug;

use crate::problem::{Answer, Problem};

/// The content type of a TLS record that holds a handshake, and the first byte of its version.
const HANDSHAKE_RECORD: [u8; 2] = [0x16, 0x03];

/// The beginning of a connection to an encrypted listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// The client has closed without a byte, as a balancer's probe does.
    Nothing,
    PlainHttp,
    /// A handshake, or nothing that is known.
    Handshake,
}

/// Waits for the first byte, and leaves it in the socket.
pub(crate) async fn beginning_of(socket: &TcpStream) -> io::Result<Beginning> {
    let mut first = [0];
    Ok(match socket.peek(&mut first).await? {
        0 => Beginning::Nothing,
        _ if first[0].is_ascii_uppercase() => Beginning::PlainHttp,
        _ => Beginning::Handshake,
    })
}

/// Answers one request with 400, and closes. Nothing of the request is looked at: it came in the clear.
pub(crate) async fn refuse(mut http: http1::Builder, socket: TcpStream) {
    let service = service_fn(|_| async {
        let told = "the plain HTTP request was sent to an HTTPS port; write https:// in place of http://";
        Ok::<_, Infallible>(Answer::from(Problem::new(StatusCode::BAD_REQUEST, told)))
    });
    if let Err(error) = http.keep_alive(false).serve_connection(TokioIo::new(socket), service).await {
        debug!(%error, "a connection with plain HTTP to an encrypted port ended");
    }
}

/// The reverse: whether the bytes that the HTTP server could not read begin a handshake.
pub(crate) fn is_handshake(bytes: &[u8]) -> bool {
    bytes.starts_with(&HANDSHAKE_RECORD)
}
