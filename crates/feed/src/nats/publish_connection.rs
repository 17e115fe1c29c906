//! The connection that publishes: apart from the subscription, so that neither waits behind the other.
//!
//! [`PublishConnection::maintain`] keeps it and waits on: the connection's end, a publisher that got no answer, and the
//! pause before the next try, which is over when the subscription has found NATS.

use std::sync::Arc;
use std::time::Duration;

use fantail_wire::Publication;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::publish_link::PublishLink;
use super::settings::NatsSettings;
use crate::backoff::Backoff;
use crate::log_gate::LogGate;
use crate::publish::{check_channels, check_size};
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
}

impl PublishConnection {
    pub(super) fn new(settings: NatsSettings) -> Self {
        Self { live: watch::Sender::new(None), found: Notify::new(), settings }
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
        check_size(&publication.event, self.settings.event_bytes_max)?;
        self.live().await?.publish(publication).await
    }

    /// Sends a probe round. One that cannot be sent says nothing about the subscription.
    pub(super) async fn probe(&self, service: &str, nonce: u64) -> Result<(), PublishError> {
        self.live().await?.send_number(service.to_owned(), nonce).await
    }

    async fn live(&self) -> Result<Arc<PublishLink>, PublishError> {
        let mut live = self.live.subscribe();
        let found = timeout(CONNECTION_WAIT, live.wait_for(Option::is_some)).await;
        let live = found.ok().and_then(|live| live.ok()?.clone());
        live.ok_or_else(|| PublishError::Unavailable("not connected to nats".into()))
    }
}
