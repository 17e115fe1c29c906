//! The connection that publishes: apart from the subscription, so that neither waits behind the other.
//!
//! NATS confirms no message by itself. It carries out what comes over one connection in its order though, so a message
//! to this connection's own subject that has come back shows that everything before it was taken.
//!
//! [`PublishConnection::maintain`] keeps it and waits on: the connection's end, a publisher that got no answer, and the
//! pause before the next try, which is over when the subscription has found NATS.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::client::{PublishErrorKind, RequestErrorKind};
use async_nats::{HeaderMap, Request, Subscriber};
use bytes::Bytes;
use fantail_wire::{EncodeError, EventId, Publication, Term, encode};
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::event_form::Outgoing;
use super::link::{Link, LinkError};
use super::settings::NatsSettings;
use super::subjects;
use crate::backoff::Backoff;
use crate::log_gate::LogGate;
use crate::publish::check_channels;
use crate::random::random_u64;
use crate::{PublishError, Receipt};

/// How long a publisher waits for a connection: enough for the first retry. After that an early refusal serves it
/// better.
const CONNECTION_WAIT: Duration = Duration::from_secs(1);
const LOG_LINES_PER_MINUTE: u32 = 2;

/// Publishes over one connection for all callers.
#[derive(Debug)]
pub(super) struct PublishConnection {
    live: watch::Sender<Option<Arc<PublishLink>>>,
    /// The subscription has found NATS: it is worth trying before the pause is over.
    found: Notify,
    settings: NatsSettings,
    longest_id: String,
}

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

impl PublishConnection {
    pub(super) fn new(settings: NatsSettings) -> Self {
        Self { live: watch::Sender::new(None), found: Notify::new(), settings, longest_id: longest_id() }
    }

    /// Connects and connects again, for ever.
    pub(super) async fn maintain(&self) {
        let mut backoff = Backoff::default();
        let failures = LogGate::new(LOG_LINES_PER_MINUTE);
        loop {
            match PublishLink::open(&self.settings).await {
                Ok((link, own)) => {
                    backoff.connected();
                    let link = Arc::new(link);
                    self.live.send_replace(Some(Arc::clone(&link)));
                    link.hold(own).await;
                    self.live.send_replace(None);
                }
                Err(error) => {
                    if let Some(suppressed) = failures.pass() {
                        let address = self.settings.address();
                        tracing::error!(address, %error, suppressed, "cannot connect to nats for publishing; trying again");
                    }
                }
            }
            let _ = timeout(backoff.next_wait(), self.found.notified()).await;
        }
    }

    /// NATS is there. A caller that sees the node ready may publish: this connection should not be much later.
    pub(super) fn hurry(&self) {
        if self.live.borrow().is_none() {
            self.found.notify_one();
        }
    }

    /// Sends an event to every node that follows one of its channels.
    pub(super) async fn publish(&self, publication: &Publication) -> Result<Receipt, PublishError> {
        check_channels(publication)?;
        // Every node encodes the event again, with an id of its own if it has none: an event that is accepted here fits
        // there.
        encode(&publication.event, Some(&self.longest_id), self.settings.event_bytes_max)?;
        self.live().await?.publish(publication).await
    }

    /// Sends a probe round. One that cannot be sent says nothing about the subscription.
    pub(super) async fn probe(&self, service: &str, nonce: u64) -> Result<(), PublishError> {
        let live = self.live().await?;
        let sent = live.link.client.publish(service.to_owned(), nonce.to_string().into()).await;
        sent.map_err(|error| PublishError::Unavailable(error.to_string()))
    }

    async fn live(&self) -> Result<Arc<PublishLink>, PublishError> {
        let mut live = self.live.subscribe();
        let found = timeout(CONNECTION_WAIT, live.wait_for(Option::is_some)).await;
        let live = found.ok().and_then(|live| live.ok()?.clone());
        live.ok_or_else(|| PublishError::Unavailable("not connected to nats".into()))
    }
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
            None => {
                self.doubted.notify_one();
                let refused = self.link.refused().map_or_else(String::new, |refused| format!(": {refused}"));
                unavailable(format!("nats did not answer in time and may have taken the event{refused}"))
            }
        }
    }

    async fn confirm(&self, subject: &str) -> Result<(), PublishError> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let mut heard = self.heard.subscribe();
        let asked = self.link.client.publish(self.service.clone(), Bytes::from(number.to_string())).await;
        asked.map_err(|error| PublishError::Unavailable(error.to_string()))?;
        let came_back = heard.wait_for(|heard| *heard >= number);
        if self.link.within(self.settings.response_deadline, came_back).await.is_none() {
            self.doubted.notify_one();
            let refused = self.link.refused().map_or_else(String::new, |refused| format!(": {refused}"));
            let told = format!("nats did not answer in time and may have taken the event{refused}");
            return Err(PublishError::Unavailable(told));
        }
        match self.link.take_refusal(subject).await {
            Some(refusal) => Err(PublishError::Unavailable(format!("nats refused the event: {refusal}"))),
            None => Ok(()),
        }
    }
}

/// The longest id: an id is part of the frame that other nodes will encode.
pub(super) fn longest_id() -> String {
    EventId { term: Term::from_random(u64::MAX), ms: u64::MAX, number: u64::MAX, unnumbered: u32::MAX }.to_string()
}
