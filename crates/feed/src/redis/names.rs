//! Our four kinds of Redis channels, and the keys of the log. The kinds are disjoint, so that no client can
//! name a foreign or internal one.
//!
//! Names of the log hold the lane's name as a hash tag: in a cluster everything of one numbering must be in one slot.

use fantail_wire::{ChannelName, LaneName};

/// Carries plain text: any language's `PUBLISH` is an event.
pub(super) const PLAIN_PREFIX: &str = "fantail:";
/// Carries JSON envelopes.
pub(super) const EVENT_PREFIX: &str = "fantail-event:";
/// Carries probes, each node's on a channel of its own.
const SERVICE_PREFIX: &str = "fantail-service:";

/// Carries the events of the log, behind the lane's tag.
const LOG_PREFIX: &str = "fantail-log:";

/// The kind of a Redis channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChannelKind {
    Plain,
    Event,
    Log,
    Service,
}

/// Takes a Redis channel apart. The name behind the prefix is not checked: a lookup does that.
pub(super) fn split(redis_channel: &[u8]) -> Option<(ChannelKind, &str)> {
    let redis_channel = std::str::from_utf8(redis_channel).ok()?;
    if let Some(tagged) = redis_channel.strip_prefix(LOG_PREFIX) {
        let (lane, name) = tagged.strip_prefix('{')?.split_once("}:")?;
        return (LaneName::named_in(name) == lane).then_some((ChannelKind::Log, name));
    }
    let kinds = [
        (ChannelKind::Plain, PLAIN_PREFIX),
        (ChannelKind::Event, EVENT_PREFIX),
        (ChannelKind::Service, SERVICE_PREFIX),
    ];
    kinds.into_iter().find_map(|(kind, prefix)| redis_channel.strip_prefix(prefix).map(|name| (kind, name)))
}

/// The key of the state of a lane's log; its functions are called with it.
pub(super) fn log_key(lane: &LaneName) -> String {
    format!("{LOG_PREFIX}{{{lane}}}")
}

/// The newest number of each channel of a lane.
pub(super) fn tops_key(lane: &LaneName) -> String {
    format!("fantail-tops:{{{lane}}}")
}

/// The Redis channel that carries plain text for `channel`.
pub(super) fn plain(channel: &ChannelName) -> String {
    format!("{PLAIN_PREFIX}{channel}")
}

/// The Redis channel that carries envelopes for `channel`.
pub(super) fn event(channel: &ChannelName) -> String {
    format!("{EVENT_PREFIX}{channel}")
}

/// The Redis channel of one kind for `channel`.
pub(super) fn of(kind: ChannelKind, channel: &ChannelName) -> String {
    match kind {
        ChannelKind::Plain => plain(channel),
        ChannelKind::Event => event(channel),
        ChannelKind::Log => log(channel),
        ChannelKind::Service => format!("{SERVICE_PREFIX}{channel}"),
    }
}

/// The Redis channel that carries the log's events for `channel`.
pub(super) fn log(channel: &ChannelName) -> String {
    format!("{LOG_PREFIX}{{{}}}:{channel}", LaneName::named_in(channel.as_str()))
}

/// The key of the Stream that keeps the log's events for `channel`.
pub(super) fn stream(channel: &ChannelName) -> String {
    format!("fantail-stream:{{{}}}:{channel}", LaneName::named_in(channel.as_str()))
}

/// A node's own channel for probes.
pub(super) fn service(random: u64) -> String {
    format!("{SERVICE_PREFIX}{random:016x}")
}

/// The same within the slot of a lane's log.
pub(super) fn log_service(lane: &LaneName, random: u64) -> String {
    format!("{SERVICE_PREFIX}{{{lane}}}:{random:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redis_channel_is_of_one_kind_only() {
        assert_eq!(split(b"fantail:a"), Some((ChannelKind::Plain, "a")));
        assert_eq!(split(b"fantail:fantail-event:a"), Some((ChannelKind::Plain, "fantail-event:a")));
        assert_eq!(split(b"fantail-event:a:b"), Some((ChannelKind::Event, "a:b")));
        assert_eq!(split(log(&ChannelName::parse("a:b").expect("valid")).as_bytes()), Some((ChannelKind::Log, "a:b")));
        assert_eq!(split(b"fantail-log:{x}:@x/a"), Some((ChannelKind::Log, "@x/a")));
        assert_eq!(split(service(7).as_bytes()), Some((ChannelKind::Service, "0000000000000007")));
        for foreign in [
            b"fantail".as_slice(),
            b"fantail-",
            b"Fantail:a",
            b"a",
            b"",
            b"fantail:\xff",
            b"fantail-log:{1}:a",
            b"fantail-log:{0}:@1/a",
            b"fantail-log:a",
            b"fantail-log:{0}",
        ] {
            assert_eq!(split(foreign), None);
        }
    }
}
