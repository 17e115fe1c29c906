//! The descriptor limit, and how many connections fit under it.

use anyhow::{Context, bail};
use fantail_config::Config;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

use crate::health;

/// Descriptors for everything but connections of clients: listeners, Redis, files.
const OWN: usize = 128;

/// Descriptors of a worker beside its listeners: its runtime's and its poll's.
const OWN_OF_A_WORKER: usize = 8;

/// The bounds on open connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectionsMax {
    pub(crate) public: usize,
    /// Publishers keep some open each. A publisher that leaks them must not take the descriptors of streams.
    pub(crate) internal: usize,
    /// Beyond `public`, for each shard: newcomers there are told to come back later.
    pub(crate) reserve_of_a_shard: usize,
}

/// Raises the soft limit to the hard one. Returns the bounds on connections: as many as the operator asked for, or as
/// many as fit. Each worker may hold one connection more, for which the reserve makes room.
pub(crate) fn connections_max(config: &Config) -> anyhow::Result<ConnectionsMax> {
    let (asked, workers) = (config.limits.connections_max, config.engine.workers);
    let health = if config.internal.health_listen.is_some() { health::CONNECTIONS_MAX } else { 0 };
    let limit = raise()?;
    let internal = (limit / 8).clamp(32, 1024);
    let reserve_of_a_shard = ((limit / 32).clamp(8, 512) / workers).max(1);
    let addresses = config.public.listen.len() + config.tls.tls_listen.len();
    // Each listener of a worker is a descriptor, and may hold one connection more.
    let of_a_worker = OWN_OF_A_WORKER + 2 * addresses + reserve_of_a_shard;
    let reserve = OWN + internal + workers * of_a_worker + health;
    let fit = limit.saturating_sub(reserve);
    if fit == 0 {
        bail!("a limit of {limit} open files leaves no room for connections: raise it above {reserve} (ulimit -n)");
    }
    if asked > fit {
        warn!(
            connections_max = asked,
            open_files_max = limit,
            fit,
            "connections_max does not fit, raise the open files limit"
        );
    }
    let max = if asked == 0 { fit } else { asked.min(fit) };
    info!(connections_max = max, open_files_max = limit, "connections are limited");
    Ok(ConnectionsMax { public: max, internal, reserve_of_a_shard })
}

fn raise() -> anyhow::Result<usize> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
            .context("cannot raise the open files limit")?;
    }
    Ok(maximum.map_or(usize::MAX, |n| n as usize))
}
