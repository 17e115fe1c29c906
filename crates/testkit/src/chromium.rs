//! A page in a real headless Chromium, in Firefox or in WebKit, because only a browser knows what its `EventSource` does.
//!
//! Serves the page on a loopback port of its own and waits for its one report, a POST of JSON to `/result`. Waits on
//! the first of: that report, the browser's early end, the deadline.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};

use crate::{
    child::Child,
    error::{Doing, Error, Result},
    firefox, webkit,
};

const REQUEST_BYTES_MAX: usize = 16 << 20;

const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    // A container's /dev/shm is often too small for a renderer.
    "--disable-dev-shm-usage",
    // A proxy from the environment must not come between the page and loopback.
    "--no-proxy-server",
    // The page's console then stands in the error of a failed test.
    "--enable-logging=stderr",
];

/// Runs pages for which the origin does not matter.
#[derive(Debug)]
pub struct Browser;

impl Browser {
    /// Serves `html`, opens it and returns what it posts to `/result`.
    pub async fn run_page(html: &str, deadline: Duration) -> Result<Value> {
        Page::bind().await?.run(html, deadline).await
    }
}

/// A page whose origin is known before it runs, so that CORS can be configured for it.
#[derive(Debug)]
pub struct Page {
    listener: TcpListener,
    addr: SocketAddr,
    arguments: Vec<String>,
    engine: Engine,
}

/// The browser that runs a page.
#[derive(Debug)]
enum Engine {
    Chromium,
    /// It trusts this authority.
    Firefox(PathBuf),
    WebKit,
}

impl Page {
    /// Takes a loopback port to serve the page from.
    pub async fn bind() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.doing("binding a port for the page")?;
        let addr = listener.local_addr().doing("asking for the page's address")?;
        Ok(Self { listener, addr, arguments: Vec::new(), engine: Engine::Chromium })
    }

    /// Adds a command line argument for the browser, for instance `--ignore-certificate-errors`.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Lets Firefox run it, which trusts the authority in a PEM file.
    #[must_use]
    pub fn in_firefox(mut self, authority: PathBuf) -> Self {
        self.engine = Engine::Firefox(authority);
        self
    }

    /// Lets the small browser of WebKitGTK run it, which then trusts every certificate.
    #[must_use]
    pub fn in_webkit(mut self) -> Self {
        self.engine = Engine::WebKit;
        self
    }

    /// The page's origin as it stands in the browser's `Origin` header.
    pub fn origin(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Serves `html`, opens it and returns what it posts to `/result`. The browser is gone afterwards.
    pub async fn run(self, html: &str, deadline: Duration) -> Result<Value> {
        let profile = TempDir::with_prefix("fantail-browser-").doing("making a browser profile")?;
        let url = format!("{}/", self.origin());
        let mut command = match &self.engine {
            Engine::Chromium => self.chromium(profile.path(), &url),
            Engine::Firefox(authority) => firefox::command(profile.path(), &url, authority)?,
            Engine::WebKit => webkit::command(profile.path(), &url),
        };
        // Its files in the common temporary directory are removed with the profile.
        command.env("TMPDIR", profile.path());
        // Declared after the profile and so dropped before it: no browser writes while it is removed.
        let mut browser = Child::spawn("the browser", &mut command)?;
        tokio::select! {
            report = serve(&self.listener, html) => report,
            failure = browser.find_in_output(deadline, "the page's report", |_| None) => failure,
        }
    }
}

impl Page {
    fn chromium(&self, profile: &Path, url: &str) -> Command {
        let mut command = Command::new("chromium");
        command.args(FLAGS).arg(format!("--user-data-dir={}", profile.display())).args(&self.arguments).arg(url);
        command
    }
}

/// Answers the browser until the page has reported. Connections end with the set that holds them.
async fn serve(listener: &TcpListener, html: &str) -> Result<Value> {
    let (reports, mut reported) = mpsc::channel(1);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.doing("accepting from the browser")?;
                connections.spawn(answer(stream, html.to_owned(), reports.clone()));
            }
            Some(report) = reported.recv() => return report,
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One request per connection. After a broken connection the browser asks again.
async fn answer(mut stream: TcpStream, html: String, reports: mpsc::Sender<Result<Value>>) {
    let Some((line, body)) = read_request(&mut stream).await else { return };
    let (status, content) = match line.rsplit_once(' ').map_or("", |(request, _)| request) {
        "GET /" => ("200 OK", html.as_str()),
        "POST /result" => ("204 No Content", ""),
        _ => ("404 Not Found", ""),
    };
    let length = content.len();
    let described = if status.starts_with("204") {
        String::new()
    } else {
        format!("Content-Type: text/html; charset=utf-8\r\nContent-Length: {length}\r\n")
    };
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nCache-Control: no-store\r\n{described}");
    let _ = stream.write_all(format!("{head}\r\n{content}").as_bytes()).await;
    let _ = stream.shutdown().await;
    if status.starts_with("204") {
        let report = serde_json::from_slice(&body).map_err(|error| {
            let text = String::from_utf8_lossy(&body);
            Error::Protocol(format!("the page's report is not JSON ({error}): {text:?}"))
        });
        let _ = reports.send(report).await;
    }
}

/// The request line and the body; none when the browser closed first or sent too much.
async fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    while bytes.len() < REQUEST_BYTES_MAX {
        if let Some(request) = whole_request(&bytes) {
            return Some(request);
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    None
}

fn whole_request(bytes: &[u8]) -> Option<(String, Vec<u8>)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut headers = head.lines().filter_map(|line| line.split_once(':'));
    let length = headers.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0);
    let body = bytes[end + 4..].get(..length)?;
    Some((head.lines().next()?.to_owned(), body.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_whole_only_with_its_whole_body() {
        let bytes = b"POST /result HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}";
        for end in 0..bytes.len() {
            assert_eq!(whole_request(&bytes[..end]), None);
        }
        assert_eq!(whole_request(bytes), Some(("POST /result HTTP/1.1".into(), b"{}".to_vec())));
    }
}
