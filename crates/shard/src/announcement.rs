//! News for all open streams at once, told a slice at a time.
//!
//! There is no queue for it at any stream: who takes nothing at that moment misses it.

use fantail_wire::Frame;

use crate::engine::Engine;
use crate::slice::Slice;
use crate::stream::{Key, State};

/// News under way.
pub(crate) struct Announcement {
    frame: Frame,
    /// The next slot to look at.
    next: Key,
}

impl Engine {
    /// Begins to tell it. What was being told before is left where it is: this is newer.
    pub(crate) fn announce(&mut self, frame: Frame) {
        self.announcement = Some(Announcement { frame, next: 0 });
    }

    /// Goes on with it until the slice is over. The announcement is gone when all were told.
    pub(crate) fn announce_on(&mut self, slice: &mut Slice) {
        let Some(mut announcement) = self.announcement.take() else { return };
        while (announcement.next as usize) < self.streams.slots() {
            let key = announcement.next;
            announcement.next += 1;
            if let Some(stream) = self.streams.get(key).filter(|stream| stream.state == State::Live) {
                let piece = announcement.frame.share(stream.framing);
                self.write_between(key, &piece);
            }
            if slice.is_over() {
                self.announcement = Some(announcement);
                return;
            }
        }
    }
}
