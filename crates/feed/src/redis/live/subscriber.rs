//! The life of the subscription: connect, subscribe to all wanted channels, stay until the connection is lost, and
//! again.
//!
//! A session waits on: the connection's end, a wish from above, the answer to the outstanding command (which has a
//! deadline), the probe that must come back, events that wait for their copies, and with a log the reads from it.

use std::future::pending;
use std::slice::from_ref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, ServerErrorKind, Value, pipe};
use tokio::time::{sleep, sleep_until, timeout};

use super::arrivals::Arrivals;
use super::follower::{FollowError, LogFollower, ReadPermits};
use super::log_store::LogStore;
use super::publish_connection::PublishConnection;
use super::subscriptions::{SubscribeCommand, SubscribeScope, Subscriptions, Unexpected, Verb};
use crate::Intake;
use crate::backoff::Backoff;
use crate::counters::{FeedCounters, add_one};
use crate::log_gate::LogGate;
use crate::random::random_u64;
use crate::redis::log::ContinuityError;
use crate::redis::names;
use crate::redis::reach::LinkError;
use crate::redis::reach::RedisSettings;
use crate::redis::reach::{Link, Purpose};
use crate::trouble::Trouble;

/// Extra time for a late probe: after this process itself stood still its timers are due before its sockets are
/// read.
const PROBE_GRACE: Duration = Duration::from_millis(500);
const LOG_LINES_PER_MINUTE: u32 = 2;

