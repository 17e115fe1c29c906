//! From the operator's words about channels to the settings of the hub and of the shards.
//!
//! Hub and shards know an operator's rule about channels by its place in the list.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use fantail_config::{ChannelRule, Config};
use fantail_hub::{Following, HubSettings, LogLimits, NumberedBy};
use fantail_shard::{Http2Bounds, Http2Settings, ShardSettings, SlowPolicies};
use fantail_wire::Term;

use crate::address_bound::{self, AddressBound};
use crate::broker::Broker;
use crate::connection::HEADERS_MAX;

/// The hub's settings; `broker` carries the events, if one does.
pub(crate) fn hub_settings(config: &Config, broker: Option<&Broker>) -> anyhow::Result<HubSettings> {
    let log = log_limits(config);
    let rules = &config.channels.channel;
    Ok(HubSettings {
        numbering: match broker {
            Some(broker) if broker.numbers() => NumberedBy::Feed,
            _ => NumberedBy::Node(Term::from_random(fastrand::u64(..))),
        },
        lanes: broker.map(Broker::lanes).unwrap_or_default(),
        following: if broker.is_some() { Following::OnDemand } else { Following::Always },
        shards: u16::try_from(config.engine.workers).context("too many workers")?,
        log,
        patterns: rules.iter().map(|rule| (rule.pattern.clone(), limits_of(rule, log))).collect(),
        expects_unnumbered: with_rules(rules, config.streams.plain_events_expected, |rule| rule.plain_events_expected),
        unknown_id_replay_max: config.streams.unknown_id_replay_max,
        control_events: config.streams.control_events,
        bare_blocks: config.streams.bare_blocks,
        logs_bytes_max: config.logs.logs_bytes_max,
        event_bytes_max: config.limits.event_bytes_max,
        channels_max: config.limits.channels_max,
        channels_per_address_max: AddressBound::new(
            config.limits.channels_per_address_max,
            address_bound::CHANNELS_MAX,
        )
        .max,
        clock: now_ms,
    })
}

/// The settings of every shard.
pub(crate) fn shard_settings(config: &Config) -> ShardSettings {
    let streams = &config.streams;
    let policies = with_rules(&config.channels.channel, streams.slow_policy, |rule| rule.slow_policy);
    ShardSettings {
        keepalive_interval: streams.keepalive_interval,
        follow_deadline: config.feed.follow_deadline,
        progress_deadline: streams.progress_deadline,
        retry_ms: u32::try_from(millis(streams.retry)).unwrap_or(u32::MAX),
        slow_policies: SlowPolicies::new(policies),
        control_events: streams.control_events,
        http2: Http2Settings {
            bounds: Http2Bounds {
                streams_max: u32::try_from(config.http2.streams_per_connection_max).unwrap_or(u32::MAX),
                // Twice the bound lets a head that is a little too large be answered with a reason.
                head_bytes_max: 2 * config.limits.head_bytes_max,
                fields_max: HEADERS_MAX,
            },
            request_deadline: config.limits.request_deadline,
        },
        bare_blocks: streams.bare_blocks,
    }
}

/// The value for channels without a rule, then that of each rule: its own, or the default if the rule does not set it.
fn with_rules<T: Copy>(rules: &[ChannelRule], default: T, own: impl Fn(&ChannelRule) -> Option<T>) -> Vec<T> {
    std::iter::once(default).chain(rules.iter().map(|rule| own(rule).unwrap_or(default))).collect()
}

fn log_limits(config: &Config) -> LogLimits {
    let logs = &config.logs;
    LogLimits { entries_max: logs.log_events_max, bytes_max: logs.log_bytes_max, age_ms_max: millis(logs.log_age_max) }
}

fn limits_of(rule: &ChannelRule, log: LogLimits) -> LogLimits {
    LogLimits {
        entries_max: rule.log_events_max.unwrap_or(log.entries_max),
        bytes_max: rule.log_bytes_max.unwrap_or(log.bytes_max),
        age_ms_max: rule.log_age_max.map_or(log.age_ms_max, millis),
    }
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
