//! One plain HTTP request and its whole answer: for publishing, administration and error cases.
//!
//! It waits for the end of the response, so it is not for streams. [`HttpConnection`] is for several requests.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    PATIENCE,
    error::{Doing, Error, Result, within},
    response::{End, Head, ResponseReader},
};

/// A complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names as sent, values without surrounding blanks, in order.
    pub headers: Vec<(String, String)>,
    /// The body with its framing removed.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The body as text, decoded leniently.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Error::Protocol(format!("the body is not JSON ({error}): {:?}", self.text())))
    }
}

/// Sends one HTTP/1.1 request on a connection of its own and waits for the whole answer.
///
/// `Host`, `Connection: close` and, with a body, `Content-Length` are added unless given.
pub async fn http(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> Result<Response> {
    let body = body.as_ref();
    let mut bytes = format!("{method} {path} HTTP/1.1\r\n");
    let given = |name: &str| headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    for &(name, value) in headers {
        bytes.extend([name, ": ", value, "\r\n"]);
    }
    let host = addr.to_string();
    for (name, value) in [("Host", host.as_str()), ("Connection", "close")] {
        if !given(name) {
            bytes.extend([name, ": ", value, "\r\n"]);
        }
    }
    let counted = !body.is_empty() || ["POST", "PUT", "PATCH"].contains(&method);
    if counted && !given("content-length") && !given("transfer-encoding") {
        bytes.extend(["Content-Length: ", &body.len().to_string(), "\r\n"]);
    }
    bytes.push_str("\r\n");
    let what = format!("the answer to {method} {path}");
    within(PATIENCE, &what, exchange(addr, method, &[bytes.as_bytes(), body].concat())).await
}

/// A connection for one request after the other.
#[derive(Debug)]
pub struct HttpConnection {
    stream: TcpStream,
    host: String,
}

impl HttpConnection {
    /// Connects.
    pub async fn connect(addr: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(addr).await.doing(format!("connecting to {addr}"))?;
        stream.set_nodelay(true).doing("setting nodelay")?;
        Ok(Self { stream, host: addr.to_string() })
    }

    /// Posts a body and waits for the answer. After an error the connection is of no use.
    pub async fn post(&mut self, path: &str, body: impl AsRef<[u8]>) -> Result<Response> {
        let body = body.as_ref();
        let head = format!("POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n", self.host, body.len());
        let request = [head.as_bytes(), body].concat();
        within(PATIENCE, &format!("the answer to POST {path}"), self.ask(&request)).await
    }

    async fn ask(&mut self, request: &[u8]) -> Result<Response> {
        self.stream.write_all(request).await.doing("sending a request")?;
        let mut reader = ResponseReader::new("POST");
        let mut body = Vec::new();
        let mut buffer = vec![0; 16 << 10];
        while !reader.is_done() {
            match self.stream.read(&mut buffer).await.doing("reading a response")? {
                0 => return Err(Error::Ended(End::Cut)),
                count => body.extend(reader.feed(&buffer[..count])?),
            }
        }
        match reader.head() {
            Some(Head { status, headers, .. }) => Ok(Response { status: *status, headers: headers.clone(), body }),
            None => Err(Error::Ended(End::Cut)),
        }
    }
}

async fn exchange(addr: SocketAddr, method: &str, request: &[u8]) -> Result<Response> {
    let mut stream = TcpStream::connect(addr).await.doing(format!("connecting to {addr}"))?;
    // A server may refuse and close before it has read everything; its answer still counts.
    let sent = stream.write_all(request).await;
    let mut reader = ResponseReader::new(method);
    let mut body = Vec::new();
    let mut buffer = vec![0; 16 << 10];
    while !reader.is_done() {
        match stream.read(&mut buffer).await {
            Ok(0) => break,
            Ok(count) => body.extend(reader.feed(&buffer[..count])?),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Err(Error::Ended(End::Reset)),
            Err(source) => return Err(source).doing("reading a response"),
        }
    }
    match (reader.end_at_close(), reader.head()) {
        (End::Clean, Some(Head { status, headers, .. })) => {
            Ok(Response { status: *status, headers: headers.clone(), body })
        }
        (end, _) => {
            sent.doing("sending a request")?;
            Err(Error::Ended(end))
        }
    }
}
