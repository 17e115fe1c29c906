//! The descriptor limit, and how many connections fit under it.

use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

use crate::internal;

/// Descriptors for everything that is no public connection: listeners, Redis, files, and all that the internal listener
/// may take.
const RESERVE: usize = 128 + internal::CONNECTIONS_MAX;

/// Raises the soft limit to the hard one, and says how many connections may be open: `asked`, or as many as fit if it
/// is 0. Each of the `workers` may hold one connection more that waits for room.
pub(crate) fn connections_max(asked: usize, workers: usize) -> anyhow::Result<usize> {
    let limit = raise()?;
    let reserve = RESERVE + workers;
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
    Ok(max)
}

fn raise() -> anyhow::Result<usize> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
            .context("cannot raise the open files limit")?;
    }
    Ok(maximum.map_or(usize::MAX, |n| n as usize))
}
