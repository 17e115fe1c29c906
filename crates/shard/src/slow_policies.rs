//! Which policy for slow streams holds for which channels.

use std::sync::Arc;

use fantail_wire::SlowPolicy;

/// One policy for each class of channels: the pattern of the settings that a channel's name fits.
#[derive(Debug, Clone)]
pub struct SlowPolicies(Arc<[SlowPolicy]>);

impl SlowPolicies {
    /// The first for channels that fit no pattern, then one for each pattern in their order; not empty.
    pub fn new(policies: impl IntoIterator<Item = SlowPolicy>) -> Self {
        Self(policies.into_iter().collect())
    }

    /// The policy of channels of `class`.
    pub(crate) fn of(&self, class: u8) -> SlowPolicy {
        self.0.get(usize::from(class)).copied().unwrap_or(self.0[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_policy_is_for_channels_without_a_pattern() {
        let policies = SlowPolicies::new([SlowPolicy::Skip, SlowPolicy::Latest, SlowPolicy::Disconnect]);
        assert_eq!(
            [0, 1, 2].map(|class| policies.of(class)),
            [SlowPolicy::Skip, SlowPolicy::Latest, SlowPolicy::Disconnect]
        );
    }
}
