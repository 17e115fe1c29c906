//! One numbering of the feed, and everything that is a place in it. Places of different lanes are never compared.

use fantail_wire::GapReason;
use parking_lot::Mutex;

use crate::numbering::Numbering;
use crate::sync_requests::SyncRequests;
use crate::{Floor, NumberedBy, Watermark};

/// The state that the channels of a lane have in common.
#[derive(Debug)]
pub(crate) struct LaneState {
    pub(crate) numbering: Numbering,
    /// Stands for every channel that was forgotten: the floor of a channel that is made anew.
    pub(crate) forgotten_floor: Mutex<Floor>,
    pub(crate) sync_requests: SyncRequests,
}

impl LaneState {
    pub(crate) fn new(by: NumberedBy, now_ms: u64) -> Self {
        let numbering = Numbering::new(by, now_ms);
        let start = numbering.watermark();
        let floor = Floor { position: start.position, at_ms: start.at_ms, reason: GapReason::Trimmed };
        Self { numbering, forgotten_floor: Mutex::new(floor), sync_requests: SyncRequests::default() }
    }

    /// Something of a channel that was forgotten, or never made, stood at this place.
    pub(crate) fn raise_forgotten_floor(&self, to: Watermark) {
        let mut floor = self.forgotten_floor.lock();
        if to.position > floor.position {
            *floor = Floor { position: to.position, at_ms: to.at_ms, reason: GapReason::Trimmed };
        }
    }
}
