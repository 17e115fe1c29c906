//! One HTTP/1.1 connection to a server that the command line names, for `subscribe` and `publish`.
//!
//! It uses TLS if the URL begins with https. An error names the server's address and nothing else of the URL: its query
//! may hold a token.

mod pool;
mod trust;

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::{Host, Url};

pub(crate) use self::pool::{Pool, fetch};
pub(crate) use self::trust::Refused;

use self::trust::Trust;

/// Longest time to look up a name and connect, and then for a TLS handshake.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// Longest time from a request to the head of its answer. A server may hold it until its feed has confirmed.
pub(crate) const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

pub(crate) const USER_AGENT: &str = concat!("fantail/", env!("CARGO_PKG_VERSION"));

/// The longest body of an error that is read.
const PROBLEM_BYTES_MAX: usize = 16 * 1024;
const PROBLEM_DEADLINE: Duration = Duration::from_secs(5);

/// After this much silence a peer is probed, and after three more probes without an answer it counts as gone.
const SILENCE_MAX: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// A server, and which authorities must vouch for it.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) url: ServerUrl,
    trust: Option<Trust>,
}

impl Server {
    /// Trusts the authorities in the file `ca`, or else those of the system. An error blames the file or the system.
    pub(crate) fn new(url: ServerUrl, ca: Option<&Path>) -> Result<Self, String> {
        let trust = match (url.is_tls, ca) {
            (true, Some(ca)) => Some(Trust::of_file(ca)?),
            (true, None) => Some(Trust::of_system()?),
            (false, Some(_)) => return Err("an http:// server shows no certificate; give an https:// url".to_owned()),
            (false, None) => None,
        };
        Ok(Self { url, trust })
    }

    /// Shows this certificate, if the server asks for one.
    pub(crate) fn showing(self, certificate: &Path, key: &Path) -> Result<Self, String> {
        let trust = self.trust.as_ref().ok_or("an http:// server asks for no certificate; give an https:// url")?;
        Ok(Self { trust: Some(trust.showing(certificate, key)?), ..self })
    }
}

/// An `http://` or `https://` URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerUrl {
    is_tls: bool,
    host: String,
    port: u16,
    /// The `Host` header, which messages use too.
    authority: String,
    path: String,
    query: Option<String>,
}

impl ServerUrl {
    /// Checks `text`. The reason does not quote it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if !text.contains("://") {
            return Err("begin with http:// or https://, as in http://127.0.0.1:8080/sse/demo".into());
        }
        let url = Url::parse(text).map_err(|error| format!("not a url: {error}"))?;
        let is_tls = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err("the scheme is http or https".into()),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a user name or password in the url is not sent; leave it out".into());
        }
        let host = match url.host() {
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => return Err("the host is missing".into()),
        };
        Ok(Self {
            is_tls,
            host,
            port: url.port().unwrap_or(if is_tls { 443 } else { 80 }),
            authority: url.authority().to_owned(),
            path: url.path().to_owned(),
            query: url.query().map(str::to_owned),
        })
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Whether the way there leaves this machine.
    pub(crate) fn is_remote(&self) -> bool {
        let is_loopback = self.host.parse::<IpAddr>().map_or(self.host == "localhost", |address| address.is_loopback());
        !is_loopback
    }

    /// Host and port, fit for a message.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// The path.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The query without its question mark.
    pub(crate) fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }
}

/// Connects. The connection closes when the sender and the last answer's body are dropped. An error that is [`Refused`]
/// comes again at every attempt.
pub(crate) async fn connect(server: &Server) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let url = &server.url;
    let connecting = TcpStream::connect((url.host.as_str(), url.port));
    let socket = timeout(CONNECT_DEADLINE, connecting)
        .await
        .with_context(|| format!("cannot connect to {} within {CONNECT_DEADLINE:?}", url.authority))?
        .with_context(|| format!("cannot connect to {}", url.authority))?;
    // Without these the client would wait for ever for a peer that lost its power. Neither is worth failing for.
    let keepalive = TcpKeepalive::new().with_time(SILENCE_MAX).with_interval(KEEPALIVE_INTERVAL).with_retries(3);
    let _ = SockRef::from(&socket).set_tcp_keepalive(&keepalive);
    let _ = socket.set_nodelay(true);
    match &server.trust {
        None => speak(socket, &url.authority).await,
        Some(trust) => {
            let handshake = timeout(CONNECT_DEADLINE, trust.connect(&url.host, &url.authority, socket));
            let socket = handshake
                .await
                .with_context(|| format!("{} did not answer with TLS within {CONNECT_DEADLINE:?}", url.authority))??;
            speak(socket, &url.authority).await
        }
    }
}