/// The subscription of one feed.
pub(crate) struct Subscriber<I> {
    settings: RedisSettings,
    arrivals: Arc<Arrivals<I>>,
    publish_connection: Arc<PublishConnection>,
    counters: Arc<FeedCounters>,
    /// Permits to read the log.
    permits: Arc<ReadPermits>,
    trouble: Arc<Trouble>,
    /// This node's own Redis channel, on which its probes come back.
    service_channel: String,
    /// The same for a log in one slot of a Cluster: probes go the way of its events.
    log_service_channel: String,
    connect_log: LogGate,
    probe_log: LogGate,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum SessionEnd {
    #[error("the connection ended")]
    Ended,
    #[error("redis did not confirm a subscription: {0}")]
    Unconfirmed(#[from] RedisError),
    #[error("redis confirmed less than was asked for")]
    Incomplete,
    #[error("a probe did not come back: redis answers, but its messages do not reach this node")]
    Deaf,
    #[error("{0}")]
    Continuity(#[from] ContinuityError),
    #[error("the log cannot be followed: {0}")]
    Log(#[from] FollowError),
}

impl<I: Intake> Subscriber<I> {
    pub(crate) fn new(
        settings: RedisSettings,
        arrivals: Arc<Arrivals<I>>,
        publish_connection: Arc<PublishConnection>,
        counters: Arc<FeedCounters>,
        permits: Arc<ReadPermits>,
        trouble: Arc<Trouble>,
    ) -> Self {
        let log_service_channel = names::log_service(&settings.lane, random_u64());
        Self {
            settings,
            arrivals,
            publish_connection,
            counters,
            permits,
            trouble,
            service_channel: names::service(random_u64()),
            log_service_channel,
            connect_log: LogGate::new(LOG_LINES_PER_MINUTE),
            probe_log: LogGate::new(LOG_LINES_PER_MINUTE),
        }
    }

    /// Runs until it is dropped.
    pub(crate) async fn run(self) {
        let mut backoff = Backoff::default();
        let mut sessions: u64 = 0;
        loop {
            match self.connect().await {
                Ok(link) => {
                    backoff.connected();
                    self.publish_connection.hurry(&link);
                    if sessions > 0 {
                        add_one(&self.counters.reconnects);
                    }
                    sessions += 1;
                    let lost = self.session(&link).await;
                    drop(link);
                    let lost = self.arrivals.lost().map_or(lost, SessionEnd::Continuity);
                    self.trouble.is("redis is lost", &self.settings.address(), &lost);
                    tracing::warn!(address = self.settings.address(), lane = %self.settings.lane, %lost, "redis is lost; events may be missed until it is back");
                }
                Err(error) => {
                    add_one(&self.counters.connect_failures);
                    self.trouble.is("cannot connect to redis", &self.settings.address(), &error);
                    if let Some(suppressed) = self.connect_log.pass() {
                        let address = self.settings.address();
                        tracing::error!(address, lane = %self.settings.lane, %error, suppressed, "cannot connect to redis; trying again");
                    }
                }
            }
            sleep(backoff.next_wait()).await;
        }
    }

    /// Connects and subscribes to the channel for probes: the first test of the user's rights.
    async fn connect(&self) -> Result<Link, LinkError> {
        let arrivals = Arc::clone(&self.arrivals);
        let session = arrivals.open();
        let on_push = move |push| arrivals.push(session, push).is_ok();
        let mut link = Link::open(&self.settings, Purpose::Subscribe, on_push).await?;
        link.connection.subscribe(&self.service_channel).await?;
        Ok(link)
    }

    async fn session(&self, link: &Link) -> SessionEnd {
        let follow = async {
            let follower = match self.follower(link).await {
                Ok(follower) => follower,
                Err(lost) => return lost,
            };
            tokio::select! {
                lost = self.subscribe(link.connection.clone(), follower.as_ref()) => lost,
                lost = self.probe(follower.as_ref()) => lost,
                error = answer_recalls(follower.as_ref()) => SessionEnd::Log(error),
                never = self.release_late() => never,
            }
        };
        tokio::select! {
            () = link.ended() => SessionEnd::Ended,
            lost = follow => lost,
        }
    }

    /// The follower of the log, if there is one.
    async fn follower(&self, link: &Link) -> Result<Option<LogFollower<I>>, SessionEnd> {
        let Some(retention) = self.settings.log else { return Ok(None) };
        let store = LogStore::load(link, &self.settings.lane, retention).await.map_err(FollowError::from)?;
        let arrivals = Arc::clone(&self.arrivals);
        arrivals.follow_log(store.is_sharded());
        if store.is_sharded() {
            let subscribed = apart(&link.connection, "SSUBSCRIBE", from_ref(&self.log_service_channel)).await?;
            subscribed.into_iter().try_for_each(|refused| refused.map_or(Ok(()), Err))?;
        }
        let (permits, events_max) = (Arc::clone(&self.permits), self.settings.log_events_max);
        Ok(Some(LogFollower::new(store, link.connection.clone(), arrivals, permits, events_max)))
    }

    /// Sends one command after the other, as wishes come.
    async fn subscribe(&self, mut connection: MultiplexedConnection, follower: Option<&LogFollower<I>>) -> SessionEnd {
        loop {
            if let Some(follower) = follower
                && let Err(error) = follower.keep_up().await
            {
                return SessionEnd::Log(error);
            }
            let Some(command) = self.arrivals.subscriptions(Subscriptions::next_command) else {
                self.settled();
                self.arrivals.wishes.notified().await;
                continue;
            };
            if let Err(lost) = self.carry_out(&mut connection, &command).await {
                return lost;
            }
        }
    }

    /// Sends a command's parts one after the other. Refused channels are told.
    async fn carry_out(
        &self,
        connection: &mut MultiplexedConnection,
        command: &SubscribeCommand,
    ) -> Result<(), SessionEnd> {
        let is_subscribe = command.verb == Verb::Subscribe;
        for (scope, redis_channels) in command.parts() {
            let answer = match (scope, command.verb) {
                (SubscribeScope::Everywhere, Verb::Subscribe) => {
                    connection.subscribe(redis_channels).await.map(|()| Vec::new())
                }
                (SubscribeScope::Everywhere, Verb::Unsubscribe) => {
                    connection.unsubscribe(redis_channels).await.map(|()| Vec::new())
                }
                (SubscribeScope::Slot, Verb::Subscribe) => apart(connection, "SSUBSCRIBE", &redis_channels).await,
                (SubscribeScope::Slot, Verb::Unsubscribe) => apart(connection, "SUNSUBSCRIBE", &redis_channels).await,
            };
            let refusals = match answer {
                Err(error) if is_forbidden(&error) && is_subscribe => {
                    let refused =
                        self.arrivals.refused(|subscriptions| Ok(subscriptions.refused().into_iter().collect()));
                    return refused.map_err(|Unexpected| SessionEnd::Incomplete);
                }
                answer => answer?,
            };
            if let Some(error) = refusals.iter().flatten().find(|error| !is_forbidden(error) || !is_subscribe) {
                return Err(SessionEnd::Unconfirmed(error.clone()));
            }
            let refused = refusals.iter().flatten().count();
            if refused > 0 {
                let refused = self.arrivals.refused(|subscriptions| subscriptions.refused_apart(refused));
                refused.map_err(|Unexpected| SessionEnd::Incomplete)?;
            }
        }
        if self.arrivals.subscriptions(|subscriptions| subscriptions.is_waiting()) {
            Err(SessionEnd::Incomplete)
        } else {
            Ok(())
        }
    }

    /// Nothing is left to be asked: everything wanted is followed.
    fn settled(&self) {
        if !self.arrivals.is_connected() {
            let (address, channels) =
                (self.settings.address(), self.arrivals.subscriptions(|subscriptions| subscriptions.len()));
            tracing::info!(address, lane = %self.settings.lane, channels, "connected to redis");
        }
        self.arrivals.connected();
    }

    /// Sends probes round until one does not come back, and looks whether the log is complete. A PING would prove
    /// nothing: the answer comes from a server that may be cut off from the publishers.
    async fn probe(&self, follower: Option<&LogFollower<I>>) -> SessionEnd {
        loop {
            sleep(self.settings.probe_interval).await;
            if self.arrivals.subscriptions(Subscriptions::ask_refused_again) {
                self.arrivals.wishes.notify_one();
            }
            if !self.is_heard(follower.is_some_and(LogFollower::is_sharded)).await {
                add_one(&self.counters.probes_lost);
                return SessionEnd::Deaf;
            }
            if let Some(follower) = follower
                && let Err(error) = follower.verify().await
            {
                return SessionEnd::Log(error);
            }
        }
    }

    /// Lets go of events whose copies do not come, until it is dropped.
    async fn release_late<T>(&self) -> T {
        loop {
            match self.arrivals.next_release() {
                Some(at) => sleep_until(at.into()).await,
                None => self.arrivals.waits.notified().await,
            }
            self.arrivals.release_late(Instant::now());
        }
    }

    /// Sends one probe round. One that cannot be sent says nothing about the subscription.
    async fn is_heard(&self, by_slot: bool) -> bool {
        let nonce = random_u64();
        let mut heard = self.arrivals.heard.subscribe();
        let (command, redis_channel) =
            if by_slot { ("SPUBLISH", &self.log_service_channel) } else { ("PUBLISH", &self.service_channel) };
        if let Err(error) = self.publish_connection.probe(command, redis_channel, nonce).await {
            if let Some(suppressed) = self.probe_log.pass() {
                tracing::warn!(%error, suppressed, "cannot probe redis; its user needs to publish to fantail-service:*");
            }
            return true;
        }
        let mut came_back = async || heard.wait_for(|heard| *heard == nonce).await.is_ok();
        timeout(self.settings.probe_interval, came_back()).await.is_ok()
            || timeout(PROBE_GRACE, came_back()).await.is_ok()
    }
}

async fn answer_recalls<I: Intake>(follower: Option<&LogFollower<I>>) -> FollowError {
    match follower {
        Some(follower) => follower.answer_recalls().await.into(),
        None => pending().await,
    }
}

/// Sends a command for each name by itself, all at once. Returns for each the error, if it was refused.
///
/// The Redis library expects several confirmations of one command only if that is not sharded. It would take all but
/// the first for answers to other commands.
async fn apart(
    connection: &MultiplexedConnection,
    command: &'static str,
    redis_channels: &[String],
) -> Result<Vec<Option<RedisError>>, RedisError> {
    let mut publish_connection = pipe();
    for redis_channel in redis_channels {
        publish_connection.cmd(command).arg(redis_channel);
    }
    let answers = connection.clone().send_packed_commands(&publish_connection, 0, redis_channels.len()).await?;
    Ok(answers
        .into_iter()
        .map(|answer| match answer {
            Value::ServerError(error) => Some(error.into()),
            _ => None,
        })
        .collect())
}

fn is_forbidden(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm)
}
