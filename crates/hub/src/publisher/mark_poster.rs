//! Tells shards that channels have something new: marks first, then one ring for each shard that got a mark.

use std::sync::Arc;

use crate::{Channel, Hub, Mark};

/// Posts marks and rings.
#[derive(Debug)]
pub(super) struct MarkPoster {
    hub: Arc<Hub>,
    /// Shards that have got a mark since they were last rung.
    to_ring: Vec<bool>,
}

impl MarkPoster {
    pub(super) fn new(hub: &Arc<Hub>) -> Self {
        Self { hub: Arc::clone(hub), to_ring: vec![false; hub.mailboxes.len()] }
    }

    /// Posts a channel's marks. Says how many open streams the channel has.
    pub(super) fn post(&mut self, channel: &Channel) -> u64 {
        self.post_after(channel, |_| ())
    }

    /// Rings the shards that have got marks.
    pub(super) fn ring(&mut self) {
        for (mailbox, to_ring) in self.hub.mailboxes.iter().zip(&mut self.to_ring) {
            if std::mem::take(to_ring) {
                mailbox.ring();
            }
        }
    }

    /// Tells of one channel at once.
    pub(super) fn tell(&mut self, channel: &Channel) {
        self.post(channel);
        self.ring();
    }

    /// Asks the shards to end a channel's streams.
    pub(super) fn end(&mut self, channel: &Channel) {
        self.post_after(channel, Mark::end);
        self.ring();
    }

    fn post_after(&mut self, channel: &Channel, change: impl Fn(&Mark)) -> u64 {
        let state = channel.lock();
        for (shard, mark) in &state.marks {
            change(mark);
            let shard = usize::from(*shard);
            self.to_ring[shard] |= self.hub.mailboxes[shard].post(mark);
        }
        state.streams()
    }
}
