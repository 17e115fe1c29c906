//! Publishes to Redis as other programs do: into the log, or by plain pub/sub.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::redis_way::RedisWay;
use super::sender::{PubsubForm, key_of, lane_of};
use crate::{
    random::Random,
    resp::{Reply, RespConnection},
};

/// The commands that go out before their replies are read.
const PIPELINED_MAX: usize = 500;

/// Connections, made when they are needed.
#[derive(Debug)]
pub(super) struct RedisSender {
    has_log: bool,
    first: Option<SocketAddr>,
    way: RedisWay,
}

impl RedisSender {
    /// To these servers. With `has_log` events go into the log.
    pub(super) fn new(servers: &[SocketAddr], has_log: bool) -> Self {
        Self { has_log, first: servers.first().copied(), way: RedisWay::new(servers.to_vec()) }
    }

    /// Connects ahead of the first event.
    pub(super) async fn prepare(&mut self) -> Result<()> {
        self.way.prepare().await
    }

    /// Sends one event and waits until it is accepted.
    pub(super) async fn send(&mut self, channels: &[&str], data: &str, form: PubsubForm) -> Result<()> {
        if channels.len() > 1 && !self.has_log {
            return self.send_copies(channels, data).await;
        }
        self.call(channels, &command(self.has_log, channels, data, form)).await
    }

    /// Sends all of these at once, each to its channel. Returns which were accepted.
    pub(super) async fn send_all(&self, events: &[(&str, &str)]) -> Result<Vec<bool>> {
        let first = self.first.context("there is no redis to publish to")?;
        let mut redis = RespConnection::connect(first).await?;
        let mut accepted = Vec::new();
        for batch in events.chunks(PIPELINED_MAX) {
            for (channel, data) in batch {
                redis.send(&command(self.has_log, &[channel], data, PubsubForm::Envelope)).await?;
            }
            for _ in batch {
                accepted.push(is_accepted(&redis.reply().await?));
            }
        }
        Ok(accepted)
    }

    /// Drops the connections.
    pub(super) fn forget(&mut self) {
        self.way.forget();
    }

    /// To plain pub/sub, for several channels.
    async fn send_copies(&mut self, channels: &[&str], data: &str) -> Result<()> {
        let uid = format!("{:016x}", Random::from_entropy().next_u64());
        let copy = json!({ "data": data, "channels": channels, "uid": uid }).to_string();
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let copies = channels.iter().map(|channel| words(&["PUBLISH", &format!("fantail-event:{channel}"), &copy]));
        for command in [words(&["MULTI"])].into_iter().chain(copies).chain([words(&["EXEC"])]) {
            self.call(channels, &command).await?;
        }
        Ok(())
    }

    async fn call(&mut self, channels: &[&str], words: &[String]) -> Result<()> {
        let reply = self.way.call(&key_of(lane_of(channels[0])), words).await?;
        if is_accepted(&reply) { Ok(()) } else { bail!("redis refused the event: {reply:?}") }
    }
}

/// The words of a command that publishes. Plain pub/sub goes to the first channel alone.
fn command(has_log: bool, channels: &[&str], data: &str, form: PubsubForm) -> Vec<String> {
    let envelope = json!({ "data": data }).to_string();
    let words: &[&str] = if has_log {
        &["FCALL", "fantail_publish", "1", &key_of(lane_of(channels[0])), &envelope]
    } else if form != PubsubForm::Plain {
        &["PUBLISH", &format!("fantail-event:{}", channels[0]), &envelope]
    } else {
        &["PUBLISH", &format!("fantail:{}", channels[0]), data]
    };
    let channels: &[&str] = if has_log { channels } else { &[] };
    words.iter().chain(channels).map(ToString::to_string).collect()
}

fn is_accepted(reply: &Reply) -> bool {
    match reply {
        Reply::Integer(_) | Reply::Array(_) => true,
        // To MULTI, and to the commands queued behind it.
        Reply::Simple(text) => text == "OK" || text == "QUEUED",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_and_without_a_log_events_are_published_by_another_command() {
        let words = |has_log, channels: &[&str], form| command(has_log, channels, "x", form).join(" ");
        assert_eq!(words(false, &["a"], PubsubForm::Plain), "PUBLISH fantail:a x");
        assert_eq!(words(false, &["a"], PubsubForm::Envelope), "PUBLISH fantail-event:a {\"data\":\"x\"}");
        let logged = "FCALL fantail_publish 1 fantail-log:{0} {\"data\":\"x\"} a b";
        assert_eq!(words(true, &["a", "b"], PubsubForm::Envelope), logged);
        let in_lane = "FCALL fantail_publish 1 fantail-log:{orders} {\"data\":\"x\"} @orders/a";
        assert_eq!(words(true, &["@orders/a"], PubsubForm::Plain), in_lane);
    }
}
