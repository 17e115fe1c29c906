//! `SIGHUP`: keys, tokens and certificates are read again at once, and not only at their next turn.

use std::sync::Arc;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use tracing::info;

use crate::files_in_use::FilesInUse;
use crate::running_node::RunningNode;
use crate::supervisor::Supervisor;

/// From here on the signal does not kill the process.
pub(crate) fn read_again(
    node: Arc<RunningNode>,
    files: Arc<FilesInUse>,
    supervisor: Arc<Supervisor>,
) -> anyhow::Result<()> {
    let mut hangups = signal(SignalKind::hangup()).context("cannot watch for signals")?;
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            info!(
                "SIGHUP: keys, tokens and certificates are read again; other settings are taken up by a restart, and SIGTERM drains"
            );
            supervisor.tell_reloading().await;
            let keys = Arc::clone(node.access.keys());
            let _ = spawn_blocking(move || keys.read_files_again()).await;
            files.read_again(&node).await;
            supervisor.tell_ready().await;
        }
    });
    Ok(())
}
