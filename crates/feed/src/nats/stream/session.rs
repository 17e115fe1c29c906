//! Reads the stream over one connection, until that ends or cannot be trusted any more.
//!
//! It waits on: messages and signs of life of its consumer, the moment to look at the stream, and recalls.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use tokio::task::{JoinSet, unconstrained};
use tokio::time::{sleep, timeout};

use super::api::{ApiError, Consumer, Reading, StreamApi};
use super::news::{News, news_of};
use super::recall::{self, Found};
use super::stream_log::BrokenOff;
use crate::counters::{FeedCounters, add_one};
use crate::nats::arrivals::Arrivals;
use crate::nats::form::NatsEventForm;
use crate::nats::incoming::Incoming;
use crate::nats::link::{Link, LinkEnd};
use crate::nats::settings::NatsSettings;
use crate::turn::fed_in_turns;
use crate::{Intake, Recalled};

/// Signs of life for each probe interval. Three that are missing end the connection.
const HEARTBEATS_PER_PROBE: u32 = 4;
/// The shortest and the longest interval that servers take, or that notice a removed consumer soon enough.
const HEARTBEAT_MIN: Duration = Duration::from_millis(100);
const HEARTBEAT_MAX: Duration = Duration::from_secs(5);
/// Extra time for a late sign: after this process itself stood still its timers are due before its sockets are read.
const GRACE: Duration = Duration::from_millis(500);
/// Readings of older events at a time. Each is for one recall, or for all that wait.
const READINGS_MAX: usize = 4;
/// The pause before a recall is read again that could not be.
const RECALL_PAUSE: Duration = Duration::from_secs(1);

/// Connections that may end while a recall is read. One of its messages may be what ends them, such as one with headers that
/// the library cannot read. So everything is declared missing then.
const RECALL_CUTS_MAX: u32 = 3;

/// A stream over one connection.
pub(in crate::nats) struct StreamSession<'a, I> {
    pub(in crate::nats) settings: &'a NatsSettings,
    pub(in crate::nats) arrivals: &'a Arrivals<I>,
    pub(in crate::nats) counters: &'a Arc<FeedCounters>,
    pub(in crate::nats) link: &'a Link,
    api: StreamApi,
}

