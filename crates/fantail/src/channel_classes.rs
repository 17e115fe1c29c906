//! The operator's rules about channels, as hub and shards take them: each knows a rule by its place in the list.

use anyhow::Context;
use fantail_config::{ChannelRule, SlowPolicy as Written};
use fantail_hub::LogLimits;
use fantail_shard::{SlowPolicies, SlowPolicy};
use fantail_wire::ChannelPattern;

use crate::app::millis;

/// The bounds of each rule's logs; `log` holds for what a rule leaves open.
pub(crate) fn log_limits(rules: &[ChannelRule], log: LogLimits) -> anyhow::Result<Vec<(ChannelPattern, LogLimits)>> {
    let limits = rules.iter().map(|rule| {
        // The config has checked it by the same rules.
        let pattern = ChannelPattern::parse(&rule.pattern).with_context(|| format!("channel {:?}", rule.pattern))?;
        let limits = LogLimits {
            entries_max: rule.log_events_max.unwrap_or(log.entries_max),
            bytes_max: rule.log_bytes_max.unwrap_or(log.bytes_max),
            age_ms_max: rule.log_age_max.map_or(log.age_ms_max, millis),
        };
        Ok((pattern, limits))
    });
    limits.collect()
}

/// The policy of each rule; `default` holds where a rule says nothing, and for channels without one.
pub(crate) fn slow_policies(rules: &[ChannelRule], default: Written) -> SlowPolicies {
    let of_rules = rules.iter().map(|rule| policy(rule.slow_policy.unwrap_or(default)));
    SlowPolicies::new(policy(default), of_rules)
}

/// Whether unnumbered events are expected in channels without a rule, and in those of each; `default` holds where a rule
/// says nothing.
pub(crate) fn plain_events_expected(rules: &[ChannelRule], default: bool) -> Vec<bool> {
    let of_rules = rules.iter().map(|rule| rule.plain_events_expected.unwrap_or(default));
    std::iter::once(default).chain(of_rules).collect()
}

fn policy(written: Written) -> SlowPolicy {
    match written {
        Written::Disconnect => SlowPolicy::Disconnect,
        Written::Skip => SlowPolicy::Skip,
        Written::Latest => SlowPolicy::Latest,
    }
}
