//! A shard's thread: one runtime, one listener, one engine.

use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use fantail_hub::Hub;
use fantail_shard::{Admission, Shard, ShardCommand, ShardSettings};
use fantail_telemetry::ShardCounters;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::LocalSet;

use crate::accept::{self, Door};
use crate::connection::ShardContext;
use crate::listening_socket::BoundSocket;
use crate::public::PublicSettings;
use crate::refusals::Refusals;
use crate::reserve::Reserve;
use crate::tls::TlsServer;

/// Requests of the control thread that may wait for a shard.
const COMMANDS_MAX: usize = 16;

/// The parts of a shard's thread.
pub(crate) struct ShardThread {
    pub(crate) index: u16,
    /// Its listeners.
    pub(crate) sockets: Vec<ShardSocket>,
    /// The places for handshakes of TLS.
    pub(crate) handshakes_max: usize,
    pub(crate) hub: Arc<Hub>,
    pub(crate) settings: ShardSettings,
    pub(crate) public: Arc<PublicSettings>,
    pub(crate) counters: Arc<ShardCounters>,
    pub(crate) admission: Arc<Admission>,
    /// Places for newcomers when the node is full.
    pub(crate) reserve_places: usize,
}

/// A shard's socket of one address.
pub(crate) struct ShardSocket {
    pub(crate) listener: BoundSocket,
    /// Connections begin with a handshake.
    pub(crate) tls: Option<Arc<TlsServer>>,
}

/// The control thread's side of a shard.
pub(crate) struct ShardHandle {
    pub(crate) commands: mpsc::Sender<ShardCommand>,
    /// Set to true to stop accepting.
    pub(crate) draining: watch::Sender<bool>,
    /// Answers with the reason when the thread has ended; a thread that panicked gives no answer.
    pub(crate) ended: oneshot::Receiver<anyhow::Result<()>>,
}

/// Starts the thread.
pub(crate) fn spawn(parts: ShardThread) -> anyhow::Result<ShardHandle> {
    let (commands, commands_out) = mpsc::channel(COMMANDS_MAX);
    let (draining, draining_out) = watch::channel(false);
    let (ended_in, ended) = oneshot::channel();
    let name = format!("shard-{}", parts.index);
    let body = move || {
        // The receiver is gone only when the process is ending.
        let _ = ended_in.send(run(parts, commands_out, draining_out));
    };
    thread::Builder::new().name(name).spawn(body).context("cannot start a shard's thread")?;
    Ok(ShardHandle { commands, draining, ended })
}

fn run(
    parts: ShardThread,
    commands: mpsc::Receiver<ShardCommand>,
    draining: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let ShardThread { index, sockets, handshakes_max, hub, settings, public, counters, admission, reserve_places } =
        parts;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot make a runtime")?;
    LocalSet::new().block_on(&runtime, async move {
        let (shard, engine) = Shard::new(hub, index, settings, Arc::clone(&counters), Arc::clone(&admission), commands)
            .context("cannot make a poll")?;
        let refusals = Refusals::new(Arc::clone(&counters));
        let context = Rc::new(ShardContext { shard, settings: public, counters, admission, draining, refusals });
        let handshakes = Arc::new(Semaphore::new(handshakes_max));
        // Each listener has its part of the reserve.
        let places = (reserve_places / sockets.len().max(1)).max(1);
        for ShardSocket { listener, tls } in sockets {
            let door = Door { listener: listener.listen()?, tls, handshakes: Arc::clone(&handshakes) };
            tokio::task::spawn_local(accept::run(door, Reserve::new(places), Rc::clone(&context)));
        }
        engine.await.context("a shard cannot poll its sockets")
    })
}
