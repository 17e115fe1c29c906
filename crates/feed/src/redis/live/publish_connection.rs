//! The connection that publishes: apart from the subscription, so that neither waits behind the other.
//!
//! [`PublishConnection::maintain`] keeps it and waits on: the connection's end, a publisher that got no answer, and the
//! pause before the next try, which is over when the subscription has found Redis.

use std::sync::Arc;
use std::time::Duration;

use fantail_wire::Publication;
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind, cmd, pipe};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::log_store::LogStore;
use crate::backoff::Backoff;
use crate::log_gate::LogGate;
use crate::publish::{check_channels, check_size};
use crate::redis::envelope;
use crate::redis::names;
use crate::redis::reach::RedisSettings;
use crate::redis::reach::{Advised, LinkError, is_elsewhere};
use crate::redis::reach::{Link, Purpose};
use crate::{PublishError, Receipt};

/// How long a publisher waits for a connection: enough for the first retry. After that an early refusal serves it
/// better.
const CONNECTION_WAIT: Duration = Duration::from_secs(1);
const LOG_LINES_PER_MINUTE: u32 = 2;

/// Publishes over one connection for all callers.
#[derive(Debug)]
pub(crate) struct PublishConnection {
    live: watch::Sender<Option<Live>>,
    /// The subscription has found Redis: it is worth trying before the pause is over.
    found: Notify,
    event_bytes_max: usize,
}

#[derive(Debug, Clone)]
struct Live {
    connection: MultiplexedConnection,
    log: Option<LogStore>,
    /// The server, if it is one that was named.
    named: Option<String>,
    /// A publisher got no answer: the connection may be dead without having ended.
    doubted: Arc<Notify>,
}

impl PublishConnection {
    pub(crate) fn new(settings: &RedisSettings) -> Self {
        let live = watch::Sender::new(None);
        Self { live, found: Notify::new(), event_bytes_max: settings.event_bytes_max }
    }

    /// Connects and connects again, for ever.
    pub(crate) async fn maintain(&self, settings: RedisSettings) {
        let mut backoff = Backoff::default();
        let failures = LogGate::new(LOG_LINES_PER_MINUTE);
        loop {
            match open(&settings).await {
                Ok((link, log)) => {
                    backoff.connected();
                    self.hold(&link, log).await;
                }
                Err(error) => {
                    if let Some(suppressed) = failures.pass() {
                        let address = settings.address();
                        tracing::error!(
                            address, lane = %settings.lane, %error, suppressed,
                            "cannot connect to redis for publishing; trying again"
                        );
                    }
                }
            }
            let _ = timeout(backoff.next_wait(), self.found.notified()).await;
        }
    }

    /// Redis is there, at the other end of `subscription`. A caller that sees the node ready may publish: this
    /// connection should not be much later. A connection to another server than that is not used any more: the server
    /// may have been replaced.
    pub(crate) fn hurry(&self, subscription: &Link) {
        self.live.send_if_modified(|live| {
            let outdated = live.take_if(|live| live.is_elsewhere_than(subscription));
            outdated.inspect(|live| live.doubted.notify_one()).is_some()
        });
        if self.live.borrow().is_none() {
            self.found.notify_one();
        }
    }

    /// Sends an event to every node that follows one of its channels.
    pub(crate) async fn publish(&self, publication: &Publication) -> Result<Receipt, PublishError> {
        check_channels(publication)?;
        check_size(&publication.event, self.event_bytes_max)?;
        let live = self.live().await?;
        match live.send(publication).await {
            // This server has not taken the event, and is not the right one any more.
            Err(error) if leads_elsewhere(&error) => {
                let refused = live.unavailable(&error);
                let live = self.live_after(Some(&live)).await.ok_or(refused)?;
                live.send(publication).await.map_err(|error| live.unavailable(&error))
            }
            sent => sent.map_err(|error| live.unavailable(&error)),
        }
    }

