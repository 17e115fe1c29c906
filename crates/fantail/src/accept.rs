//! A shard's accept loop.
//!
//! It waits on the listener. There are fewer permits than descriptors. A connection without a permit gets a place in
//! the reserve, so that the kernel never has to refuse one.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tracing::warn;

use crate::connection::{self, ShardContext};
use crate::listening_socket::ListeningSocket;
use crate::place::Place;
use crate::reserve::Reserve;
use crate::tls::TlsServer;

/// The wait after accepting failed for want of a resource. It doubles each time, up to the longest. Without it the loop
/// would spin: a refused `accept` leaves the connection in the backlog.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A listener of a shard.
pub(crate) struct Door {
    pub(crate) listener: ListeningSocket,
    /// Connections begin with a TLS handshake.
    pub(crate) tls: Option<Arc<TlsServer>>,
}

/// The handshakes that stand before HTTP on a connection, if there are any.
pub(crate) type Entrance = Option<Arc<TlsServer>>;

impl Door {
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr, Entrance)> {
        let (socket, peer) = self.listener.accept().await?;
        Ok((socket, peer, self.tls.clone()))
    }
}

/// Accepts until the drain begins.
pub(crate) async fn run(door: Door, mut reserve: Reserve, context: Rc<ShardContext>) {
    let mut draining = context.draining.clone();
    let mut pause = PAUSE_MIN;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = draining.wait_for(|draining| *draining) => break,
            accepted = door.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer, entrance)) => {
                pause = PAUSE_MIN;
                admit(socket, peer, entrance, &mut reserve, &context).await;
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
    while let Ok(Ok((socket, peer, entrance))) = tokio::time::timeout(Duration::ZERO, door.accept()).await {
        admit(socket, peer, entrance, &mut reserve, &context).await;
    }
}

/// Serves the connection, in the reserve if there is no room for it.
async fn admit(
    socket: TcpStream,
    peer: SocketAddr,
    entrance: Entrance,
    reserve: &mut Reserve,
    context: &Rc<ShardContext>,
) {
    context.counters.connections_accepted.add(1);
    // The address of a client that comes through a balancer is known only behind the balancer's header.
    let address = if context.settings.proxy_protocol { Some(None) } else { context.admit(peer.ip()) };
    let Some(address) = address else { return };
    match context.admission.try_permit() {
        Some(permit) => {
            let mut place = Place::open(permit, &context.shard, Arc::clone(&context.counters));
            place.address = address;
            spawn_local(connection::serve(socket, peer, place, entrance, Rc::clone(context)));
        }
        None => reserve.serve(socket, peer, address, entrance, context).await,
    }
}

/// The client went away before it was accepted: no reason to wait.
fn is_the_connections_own(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
