//! Those who publish: through either node, or straight to Redis as other programs do.
//!
//! An event whose call failed is in doubt: it may come at once, later or never. So whoever published it goes on under a
//! new name in the ledger, and nothing is claimed about its order towards later events.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, bail};
use fantail_testkit::{HttpConnection, Publisher, Random, Reply, RespConnection};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::mode::Mode;
use crate::scene::Scene;

/// How long a publisher waits for an answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
/// How long a publisher that failed waits before it goes on.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);
/// The longest pause between two events, in milliseconds.
const PAUSE_MS_MAX: u64 = 80;

/// By which way an event is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The publish API of a node.
    Node(usize),
    /// Redis itself.
    Redis,
}

/// Publishes one event after the other.
#[derive(Debug)]
pub struct Voice {
    scene: Arc<Scene>,
    publisher: Publisher,
    random: Random,
    nodes: [Option<HttpConnection>; 2],
    redis: Option<RespConnection>,
}

impl Voice {
    /// A new one, with no connection yet.
    pub fn new(scene: &Arc<Scene>, mut random: Random) -> Self {
        let publisher = scene.ledger.publisher(Random::from_seed(random.next_u64()));
        Self { scene: Arc::clone(scene), publisher, random, nodes: [None, None], redis: None }
    }

    /// Its name in the ledger, until an event fails.
    pub const fn number(&self) -> u32 {
        self.publisher.number()
    }

    /// Publishes one event of about this size. Whether it was accepted.
    pub async fn publish(&mut self, way: Way, channels: &[&str], size: usize) -> bool {
        let event = self.publisher.compose_for(channels, size);
        let sent = timeout(ANSWER_PATIENCE, self.send(way, channels, &event.text)).await;
        let is_accepted = sent.is_ok_and(|answer| answer.is_ok());
        if is_accepted {
            self.publisher.confirm(&event);
        } else {
            self.fail(way);
        }
        is_accepted
    }

    /// Publishes one event to each channel straight to Redis, all at once. How many were accepted.
    pub async fn publish_to_each(&mut self, channels: &[String], size: usize) -> Result<usize> {
        let mut redis = RespConnection::connect(self.scene.redis).await?;
        let mut accepted = 0;
        for batch in channels.chunks(500) {
            let compose = |channel: &String| (channel.clone(), self.publisher.compose(channel, size));
            let events: Vec<_> = batch.iter().map(compose).collect();
            for (channel, event) in &events {
                redis.send(&command(self.scene.mode, &[channel], &event.text, true)).await?;
            }
            for (_, event) in &events {
                if is_accepted(&redis.reply().await?) {
                    self.publisher.confirm(event);
                    accepted += 1;
                }
            }
        }
        Ok(accepted)
    }

    /// Publishes at random until it is to stop.
    pub async fn publish_until_the_end(mut self) {
        let scene = Arc::clone(&self.scene);
        while !scene.has_publishing_ended() {
            let channels = scene.sea.choose_for_event(&mut self.random);
            let way = match self.random.below(3) {
                0 => Way::Node(0),
                1 => Way::Node(1),
                _ => Way::Redis,
            };
            // Plain pub/sub has no single step for several channels that a program would use.
            let way =
                if way == Way::Redis && channels.len() > 1 && scene.mode != Mode::Log { Way::Node(0) } else { way };
            let size = size(&mut self.random);
            if !self.publish(way, &channels, size).await {
                sleep(PAUSE_AFTER_FAILURE).await;
            }
            sleep(Duration::from_millis(self.random.below(PAUSE_MS_MAX))).await;
        }
    }

    /// Publishes an event to all channels and makes it a sign to go. Nothing if it was not accepted.
    pub async fn close(&mut self, way: Way) {
        let scene = Arc::clone(&self.scene);
        let all = scene.sea.all();
        let event = self.publisher.compose_for(&all, 0);
        scene.add_closing(event.text.clone(), scene.ledger.mark());
        let sent = timeout(ANSWER_PATIENCE, self.send(way, &all, &event.text)).await;
        if sent.is_ok_and(|answer| answer.is_ok()) {
            self.publisher.confirm(&event);
        } else {
            self.fail(way);
        }
    }

