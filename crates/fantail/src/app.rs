//! The parts of a node are made here, in order, and meet here.

use std::net::TcpListener;
use std::sync::Arc;

use fantail_config::{Config, Limits};
use fantail_hub::Hub;
use fantail_shard::{Admission, OpenBounds};
use fantail_telemetry::{Metrics, logging};

use crate::access::ReadAccess;
use crate::cli::format_of;
use crate::control::{Control, ControlListeners, FilesInUse};
use crate::descriptors::{ConnectionsMax, connections_max};
use crate::hub_settings::{hub_settings, shard_settings};
use crate::internal_access::InternalAccess;
use crate::listener::Listeners;
use crate::memory::MemoryBound;
use crate::new_connections::open_bound;
use crate::public::PublicSettings;
use crate::redis_settings::redis_settings;
use crate::shard_thread::{self, ShardHandle, ShardThread, ShardTls};
use crate::tls::TlsServer;

/// Serves until a signal ends it.
pub(crate) fn serve(config: Config) -> anyhow::Result<()> {
    logging::init(&config.logging.log_level, format_of(config.logging.log_format))?;
    // The TLS of the Redis client asks for the process's default provider.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();

    let redis = redis_settings(&config)?;
    let hub_settings = hub_settings(&config, redis.as_ref())?;
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

    let tls = config.tls.tls_listen.map(|_| TlsServer::load(&config.tls)).transpose()?.map(Arc::new);

    // Everything is checked; from here on sockets are bound.
    let Listeners { public: sockets, public_address, tls: tls_listeners, internal, health } = Listeners::bind(&config)?;
    let tls_address = tls_listeners.as_ref().map(|(_, address)| *address);
    let tls_sockets = tls_listeners.map(|(sockets, _)| sockets).unwrap_or_default();
    let parts = SharedParts {
        config: &config,
        connections_max,
        hub: &hub,
        public,
        metrics: &metrics,
        admission: &admission,
        tls: tls.as_ref(),
    };
    let shards = parts.spawn_shards(sockets, tls_sockets)?;
    let internal_access = Arc::new(InternalAccess::load(&config.internal.internal_tokens)?);
    let files = FilesInUse { internal_access, tls, metrics: Arc::clone(&metrics) };
    Control {
        hub,
        publisher,
        access,
        memory,
        files,
        redis,
        metrics,
        shards,
        admission,
        listeners: ControlListeners {
            public_address,
            tls_address,
            internal,
            internal_connections_max: connections_max.internal,
            health,
        },
        config,
    }
    .run()
}

/// The most that one name may have open; 0 stands for no bound.
fn open_bounds(limits: &Limits) -> OpenBounds {
    let bound = |setting| u32::try_from(setting).ok().filter(|&max| max > 0);
    OpenBounds {
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
    /// Starts a thread for each socket, which gets one of the encrypted listener, too, if there is one.
    fn spawn_shards(
        &self,
        sockets: Vec<TcpListener>,
        tls_sockets: Vec<TcpListener>,
    ) -> anyhow::Result<Vec<ShardHandle>> {
        let settings = shard_settings(self.config);
        let mut tls_sockets = tls_sockets.into_iter();
        let spawn = |(index, listener)| {
            let handshakes_max = self.config.tls.tls_handshakes_max;
            let tls = self.tls.zip(tls_sockets.next());
            let tls = tls.map(|(server, listener)| ShardTls { listener, server: Arc::clone(server), handshakes_max });
            shard_thread::spawn(ShardThread {
                index: index as u16,
                listener,
                tls,
                hub: Arc::clone(self.hub),
                settings: settings.clone(),
                public: Arc::clone(&self.public),
                counters: self.metrics.shard(index),
                admission: Arc::clone(self.admission),
                reserve_places: self.connections_max.reserve_of_a_shard,
            })
        };
        sockets.into_iter().enumerate().map(spawn).collect()
    }
}
