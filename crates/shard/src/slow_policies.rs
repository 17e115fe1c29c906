//! Which policy for slow streams holds for which channels.

use std::sync::Arc;

use fantail_telemetry::{Label, SlowPolicy};

/// One policy for each class of channels: the pattern of the settings that a channel's name fits.
#[derive(Debug, Clone)]
pub struct SlowPolicies(Arc<[SlowPolicy]>);

impl SlowPolicies {
    /// `default` for channels that fit no pattern, and one for each pattern in their order.
    pub fn new(default: SlowPolicy, of_patterns: impl IntoIterator<Item = SlowPolicy>) -> Self {
        Self(std::iter::once(default).chain(of_patterns).collect())
    }

    /// The policy of channels of `class`.
    pub(crate) fn of(&self, class: u8) -> SlowPolicy {
        self.0.get(usize::from(class)).copied().unwrap_or(self.0[0])
    }
}

/// Of two policies that are asked at once, the one that lets less pass: a channel that must not go on after a loss does
/// not, whatever the stream's other channels may do.
pub(crate) fn strictest(one: SlowPolicy, other: SlowPolicy) -> SlowPolicy {
    if one.index() < other.index() { one } else { other }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_for_channels_without_a_pattern_and_the_strictest_wins() {
        let policies = SlowPolicies::new(SlowPolicy::Skip, [SlowPolicy::Latest, SlowPolicy::Disconnect]);
        assert_eq!(
            [0, 1, 2].map(|class| policies.of(class)),
            [SlowPolicy::Skip, SlowPolicy::Latest, SlowPolicy::Disconnect]
        );
        assert_eq!(strictest(SlowPolicy::Latest, SlowPolicy::Skip), SlowPolicy::Skip);
        assert_eq!(strictest(SlowPolicy::Disconnect, SlowPolicy::Skip), SlowPolicy::Disconnect);
        assert_eq!(strictest(SlowPolicy::Latest, SlowPolicy::Latest), SlowPolicy::Latest);
    }
}
