//! The control thread: the feed, the hub's one publisher, the internal listener, and the signals.
//!
//! It waits on the feed's sockets, the shards' interest, its sweep, internal requests and signals. Everything that
//! changes a log happens on this thread.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use fantail_access::HostPolicy;
use fantail_config::Effective;
use fantail_feed::{Feed, MemoryFeed, RedisFeed, RedisSettings};
use fantail_hub::{Channel, Hub, Publisher, Release, Wish};
use fantail_shard::Admission;
use fantail_telemetry::{FeedState, Metrics};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::banner::{Banner, FeedLine};
use crate::drain::{self, DrainTimes};
use crate::feed_figures::FeedFigures;
use crate::feed_news;
use crate::hangup;
use crate::health::{self, Health};
use crate::intake::NodeIntake;
use crate::internal::{self, Internal};
use crate::shard_thread::ShardHandle;

/// How often logs are looked through for what is too old.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Where events come from, before anything is connected.
pub(crate) enum FeedChoice {
    Memory,
    Redis(Box<RedisSettings>),
}

/// The parts of the control thread.
pub(crate) struct Control {
    pub(crate) hub: Arc<Hub>,
    pub(crate) publisher: Publisher,
    pub(crate) feed: FeedChoice,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) shards: Vec<ShardHandle>,
    pub(crate) admission: Arc<Admission>,
    /// Whether to print where it serves, beside the line in the log.
    pub(crate) banner: bool,
    pub(crate) listen: SocketAddr,
    pub(crate) public_url: String,
    pub(crate) internal_listener: TcpListener,
    pub(crate) internal_hosts: HostPolicy,
    pub(crate) health_listener: Option<TcpListener>,
    pub(crate) internal_connections_max: usize,
    pub(crate) publish_body_bytes_max: usize,
    pub(crate) head_bytes_max: usize,
    pub(crate) request_deadline: Duration,
    pub(crate) linger: Duration,
    pub(crate) drain: DrainTimes,
    /// Whether open streams are told how the feed is.
    pub(crate) feed_state_events: bool,
    pub(crate) effective: Vec<Effective>,
}

impl Control {
    /// Serves until a signal.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot make a runtime")?;
        let result = runtime.block_on(self.serve());
        // A name lookup may still be under way, and nobody needs its answer.
        runtime.shutdown_background();
        result
    }

    async fn serve(self) -> anyhow::Result<()> {
        let signals = drain::Signals::install()?;
        hangup::outlive()?;
        let (listener, internal_url) = listening(self.internal_listener)?;
        let health_listening = self.health_listener.map(listening).transpose()?;
        let feed_line = FeedLine::of(&self.feed);
        let (brings_events, feed_state) = watch::channel(false);
        if self.feed_state_events {
            let shards = self.shards.iter().map(|shard| shard.commands.clone()).collect();
            tokio::spawn(feed_news::tell(feed_state, shards));
        }
        let (feed, intake) = connect(self.feed, self.publisher, &self.metrics, brings_events);
        let (draining, draining_out) = watch::channel(false);
        tokio::spawn(mind_interest(Arc::clone(&self.hub), Arc::clone(&feed), Arc::clone(&intake), self.linger));
        tokio::spawn(sweep(Arc::clone(&intake)));
        let health = Arc::new(Health {
            feed: Arc::clone(&feed),
            feed_figures: FeedFigures::default(),
            metrics: Arc::clone(&self.metrics),
            admission: self.admission,
            draining: draining_out,
        });
        let internal = Internal {
            feed,
            health: Arc::clone(&health),
            intake,
            hub: self.hub,
            metrics: self.metrics,
            shards: self.shards.iter().map(|shard| shard.commands.clone()).collect(),
            hosts: self.internal_hosts,
            effective: effective_json(&self.effective),
            publish_body_bytes_max: self.publish_body_bytes_max,
            head_bytes_max: self.head_bytes_max,
            request_deadline: self.request_deadline,
            connections_max: self.internal_connections_max,
        };
        tokio::spawn(internal::run(listener, Arc::new(internal)));
        let health_url = health_listening.map(|(listener, url)| {
            tokio::spawn(health::run(listener, health));
            url
        });
        Banner {
            shards: self.shards.len(),
            feed: &feed_line,
            listen: self.listen,
            public: &self.public_url,
            internal: &internal_url,
            health: health_url.as_deref(),
        }
        .tell(self.banner);
        drain::serve_until_signal(signals, self.shards, draining, self.drain).await
    }
}

