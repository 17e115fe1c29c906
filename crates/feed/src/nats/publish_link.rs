//! One connection that publishes, up to its end.
//!
//! NATS confirms no message by itself. It carries out what comes over one connection in its order though, so a message
//! to this connection's own subject that has come back shows that everything before it was taken. A stream answers each message.

use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::client::{PublishErrorKind, RequestErrorKind};
use async_nats::{HeaderMap, Request, Subscriber};
use bytes::Bytes;
use fantail_wire::{EncodeError, Publication};
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::sync::{Notify, watch};

use super::fantail_form::Outgoing;
use super::link::{Link, LinkError};
use super::settings::NatsSettings;
use super::subjects;
use crate::random::random_u64;
use crate::{PublishError, Receipt};

/// A connection that publishes.
#[derive(Debug)]
pub(super) struct PublishLink {
    link: Link,
    settings: NatsSettings,
    service: String,
    asked: AtomicU64,
    /// The newest message to its own subject that came back.
    heard: watch::Sender<u64>,
    /// A publisher got no answer: the connection may be dead without having ended.
    doubted: Notify,
}

/// The answer of a stream to a message.
#[derive(Deserialize)]
struct Ack {
    #[serde(default)]
    error: Option<AckError>,
}

#[derive(Deserialize)]
struct AckError {
    #[serde(default)]
    description: String,
}

impl PublishLink {
    /// Connects, and returns the subscription to its own subject.
    pub(super) async fn open(settings: &NatsSettings) -> Result<(Self, Subscriber), LinkError> {
        let link = Link::open(settings).await?;
        let service = subjects::service(random_u64());
        let own = link.client.subscribe(service.clone()).await;
        let own = own.map_err(|error| LinkError::Connect(error.to_string()))?;
        let (heard, _) = watch::channel(0);
        let settings = settings.clone();
        Ok((Self { link, settings, service, asked: AtomicU64::new(0), heard, doubted: Notify::new() }, own))
    }

    /// Listens to its own subject until the connection ends or is doubted.
    pub(super) async fn hold(&self, mut own: Subscriber) {
        let listen = async {
            while let Some(message) = own.next().await {
                if let Some(number) = std::str::from_utf8(&message.payload).ok().and_then(|text| text.parse().ok()) {
                    self.heard.send_replace(number);
                }
            }
        };
        tokio::select! {
            _ = self.link.ended() => {}
            () = self.doubted.notified() => {}
            () = listen => {}
        }
    }

    /// Publishes, and waits until NATS has taken the event.
    pub(super) async fn publish(&self, publication: &Publication) -> Result<Receipt, PublishError> {
        let stream = self.settings.stream.as_deref();
        let Outgoing { subject, headers, payload } = self.settings.form.write(publication, stream)?;
        if let Some(stream) = stream {
            return self.publish_to_stream(stream, subject, headers, payload).await;
        }
        let (client, found) = (&self.link.client, payload.len());
        let sent = match headers {
            Some(headers) => client.publish_with_headers(subject.clone(), headers, payload).await,
            None => client.publish(subject.clone(), payload).await,
        };
        sent.map_err(|error| match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => EncodeError::TooLarge { max: client.max_payload(), found }.into(),
            _ => PublishError::Unavailable(error.to_string()),
        })?;
        self.confirm(&subject).await?;
        Ok(Receipt::default())
    }

    /// Publishes, and waits until the stream has the event. Its id is known only where it is read.
    async fn publish_to_stream(
        &self,
        stream: &str,
        subject: String,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<Receipt, PublishError> {
        let found = payload.len();
        let mut headers = headers.unwrap_or_default();
        // Another stream that keeps the subject must not take the event for this one.
        headers.insert("Nats-Expected-Stream", stream);
        let request = Request::new().payload(payload).headers(headers);
        let max = self.link.client.max_payload();
        let asked =
            self.link.within(self.settings.response_deadline, self.link.client.send_request(subject.clone(), request));
        let unavailable = |told: String| Err(PublishError::Unavailable(told));
        match asked.await {
            Some(Ok(answer)) => match serde_json::from_slice(&answer.payload) {
                Ok(Ack { error: None, .. }) => Ok(Receipt::default()),
                Ok(Ack { error: Some(error) }) => {
                    unavailable(format!("the stream {stream} refused the event: {}", error.description))
                }
                Err(error) => unavailable(format!("the answer of the stream {stream} cannot be read: {error}")),
            },
            Some(Err(error)) => match error.kind() {
                RequestErrorKind::MaxPayloadExceeded => Err(EncodeError::TooLarge { max, found }.into()),
                RequestErrorKind::NoResponders => {
                    let kept = self.settings.form.kept();
                    unavailable(format!("no stream keeps {subject}; {stream} should keep {kept}"))
                }
                _ => {
                    self.doubted.notify_one();
                    unavailable(format!("nats did not confirm the event and may have taken it: {error}"))
                }
            },
            None => Err(self.unanswered()),
        }
    }

    async fn confirm(&self, subject: &str) -> Result<(), PublishError> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let mut heard = self.heard.subscribe();
        self.send_number(self.service.clone(), number).await?;
        let came_back = heard.wait_for(|heard| *heard >= number);
        if self.link.within(self.settings.response_deadline, came_back).await.is_none() {
            return Err(self.unanswered());
        }
        match self.link.take_refusal(subject).await {
            Some(refusal) => Err(PublishError::Unavailable(format!("nats refused the event: {refusal}"))),
            None => Ok(()),
        }
    }

    /// Sends a number to a subject of the nodes' own, and waits for no answer.
    pub(super) async fn send_number(&self, subject: String, number: u64) -> Result<(), PublishError> {
        let sent = self.link.client.publish(subject, number.to_string().into()).await;
        sent.map_err(|error| PublishError::Unavailable(error.to_string()))
    }

    /// No answer came in time: the connection is doubted, and the publisher is told what the server has said, if it has.
    fn unanswered(&self) -> PublishError {
        self.doubted.notify_one();
        let refused = self.link.refused().map_or_else(String::new, |refused| format!(": {refused}"));
        PublishError::Unavailable(format!("nats did not answer in time and may have taken the event{refused}"))
    }
}
