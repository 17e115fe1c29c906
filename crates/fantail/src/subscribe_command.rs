//! `fantail subscribe`: prints a stream's events, and comes back with its last id whenever the stream ends.
//!
//! Waits on: the connection, the pause before the next one, and the closing of standard output by its reader. Messages
//! other than events go to standard error, so that a pipe gets events alone.

mod event_reader;
mod output;
mod wait;

use std::future::pending;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

use anyhow::{Context, bail};
use bytes::Bytes;
use fantail_wire::RETRY_MS_MAX;
use http::header::{
    ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT,
};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::io::Interest;
use tokio::net::unix::pipe;
use tokio::time::{sleep, timeout};

pub(crate) use self::output::Form;

use self::event_reader::EventReader;
use self::output::{Output, Progress};
use self::wait::Wait;
use crate::bearer::bearer_in;
use crate::http_client::{self, ANSWER_DEADLINE, Refused, Server, printable};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The settings of one run.
#[derive(Debug)]
pub(crate) struct Subscribe {
    pub(crate) server: Server,
    /// More headers; they win over our own.
    pub(crate) headers: HeaderMap,
    /// The token is read for each connection, since it may end before the command does.
    pub(crate) token_file: Option<PathBuf>,
    /// The id to go on after; none for live.
    pub(crate) last_event_id: Option<String>,
    /// End after so many events.
    pub(crate) limit: Option<u64>,
    /// Whether to come back when the stream ends.
    pub(crate) reconnect: bool,
    pub(crate) form: Form,
}

/// Prints events until there is nothing more to print. An error says why that is too early.
pub(crate) fn run(subscribe: Subscribe) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let result = runtime.block_on(async {
        tokio::select! {
            result = Follower::new(subscribe).follow() => result,
            () = reader_gone() => Ok(()),
        }
    });
    // A name lookup may still be under way, and nobody needs its answer.
    runtime.shutdown_background();
    result
}

/// How one connection ended, if the next one may do better.
enum Ended {
    /// Everything asked for is printed, or nobody reads it.
    Done,
    /// The server ended the stream as HTTP says.
    Cleanly,
    /// The stream broke off.
    Cut(String),
    /// There was no stream: the server could not be reached, or had a fault of its own.
    Away(String),
}

/// The state that outlives a connection.
struct Follower {
    server: Server,
    headers: HeaderMap,
    token_file: Option<PathBuf>,
    reconnect: bool,
    /// Empty for none.
    last_event_id: String,
    wait: Wait,
    output: Output,
}

impl Follower {
    fn new(subscribe: Subscribe) -> Self {
        let Subscribe { server, headers, token_file, last_event_id, limit, reconnect, form } = subscribe;
        let last_event_id = last_event_id.unwrap_or_default();
        let (wait, output) = (Wait::default(), Output::new(form, limit));
        Self { server, headers, token_file, reconnect, last_event_id, wait, output }
    }

    async fn follow(mut self) -> anyhow::Result<()> {
        loop {
            let reason = match self.stream_once().await? {
                Ended::Done => return Ok(()),
                Ended::Cleanly if !self.reconnect => return Ok(()),
                Ended::Cut(reason) | Ended::Away(reason) if !self.reconnect => bail!(reason),
                Ended::Cleanly => "the stream ended".to_owned(),
                Ended::Cut(reason) | Ended::Away(reason) => reason,
            };
            let pause = self.wait.next();
            note(&format!("{reason}; connecting again in {:.1} s", pause.as_secs_f64()));
            sleep(pause).await;
        }
    }

    /// One connection. An error is final: the next connection would get the same answer.
    async fn stream_once(&mut self) -> anyhow::Result<Ended> {
        let request = match self.head() {
            Ok(request) => request,
            // It was there at the start. Whatever renews it may be writing it now.
            Err(reason) => return Ok(Ended::Away(format!("there is no token: {reason}"))),
        };
        let response = match self.send(request).await {
            Ok(response) => response,
            Err(error) if error.is::<Refused>() => return Err(error),
            Err(error) => return Ok(Ended::Away(format!("{error:#}"))),
        };
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NO_CONTENT => {
                note("the server says that there is nothing more to come (204)");
                return Ok(Ended::Done);
            }
            status if status.is_redirection() => bail!(redirection(status, response.headers())),
            status => {
                let problem = http_client::problem(status, response.into_body()).await;
                return if status.is_server_error() { Ok(Ended::Away(problem)) } else { bail!(problem) };
            }
        }
        check_content_type(response.headers())?;
        note(&format!("connected to {}", self.server.url.authority()));
        self.wait.connected();
        self.read(response.into_body()).await
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Incoming>> {
        let mut sender = http_client::connect(&self.server).await?;
        let address = self.server.url.authority();
        timeout(ANSWER_DEADLINE, sender.send_request(request))
            .await
            .with_context(|| format!("{address} did not answer within {ANSWER_DEADLINE:?}"))?
            .with_context(|| format!("{address} did not answer"))
    }

