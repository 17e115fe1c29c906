//! The end of the process: a ramp, not a cliff.
//!
//! The first signal turns readiness off. For the drain delay everything goes on as before, so that balancers send their
//! clients elsewhere. Then the port closes and the streams end over the drain window; the process exits when the last is
//! gone, or at the deadline. A second signal ends it at once.

use std::future::poll_fn;
use std::pin::Pin;
use std::process;
use std::task::Poll;
use std::time::Duration;

use anyhow::Context;
use fantail_config::Drain;
use fantail_shard::ShardCommand;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::shard_thread::ShardHandle;
use crate::supervisor::Supervisor;

/// The signals that end the process.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From here on the signals do not kill the process.
    pub(crate) fn install() -> anyhow::Result<Self> {
        let install = |kind| signal(kind).context("cannot watch for signals");
        Ok(Self { terminate: install(SignalKind::terminate())?, interrupt: install(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
        }
    }
}

/// Waits for a signal, then drains. An error if a shard ends by itself.
pub(crate) async fn serve_until_signal(
    mut signals: Signals,
    mut shards: Vec<ShardHandle>,
    draining: watch::Sender<bool>,
    times: Drain,
    supervisor: &Supervisor,
) -> anyhow::Result<()> {
    let Drain { drain_delay: delay, drain_window: window, drain_deadline: deadline } = times;
    let signal = tokio::select! {
        signal = signals.next() => signal,
        ended = any_shard_ends(&mut shards) => return ended,
    };
    draining.send_replace(true);
    supervisor.tell_stopping().await;
    if signal == SignalKind::terminate() && !delay.is_zero() {
        info!(?delay, "draining: not ready any more, accepting for the drain delay");
        tokio::select! {
            () = sleep(delay) => {}
            _ = signals.next() => end_at_once(),
            ended = any_shard_ends(&mut shards) => return ended,
        }
    }
    info!(?window, ?deadline, "draining: no new connections, streams end over the window");
    tokio::select! {
        drained = timeout(deadline, drain(&shards, window)) => {
            if drained.is_err() {
                warn!("the drain deadline has passed, cutting what is still open");
            }
        }
        _ = signals.next() => end_at_once(),
    }
    Ok(())
}

fn end_at_once() {
    warn!("second signal, ending at once");
    process::exit(1);
}

async fn drain(shards: &[ShardHandle], window: Duration) {
    let mut replies = Vec::with_capacity(shards.len());
    for shard in shards {
        shard.draining.send_replace(true);
        let (reply, done) = oneshot::channel();
        if shard.commands.send(ShardCommand::Drain { window, reply }).await.is_ok() {
            replies.push(done);
        }
    }
    for done in replies {
        // No answer means that the shard and its streams are gone.
        let _ = done.await;
    }
}

/// Completes when the first shard's thread ends, which should never happen.
async fn any_shard_ends(shards: &mut [ShardHandle]) -> anyhow::Result<()> {
    let ended = poll_fn(|cx| {
        let mut polls = shards.iter_mut().map(|shard| Pin::new(&mut shard.ended).poll(cx));
        polls.find(Poll::is_ready).unwrap_or(Poll::Pending)
    });
    ended.await.context("a shard's thread panicked and its streams are lost; the reason stands above")?
}
