//! Which lanes are connected, and the state of the whole feed.

use fantail_wire::Lane;
use parking_lot::Mutex;

use crate::FeedState;

/// One for each lane, by its number. Changed under the intake's lock, so that it hears of changes in their order.
#[derive(Debug)]
pub(crate) struct LaneStates(Mutex<Box<[bool]>>);

impl LaneStates {
    pub(crate) fn new(lanes: usize) -> Self {
        Self(Mutex::new(vec![false; lanes].into()))
    }

    pub(crate) fn state(&self) -> FeedState {
        state(&self.0.lock())
    }

    pub(crate) fn is_connected(&self, lane: Lane) -> bool {
        self.0.lock()[lane.index()]
    }

    /// Notes how a lane is. Returns the state of the whole if that changed it.
    pub(crate) fn set(&self, lane: Lane, is_connected: bool) -> Option<FeedState> {
        let mut lanes = self.0.lock();
        let before = state(&lanes);
        lanes[lane.index()] = is_connected;
        let after = state(&lanes);
        (before != after).then_some(after)
    }
}

fn state(lanes: &[bool]) -> FeedState {
    match lanes.iter().filter(|is_connected| **is_connected).count() {
        0 => FeedState::Connecting,
        all if all == lanes.len() => FeedState::Connected,
        _ => FeedState::Partly,
    }
}

#[cfg(test)]
mod tests {
    use fantail_wire::{LaneName, Lanes};

    use super::*;

    #[test]
    fn the_feed_is_connected_when_all_its_lanes_are_and_only_changes_are_told() {
        let lanes = Lanes::named([LaneName::parse("b").expect("a name"), LaneName::parse("c").expect("a name")]);
        let lanes: Vec<_> = lanes.expect("few").iter().map(|(lane, _)| lane).collect();
        let states = LaneStates::new(lanes.len());
        assert_eq!(states.state(), FeedState::Connecting);
        assert_eq!(states.set(lanes[1], true), Some(FeedState::Partly));
        assert_eq!(states.set(lanes[0], true), None);
        assert_eq!(states.set(lanes[2], true), Some(FeedState::Connected));
        assert_eq!(states.set(lanes[2], true), None);
        assert_eq!(states.set(lanes[0], false), Some(FeedState::Partly));
        assert!(states.is_connected(lanes[1]) && !states.is_connected(lanes[0]));
    }
}
