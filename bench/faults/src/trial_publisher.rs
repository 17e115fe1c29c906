//! Those who publish: through either node, or straight to Redis as other programs do.
//!
//! An event whose call failed is in doubt: it may come at once, later or never. So whoever published it goes on under a
//! new name in the ledger, and nothing is claimed about its order towards later events.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use fantail_testkit::{ChannelSet, Composed, LedgerPublisher, Random, RespConnection};
use tokio::time::{sleep, timeout};

use crate::sender::{PubsubForm, Sender, Unexpected, Way, command, is_accepted};
use crate::trial_state::{TrialState, publisher_name};

/// How long a publisher waits for an answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
/// How long a publisher that failed waits before it goes on.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);
/// The longest pause between two events, in milliseconds.
const PAUSE_MS_MAX: u64 = 80;

/// Publishes one event after the other.
#[derive(Debug)]
pub struct TrialPublisher {
    state: Arc<TrialState>,
    publisher: LedgerPublisher,
    random: Random,
    sender: Sender,
}

impl TrialPublisher {
    /// A new one, with no connection yet.
    pub fn new(state: &Arc<TrialState>, mut random: Random) -> Self {
        let publisher = state.trial.ledger.publisher(Random::from_seed(random.next_u64()));
        let sender = Sender::new(state.mode, state.internal, state.redis.clone());
        Self { state: Arc::clone(state), publisher, random, sender }
    }

    /// Its name in the ledger, until an event fails.
    pub const fn number(&self) -> u32 {
        self.publisher.number()
    }

    /// Publishes one event of about this size. Whether it was accepted.
    pub async fn publish(&mut self, way: Way, channels: &[&str], size: usize) -> bool {
        let event = self.publisher.compose_for(channels, size);
        self.send_composed(way, channels, &event).await
    }

    /// Publishes one event to each channel straight to Redis, all at once. How many were accepted.
    pub async fn publish_to_each(&mut self, channels: &[String], size: usize) -> Result<usize> {
        let mut redis = RespConnection::connect(self.state.redis[0]).await?;
        let mut accepted = 0;
        for batch in channels.chunks(500) {
            let compose = |channel: &String| (channel.clone(), self.publisher.compose(channel, size));
            let events: Vec<_> = batch.iter().map(compose).collect();
            for (channel, event) in &events {
                redis.send(&command(self.state.mode, &[channel], &event.text, PubsubForm::Envelope)).await?;
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
        let state = Arc::clone(&self.state);
        while !state.has_publishing_ended() {
            let channels = state.choose_set(&mut self.random).choose_for_event(&mut self.random);
            let way = match self.random.below(3) {
                0 => Way::Node(0),
                1 => Way::Node(1),
                _ => Way::Redis,
            };
            let size = size(&mut self.random);
            if !self.publish(way, &channels, size).await {
                sleep(PAUSE_AFTER_FAILURE).await;
            }
            sleep(Duration::from_millis(self.random.below(PAUSE_MS_MAX))).await;
        }
    }

    /// Publishes an event to all channels of a lane and makes it a sign to go. Nothing if it was not accepted.
    pub async fn close(&mut self, way: Way, channel_set: &ChannelSet) {
        let state = Arc::clone(&self.state);
        let all = channel_set.all();
        let event = self.publisher.compose_for(&all, 0);
        state.trial.add_closing(&event.text);
        self.send_composed(way, &all, &event).await;
    }

    /// Sends an event that is entered, and writes down what it was told. Whether it was accepted.
    async fn send_composed(&mut self, way: Way, channels: &[&str], event: &Composed) -> bool {
        let state = Arc::clone(&self.state);
        let name = publisher_name(self.publisher.number());
        let form = self.choose_form();
        let what = format!("event {}: by {way:?}, {form:?}, to {}", event.order(), channels.join(" "));
        state.trial.write_down(&name, || what);
        let sent = timeout(ANSWER_PATIENCE, self.send(way, channels, &event.text, form)).await;
        let told = match &sent {
            Ok(Ok(())) => "accepted".to_owned(),
            Ok(Err(error)) => format!("in doubt: {error}"),
            Err(_) => "in doubt: no answer".to_owned(),
        };
        state.trial.write_down(&name, || format!("event {}: {told}", event.order()));
        let is_accepted = matches!(sent, Ok(Ok(())));
        if is_accepted {
            self.publisher.confirm(event);
        } else {
            self.fail(way);
        }
        is_accepted
    }

    const fn choose_form(&mut self) -> PubsubForm {
        match self.random.below(4) {
            0 | 1 => PubsubForm::Plain,
            2 => PubsubForm::Envelope,
            _ => PubsubForm::Copies,
        }
    }

    /// A refusal that is no sign of trouble with Redis is an offence.
    async fn send(&mut self, way: Way, channels: &[&str], data: &str, form: PubsubForm) -> Result<()> {
        let sent = self.sender.send(way, channels, data, form).await;
        if let Err(error) = &sent
            && let Some(refusal) = error.downcast_ref::<Unexpected>()
        {
            self.state.trial.offence(refusal.to_string());
        }
        sent
    }

    fn fail(&mut self, way: Way) {
        self.sender.forget(way);
        self.publisher = self.state.trial.ledger.publisher(Random::from_seed(self.random.next_u64()));
        self.state.refused.fetch_add(1, Ordering::Relaxed);
    }
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
