//! What the control thread may ask of a shard.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use fantail_telemetry::CloseReason;
use fantail_wire::{ChannelName, feed_frame};
use tokio::sync::oneshot;

use crate::engine::Engine;
use crate::stream::{Key, State, Stream};

/// One request to one shard. Answers to a receiver that is gone are dropped.
#[derive(Debug)]
pub enum Command {
    /// List at most `max` connections.
    List {
        /// The most to list.
        max: usize,
        /// Where the answer goes.
        reply: oneshot::Sender<Vec<ConnectionSummary>>,
    },
    /// End one connection; answers whether there was one.
    Kick {
        /// Which.
        id: ConnectionId,
        /// Where the answer goes.
        reply: oneshot::Sender<bool>,
    },
    /// Tell all open streams how the feed is.
    TellFeedState {
        /// Whether events arrive.
        connected: bool,
    },
    /// End all streams, spread over a window; answers when none is left.
    Drain {
        /// The window.
        window: Duration,
        /// Where the answer goes.
        reply: oneshot::Sender<()>,
    },
}

/// Names one connection of one process: `<shard>-<slot>-<generation>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionId {
    /// The shard that holds it.
    pub shard: u16,
    slot: u32,
    generation: u32,
}

/// One line of the connection listing.
#[derive(Debug, Clone)]
pub struct ConnectionSummary {
    /// Its name.
    pub id: ConnectionId,
    /// The other end, as the socket sees it.
    pub peer: Option<SocketAddr>,
    /// Where it comes from, as a trusted proxy says.
    pub forwarded: Option<IpAddr>,
    /// How long it has been open.
    pub age: Duration,
    /// The id that resumes behind what it has had, if it has begun and its place has one.
    pub last_id: Option<String>,
    /// Its channels.
    pub channels: Vec<ChannelName>,
    /// `waiting`, `behind`, `blocked`, `live` or `ending`.
    pub state: &'static str,
    /// Bytes that its socket did not take yet.
    pub unsent_bytes: usize,
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.shard, self.slot, self.generation)
    }
}

impl FromStr for ConnectionId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('-');
        let mut part = || parts.next().and_then(|p| p.parse::<u32>().ok()).ok_or(());
        let (shard, slot, generation) = (part()?, part()?, part()?);
        let shard = u16::try_from(shard).map_err(|_| ())?;
        if parts.next().is_some() { Err(()) } else { Ok(Self { shard, slot, generation }) }
    }
}

impl Engine {
    pub(crate) fn command(&mut self, command: Command) {
        self.now = self.clock.now();
        match command {
            Command::List { max, reply } => drop(reply.send(self.list(max))),
            Command::Kick { id, reply } => drop(reply.send(self.kick(id))),
            Command::TellFeedState { connected } => self.announce(feed_frame(connected)),
            Command::Drain { window, reply } => self.begin_drain(window, reply),
        }
    }

    fn list(&self, max: usize) -> Vec<ConnectionSummary> {
        self.streams.iter().take(max).map(|(key, _)| self.connection(key)).collect()
    }

    fn connection(&self, key: Key) -> ConnectionSummary {
        let stream = &self.streams[key];
        let channels: Vec<_> =
            stream.subscriptions.as_slice().iter().map(|s| &*self.channels.get(s.slot).join.channel).collect();
        let state = match stream.state {
            State::Waiting => "waiting",
            State::Behind => "behind",
            State::Blocked => "blocked",
            State::Live => "live",
            State::Ending => "ending",
        };
        ConnectionSummary {
            id: self.connection_id(key, stream.generation),
            peer: stream.socket.peer_addr().ok(),
            forwarded: self.forwarded.get(key),
            age: self.age(stream),
            last_id: self.hub.id_at(stream.cursor, &channels),
            channels: channels.iter().map(|channel| channel.name().clone()).collect(),
            state,
            unsent_bytes: stream.unsent_bytes(),
        }
    }

    pub(crate) fn connection_id(&self, slot: Key, generation: u32) -> ConnectionId {
        ConnectionId { shard: self.shard, slot, generation }
    }

    pub(crate) fn age(&self, stream: &Stream) -> Duration {
        self.clock.second().since(stream.opened)
    }

    fn kick(&mut self, id: ConnectionId) -> bool {
        let found = id.shard == self.shard && self.is_stream(id.slot, id.generation);
        if found {
            self.end(id.slot, CloseReason::Kicked);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_id_reads_back() {
        let id = ConnectionId { shard: 3, slot: 17, generation: 9 };
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "1-2", "1-2-3-4", "1-2-x", "70000-1-1", "-1-2-3"] {
            assert_eq!(bad.parse::<ConnectionId>(), Err(()), "{bad}");
        }
    }
}
