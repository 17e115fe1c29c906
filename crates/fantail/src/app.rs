//! The parts of a node are made here, in order, and meet here.

use std::sync::Arc;

use anyhow::Context;
use fantail_config::{Config, ControlThread, Limits};
use fantail_hub::Hub;
use fantail_shard::{Admission, OpenBounds};
use fantail_telemetry::{Metrics, logging};

use crate::access::ReadAccess;
use crate::banner::Served;
use crate::broker::Broker;
use crate::cli::format_of;
use crate::control::{Control, ControlListeners};
use crate::descriptors::{ConnectionsMax, connections_max};
use crate::files_in_use::FilesInUse;
use crate::hub_settings::{hub_settings, shard_settings};
use crate::inherited_sockets::InheritedSockets;
use crate::internal_access::InternalAccess;
use crate::listener::{Listeners, PublicListener};
use crate::memory::MemoryBound;
use crate::new_connections::open_bound;
use crate::public::PublicSettings;
use crate::shard_thread::{self, HostedShard, ShardHandle, ShardSocket, ShardThread};
use crate::tls::{self, TlsServer};

/// Serves until a signal ends it.
pub(crate) fn serve(mut config: Config) -> anyhow::Result<()> {
    // The environment is changed here, so no thread may run yet.
    let inherited = InheritedSockets::take()?;
    let log_file = config.logging.log_file.as_deref();
    logging::init(&config.logging.log_level, format_of(config.logging.log_format), log_file)?;
    // The TLS of a broker's client asks for the process's default provider.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();

    config.tls.tls_stream_state = tls::stream_state(config.tls.tls_stream_state);
    let broker = Broker::of(&config)?;
    let hub_settings = hub_settings(&config, broker.as_ref())?;
    let access = Arc::new(ReadAccess::new(&config)?);
    let memory = Arc::new(MemoryBound::new(config.limits.memory_max));
    let lanes = hub_settings.lanes.clone();
    let public = Arc::new(PublicSettings::new(&config, lanes, Arc::clone(&access), Arc::clone(&memory))?);
    let connections_max = connections_max(&config)?;
    let metrics = Arc::new(Metrics::new(config.engine.workers));
    let (hub, publisher) = Hub::new(hub_settings, metrics.hub());
    let admission = Admission::with_bounds(connections_max.public, open_bounds(&config.limits));
    metrics.hub().channels_max.set(config.limits.channels_max as u64);
    metrics.hub().connections_max.set(admission.max() as u64);
    metrics.hub().streams_max.set(admission.streams_max().into());

    let tls = TlsServer::public(&config.tls, &config.http2)?.map(Arc::new);
    access.set_client_authorities(tls.as_ref().map_or(0, |tls| tls.client_authorities()));
    let internal_tls = TlsServer::internal(&config.internal)?.map(Arc::new);

    if tls.is_some() || internal_tls.is_some() {
        tls::prepare().context("cannot prepare for TLS")?;
    }

    // Everything is checked; from here on sockets are bound.
    let Listeners { public: listeners, internal, health, files: socket_files } = Listeners::bind(&config, inherited)?;
    let served = |listener: &PublicListener| Served { address: listener.address.clone(), is_tls: listener.is_tls };
    let served = listeners.iter().map(served).collect();
    let parts = SharedParts {
        config: &config,
        connections_max,
        hub: &hub,
        public,
        metrics: &metrics,
        admission: &admission,
        tls: tls.as_ref(),
    };
    let (shards, hosted) = parts.start_shards(listeners)?;
    let internal_access = Arc::new(InternalAccess::load(&config.internal.internal_tokens)?);
    let files =
        FilesInUse { internal_access, tls, internal_tls, access: Arc::clone(&access), metrics: Arc::clone(&metrics) };
    Control {
        hub,
        publisher,
        access,
        memory,
        files,
        broker,
        metrics,
        shards,
        hosted,
        admission,
        listeners: ControlListeners {
            public: served,
            internal,
            internal_connections_max: connections_max.internal,
            health,
            socket_files,
        },
        config,
    }
    .run()
}

/// The most that may be open; 0 stands for no bound.
fn open_bounds(limits: &Limits) -> OpenBounds {
    let bound = |setting| u32::try_from(setting).ok().filter(|&max| max > 0);
    OpenBounds {
        streams: bound(limits.streams_max),
        per_address: bound(open_bound(limits).max),
        per_subject: bound(limits.streams_per_subject_max),
        per_token: bound(limits.streams_per_token_max),
    }
}

/// The parts that all shards share.
struct SharedParts<'a> {
    config: &'a Config,
    connections_max: ConnectionsMax,
    hub: &'a Arc<Hub>,
    public: Arc<PublicSettings>,
    metrics: &'a Metrics,
    admission: &'a Arc<Admission>,
    tls: Option<&'a Arc<TlsServer>>,
}

impl SharedParts<'_> {
    /// Starts the shards' threads. Each gets a socket of every listener. If the control loop shares a thread, the first shard is
    /// not started but given to it.
    fn start_shards(&self, listeners: Vec<PublicListener>) -> anyhow::Result<(Vec<ShardHandle>, Option<HostedShard>)> {
        let settings = shard_settings(self.config);
        let workers = self.config.engine.workers;
        let mut sockets: Vec<Vec<ShardSocket>> = (0..workers).map(|_| Vec::new()).collect();
        for listener in listeners {
            let tls = self.tls.filter(|_| listener.is_tls);
            for (of_shard, socket) in sockets.iter_mut().zip(listener.sockets) {
                of_shard.push(ShardSocket { listener: socket, tls: tls.map(Arc::clone) });
            }
        }
        let mut hosted = None;
        let start = |(index, sockets)| {
            let parts = ShardThread {
                index: index as u16,
                sockets,
                handshakes_max: self.config.tls.tls_handshakes_max,
                hub: Arc::clone(self.hub),
                settings: settings.clone(),
                public: Arc::clone(&self.public),
                counters: self.metrics.shard(index),
                admission: Arc::clone(self.admission),
                reserve_places: self.connections_max.reserve_of_a_shard,
            };
            if index > 0 || self.config.engine.control_thread == ControlThread::Own {
                return shard_thread::spawn(parts);
            }
            let (handle, shard) = shard_thread::host(parts);
            hosted = Some(shard);
            Ok(handle)
        };
        let shards = sockets.into_iter().enumerate().map(start).collect::<anyhow::Result<_>>()?;
        Ok((shards, hosted))
    }
}