    /// Sends a probe round.
    pub(crate) async fn probe(
        &self,
        command: &'static str,
        service_channel: &str,
        nonce: u64,
    ) -> Result<(), PublishError> {
        let live = self.live().await?;
        let mut connection = live.connection.clone();
        let sent: RedisResult<u64> = cmd(command).arg(service_channel).arg(nonce).query_async(&mut connection).await;
        sent.map(drop).map_err(|error| live.unavailable(&error))
    }

    /// Lends the connection out until it ends or is doubted.
    async fn hold(&self, link: &Link, log: Option<LogStore>) {
        let doubted = Arc::new(Notify::new());
        let named = link.named().map(str::to_owned);
        let live = Live { connection: link.connection.clone(), log, named, doubted: Arc::clone(&doubted) };
        self.live.send_replace(Some(live));
        tokio::select! {
            () = link.ended() => {}
            () = doubted.notified() => {}
        }
        self.live.send_replace(None);
    }

    async fn live(&self) -> Result<Live, PublishError> {
        let live = self.live_after(None).await;
        live.ok_or_else(|| PublishError::Unavailable("not connected to redis".into()))
    }

    /// Waits for a connection, for another one than that of `before`.
    async fn live_after(&self, before: Option<&Live>) -> Option<Live> {
        let is_other = |live: &Live| before.is_none_or(|before| !Arc::ptr_eq(&before.doubted, &live.doubted));
        let mut live = self.live.subscribe();
        let found = timeout(CONNECTION_WAIT, live.wait_for(|live| live.as_ref().is_some_and(is_other))).await;
        found.ok()?.ok()?.clone()
    }
}

impl Live {
    fn is_elsewhere_than(&self, link: &Link) -> bool {
        self.named.as_deref().is_some_and(|name| link.named().is_some_and(|other| other != name))
    }

    async fn send(&self, publication: &Publication) -> RedisResult<Receipt> {
        send(self.connection.clone(), self.log.as_ref(), publication).await
    }

    fn unavailable(&self, error: &RedisError) -> PublishError {
        if error.is_timeout() {
            self.doubted.notify_one();
            return PublishError::Unavailable("redis did not answer in time and may have taken the event".into());
        }
        if leads_elsewhere(error) {
            self.doubted.notify_one();
        }
        PublishError::Unavailable(Advised(error).to_string())
    }
}

/// Whether another server may be the right one by now: the master became a replica, or the slot has moved. A server
/// whose slot is still on its way is the right one.
fn leads_elsewhere(error: &RedisError) -> bool {
    let is_on_its_way = error.kind() == ErrorKind::Server(ServerErrorKind::TryAgain);
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly) || (is_elsewhere(error) && !is_on_its_way)
}

/// Connects, and brings the log's functions along if there is a log.
async fn open(settings: &RedisSettings) -> Result<(Link, Option<LogStore>), LinkError> {
    let link = Link::open(settings, Purpose::Publish, |_| true).await?;
    let log = match settings.log {
        Some(_) => Some(LogStore::attach(&link, &settings.lane).await?),
        None => None,
    };
    Ok((link, log))
}

/// Publishes to all channels of the event or to none, through the log if there is one. The receipt tells the
/// largest number of nodes that one of the channels reached.
pub(crate) async fn send(
    mut connection: MultiplexedConnection,
    log: Option<&LogStore>,
    publication: &Publication,
) -> RedisResult<Receipt> {
    let (id, receivers) = match log {
        Some(log) => log.publish(&mut connection, publication).await.map(|(id, receivers)| (Some(id), receivers)),
        None => send_envelope(connection, publication).await.map(|receivers| (None, receivers)),
    }?;
    Ok(Receipt { id, subscribers: Some(receivers) })
}

/// Publishes to each channel of the event; all or none, side by side.
async fn send_envelope(mut connection: MultiplexedConnection, publication: &Publication) -> RedisResult<u64> {
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
