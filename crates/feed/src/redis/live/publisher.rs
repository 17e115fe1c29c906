//! Publishing from outside a node: one connection, and no feed behind it.
//!
//! For a program that publishes and ends. A node publishes over the connection that it keeps, see
//! `publish_connection.rs`.

use std::fmt::Display;
use std::future::ready;

use fantail_wire::{ChannelName, Event, LaneError, LaneName, Publication};
use redis::{RedisResult, cmd};

use super::log_store::LogStore;
use super::publish_connection::send;
use crate::publish::{check_channels, check_size};
use crate::redis::names;
use crate::redis::reach::RedisSettings;
use crate::redis::reach::{Advised, is_elsewhere};
use crate::redis::reach::{Link, Purpose};
use crate::{PublishError, Receipt};

/// A connection for publishing. It is made anew if it ended between two events, or for channels of another lane.
#[derive(Debug)]
pub struct RedisPublisher {
    settings: RedisSettings,
    /// None after a try that failed.
    open: Option<LaneConnection>,
}

/// A connection, and the log of its lane if there is one.
#[derive(Debug)]
struct LaneConnection {
    lane: LaneName,
    link: Link,
    log: Option<LogStore>,
}

impl RedisPublisher {
    /// Connects and logs in.
    pub async fn connect(settings: RedisSettings) -> Result<Self, PublishError> {
        let open = LaneConnection::new(&settings, &LaneName::default()).await?;
        Ok(Self { settings, open: Some(open) })
    }

    /// Publishes to every node that follows one of the event's channels. Without a log, text alone for one channel goes
    /// as it is, as with any program's `PUBLISH`; everything else needs an envelope.
    pub async fn publish(&mut self, publication: &Publication) -> Result<Receipt, PublishError> {
        check_channels(publication)?;
        let lane = lane_of(&self.settings, &publication.channels)?;
        check_size(&publication.event, self.settings.event_bytes_max)?;
        // A failure below leaves no connection behind, so that the next event does not go where this one failed.
        let open = match self.open.take() {
            Some(open) if open.lane == lane && !open.has_ended().await => open,
            _ => LaneConnection::new(&self.settings, &lane).await?,
        };
        let (open, sent) = match open.send(publication).await {
            // The slot of the log is at another node by now, and this one did nothing.
            Err(error) if is_elsewhere(&error) => {
                let open = LaneConnection::new(&self.settings, &lane).await?;
                let sent = open.send(publication).await;
                (open, sent)
            }
            sent => (open, sent),
        };
        self.open = Some(open);
        sent.map_err(|error| unavailable(&self.settings, "redis did not confirm the event", &Advised(&error)))
    }
}

impl LaneConnection {
    async fn new(settings: &RedisSettings, lane: &LaneName) -> Result<Self, PublishError> {
        let settings = settings.for_lane(lane);
        let link = Link::open(&settings, Purpose::Publish, |_| true).await;
        let link = link.map_err(|error| unavailable(&settings, "cannot connect", &error))?;
        if settings.log.is_none() {
            return Ok(Self { lane: settings.lane, link, log: None });
        }
        // How much is kept is the nodes' business.
        let log = LogStore::attach(&link, lane).await;
        let log = log.map_err(|error| unavailable(&settings, "cannot find the log's functions", &Advised(&error)))?;
        Ok(Self { lane: settings.lane, link, log: Some(log) })
    }

    async fn send(&self, publication: &Publication) -> RedisResult<Receipt> {
        match publication.channels.as_slice() {
            [channel] if self.log.is_none() && is_plain(&publication.event) => {
                self.send_plain(&names::plain(channel), &publication.event.data).await
            }
            _ => send(self.link.connection.clone(), self.log.as_ref(), publication).await,
        }
    }

    async fn send_plain(&self, redis_channel: &str, text: &str) -> RedisResult<Receipt> {
        let mut connection = self.link.connection.clone();
        let receivers = cmd("PUBLISH").arg(redis_channel).arg(text).query_async(&mut connection).await?;
        Ok(Receipt { id: None, subscribers: Some(receivers) })
    }

    /// Asks without waiting; Redis may close connections that are idle.
    async fn has_ended(&self) -> bool {
        tokio::select! {
            biased;
            () = self.link.ended() => true,
            () = ready(()) => false,
        }
    }
}

/// The lane that channels name. Which lanes are served is the nodes' business: what nobody serves is kept all the same.
fn lane_of(settings: &RedisSettings, channels: &[ChannelName]) -> Result<LaneName, LaneError> {
    let Some((first, others)) = channels.split_first().filter(|_| settings.log.is_some()) else {
        return Ok(LaneName::default());
    };
    let lane = LaneName::of(first);
    match others.iter().find(|other| LaneName::of(other) != lane) {
        Some(other) => Err(LaneError::Different(first.clone(), other.clone())),
        None => Ok(lane),
    }
}

fn unavailable(settings: &RedisSettings, what: &str, error: &dyn Display) -> PublishError {
    PublishError::Unavailable(format!("{what} ({}): {error}", settings.address()))
}

fn is_plain(event: &Event) -> bool {
    event.event.is_none() && event.id.is_none() && event.retry_ms.is_none()
}
