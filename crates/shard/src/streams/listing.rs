//! Streams as operators see them.

use fantail_telemetry::CloseReason;

use super::{Key, StreamState, Streams};
use crate::command::{ConnectionId, ConnectionSummary};

impl Streams {
    /// At most `max` of them.
    pub(crate) fn list(&self, max: usize) -> Vec<ConnectionSummary> {
        self.slab.iter().take(max).map(|(key, _)| self.summary(key)).collect()
    }

    fn summary(&self, key: Key) -> ConnectionSummary {
        let stream = &self.slab[key];
        let channels: Vec<_> = self.channels_of(key).collect();
        ConnectionSummary {
            id: self.connection_id(key),
            peer: stream.carrier.peer(),
            forwarded: self.forwarded.get(key),
            age: self.age(stream),
            last_id: self.hub.id_at(stream.cursor, &channels),
            channels: channels.iter().map(|channel| channel.name().clone()).collect(),
            state: match stream.state {
                StreamState::Waiting => "waiting",
                StreamState::Behind => "behind",
                StreamState::Blocked => "blocked",
                StreamState::Live => "live",
                StreamState::Ending => "ending",
            },
            unsent_bytes: stream.unsent_bytes(),
        }
    }

    /// Ends one of them. False if it is not there.
    pub(crate) fn kick(&mut self, id: ConnectionId) -> bool {
        let found = id.of_shard(self.shard).filter(|&(key, generation)| self.is_stream(key, generation));
        if let Some((key, _)) = found {
            self.end(key, CloseReason::Kicked);
        }
        found.is_some()
    }
}
