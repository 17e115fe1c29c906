//! The life of the subscription: connect, subscribe, stay until the connection is lost, and again.
//!
//! A session waits on: the connection's end, messages, and the probe that must come back.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, SubscribeError, Subscriber as Subscription};
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::task::unconstrained;
use tokio::time::{sleep, timeout};

use super::arrivals::Arrivals;
use super::incoming::Incoming;
use super::link::{Link, LinkEnd};
use super::publish_connection::PublishConnection;
use super::settings::NatsSettings;
use super::stream::{StreamEnd, StreamSession};
use super::subjects;
use crate::Intake;
use crate::backoff::Backoff;
use crate::counters::{FeedCounters, add_one};
use crate::log_gate::LogGate;
use crate::random::random_u64;
use crate::trouble::Trouble;
use crate::turn::fed_in_turns;

/// Extra time for a late probe: after this process itself stood still its timers are due before its sockets are
/// read.
const PROBE_GRACE: Duration = Duration::from_millis(500);
const LOG_LINES_PER_MINUTE: u32 = 2;

/// The subscription of one feed.
pub(super) struct Subscriber<I> {
    pub(super) settings: NatsSettings,
    pub(super) arrivals: Arc<Arrivals<I>>,
    pub(super) publish_connection: Arc<PublishConnection>,
    pub(super) counters: Arc<FeedCounters>,
    pub(super) trouble: Arc<Trouble>,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionEnd {
    #[error("{0}")]
    Link(#[from] LinkEnd),
    #[error("{0}")]
    Stream(#[from] StreamEnd),
    #[error("cannot subscribe: {0}")]
    Subscribe(#[from] SubscribeError),
    #[error("cannot publish: {0}")]
    Publish(#[from] async_nats::PublishError),
    #[error("a probe did not come back: nats answers, but its messages do not reach this node")]
    Deaf,
    #[error("{0}; nats must let this node subscribe to fantail.> and both publish and subscribe to fantail-service.>")]
    Refused(String),
}

impl SessionEnd {
    /// Whether the connection ended by itself, and was not given up.
    fn is_cut(&self) -> bool {
        match self {
            Self::Link(_) | Self::Stream(StreamEnd::Link(_)) => true,
            Self::Stream(StreamEnd::Api { error, .. }) => error.tells_of_a_lost_connection(),
            _ => false,
        }
    }
}

impl<I: Intake> Subscriber<I> {
    /// Runs until it is dropped.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::default();
        let connect_log = LogGate::new(LOG_LINES_PER_MINUTE);
        let lost_log = LogGate::new(LOG_LINES_PER_MINUTE);
        let address = self.settings.address();
        loop {
            match Link::open(&self.settings).await {
                Ok(link) => {
                    backoff.connected();
                    self.publish_connection.hurry();
                    let lost = self.session(&link).await;
                    drop(link);
                    self.arrivals.lost(lost.is_cut());
                    self.trouble.is("nats is lost", &address, &lost);
                    if let Some(suppressed) = lost_log.pass() {
                        tracing::warn!(address, %lost, suppressed, "nats is lost; events may be missed until it is back");
                    }
                }
                Err(error) => {
                    add_one(&self.counters.connect_failures);
                    self.trouble.is("cannot connect to nats", &address, &error);
                    if let Some(suppressed) = connect_log.pass() {
                        tracing::error!(address, %error, suppressed, "cannot connect to nats; trying again");
                    }
                }
            }
            sleep(backoff.next_wait()).await;
        }
    }

    async fn session(&self, link: &Link) -> SessionEnd {
        let session = async {
            match &self.settings.stream {
                Some(stream) => self.read_stream(link, stream).await,
                None => self.subscribe(link).await,
            }
        };
        tokio::select! {
            biased;
            end = link.ended() => end.into(),
            Err(end) = session => end,
        }
    }

    async fn read_stream(&self, link: &Link, stream: &str) -> Result<std::convert::Infallible, SessionEnd> {
        let session = StreamSession::new(&self.settings, &self.arrivals, &self.counters, link, stream);
        Ok(session.run().await?)
    }

    /// Subscribes to all channels at once. One subscription for each would have a queue of its own at this node, so that
    /// nothing would tell the order of two channels, and would cost 6 KiB of memory. The messages of channels that nobody
    /// here follows cost a look at their subject.
    async fn subscribe(&self, link: &Link) -> Result<std::convert::Infallible, SessionEnd> {
        let events = link.client.subscribe(subjects::ALL).await?;
        let service = subjects::service(random_u64());
        let probes = link.client.subscribe(service.clone()).await?;
        let heard = watch::Sender::new(0);
        let work = async {
            self.confirm(link, &service, &heard).await?;
            self.arrivals.subscribed();
            self.probe(link, &service, &heard).await
        };
        tokio::select! {
            end = work => end,
            end = unconstrained(fed_in_turns(self.take(link, events))) => Err(end.into()),
            end = listen(probes, &heard) => Err(end.into()),
        }
    }

    /// Hands the messages down. Unconstrained: whatever one read of the socket brought is taken before the next.
    async fn take(&self, link: &Link, mut events: Subscription) -> LinkEnd {
        while let Some(message) = events.next().await {
            // A message of the library's next connection comes behind a hole.
            if let Some(end) = link.end() {
                return end;
            }
            self.arrivals.message(&Incoming::from(&message));
        }
        LinkEnd::Disconnected
    }

    /// NATS carries out what comes over one connection in its order: when a message that was sent behind the
    /// subscriptions is back, they stand.
    async fn confirm(&self, link: &Link, service: &str, heard: &watch::Sender<u64>) -> Result<(), SessionEnd> {
        let nonce = random_u64();
        let mut heard = heard.subscribe();
        link.client.publish(service.to_owned(), nonce.to_string().into()).await?;
        let came_back = heard.wait_for(|heard| *heard == nonce);
        let is_confirmed = link.within(self.settings.response_deadline, came_back).await.is_some();
        match link.refused() {
            Some(refused) => Err(SessionEnd::Refused(refused)),
            None if is_confirmed => Ok(()),
            None => Err(SessionEnd::Deaf),
        }
    }

    /// Sends probes round until one does not come back. They go over the publishing connection, which may lead to another
    /// server: an answer of this one would not prove that it is not cut off from the publishers.
    async fn probe(
        &self,
        link: &Link,
        service: &str,
        heard: &watch::Sender<u64>,
    ) -> Result<std::convert::Infallible, SessionEnd> {
        loop {
            sleep(self.settings.probe_interval).await;
            let nonce = random_u64();
            let mut heard = heard.subscribe();
            if let Err(error) = self.publish_connection.probe(service, nonce).await {
                tracing::debug!(%error, "cannot probe nats");
                // Then the subscription's own connection has to show that it lives.
                link.client.publish(service.to_owned(), nonce.to_string().into()).await?;
            }
            let mut came_back = async || heard.wait_for(|heard| *heard == nonce).await.is_ok();
            let is_heard = timeout(self.settings.probe_interval, came_back()).await.is_ok()
                || timeout(PROBE_GRACE, came_back()).await.is_ok();
            if !is_heard {
                add_one(&self.counters.probes_lost);
                return Err(SessionEnd::Deaf);
            }
            // Rights can be taken away while the connection stands. Then the server ends the subscription alone.
            if let Some(refused) = link.refused() {
                return Err(SessionEnd::Refused(refused));
            }
        }
    }
}

/// Hears the probes that come back.
async fn listen(mut probes: Subscription, heard: &watch::Sender<u64>) -> LinkEnd {
    while let Some(message) = probes.next().await {
        if let Some(nonce) = nonce_of(&message) {
            heard.send_replace(nonce);
        }
    }
    LinkEnd::Disconnected
}

fn nonce_of(message: &Message) -> Option<u64> {
    std::str::from_utf8(&message.payload).ok()?.parse().ok()
}