/// A bound socket for the runtime, and its URL.
fn listening(listener: TcpListener) -> anyhow::Result<(tokio::net::TcpListener, String)> {
    let url = format!("http://{}", listener.local_addr().context("a bound socket has no address")?);
    Ok((tokio::net::TcpListener::from_std(listener).context("cannot take the listener")?, url))
}

/// Makes the feed and gives it its way down.
fn connect(
    choice: FeedChoice,
    publisher: Publisher,
    metrics: &Metrics,
    brings_events: watch::Sender<bool>,
) -> (Arc<Feed<NodeIntake>>, Arc<Mutex<NodeIntake>>) {
    let connected = match choice {
        FeedChoice::Memory => FeedState::Memory,
        FeedChoice::Redis(_) => FeedState::Connected,
    };
    // A feed tells its state when it changes. Until then it is connecting, while the metrics begin with none.
    metrics.hub().set_feed_state(FeedState::Connecting);
    let intake = Arc::new(Mutex::new(NodeIntake { publisher, counters: metrics.hub(), brings_events, connected }));
    let feed = match choice {
        FeedChoice::Memory => Feed::Memory(MemoryFeed::new(Arc::clone(&intake))),
        FeedChoice::Redis(settings) => Feed::Redis(RedisFeed::start(&settings, &intake)),
    };
    (Arc::new(feed), intake)
}

/// Tells the feed what the shards want: at once what is to be followed, and after the linger time what is not.
async fn mind_interest(hub: Arc<Hub>, feed: Arc<Feed<NodeIntake>>, intake: Arc<Mutex<NodeIntake>>, linger: Duration) {
    let linger_ms = linger.as_millis() as u64;
    // By when to look again; the number tells apart what falls on one instant. Each channel stands in it at most once.
    let mut lingering: BTreeMap<(Instant, u64), Arc<Channel>> = BTreeMap::new();
    let mut next = 0;
    let mut linger_until = |lingering: &mut BTreeMap<_, _>, wait: Duration, channel| {
        next += 1;
        lingering.insert((Instant::now() + wait, next), channel);
    };
    loop {
        // The intake's lock is not held while the feed is called, which may take it.
        while let Some(wish) = next_wish(&intake) {
            match wish {
                Wish::Follow(name) => feed.follow(&name),
                Wish::Linger(channel) => linger_until(&mut lingering, linger, channel),
                Wish::Recall { channel, above, up_to, events_max } => feed.recall(&channel, above, up_to, events_max),
                Wish::Sync(lane) => feed.sync(lane),
            }
        }
        while let Some(due) = lingering.first_entry().filter(|entry| entry.key().0 <= Instant::now()) {
            let channel = due.remove();
            let release = intake.lock().publisher.release(&channel, linger_ms);
            match release {
                Release::Unfollow => feed.unfollow(channel.name()),
                Release::Wanted => {}
                Release::Later(ms) => linger_until(&mut lingering, Duration::from_millis(ms), channel),
            }
        }
        let due = lingering.first_key_value().map(|(key, _)| key.0);
        tokio::select! {
            () = hub.interest().changed() => {}
            () = async { sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {}
        }
    }
}

fn next_wish(intake: &Mutex<NodeIntake>) -> Option<Wish> {
    intake.lock().publisher.next_wish()
}

async fn sweep(intake: Arc<Mutex<NodeIntake>>) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        ticks.tick().await;
        intake.lock().publisher.sweep();
    }
}

fn effective_json(effective: &[Effective]) -> Value {
    let settings = effective.iter().map(|setting| {
        let source = format!("{:?}", setting.source).to_lowercase();
        (setting.key.to_owned(), json!({ "value": setting.value, "source": source }))
    });
    Value::Object(settings.collect())
}
