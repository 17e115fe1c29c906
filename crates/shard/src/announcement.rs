//! News for all open streams at once, told a slice at a time.
//!
//! There is no queue for it at any stream: who is in the middle of a frame at that moment misses it.

use fantail_wire::Frame;

use crate::engine::Engine;
use crate::slice::Slice;
use crate::stream::Key;

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
            if let Some(stream) = self.streams.get(key).filter(|stream| stream.is_between_frames()) {
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

#[cfg(test)]
mod tests {
    use fantail_telemetry::SlowPolicy;
    use fantail_wire::feed_frame;

    use crate::harness::{Harness, read_to, shortest};
    use crate::stream::State;

    #[tokio::test]
    async fn every_stream_between_two_frames_is_told_the_newest_state_and_others_are_left_alone() {
        let mut harness = Harness::new(SlowPolicy::Disconnect, 100);
        let mut clients = Vec::new();
        for _ in 0..40 {
            clients.push(harness.open(&["a"]).await);
        }
        harness.settle();
        // A stream that waits for its turn is not slow.
        let (behind, _) = clients[30];
        harness.engine.streams[behind].state = State::Behind;
        let (blocked, _) = clients[20];
        harness.engine.block(blocked);
        // One whose socket takes bytes again has a rest to finish first.
        let (resting, _) = clients[25];
        harness.engine.streams[resting].state = State::Behind;
        let amid_frames = [blocked, resting];
        for key in amid_frames {
            harness.engine.streams[key].extra().outgoing.push(":the rest\n\n".into());
        }
        harness.engine.announce(feed_frame(false));
        let mut slices = 0;
        while harness.engine.announcement.is_some() {
            harness.engine.announce_on(&mut shortest());
            slices += 1;
        }
        assert!(slices > 3, "{slices}");
        // It is back before the news of its loss went far.
        harness.engine.announce(feed_frame(false));
        harness.engine.announce_on(&mut shortest());
        harness.engine.announce(feed_frame(true));
        harness.settle();
        harness.engine.streams[blocked].state = State::Behind;
        for key in [blocked, resting, behind] {
            harness.engine.queue_behind(key);
        }
        harness.publish(&["a"], "end");
        harness.settle();
        for (number, (key, client)) in clients.iter_mut().enumerate() {
            let text = read_to(client, "data: end\n\n");
            let told = ["connecting", "connected"].map(|state| text.matches(&format!("\"{state}\"")).count());
            match told {
                [0, 0] => assert!(amid_frames.contains(key)),
                // The first few were reached by the news that was overtaken.
                [2, 1] => assert!(number < 10, "{number}: {text}"),
                _ => assert!(told == [1, 1] && !amid_frames.contains(key), "{number}: {text}"),
            }
        }
    }
}
