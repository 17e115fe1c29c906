//! A shard's accept loop.
//!
//! It waits on the listener. There are fewer permits than descriptors. A connection without a permit gets a place in
//! the reserve, so that the kernel never has to refuse one.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tracing::warn;

use crate::connection::{self, ShardContext};
use crate::place::Place;
use crate::reserve::Reserve;

/// The wait after accepting failed for want of a resource. It doubles each time, up to the longest. Without it the loop
/// would spin: a refused `accept` leaves the connection in the backlog.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Accepts until the drain begins.
pub(crate) async fn run(listener: TcpListener, mut reserve: Reserve, context: Rc<ShardContext>) {
    let mut draining = context.draining.clone();
    let mut pause = PAUSE_MIN;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = draining.wait_for(|draining| *draining) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                pause = PAUSE_MIN;
                admit(socket, peer, &mut reserve, &context).await;
            }
            Err(error) if is_the_connections_own(&error) => {}
            Err(error) => {
                warn!(%error, ?pause, "cannot accept, waiting; raise the open files limit or lower connections_max");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
    // The kernel would reset connections that it has completed already. They are accepted and told to come back.
    while let Ok(Ok((socket, peer))) = tokio::time::timeout(Duration::ZERO, listener.accept()).await {
        admit(socket, peer, &mut reserve, &context).await;
    }
}

/// Serves the connection, in the reserve if there is no room for it.
async fn admit(socket: TcpStream, peer: SocketAddr, reserve: &mut Reserve, context: &Rc<ShardContext>) {
    context.counters.connections_accepted.add(1);
    match context.admission.try_permit() {
        Some(permit) => {
            let place = Place::open(permit, &context.shard, Arc::clone(&context.counters));
            spawn_local(connection::serve(socket, peer, place, Rc::clone(context)));
        }
        None => reserve.serve(socket, peer, context).await,
    }
}

/// The client went away before it was accepted: no reason to wait.
fn is_the_connections_own(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
