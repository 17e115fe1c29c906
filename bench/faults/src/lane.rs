//! The lanes of channels: a part of the channel's name, and a key of its own in Redis.

use fantail_testkit::ChannelSet;
use fantail_testkit::trial::UNNAMED_LANE;
pub use fantail_testkit::trial::{key_of, lane_of};

/// The same channels in this lane.
pub fn within(lane: &str, channel_set: ChannelSet) -> ChannelSet {
    if lane == UNNAMED_LANE { channel_set } else { channel_set.behind(&format!("@{lane}/")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_in_the_lane_that_its_name_tells() {
        for lane in ["0", "orders"] {
            let channel_set = within(lane, ChannelSet::new(1, 1, 1));
            assert!(channel_set.all().iter().all(|channel| lane_of(channel) == lane), "{channel_set:?}");
        }
        assert_eq!(key_of(lane_of("@orders/busy/0")), "fantail-log:{orders}");
        assert_eq!(key_of(lane_of("busy/0")), "fantail-log:{0}");
    }
}
