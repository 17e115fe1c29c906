//! A shard's accept loop.
//!
//! It waits on the listener, then on a permit. Permits are counted by ourselves and are fewer than descriptors, so that
//! accepting stops before the kernel refuses, and goes on by itself when a socket closes. Taking the permit second lets no
//! idle loop hold one that another could use; each loop may hold one connection that waits.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fantail_shard::Admission;
use tokio::net::TcpListener;
use tokio::task::spawn_local;
use tracing::warn;

use crate::connection::{self, ShardContext};

/// Waits after accepting failed for want of a resource, doubled each time up to the longest. Without a wait the loop
/// would spin: a refused `accept` leaves the connection in the backlog.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Accepts until the drain begins.
pub(crate) async fn run(listener: TcpListener, admission: Arc<Admission>, context: Rc<ShardContext>) {
    let mut draining = context.draining.clone();
    tokio::select! {
        biased;
        _ = draining.wait_for(|draining| *draining) => {}
        () = accept_for_ever(&listener, &admission, &context) => {}
    }
    // What the kernel has completed already would be reset with the listener: it is accepted, and told to come back.
    while let Ok(Ok((socket, _))) = tokio::time::timeout(Duration::ZERO, listener.accept()).await {
        let permit = admission.permit().await;
        context.counters.connections_accepted.add(1);
        context.counters.connections_open.add(1);
        spawn_local(connection::serve(socket, permit, Rc::clone(&context)));
    }
}

async fn accept_for_ever(listener: &TcpListener, admission: &Arc<Admission>, context: &Rc<ShardContext>) {
    let mut pause = PAUSE_MIN;
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                pause = PAUSE_MIN;
                let permit = admission.permit().await;
                context.counters.connections_accepted.add(1);
                context.counters.connections_open.add(1);
                spawn_local(connection::serve(socket, permit, Rc::clone(context)));
            }
            Err(error) if is_the_connections_own(&error) => {}
            Err(error) => {
                warn!(%error, ?pause, "cannot accept, waiting; raise the open files limit or lower connections_max");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// The client went away before it was accepted: no reason to wait.
fn is_the_connections_own(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
