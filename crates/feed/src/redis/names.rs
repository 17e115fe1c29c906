//! The three kinds of Redis channels that are ours. Disjoint, so that no client can name a foreign or internal one.

use fantail_wire::ChannelName;

/// Carries plain text: any language's `PUBLISH` is an event.
pub(super) const PLAIN_PREFIX: &str = "fantail:";
/// Carries JSON envelopes.
pub(super) const EVENT_PREFIX: &str = "fantail-event:";
/// Carries probes, each node's on a channel of its own.
const SERVICE_PREFIX: &str = "fantail-service:";

/// What a Redis channel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    Event,
    Service,
}

/// Takes a Redis channel apart. What follows the prefix is not checked: a lookup does that.
pub(super) fn split(redis_channel: &[u8]) -> Option<(Kind, &str)> {
    let redis_channel = std::str::from_utf8(redis_channel).ok()?;
    [(Kind::Plain, PLAIN_PREFIX), (Kind::Event, EVENT_PREFIX), (Kind::Service, SERVICE_PREFIX)]
        .into_iter()
        .find_map(|(kind, prefix)| redis_channel.strip_prefix(prefix).map(|name| (kind, name)))
}

/// The Redis channel that carries plain text for `channel`.
pub(super) fn plain(channel: &ChannelName) -> String {
    format!("{PLAIN_PREFIX}{channel}")
}

/// The Redis channel that carries envelopes for `channel`.
pub(super) fn event(channel: &ChannelName) -> String {
    format!("{EVENT_PREFIX}{channel}")
}

/// A node's own channel for probes.
pub(super) fn service(random: u64) -> String {
    format!("{SERVICE_PREFIX}{random:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redis_channel_is_of_one_kind_only() {
        assert_eq!(split(b"fantail:a"), Some((Kind::Plain, "a")));
        assert_eq!(split(b"fantail:fantail-event:a"), Some((Kind::Plain, "fantail-event:a")));
        assert_eq!(split(b"fantail-event:a:b"), Some((Kind::Event, "a:b")));
        assert_eq!(split(service(7).as_bytes()), Some((Kind::Service, "0000000000000007")));
        for foreign in [b"fantail".as_slice(), b"fantail-", b"Fantail:a", b"a", b"", b"fantail:\xff"] {
            assert_eq!(split(foreign), None);
        }
    }
}
