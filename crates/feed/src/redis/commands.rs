//! The connection that publishes: apart from the subscription, so that neither waits behind the other.
//!
//! [`Commands::maintain`] keeps it and waits on: the connection's end, a publisher that got no answer, and the pause
//! before the next try.

use std::sync::Arc;
use std::time::Duration;

use fantail_wire::{EventId, Publication, Term, encode};
use redis::aio::MultiplexedConnection;
use redis::{RedisError, RedisResult, cmd, pipe};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::backoff::Backoff;
use super::envelope;
use super::link::Link;
use super::names;
use super::settings::RedisSettings;
use crate::log_gate::LogGate;
use crate::publish::check_channels;
use crate::{PublishError, Receipt};

/// How long a publisher waits for a connection: enough for the first retry, and it does better to hear no soon.
const CONNECTION_WAIT: Duration = Duration::from_secs(1);
const LOG_LINES_PER_MINUTE: u32 = 2;

/// Publishes over one connection, whoever asks.
#[derive(Debug)]
pub(super) struct Commands {
    live: watch::Sender<Option<Live>>,
    event_bytes_max: usize,
    longest_id: String,
}

#[derive(Debug, Clone)]
struct Live {
    connection: MultiplexedConnection,
    /// Somebody got no answer: the connection may be dead without having ended.
    doubted: Arc<Notify>,
}

impl Commands {
    pub(super) fn new(settings: &RedisSettings) -> Self {
        let live = watch::Sender::new(None);
        Self { live, event_bytes_max: settings.event_bytes_max, longest_id: longest_id() }
    }

    /// Connects and connects again, for ever.
    pub(super) async fn maintain(&self, settings: RedisSettings) {
        let mut backoff = Backoff::default();
        let log = LogGate::new(LOG_LINES_PER_MINUTE);
        loop {
            match Link::open(&settings, |_| true).await {
                Ok(link) => {
                    backoff.connected();
                    self.hold(&link).await;
                }
                Err(error) => {
                    if let Some(suppressed) = log.pass() {
                        let address = settings.address();
                        tracing::error!(address, %error, suppressed, "cannot connect to redis for publishing; trying again");
                    }
                }
            }
            sleep(backoff.next_wait()).await;
        }
    }

    /// Sends an event to every node that follows one of its channels.
    pub(super) async fn publish(&self, publication: &Publication) -> Result<Receipt, PublishError> {
        check_channels(publication)?;
        // Every node encodes the event again, with an id of its own if it has none: what is accepted here fits there.
        encode(&publication.event, Some(&self.longest_id), self.event_bytes_max)?;
        let live = self.live().await?;
        let sent = send(live.connection.clone(), publication).await;
        let subscribers = sent.map_err(|error| live.unavailable(&error))?;
        Ok(Receipt { id: None, subscribers: Some(subscribers) })
    }

    /// Sends a probe round.
    pub(super) async fn probe(&self, service_channel: &str, nonce: u64) -> Result<(), PublishError> {
        let live = self.live().await?;
        let mut connection = live.connection.clone();
        let sent: RedisResult<u64> = cmd("PUBLISH").arg(service_channel).arg(nonce).query_async(&mut connection).await;
        sent.map(drop).map_err(|error| live.unavailable(&error))
    }

    /// Lends the connection out until it ends or is doubted.
    async fn hold(&self, link: &Link) {
        let doubted = Arc::new(Notify::new());
        self.live.send_replace(Some(Live { connection: link.connection.clone(), doubted: Arc::clone(&doubted) }));
        tokio::select! {
            () = link.ended() => {}
            () = doubted.notified() => {}
        }
        self.live.send_replace(None);
    }

    async fn live(&self) -> Result<Live, PublishError> {
        let mut live = self.live.subscribe();
        match timeout(CONNECTION_WAIT, live.wait_for(Option::is_some)).await {
            Ok(Ok(live)) => live.clone(),
            Ok(Err(_)) | Err(_) => None,
        }
        .ok_or_else(|| PublishError::Unavailable("not connected to redis".into()))
    }
}

impl Live {
    fn unavailable(&self, error: &RedisError) -> PublishError {
        if error.is_timeout() {
            self.doubted.notify_one();
            return PublishError::Unavailable("redis did not answer in time and may have taken the event".into());
        }
        PublishError::Unavailable(error.to_string())
    }
}

/// As long as an id can be: it is part of the frame that other nodes will encode.
pub(super) fn longest_id() -> String {
    EventId { term: Term::from_random(u64::MAX), ms: u64::MAX, number: u64::MAX, beside: u32::MAX }.to_string()
}

/// Publishes to each channel of the event; all or none, side by side. Returns the most nodes that one of them reached.
pub(super) async fn send(mut connection: MultiplexedConnection, publication: &Publication) -> RedisResult<u64> {
    let payload = envelope::write(publication);
    if let [channel] = publication.channels.as_slice() {
        return cmd("PUBLISH").arg(names::event(channel)).arg(payload).query_async(&mut connection).await;
    }
    let mut transaction = pipe();
    transaction.atomic();
    for channel in &publication.channels {
        transaction.cmd("PUBLISH").arg(names::event(channel)).arg(&payload);
    }
    let reached: Vec<u64> = transaction.query_async(&mut connection).await?;
    Ok(reached.into_iter().max().unwrap_or(0))
}