    /// The request. An error says why the token cannot be read.
    fn head(&self) -> Result<Request<Full<Bytes>>, String> {
        let mut request = Request::new(Full::default());
        let url = &self.server.url;
        let query = url.query().map_or_else(String::new, |query| format!("?{query}"));
        let target = format!("{}{query}", url.path());
        *request.uri_mut() = target.parse().expect("the path and query of a URL are a request target");
        let headers = request.headers_mut();
        let host = HeaderValue::from_str(url.authority()).expect("the host of a URL is a header's value");
        headers.insert(HOST, host);
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(USER_AGENT, HeaderValue::from_static(http_client::USER_AGENT));
        headers.extend(self.headers.clone());
        if let Some(file) = &self.token_file {
            headers.insert(AUTHORIZATION, bearer_in(file)?);
        }
        match HeaderValue::from_bytes(self.last_event_id.as_bytes()) {
            Ok(id) if !id.is_empty() => drop(headers.insert(LAST_EVENT_ID, id)),
            Ok(_) => {}
            // A Fantail gives no such id. Silence here would hide a gap.
            Err(_) => note("the last id cannot stand in a header, so events may be missing from here on"),
        }
        Ok(request)
    }

    /// Prints the events. The id is kept as of the last blank line, so an event that was cut off comes anew.
    async fn read(&mut self, mut body: Incoming) -> anyhow::Result<Ended> {
        let mut reader = EventReader::resuming(std::mem::take(&mut self.last_event_id));
        let ended = loop {
            let bytes = match body.frame().await {
                None if reader.in_mid_event() => {
                    break Ended::Cut("the stream ended in the middle of an event".to_owned());
                }
                None => break Ended::Cleanly,
                Some(Err(error)) => break Ended::Cut(cut(&error)),
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            };
            let events = reader.read(&bytes).context("cannot read the stream")?;
            if self.output.print(&events).context("cannot write to standard output")? == Progress::Done {
                return Ok(Ended::Done);
            }
            if let Some(ms) = reader.retry_ms() {
                self.wait.told(ms.min(RETRY_MS_MAX));
            }
        };
        self.last_event_id = reader.into_last_event_id();
        Ok(ended)
    }
}

/// hyper's message, and that of its cause, which tells more.
fn cut(error: &hyper::Error) -> String {
    let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    format!("the stream was cut ({cause})")
}

/// Refuses a page of a proxy or of an application: read as a stream, it would print nothing for ever.
fn check_content_type(headers: &HeaderMap) -> anyhow::Result<()> {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("text/event-stream") {
        return Ok(());
    }
    bail!("the answer is no event stream: its content-type is {:?}", printable(text))
}

fn redirection(status: StatusCode, headers: &HeaderMap) -> String {
    let location = headers.get(LOCATION).map(|value| printable(&String::from_utf8_lossy(value.as_bytes())));
    let place = location.map_or_else(String::new, |place| format!(": subscribe to {place}"));
    format!("the server answered {status}, which is not followed{place}")
}

/// A message for the person at the terminal. The command goes on if nobody is there.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "fantail: {text}");
}

/// Waits until nobody can read standard output any more. Without this, an idle stream would outlive its reader until
/// the next event. A file cannot be waited for, and has no reader that could close it.
async fn reader_gone() {
    // The copy is only watched and never written to, so that standard output need not become non-blocking.
    let copy = io::stdout().as_fd().try_clone_to_owned();
    match copy.and_then(pipe::Sender::from_owned_fd_unchecked) {
        Ok(stdout) => drop(stdout.ready(Interest::ERROR).await),
        Err(_) => pending().await,
    }
}
