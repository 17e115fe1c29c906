//! The control loop: the feed, the hub's one publisher, the internal listener, and the signals.
//!
//! It waits on the feed's sockets, the shards' interest, its sweep, internal requests and signals. Everything that
//! changes a log happens on this thread.

use std::sync::Arc;

use anyhow::Context;
use fantail_config::{Config, ListenAddress, LogFormat};
use fantail_feed::{Feed, MemoryFeed, NatsFeed, RedisFeed};
use fantail_hub::{Hub, Publisher};
use fantail_shard::Admission;
use fantail_telemetry::Metrics;
use fantail_wire::FeedState;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::access::ReadAccess;
use crate::banner::{Banner, FeedLine, Served};
use crate::broker::Broker;
use crate::drain;
use crate::feed_news;
use crate::files_in_use::{self, FilesInUse};
use crate::hangup;
use crate::health::{self, Health};
use crate::intake::NodeIntake;
use crate::interest;
use crate::internal::{self, Internal};
use crate::listening_socket::{BoundSocket, SocketFile};
use crate::memory::{self, MemoryBound};
use crate::revocations;
use crate::running_node::RunningNode;
use crate::shard_thread::{self, HostedShard, ShardHandle};
use crate::supervisor::Supervisor;

/// The parts of the control loop.
pub(crate) struct Control {
    pub(crate) config: Config,
    pub(crate) hub: Arc<Hub>,
    pub(crate) publisher: Publisher,
    pub(crate) access: Arc<ReadAccess>,
    pub(crate) memory: Arc<MemoryBound>,
    pub(crate) files: FilesInUse,
    /// The way to the broker; without one the feed is this node's memory.
    pub(crate) broker: Option<Broker>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) shards: Vec<ShardHandle>,
    /// The shard that runs on this thread, if there is one.
    pub(crate) hosted: Option<HostedShard>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) listeners: ControlListeners,
}

/// The listeners of the control loop, and the addresses of the shards'.
pub(crate) struct ControlListeners {
    /// The addresses of the shards.
    pub(crate) public: Vec<Served>,
    pub(crate) internal: (BoundSocket, ListenAddress),
    pub(crate) internal_connections_max: usize,
    pub(crate) health: Option<(BoundSocket, ListenAddress)>,
    /// They go away with the control loop.
    pub(crate) socket_files: Vec<SocketFile>,
}

impl Control {
    pub(crate) fn run(mut self) -> anyhow::Result<()> {
        let (runtime, local) = (shard_thread::runtime()?, LocalSet::new());
        if let Some(shard) = self.hosted.take() {
            local.spawn_local(shard);
        }
        // As a task of its own it is looked at when it has something to do, and not at each turn of the shard.
        let serving = local.spawn_local(self.serve());
        let result = local.block_on(&runtime, serving).context("the control loop panicked; the reason stands above");
        // A name lookup may still be under way, and nobody needs its answer.
        runtime.shutdown_background();
        result?
    }

    async fn serve(self) -> anyhow::Result<()> {
        let signals = drain::Signals::install()?;
        let supervisor = Arc::new(Supervisor::from_environment()?);
        let config = self.config;
        let ControlListeners {
            public,
            internal,
            internal_connections_max,
            health: health_listener,
            socket_files: _socket_files,
        } = self.listeners;
        let feed_line = FeedLine::of(self.broker.as_ref());
        let commands: Vec<_> = self.shards.iter().map(|shard| shard.commands.clone()).collect();
        let (brings_events, feed_state) = watch::channel(false);
        if config.streams.feed_state_events {
            tokio::spawn(feed_news::tell(feed_state, commands.clone()));
        }
        let (feed, intake) = connect(self.broker, self.publisher, &self.metrics, brings_events);
        let node = Arc::new(RunningNode {
            access: self.access,
            feed,
            intake,
            hub: self.hub,
            metrics: self.metrics,
            admission: self.admission,
            memory: self.memory,
            shards: commands.clone(),
        });
        tokio::spawn(interest::mind(Arc::clone(&node), config.feed.linger));
        tokio::spawn(interest::sweep(Arc::clone(&node)));
        tokio::spawn(memory::watch(Arc::clone(&node), config.logs.logs_bytes_max));
        tokio::spawn(revocations::keep_keys(Arc::clone(&node)));
        let (draining, draining_out) = watch::channel(false);
        let health = Arc::new(Health::new(Arc::clone(&node), draining_out, &config));
        let files = Arc::new(self.files);
        files.tell_expiry();
        hangup::read_again(Arc::clone(&node), Arc::clone(&files), Arc::clone(&supervisor))?;
        let (internal_access, internal_tls) = (Arc::clone(&files.internal_access), files.internal_tls.clone());
        tokio::spawn(files_in_use::keep_up_to_date(files, Arc::clone(&node)));
        let (socket, address) = internal;
        let internal = Internal::new(&config, node, Arc::clone(&health), internal_access, internal_connections_max);
        let internal_served = Served { address, is_tls: internal_tls.is_some() };
        tokio::spawn(internal::run(socket.listen()?, internal_tls, Arc::new(internal)));
        let mut health_served = None;
        if let Some((socket, address)) = health_listener {
            tokio::spawn(health::run(socket.listen()?, health));
            health_served = Some(Served { address, is_tls: false });
        }
        Banner {
            config: &config,
            shards: self.shards.len(),
            feed: &feed_line,
            public: &public,
            internal: internal_served,
            health: health_served,
        }
        // Its lines are for a person; the log tells the same to a collector of JSON.
        .tell(config.logging.log_format == LogFormat::Text);
        supervisor.tell_ready().await;
        let alive = Arc::clone(&supervisor);
        tokio::spawn(async move { alive.tell_alive(commands).await });
        drain::serve_until_signal(signals, self.shards, draining, config.drain, &supervisor).await
    }
}

/// Makes the feed and connects it to the intake.
fn connect(
    broker: Option<Broker>,
    publisher: Publisher,
    metrics: &Metrics,
    brings_events: watch::Sender<bool>,
) -> (Arc<Feed<NodeIntake>>, Arc<Mutex<NodeIntake>>) {
    // A feed tells its state when it changes. It is connecting until then, but the metrics begin with no state.
    metrics.hub().set_feed_state(FeedState::Connecting);
    let intake = Arc::new(Mutex::new(NodeIntake { publisher, counters: metrics.hub(), brings_events }));
    let feed = match broker {
        None => Feed::Memory(MemoryFeed::new(Arc::clone(&intake))),
        Some(Broker::Redis(settings)) => Feed::Redis(RedisFeed::start(&settings, &intake)),
        Some(Broker::Nats(settings)) => Feed::Nats(NatsFeed::start(&settings, &intake)),
    };
    (Arc::new(feed), intake)
}