/// Begins HTTP with the server of this name.
pub(crate) async fn speak<S>(socket: S, name: &str) -> anyhow::Result<SendRequest<Full<Bytes>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        http1::handshake(TokioIo::new(socket)).await.with_context(|| format!("cannot speak HTTP with {name}"))?;
    // A task that waits for the answer gets the connection's error.
    tokio::spawn(connection);
    Ok(sender)
}

/// The message of an answer that is an error: its status, and the problem's detail if it has one.
pub(crate) async fn problem(status: StatusCode, body: Incoming) -> String {
    let whole = timeout(PROBLEM_DEADLINE, Limited::new(body, PROBLEM_BYTES_MAX).collect()).await;
    let bytes = whole.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes).unwrap_or_default();
    match detail(&bytes) {
        Some(detail) => format!("the server answered {status}: {detail}"),
        None => format!("the server answered {status}"),
    }
}

/// The detail of a problem (RFC 9457), or the first line of a text that is not HTML.
fn detail(body: &[u8]) -> Option<String> {
    if let Ok(problem) = serde_json::from_slice::<Value>(body) {
        let member = |name| problem.get(name).and_then(Value::as_str);
        return member("detail").or(member("title")).map(printable);
    }
    let text = String::from_utf8_lossy(body);
    let line = text.lines().next().map(str::trim)?;
    (!line.is_empty() && !line.starts_with('<')).then(|| printable(line))
}

/// Foreign text for a terminal: control characters are shown and not carried out.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\t' { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let parts = |text| {
            let ServerUrl { is_tls, host, port, authority, path, query } = ServerUrl::parse(text).unwrap();
            assert_eq!(is_tls, text.starts_with("https"));
            (host, port, authority, path, query)
        };
        let expected = |host: &str, port, authority: &str, path: &str, query: Option<&str>| {
            (host.to_owned(), port, authority.to_owned(), path.to_owned(), query.map(str::to_owned))
        };
        assert_eq!(parts("http://localhost/"), expected("localhost", 80, "localhost", "/", None));
        assert_eq!(parts("http://[::1]:81/a?b=c#d"), expected("::1", 81, "[::1]:81", "/a", Some("b=c")));
        assert_eq!(parts("HTTP://Host:80"), expected("host", 80, "host", "/", None));
        assert_eq!(parts("https://h"), expected("h", 443, "h", "/", None));
        assert_eq!(parts("https://[::1]:81/"), expected("::1", 81, "[::1]:81", "/", None));
        assert_eq!(parts("http://h/a b?c d"), expected("h", 80, "h", "/a%20b", Some("c%20d")));
    }

    #[test]
    fn an_unusable_url_is_refused_with_advice_and_without_its_secrets() {
        for (text, advice) in [
            ("", "http://"),
            ("demo", "http://"),
            ("localhost:8080/sse/demo", "begin with http://"),
            ("redis://hunter2", "the scheme is http or https"),
            ("https://hunter2@h/", "password"),
            ("http://edge:hunter2@h/", "password"),
            ("http://hunter2@h/", "password"),
            ("http://", "not a url"),
            ("http://h:hunter2/", "not a url"),
        ] {
            let reason = ServerUrl::parse(text).unwrap_err();
            assert!(reason.contains(advice) && !reason.contains("hunter2"), "{text}: {reason}");
        }
    }

    #[test]
    fn the_detail_of_an_error_is_found_and_harmless() {
        assert_eq!(detail(br#"{"title":"t","detail":"d\u001b[2J"}"#).as_deref(), Some("d\\u{1b}[2J"));
        assert_eq!(detail(br#"{"title":"t"}"#).as_deref(), Some("t"));
        assert_eq!(detail(b"no such thing\nmore").as_deref(), Some("no such thing"));
        for nothing in [&b""[..], b"{}", b"<html>", b"\n"] {
            assert_eq!(detail(nothing), None);
        }
    }
}
