//! Publishing to a node's internal listener, over one connection for as long as the node keeps it.

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use fantail_wire::{ChannelName, EventType, Publication, PublisherId};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use serde::Serialize;
use serde_json::Value;
use tokio::time::timeout;

use crate::http_client::{self, ANSWER_DEADLINE, Server};
use crate::public::PUBLIC_LISTENER;

/// A receipt has a few dozen bytes.
const RECEIPT_BYTES_MAX: usize = 16 * 1024;

/// Publishes to one node.
pub(super) struct HttpPublisher {
    server: Server,
    /// Sent with each request.
    authorization: Option<HeaderValue>,
    sender: Option<SendRequest<Full<Bytes>>>,
}

/// An event as `POST /publish` takes it.
#[derive(Serialize)]
struct Item<'a> {
    channels: Vec<&'a str>,
    data: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<u32>,
}

impl HttpPublisher {
    /// The connection is made when there is something to publish.
    pub(super) fn new(server: Server, authorization: Option<HeaderValue>) -> Self {
        Self { server, authorization, sender: None }
    }

    /// Publishes an event and returns its receipt.
    pub(super) async fn publish(&mut self, publication: &Publication) -> anyhow::Result<Value> {
        let address = self.server.url.authority().to_owned();
        let exchange = async {
            let response = self.send(self.request(publication)).await?;
            receipt(response).await
        };
        timeout(ANSWER_DEADLINE, exchange).await.with_context(|| {
            format!("{address} did not answer within {ANSWER_DEADLINE:?}; the event may have been published")
        })?
    }

    /// Sends a request once, over a new connection if the last one is known to have ended: a node closes connections
    /// that were idle for long.
    async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Incoming>> {
        let mut kept = self.sender.take();
        if let Some(sender) = &mut kept
            && sender.ready().await.is_err()
        {
            kept = None;
        }
        let mut sender = match kept {
            Some(sender) => sender,
            None => http_client::connect(&self.server).await?,
        };
        let sent = sender.send_request(request).await;
        let address = self.server.url.authority();
        let response = sent.with_context(|| format!("{address} did not answer; the event may have been published"))?;
        self.sender = Some(sender);
        Ok(response)
    }

    fn request(&self, publication: &Publication) -> Request<Full<Bytes>> {
        let event = &publication.event;
        let item = Item {
            channels: publication.channels.iter().map(ChannelName::as_str).collect(),
            data: &event.data,
            event: event.event.as_ref().map(EventType::as_str),
            id: event.id.as_ref().map(PublisherId::as_str),
            retry: event.retry_ms,
        };
        let body = serde_json::to_vec(&item).expect("strings and numbers have a JSON form");
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = Method::POST;
        let target = format!("{}/publish", self.server.url.path().trim_end_matches('/'));
        *request.uri_mut() = target.parse().expect("the path of a URL is a request target");
        let headers = request.headers_mut();
        let host = HeaderValue::from_str(self.server.url.authority()).expect("the host of a URL is a header's value");
        headers.insert(HOST, host);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(http_client::USER_AGENT));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        request
    }
}

/// Anything but 202 with JSON is no receipt: another kind of server may say 200 to everything.
async fn receipt(response: Response<Incoming>) -> anyhow::Result<Value> {
    let status = response.status();
    if status != StatusCode::ACCEPTED {
        let problem = http_client::problem(status, response.into_body()).await;
        match status {
            // A node's public listener names itself in its answer.
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED if !problem.contains(PUBLIC_LISTENER) => {
                bail!("{problem}; is this a node's internal listener?")
            }
            _ => bail!(problem),
        }
    }
    let body = Limited::new(response.into_body(), RECEIPT_BYTES_MAX).collect().await;
    let body = body.map_err(|error| anyhow!("the receipt did not arrive whole: {error}"))?;
    serde_json::from_slice(&body.to_bytes()).context("the answer is no receipt; is this a node's internal listener?")
}
