//! Publishers: through any node, or straight to the broker as other programs do.
//!
//! An event whose call failed is in doubt: it may come at once, later or never. So its publisher goes on under a new
//! name in the ledger, and nothing is claimed about its order towards later events.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::Result;
use tokio::time::{sleep, timeout};

use super::{Broker, PubsubForm, Sender, Trial, Unexpected, Way};
use crate::{
    ledger::{Composed, LedgerPublisher},
    random::Random,
};

/// How long a publisher waits for an answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
/// How long a publisher that failed waits before it goes on.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);
/// The size of each event of a burst.
const BURST_BYTES: usize = 160;

/// The targets of a trial's publishers.
pub trait PublisherRules: Send + Sync + 'static {
    /// The shared state of the trial.
    fn trial(&self) -> &Trial;

    /// The internal addresses of the nodes.
    fn nodes(&self) -> &[SocketAddr];

    /// The broker behind them.
    fn broker(&self) -> &Broker;

    /// Channels of one lane for the next event.
    fn choose_for_event(&self, random: &mut Random) -> Vec<&str>;

    /// Now and then, channels that get an event each, all at once.
    fn choose_burst(&self, _random: &mut Random) -> Option<Vec<&str>> {
        None
    }

    /// The longest pause between two events, in milliseconds.
    fn pause_ms_max(&self) -> u64;
}

/// Publishes one event after the other.
#[derive(Debug)]
pub struct TrialPublisher<R> {
    rules: Arc<R>,
    publisher: LedgerPublisher,
    random: Random,
    sender: Sender,
}

impl<R: PublisherRules> TrialPublisher<R> {
    /// A publisher with no connection yet.
    pub fn new(rules: &Arc<R>, mut random: Random) -> Self {
        let publisher = rules.trial().ledger.publisher(Random::from_seed(random.next_u64()));
        let sender = Sender::new(rules.nodes(), rules.broker());
        Self { rules: Arc::clone(rules), publisher, random, sender }
    }

    /// Its name in the ledger, until an event fails.
    pub const fn number(&self) -> u32 {
        self.publisher.number()
    }

    /// Publishes one event of about this size. Returns whether it was accepted.
    pub async fn publish(&mut self, way: Way, channels: &[&str], size: usize) -> bool {
        let event = self.publisher.compose_for(channels, size);
        self.send_composed(way, channels, &event).await
    }

    /// Publishes one event to each channel, all at once. Returns how many were accepted.
    pub async fn publish_to_each(&mut self, way: Way, channels: &[&str], size: usize) -> Result<usize> {
        let events: Vec<_> = channels.iter().map(|channel| (*channel, self.publisher.compose(channel, size))).collect();
        let texts: Vec<_> = events.iter().map(|(channel, event)| (*channel, event.text.as_str())).collect();
        let accepted = self.sender.send_all(way, &texts).await?;
        for ((_, event), _) in events.iter().zip(&accepted).filter(|(_, accepted)| **accepted) {
            self.publisher.confirm(event);
        }
        Ok(accepted.iter().filter(|accepted| **accepted).count())
    }

    /// Publishes at random until it is to stop.
    pub async fn publish_until_the_end(mut self) {
        let rules = Arc::clone(&self.rules);
        while !rules.trial().has_publishing_ended() {
            let way = self.choose_way();
            if let Some(burst) = rules.choose_burst(&mut self.random)
                && self.publish_to_each(way, &burst, BURST_BYTES).await.is_err()
            {
                self.fail(way);
            }
            let channels = rules.choose_for_event(&mut self.random);
            let size = size(&mut self.random);
            if !self.publish(way, &channels, size).await {
                sleep(PAUSE_AFTER_FAILURE).await;
            }
            sleep(Duration::from_millis(self.random.below(rules.pause_ms_max()))).await;
        }
    }

    fn choose_way(&mut self) -> Way {
        let nodes = self.rules.nodes().len();
        match self.random.below(3) as usize {
            2 if *self.rules.broker() != Broker::None => Way::Broker,
            node => Way::Node(node % nodes),
        }
    }

    /// Publishes an event to all channels of a lane that tells readers to go.
    pub async fn close(&mut self, way: Way, all: &[&str]) {
        let event = self.publisher.compose_for(all, 0);
        self.rules.trial().add_closing(&event.text);
        self.send_composed(way, all, &event).await;
    }

    /// Sends an entered event, and notes the outcome. Returns whether it was accepted.
    async fn send_composed(&mut self, way: Way, channels: &[&str], event: &Composed) -> bool {
        let rules = Arc::clone(&self.rules);
        let name = publisher_name(self.publisher.number());
        let form = self.choose_form();
        let what = format!("event {}: by {way:?}, {form:?}, to {}", event.order(), channels.join(" "));
        rules.trial().write_down(&name, || what);
        let sent = timeout(ANSWER_PATIENCE, self.send(way, channels, &event.text, form)).await;
        let told = match &sent {
            Ok(Ok(())) => "accepted".to_owned(),
            Ok(Err(error)) => format!("in doubt: {error}"),
            Err(_) => "in doubt: no answer".to_owned(),
        };
        rules.trial().write_down(&name, || format!("event {}: {told}", event.order()));
        let is_accepted = matches!(sent, Ok(Ok(())));
        if is_accepted {
            self.publisher.confirm(event);
        } else {
            self.fail(way);
        }
        is_accepted
    }

    fn choose_form(&mut self) -> PubsubForm {
        if self.random.below(2) == 0 { PubsubForm::Plain } else { PubsubForm::Envelope }
    }

    /// A refusal that is no sign of trouble with the broker is an offence.
    async fn send(&mut self, way: Way, channels: &[&str], data: &str, form: PubsubForm) -> Result<()> {
        let sent = self.sender.send(way, channels, data, form).await;
        if let Err(error) = &sent
            && let Some(refusal) = error.downcast_ref::<Unexpected>()
        {
            self.rules.trial().offence(refusal.to_string());
        }
        sent
    }

    fn fail(&mut self, way: Way) {
        self.sender.forget(way);
        self.publisher = self.rules.trial().ledger.publisher(Random::from_seed(self.random.next_u64()));
        self.rules.trial().refused.fetch_add(1, Ordering::Relaxed);
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

/// The name of a publisher in the verdict.
fn publisher_name(number: u32) -> String {
    format!("publisher {number}")
}
