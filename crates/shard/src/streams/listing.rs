//! Streams as operators see them.

use fantail_telemetry::CloseReason;

use super::{Key, StreamState, Streams};
use crate::command::{ConnectionId, ConnectionSummary};

/// At most `max` of them.
pub(crate) fn list(streams: &Streams, max: usize) -> Vec<ConnectionSummary> {
    streams.slab.iter().take(max).map(|(key, _)| summary(streams, key)).collect()
}

fn summary(streams: &Streams, key: Key) -> ConnectionSummary {
    let stream = &streams.slab[key];
    let channels: Vec<_> = streams.channels_of(key).collect();
    ConnectionSummary {
        id: streams.connection_id(key),
        peer: streams.peer(key),
        forwarded: streams.forwarded.get(key),
        age: streams.clock.second().since(stream.opened),
        last_id: streams.hub.id_at(stream.cursor, &channels),
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
pub(crate) fn kick(streams: &mut Streams, id: ConnectionId) -> bool {
    let found = id.of_shard(streams.shard).filter(|&(key, generation)| streams.is_stream(key, generation));
    if let Some((key, _)) = found {
        streams.end(key, CloseReason::Kicked);
    }
    found.is_some()
}
