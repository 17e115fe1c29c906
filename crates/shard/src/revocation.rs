//! The streams that are ended from outside: those whose right to read is taken back, ended a slice at a time: a key may have opened all of them.

use std::collections::VecDeque;
use std::time::Duration;

use fantail_telemetry::CloseReason;
use tokio::sync::oneshot;

use crate::slice::Slice;
use crate::streams::{Key, Revoked, Stream, StreamState, Streams, is_not_later, rights, tabs};

/// The time without a byte from which on a blocked stream is a slow one.
const BLOCKED_FOR: Duration = Duration::from_secs(1);

/// The streams that are to end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Meant {
    /// Those whose right is taken back.
    HoldersOf(Revoked),
    /// Those that take nothing, when memory is short: they pin frames that no log holds any more.
    Blocked,
}

/// All revocations under way; they take turns.
#[derive(Default)]
pub(crate) struct Revocations(VecDeque<Revocation>);

struct Revocation {
    meant: Meant,
    /// The next slot to look at.
    next: Key,
    /// The newest stream that is meant. One that comes later was judged with the revocation known.
    newest: u32,
    /// Streams that were ended.
    ended: u64,
    reply: oneshot::Sender<u64>,
}

impl Revocations {
    /// All streams with that right, of those that are there now, are to end.
    pub(crate) fn begin(&mut self, streams: &Streams, meant: Meant, reply: oneshot::Sender<u64>) {
        self.0.push_back(Revocation { meant, next: 0, newest: streams.newcomers.newest_generation(), ended: 0, reply });
    }

    pub(crate) fn has_work(&self) -> bool {
        !self.0.is_empty()
    }

    /// Goes on until the slice is over.
    pub(crate) fn slice(&mut self, streams: &mut Streams, slice: &mut Slice) {
        while let Some(mut revocation) = self.0.pop_front() {
            if !revocation.go_on(streams, slice) {
                return self.0.push_back(revocation);
            }
            // Nobody waits for the answer if the operator has hung up.
            let _ = revocation.reply.send(revocation.ended);
        }
    }
}

impl Revocation {
    /// True when all were looked at.
    fn go_on(&mut self, streams: &mut Streams, slice: &mut Slice) -> bool {
        while (self.next as usize) < self.meant.slots(streams) {
            let key = self.next;
            self.next += 1;
            if let Meant::Blocked = self.meant {
                // The connections have slots of their own, which are looked at beside those of the streams.
                tabs::end_if_blocked(streams, key, BLOCKED_FOR);
            }
            let is_meant = streams.get(key).is_some_and(|stream| is_not_later(stream.generation(), self.newest));
            self.ended += u64::from(is_meant && self.meant.end(streams, key));
            if slice.is_over() {
                return false;
            }
        }
        true
    }
}

impl Meant {
    /// Slots that are to be looked at.
    fn slots(self, streams: &Streams) -> usize {
        match self {
            Self::HoldersOf(_) => streams.slots(),
            Self::Blocked => streams.slots().max(streams.outlets.connections.slots()),
        }
    }

    /// Ends the stream if it is meant. True if it is.
    fn end(self, streams: &mut Streams, key: Key) -> bool {
        match self {
            Self::HoldersOf(revoked) => rights::revoke(streams, key, revoked),
            Self::Blocked => {
                let now = streams.clock.now();
                let is_slow = |stream: &Stream| {
                    stream.state() == StreamState::Blocked && now.since(stream.written()) >= BLOCKED_FOR
                };
                let is_meant = streams.get(key).is_some_and(is_slow);
                if is_meant {
                    // A reset, which frees what the kernel holds for it as well.
                    streams.reset(key, CloseReason::Memory);
                }
                is_meant
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fantail_wire::SlowPolicy;

    use super::*;
    use crate::harness::{Harness, read_to, shortest};
    use crate::streams::{RightHolder, StreamRight, StreamState};

    fn right(subject: u32) -> StreamRight {
        let holder = RightHolder { subject, ..RightHolder::default() };
        StreamRight { ends_at: u32::MAX, is_lifetime: false, holder }
    }

    #[test]
    fn a_revocation_ends_the_streams_that_it_meets_and_no_others_however_often_it_yields() {
        let mut harness = Harness::new(SlowPolicy::Disconnect, 100);
        let (mut met, mut others) = (Vec::new(), Vec::new());
        for number in 0..90 {
            match number % 3 {
                0 => met.push(harness.open_with(&["a"], Some(right(7)))),
                1 => others.push(harness.open_with(&["a"], Some(right(8)))),
                _ => others.push(harness.open_with(&["a"], None)),
            }
        }
        harness.settle();
        let (reply, mut ended) = oneshot::channel();
        let meant = Meant::HoldersOf(Revoked::Subject(7));
        harness.engine.revocations.begin(&harness.engine.streams, meant, reply);
        let mut slices = 0;
        while harness.engine.revocations.has_work() {
            harness.engine.revocations.slice(&mut harness.engine.streams, &mut shortest());
            slices += 1;
            // The same person comes with a newer token.
            if slices == 3 {
                others.push(harness.open_with(&["a"], Some(right(7))));
            }
        }
        assert!(slices > 5, "{slices}");
        assert_eq!(ended.try_recv(), Ok(30));
        harness.settle();
        harness.publish(&["a"], "still here");
        harness.settle();
        for (_, client) in &mut others {
            read_to(client, "data: still here\n\n");
        }
        for (_, client) in &mut met {
            let text = read_to(client, "\n\n");
            assert!(text.contains("event: fantail.close\ndata: {\"reason\":\"revoked\"}\nretry: "), "{text}");
        }
    }

    #[test]
    fn a_stream_ends_with_its_right_and_one_that_takes_nothing_is_reset() {
        let mut harness = Harness::new(SlowPolicy::Disconnect, 100);
        let ended = |is_lifetime| Some(StreamRight { ends_at: 100, is_lifetime, holder: RightHolder::default() });
        // A right that has ended before the stream begins.
        let (_, mut late) = harness.open_with(&["a"], ended(false));
        harness.settle();
        assert!(read_to(&mut late, "\n\n").contains("token-expired"));
        let forever = StreamRight { ends_at: u32::MAX, is_lifetime: false, holder: RightHolder::default() };
        let (open, mut client) = harness.open_with(&["a"], Some(forever));
        let (blocked, _gone) = harness.open_with(&["a"], Some(forever));
        harness.settle();
        assert!(!rights::end_with_its_right(&mut harness.engine.streams, open));
        harness.engine.streams.block(blocked);
        for key in [open, blocked] {
            harness.engine.streams.set_right(key, ended(true));
            assert!(rights::end_with_its_right(&mut harness.engine.streams, key));
        }
        assert!(harness.engine.streams.get(blocked).is_none(), "nothing more may reach its client");
        harness.settle();
        assert!(read_to(&mut client, "\n\n").contains("lifetime"));
        // It waits for its client to close now, and the sweep sees to the end of that.
        assert_eq!(harness.engine.streams.state(open), Some(StreamState::Ending));
        assert!(!rights::end_with_its_right(&mut harness.engine.streams, open));
    }
}
