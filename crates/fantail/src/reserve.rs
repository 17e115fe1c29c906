//! The reserve: places beyond `connections_max`, in which a full node tells newcomers to come back later.
//!
//! A node that only stopped accepting would send its newcomers no byte and its operator no message. A place is for one
//! short answer, so it has a short deadline. When all are taken the oldest makes room: it had the longest time to send
//! its request, and its client comes back as after any lost connection. So nobody waits for a place, and a flood of
//! silent sockets takes none away from clients that ask at once.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fantail_shard::AddressPermit;
use fantail_telemetry::{Sampled, TurnedAway};
use fantail_wire::{Closing, Framing};
use http::header::{HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::Full;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;
use tracing::warn;

use crate::accept::Entrance;
use crate::connection::{self, ShardContext};
use crate::place::Place;
use crate::problem::{Answer, Problem};
use crate::public::Accepted;
use crate::response_head::{STREAM_HEADERS, with_headers};

/// How long a connection may stay in the reserve: enough for a request that is on its way.
const DEADLINE: Duration = Duration::from_secs(2);

/// The shortest time between two log lines of a shard that say that the node is full.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// One shard's part of the reserve.
pub(crate) struct Reserve {
    places: usize,
    /// The oldest is in front. Some may have ended.
    taken: VecDeque<JoinHandle<()>>,
    log: Sampled<TurnedAway>,
}

impl Reserve {
    pub(crate) fn new(places: usize) -> Self {
        Self { places, taken: VecDeque::new(), log: Sampled::new(1, LOG_INTERVAL) }
    }

    /// Serves a connection for which there is no room.
    pub(crate) async fn serve(
        &mut self,
        socket: TcpStream,
        peer: SocketAddr,
        address: Option<AddressPermit>,
        entrance: Entrance,
        context: &Rc<ShardContext>,
    ) {
        self.tell(TurnedAway::Told, "full: newcomers are told to come back later", context);
        self.make_room(context).await;
        let mut place = Place::in_reserve(&context.shard, Arc::clone(&context.counters));
        place.address = address;
        let context = Rc::clone(context);
        self.taken.push_back(spawn_local(async move {
            let counters = Arc::clone(&context.counters);
            let deadline = DEADLINE.min(context.settings.request_deadline);
            if timeout(deadline, connection::serve(socket, peer, place, entrance, context)).await.is_err() {
                counters.turned_away.add(TurnedAway::Silent, 1);
            }
        }));
    }

    /// Cuts the oldest if all places are taken. Its descriptor is free when this returns.
    async fn make_room(&mut self, context: &ShardContext) {
        if self.taken.len() < self.places {
            return;
        }
        self.taken.retain(|connection| !connection.is_finished());
        while self.taken.len() >= self.places.max(1) {
            let Some(oldest) = self.taken.pop_front() else { return };
            oldest.abort();
            if oldest.await.is_err_and(|end| end.is_cancelled()) {
                context.counters.turned_away.add(TurnedAway::Cut, 1);
                self.tell(
                    TurnedAway::Cut,
                    "full, and so is the reserve: newcomers are cut off without an answer",
                    context,
                );
            }
        }
    }

    fn tell(&mut self, how: TurnedAway, what: &str, context: &ShardContext) {
        if let Some(admitted) = self.log.admit(how, Instant::now()) {
            let (connections_max, suppressed) = (context.admission.max(), admitted.suppressed);
            warn!(connections_max, suppressed, "{what}; raise connections_max and the open files limit, or add a node");
        }
    }
}

/// The answer to a request for a stream for which there is no room.
pub(crate) fn turn_away(accepted: &Accepted, context: &ShardContext) -> Answer {
    context.counters.turned_away.add(TurnedAway::Told, 1);
    come_back_later(accepted, context, Closing::Overloaded, "this node has no room for another stream, try again")
}

/// The answer to a request for a stream that cannot begin now. A browser's `EventSource` gives up for ever on any status but
/// 200, so it gets a stream of last words; other clients get 503 with these.
pub(crate) fn come_back_later(accepted: &Accepted, context: &ShardContext, reason: Closing, detail: &str) -> Answer {
    context.counters.shed.add(1);
    let (words, retry_ms) = context.shard.words_instead(reason);
    let answer = if accepted.names_stream {
        with_headers(Response::new(Full::new(words.share(Framing::CloseDelimited))), STREAM_HEADERS.into_iter())
    } else {
        let status = match reason {
            Closing::TooManyStreams => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut answer = Answer::from(Problem::new(status, detail));
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_ms.div_ceil(1000)));
        answer
    };
    with_headers(answer, accepted.extra.iter().map(|(name, value)| (*name, value.as_str())))
}