    fn fail(&mut self, way: Way) {
        match way {
            Way::Node(node) => self.nodes[node] = None,
            Way::Redis => self.redis = None,
        }
        self.publisher = self.scene.ledger.publisher(Random::from_seed(self.random.next_u64()));
        self.scene.tallies.refused.fetch_add(1, Ordering::Relaxed);
    }

    async fn send(&mut self, way: Way, channels: &[&str], data: &str) -> Result<()> {
        match way {
            Way::Node(node) => self.send_to_node(node, channels, data).await,
            Way::Redis => self.send_to_redis(channels, data).await,
        }
    }

    async fn send_to_node(&mut self, node: usize, channels: &[&str], data: &str) -> Result<()> {
        let connection = match &mut self.nodes[node] {
            Some(connection) => connection,
            none => none.insert(HttpConnection::connect(self.scene.internal[node]).await?),
        };
        let answer = if let [channel] = channels {
            connection.post(&format!("/publish/{channel}"), data).await?
        } else {
            connection.post("/publish", json!({ "channels": channels, "data": data }).to_string()).await?
        };
        match answer.status {
            202 => Ok(()),
            503 => bail!("the node is not connected to redis"),
            status => {
                let offence = format!("publishing was answered with {status}: {}", answer.text());
                self.scene.offence(offence.clone());
                bail!(offence)
            }
        }
    }

    async fn send_to_redis(&mut self, channels: &[&str], data: &str) -> Result<()> {
        let enveloped = self.random.chance(1, 2) || channels.len() > 1;
        let connection = match &mut self.redis {
            Some(connection) => connection,
            none => none.insert(RespConnection::connect(self.scene.redis).await?),
        };
        let reply = connection.command(&command(self.scene.mode, channels, data, enveloped)).await?;
        if is_accepted(&reply) { Ok(()) } else { bail!("redis refused the event: {reply:?}") }
    }
}

/// The words of a command that publishes.
fn command(mode: Mode, channels: &[&str], data: &str, enveloped: bool) -> Vec<String> {
    let envelope = json!({ "data": data }).to_string();
    let words: &[&str] = match mode {
        Mode::Log => &["FCALL", "fantail_publish", "1", "fantail-log:{0}", &envelope],
        _ if enveloped => &["PUBLISH", &format!("fantail-event:{}", channels[0]), &envelope],
        _ => &["PUBLISH", &format!("fantail:{}", channels[0]), data],
    };
    let channels: &[&str] = if mode == Mode::Log { channels } else { &[] };
    words.iter().chain(channels).map(ToString::to_string).collect()
}

fn is_accepted(reply: &Reply) -> bool {
    matches!(reply, Reply::Integer(_) | Reply::Array(_))
}

/// Bytes of an event: mostly small, some that fill a socket.
fn size(random: &mut Random) -> usize {
    let size = match random.below(20) {
        0..15 => 64 + random.below(448),
        15..19 => 512 + random.below(3_584),
        _ => 4_096 + random.below(16_384),
    };
    size as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_publishes_with_its_own_command() {
        let words = |mode, channels: &[&str], enveloped| command(mode, channels, "x", enveloped).join(" ");
        assert_eq!(words(Mode::Pubsub, &["a"], false), "PUBLISH fantail:a x");
        assert_eq!(words(Mode::Pubsub, &["a"], true), "PUBLISH fantail-event:a {\"data\":\"x\"}");
        let logged = "FCALL fantail_publish 1 fantail-log:{0} {\"data\":\"x\"} a b";
        assert_eq!(words(Mode::Log, &["a", "b"], true), logged);
    }
}
