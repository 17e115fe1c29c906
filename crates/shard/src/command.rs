//! The control loop's requests to a shard.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use fantail_wire::ChannelName;
use tokio::sync::oneshot;

use crate::streams::{Key, Revoked};

/// One request to one shard. Answers to a receiver that is gone are dropped.
#[derive(Debug)]
pub enum ShardCommand {
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
    /// End the streams whose right to read is taken back; answers how many there were.
    Revoke {
        /// The rights that are taken back.
        revoked: Revoked,
        /// Where the answer goes.
        reply: oneshot::Sender<u64>,
    },
    /// End the streams whose sockets have taken nothing for a second; answers how many there were. Memory is short.
    EndBlocked {
        /// Where the answer goes.
        reply: oneshot::Sender<u64>,
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

impl ConnectionId {
    pub(crate) fn new(shard: u16, slot: Key, generation: u32) -> Self {
        Self { shard, slot, generation }
    }

    /// Its slot and its generation, if the connection is this shard's.
    pub(crate) fn of_shard(self, shard: u16) -> Option<(Key, u32)> {
        (self.shard == shard).then_some((self.slot, self.generation))
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
