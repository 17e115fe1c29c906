//! Short questions to one server, over connections that are kept.

use anyhow::Context;
use bytes::Bytes;
use http::header::{HOST, HeaderMap, HeaderValue, USER_AGENT as USER_AGENT_FIELD};
use http::{Request, Response, StatusCode, response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use parking_lot::Mutex;

use super::{Server, USER_AGENT, connect};

/// Connections that are kept open while idle.
const IDLE_MAX: usize = 32;

type Sender = SendRequest<Full<Bytes>>;

/// A server and the idle connections to it. Each belongs to the runtime that opened it, and serves all.
pub(crate) struct Pool {
    server: Server,
    idle: Mutex<Vec<Sender>>,
}

impl Pool {
    pub(crate) fn new(server: Server) -> Self {
        Self { server, idle: Mutex::default() }
    }

    /// Asks with these headers, and reads the answer up to a bound. If a kept connection turns out to be closed, a new
    /// one is opened.
    pub(crate) async fn get(&self, headers: HeaderMap, bytes_max: usize) -> anyhow::Result<(response::Parts, Bytes)> {
        loop {
            let kept = self.idle.lock().pop();
            let Some(mut sender) = kept else { break };
            if sender.ready().await.is_err() {
                continue;
            }
            let Ok(answer) = sender.send_request(self.request(headers.clone())?).await else { break };
            return self.finish(sender, answer, bytes_max).await;
        }
        let mut sender = connect(&self.server).await?;
        let answer = sender.send_request(self.request(headers)?).await;
        let answer = answer.with_context(|| format!("{} gave no answer", self.server.url.authority()))?;
        self.finish(sender, answer, bytes_max).await
    }

    async fn finish(
        &self,
        sender: Sender,
        answer: Response<Incoming>,
        bytes_max: usize,
    ) -> anyhow::Result<(response::Parts, Bytes)> {
        let (head, body) = answer.into_parts();
        let body = read(body, bytes_max).await?;
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push(sender);
        }
        Ok((head, body))
    }

    fn request(&self, headers: HeaderMap) -> anyhow::Result<Request<Full<Bytes>>> {
        request(&self.server, headers)
    }
}

/// Asks once, over a connection of its own. A redirect is an answer like any other and is not followed.
pub(crate) async fn fetch(server: &Server, bytes_max: usize) -> anyhow::Result<(StatusCode, Bytes)> {
    let mut sender = connect(server).await?;
    let answer = sender.send_request(request(server, HeaderMap::new())?).await;
    let (head, body) = answer.with_context(|| format!("{} gave no answer", server.url.authority()))?.into_parts();
    Ok((head.status, read(body, bytes_max).await?))
}

fn request(server: &Server, headers: HeaderMap) -> anyhow::Result<Request<Full<Bytes>>> {
    let url = &server.url;
    let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let mut request = Request::get(target).body(Full::default()).context("the URL is no request's target")?;
    *request.headers_mut() = headers;
    request.headers_mut().insert(HOST, HeaderValue::from_str(url.authority()).context("the URL's host")?);
    request.headers_mut().insert(USER_AGENT_FIELD, HeaderValue::from_static(USER_AGENT));
    Ok(request)
}

async fn read(body: Incoming, bytes_max: usize) -> anyhow::Result<Bytes> {
    let whole = Limited::new(body, bytes_max).collect().await;
    Ok(whole.map_err(|error| anyhow::anyhow!("the answer cannot be read: {error}"))?.to_bytes())
}
