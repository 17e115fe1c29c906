//! `SIGHUP`: it ends nothing, and there is nothing yet that it could read again.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tracing::warn;

/// From here on the signal does not kill the process: each is told in the log, and the node goes on.
pub(crate) fn outlive() -> anyhow::Result<()> {
    let mut hangups = signal(SignalKind::hangup()).context("cannot watch for signals")?;
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            warn!("SIGHUP changes nothing, there is no reload yet; restart to take up settings, SIGTERM drains");
        }
    });
    Ok(())
}