/// Why the stream is not read any further.
#[derive(Debug, thiserror::Error)]
pub(in crate::nats) enum StreamEnd {
    #[error("{0}")]
    Link(#[from] LinkEnd),
    #[error("{0}")]
    BrokenOff(#[from] BrokenOff),
    #[error("the stream {stream} cannot be read: {error}")]
    Api { stream: String, error: ApiError },
    #[error("the consumer shows no sign of life: it was removed, or its server is gone")]
    Silent,
}

impl<'a, I: Intake> StreamSession<'a, I> {
    pub(in crate::nats) fn new(
        settings: &'a NatsSettings,
        arrivals: &'a Arrivals<I>,
        counters: &'a Arc<FeedCounters>,
        link: &'a Link,
        stream: &str,
    ) -> Self {
        let api = StreamApi { client: link.client.clone(), stream: stream.to_owned(), form: settings.form };
        Self { settings, arrivals, counters, link, api }
    }

    /// Reads. The stream is looked at before the consumer is made, to know from where on, and behind that: if another
    /// stream has taken its place in between, the consumer waits for numbers that are far away.
    pub(in crate::nats) async fn run(&self) -> Result<Infallible, StreamEnd> {
        let before = match self.settings.form {
            NatsEventForm::Fantail => self.api.state().await,
            NatsEventForm::OwnCloud => self.api.state_or_new().await,
        };
        let before = before.map_err(|error| self.told(error))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let from = self.arrivals.tell_log(|log, orders| log.begin(&before, now_ms, orders));
        let reading = Reading { from, subject: None, heartbeat: self.heartbeat() };
        let consumer = self.api.consume(reading).await.map_err(|error| self.told(error))?;
        let behind = self.api.state().await.map_err(|error| self.told(error))?;
        self.arrivals.tell_log(|log, orders| log.opened(&behind, orders))?;
        tokio::select! {
            end = unconstrained(fed_in_turns(self.take(consumer))) => end,
            end = self.look() => end,
            never = self.answer_recalls() => Ok(never),
        }
    }

    /// Takes messages. Unconstrained: whatever one read of the socket brought is taken before the next.
    async fn take(&self, mut consumer: Consumer) -> Result<Infallible, StreamEnd> {
        let silence_max = self.heartbeat() * 3;
        loop {
            let message = match timeout(silence_max, consumer.messages.next()).await {
                Err(_) => timeout(GRACE, consumer.messages.next()).await.map_err(|_| StreamEnd::Silent)?,
                Ok(message) => message,
            };
            // A message of the library's next connection is of no consumer that is known.
            if let Some(end) = self.link.end() {
                return Err(end.into());
            }
            let message = message.ok_or(LinkEnd::Disconnected)?;
            match news_of(&message) {
                News::Message(at) => self.arrivals.stream_message(at, &Incoming::from(&message))?,
                News::Heartbeat { deliveries, number } => {
                    self.arrivals.tell_log(|log, orders| log.heartbeat(deliveries, number, orders))?;
                    self.api.go_on(&message).await;
                }
                News::FlowControl => self.api.go_on(&message).await,
                News::Other => {}
            }
        }
    }

    /// Looks at the stream once per probe interval, and when its newest number is wanted.
    async fn look(&self) -> Result<Infallible, StreamEnd> {
        let mut due = 0;
        loop {
            let is_probe = tokio::select! {
                () = sleep(self.settings.probe_interval) => true,
                () = self.arrivals.syncs.notified() => false,
            };
            let asked_at = self.arrivals.log(|log| log.seen());
            let state = self.api.state().await.map_err(|error| {
                add_one(&self.counters.probes_lost);
                self.told(error)
            })?;
            self.arrivals.tell_log(|log, orders| log.looked(&state, asked_at, orders))?;
            if is_probe {
                self.arrivals.log(|log| log.expect(due)).map_err(|stuck| match self.not_permitted() {
                    Some(refusal) => self.told(refusal),
                    None => stuck.into(),
                })?;
                due = state.last;
            }
        }
    }

    /// Reads older events, a few readings at a time. A recall that cannot be read is asked again, here or over the next
    /// connection.
    async fn answer_recalls(&self) -> Infallible {
        let together_max = if self.api.form.has_one_subject() { recall::TOGETHER_MAX } else { 1 };
        let mut reads = JoinSet::new();
        let mut is_paused = false;
        loop {
            while reads.len() < READINGS_MAX && !is_paused {
                let Some((numbering, asked)) = self.arrivals.log(|log| log.next_recalls(together_max)) else { break };
                // One that was cut off so often is read alone.
                if self.arrivals.log(|log| log.recalls.cuts(&asked[0].channel)) >= RECALL_CUTS_MAX {
                    let missing = Recalled::nothing_up_to(asked[0].up_to);
                    self.arrivals.tell_log(|log, orders| log.recalled(&asked[0], missing, orders));
                    continue;
                }
                let api = self.api.clone();
                reads.spawn(async move { recall::read(&api, &numbering, asked).await });
            }
            tokio::select! {
                Some(read) = reads.join_next() => match read {
                    Ok(Ok(Some(found))) => {
                        for (asked, found) in found {
                            match found {
                                Found::Answer(answer) => {
                                    self.arrivals.tell_log(|log, orders| log.recalled(&asked, answer, orders));
                                }
                                Found::TooMuch => self.arrivals.log(|log| log.recalls.ask_alone(&asked)),
                            }
                        }
                    }
                    Ok(read) => {
                        // Another stream may have taken the place of this one, which a look finds out.
                        if matches!(read, Ok(None)) {
                            self.arrivals.syncs.notify_one();
                        }
                        tracing::debug!(error = ?read.err(), "older events could not be read");
                        is_paused = true;
                    }
                    Err(_) => {} // cut off together with this
                },
                () = self.arrivals.recalls.notified(), if !is_paused => {}
                () = sleep(RECALL_PAUSE), if is_paused && reads.is_empty() => {
                    is_paused = false;
                    self.arrivals.log(|log| log.recalls.again());
                }
            }
        }
    }

    fn heartbeat(&self) -> Duration {
        (self.settings.probe_interval / HEARTBEATS_PER_PROBE).clamp(HEARTBEAT_MIN, HEARTBEAT_MAX)
    }

    fn told(&self, error: ApiError) -> StreamEnd {
        StreamEnd::Api { stream: self.api.stream.clone(), error: self.not_permitted().unwrap_or(error) }
    }

    /// The server does not answer what it does not permit. It says so beside.
    fn not_permitted(&self) -> Option<ApiError> {
        self.link.refused().map(ApiError::NotPermitted)
    }
}
