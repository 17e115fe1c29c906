//! A shard's thread: one runtime, its listeners, one engine. The first shard may share the thread of the control loop.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use fantail_hub::Hub;
use fantail_shard::{Admission, Shard, ShardCommand, ShardSettings};
use fantail_telemetry::ShardCounters;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;

use crate::accept::{self, Door};
use crate::connection::ShardContext;
use crate::handshakes::Handshakes;
use crate::hosted_shard;
use crate::listening_socket::BoundSocket;
use crate::public::PublicSettings;
use crate::refusals::Refusals;
use crate::reserve::Reserve;
use crate::tls::TlsServer;

/// Requests of the control loop that may wait for a shard.
const COMMANDS_MAX: usize = 16;

/// Tasks that run on the thread of the control loop before the shard that shares it gets its turn, and before the sockets are looked
/// at. With 1 the sockets are looked at behind every task, which costs more than it gains; with 61, which is tokio's own number, events
/// wait longer for one another (docs/decisions/0012-the-control-loop-shares-a-thread.md).
const TASKS_BEFORE_SHARD: u32 = 8;

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

/// The control loop's side of a shard.
pub(crate) struct ShardHandle {
    pub(crate) commands: mpsc::Sender<ShardCommand>,
    /// Set to true to stop accepting.
    pub(crate) draining: watch::Sender<bool>,
    /// Answers with the reason when the thread has ended; a thread that panicked gives no answer.
    pub(crate) ended: oneshot::Receiver<anyhow::Result<()>>,
}

/// A shard that runs on the thread of the control loop: its future, which wants a [`LocalSet`] and ends with the shard.
pub(crate) type HostedShard = Pin<Box<dyn Future<Output = ()>>>;

/// Starts a thread for the shard.
pub(crate) fn spawn(parts: ShardThread) -> anyhow::Result<ShardHandle> {
    let name = format!("shard-{}", parts.index);
    let (handle, orders) = orders();
    let body = move || {
        let Orders { commands, draining, ended } = orders;
        let serve = serve(parts, commands, draining, |_| {});
        let result = runtime().and_then(|runtime| LocalSet::new().block_on(&runtime, serve));
        // The receiver is gone only when the process is ending.
        let _ = ended.send(result);
    };
    thread::Builder::new().name(name).spawn(body).context("cannot start a shard's thread")?;
    Ok(handle)
}

/// Prepares the shard for the thread of the control loop.
pub(crate) fn host(parts: ShardThread) -> (ShardHandle, HostedShard) {
    let (handle, Orders { commands, draining, ended }) = orders();
    let hosted = async move {
        let _ = ended.send(serve(parts, commands, draining, hosted_shard::host).await);
    };
    (handle, Box::pin(hosted))
}

/// The shard's side of its handle.
struct Orders {
    commands: mpsc::Receiver<ShardCommand>,
    draining: watch::Receiver<bool>,
    ended: oneshot::Sender<anyhow::Result<()>>,
}

fn orders() -> (ShardHandle, Orders) {
    let (commands, commands_out) = mpsc::channel(COMMANDS_MAX);
    let (draining, draining_out) = watch::channel(false);
    let (ended_in, ended) = oneshot::channel();
    (
        ShardHandle { commands, draining, ended },
        Orders { commands: commands_out, draining: draining_out, ended: ended_in },
    )
}

/// The runtime of a shard's thread, or of the control loop's.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().event_interval(TASKS_BEFORE_SHARD).build().context("cannot make a runtime")
}

async fn serve(
    parts: ShardThread,
    commands: mpsc::Receiver<ShardCommand>,
    draining: watch::Receiver<bool>,
    introduce: impl FnOnce(Shard),
) -> anyhow::Result<()> {
    let ShardThread { index, sockets, handshakes_max, hub, settings, public, counters, admission, reserve_places } =
        parts;
    let (shard, engine) = Shard::new(hub, index, settings, Arc::clone(&counters), Arc::clone(&admission), commands)
        .context("cannot make a poll")?;
    introduce(shard.clone());
    let refusals = Refusals::new(Arc::clone(&counters));
    let handshakes = Handshakes::new(handshakes_max, Arc::clone(&counters));
    let context =
        Rc::new(ShardContext { shard, settings: public, counters, admission, draining, refusals, handshakes });
    // Each listener has its part of the reserve.
    let places = (reserve_places / sockets.len().max(1)).max(1);
    for ShardSocket { listener, tls } in sockets {
        let door = Door { listener: listener.listen()?, tls };
        tokio::task::spawn_local(accept::run(door, Reserve::new(places), Rc::clone(&context)));
    }
    engine.await.context("a shard cannot poll its sockets")
}
