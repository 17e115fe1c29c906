//! The handshakes of TLS that a shard has under way.
//!
//! No newcomer waits for a place. When all are taken the oldest is cut off: it had the longest time, and its client comes back as
//! after any lost connection. So clients that begin a handshake and stop keep nobody out. Example: with 256 places, 1,000 such clients a
//! second leave each handshake 256 ms.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fantail_telemetry::{ShardCounters, TurnedAway};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::tls::{FailedHandshakes, Shaken, TlsServer};

pub(crate) struct Handshakes {
    places: usize,
    /// The oldest is in front. Some may have ended.
    under_way: RefCell<VecDeque<AbortHandle>>,
    counters: Arc<ShardCounters>,
    failed: FailedHandshakes,
}

impl Handshakes {
    pub(crate) fn new(places: usize, counters: Arc<ShardCounters>) -> Self {
        let of_failed = Arc::clone(&counters);
        let failed = FailedHandshakes::new("public", move |failure| of_failed.tls_handshakes_failed.add(failure, 1));
        Self { places, under_way: RefCell::default(), counters, failed }
    }

    /// Shakes hands, within a deadline. None if that fails, which is counted and told.
    pub(crate) async fn run(
        &self,
        tls: &TlsServer,
        socket: TcpStream,
        peer: SocketAddr,
        may_speak_http2: bool,
        deadline: Duration,
    ) -> Option<Shaken> {
        let shaken = self.shake(tls, socket, may_speak_http2, deadline).await;
        shaken.map_err(|error| self.failed.add(peer, &error)).ok()
    }

    async fn shake(
        &self,
        tls: &TlsServer,
        socket: TcpStream,
        may_speak_http2: bool,
        deadline: Duration,
    ) -> io::Result<Shaken> {
        let handshake = tls.begin_handshake(socket, may_speak_http2, deadline)?;
        self.add(handshake.abort_handle());
        handshake.await
    }

    /// A client of this address sent plain HTTP in place of a handshake.
    pub(crate) fn add_plain_http(&self, peer: SocketAddr) {
        self.failed.add_plain_http(peer);
    }

    fn add(&self, handshake: AbortHandle) {
        let mut under_way = self.under_way.borrow_mut();
        if under_way.len() >= self.places {
            under_way.retain(|handshake| !handshake.is_finished());
        }
        if under_way.len() >= self.places
            && let Some(oldest) = under_way.pop_front()
        {
            oldest.abort();
            self.counters.turned_away.add(TurnedAway::Handshake, 1);
        }
        under_way.push_back(handshake);
    }
}
