//! News for all open streams at once, told a slice at a time.
//!
//! There is no queue for it at any stream: a stream that is in the middle of a frame at that moment misses it.

use fantail_wire::Frame;

use crate::slice::Slice;
use crate::streams::{Key, Streams};

/// The news that is being told, if any is.
#[derive(Default)]
pub(crate) struct Announcement(Option<News>);

struct News {
    frame: Frame,
    /// The next slot to look at.
    next: Key,
}

impl Announcement {
    /// Begins to tell it. Older news that is being told is dropped: this is newer.
    pub(crate) fn begin(&mut self, frame: Frame) {
        self.0 = Some(News { frame, next: 0 });
    }

    pub(crate) fn has_work(&self) -> bool {
        self.0.is_some()
    }

    /// Goes on until the slice is over, or all were told.
    pub(crate) fn slice(&mut self, streams: &mut Streams, slice: &mut Slice) {
        let Some(news) = &mut self.0 else { return };
        while (news.next as usize) < streams.slots() {
            let key = news.next;
            news.next += 1;
            if let Some(stream) = streams.get(key).filter(|stream| stream.is_between_frames()) {
                let piece = news.frame.share(stream.framing());
                streams.write_between(key, &piece);
            }
            if slice.is_over() {
                return;
            }
        }
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use fantail_wire::SlowPolicy;
    use fantail_wire::feed_frame;

    use crate::harness::{Harness, read_to, shortest};

    #[test]
    fn every_stream_between_two_frames_is_told_the_newest_state_and_others_are_left_alone() {
        let mut harness = Harness::new(SlowPolicy::Disconnect, 100);
        let mut clients = Vec::new();
        for _ in 0..40 {
            clients.push(harness.open(&["a"]));
        }
        harness.settle();
        // A stream that waits for its turn is not slow.
        let (behind, _) = clients[30];
        harness.engine.streams.leave_passes(behind);
        let (blocked, _) = clients[20];
        harness.engine.streams.block(blocked);
        // One whose socket takes bytes again has a rest to finish first.
        let (resting, _) = clients[25];
        harness.engine.streams.leave_passes(resting);
        let amid_frames = [blocked, resting];
        for key in amid_frames {
            harness.engine.streams.hold_back(key, ":the rest\n\n".into());
        }
        harness.engine.announcement.begin(feed_frame(false));
        let mut slices = 0;
        while harness.engine.announcement.has_work() {
            harness.engine.announcement.slice(&mut harness.engine.streams, &mut shortest());
            slices += 1;
        }
        assert!(slices > 3, "{slices}");
        // It is back before the news of its loss went far.
        harness.engine.announcement.begin(feed_frame(false));
        harness.engine.announcement.slice(&mut harness.engine.streams, &mut shortest());
        harness.engine.announcement.begin(feed_frame(true));
        harness.settle();
        harness.engine.streams.leave_passes(blocked);
        for key in [blocked, resting, behind] {
            harness.engine.streams.queue_behind(key);
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
