//! The handshakes of TLS that a shard has under way.
//!
//! No newcomer waits for a place. When all are taken the oldest is cut off: it had the longest time, and its client comes back as
//! after any lost connection. So clients that begin a handshake and stop keep nobody out. Example: with 256 places, 1,000 such clients a
//! second leave each handshake 256 ms.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use fantail_telemetry::{ShardCounters, TurnedAway};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::tls::{Shaken, TlsServer};

pub(crate) struct Handshakes {
    places: usize,
    /// The oldest is in front. Some may have ended.
    under_way: RefCell<VecDeque<AbortHandle>>,
    counters: Arc<ShardCounters>,
}

impl Handshakes {
    pub(crate) fn new(places: usize, counters: Arc<ShardCounters>) -> Self {
        Self { places, under_way: RefCell::default(), counters }
    }

    /// Shakes hands, within a deadline.
    pub(crate) async fn run(
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

    fn add(&self, handshake: AbortHandle) {
        let mut under_way = self.under_way.borrow_mut();
        if under_way.len() >= self.places {
            under_way.retain(|handshake| !handshake.is_finished());
        }
        if under_way.len() >= self.places
            && let Some(oldest) = under_way.pop_front()
        {
            oldest.abort();
            self.counters.turned_away.add(TurnedAway::Cut, 1);
        }
        under_way.push_back(handshake);
    }
}
