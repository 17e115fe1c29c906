//! The channels that this shard's streams follow, and who follows which.

use std::collections::HashMap;
use std::sync::Arc;

use fantail_hub::{ChannelsFull, Hub, Join, Maker, Mark, Position};
use fantail_wire::ChannelName;

use crate::passes::Pass;
use crate::slab::Slab;
use crate::streams::{Key, Stream};

/// A channel as this shard sees it.
pub(crate) struct LocalChannel {
    pub(crate) join: Join,
    /// Streams of the channel in any order. New ones come to the end; one that leaves is replaced by the last.
    pub(crate) subscribers: Vec<Key>,
    /// Every live stream of the channel has everything up to here.
    pub(crate) delivered: Position,
    /// The channel stands in the queue of passes.
    pub(crate) queued: bool,
    /// It was marked again meanwhile.
    pub(crate) again: bool,
    /// The pass under way.
    pub(crate) pass: Option<Box<Pass>>,
    /// Streams that wait for the feed to confirm, with their generations. Nearly always empty.
    pub(crate) waiting: Vec<(Key, u32)>,
}

/// All of them.
pub(crate) struct LocalChannels {
    slots: Slab<LocalChannel>,
    by_name: HashMap<ChannelName, u32, foldhash::fast::RandomState>,
    hub: Arc<Hub>,
    shard: u16,
}

impl LocalChannels {
    pub(crate) fn new(hub: Arc<Hub>, shard: u16) -> Self {
        Self { slots: Slab::new(), by_name: HashMap::default(), hub, shard }
    }

    /// The channel's slot; joins the channel if this shard has not. `maker` is charged if there is none yet.
    pub(crate) fn slot(&mut self, name: &ChannelName, maker: Option<Maker>) -> Result<u32, ChannelsFull> {
        if let Some(&slot) = self.by_name.get(name) {
            return Ok(slot);
        }
        let slot = self.slots.vacant_key();
        let join = self.hub.join(name, self.shard, slot, maker)?;
        // Read after joining: whatever is above it comes with a mark.
        let delivered = self.hub.watermark(join.channel.lane()).position;
        let subscribers = Vec::new();
        let (queued, again, pass, waiting) = (false, false, None, Vec::new());
        self.slots.insert(LocalChannel { join, subscribers, delivered, queued, again, pass, waiting });
        self.by_name.insert(name.clone(), slot);
        Ok(slot)
    }

    pub(crate) fn get(&self, slot: u32) -> &LocalChannel {
        &self.slots[slot]
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> &mut LocalChannel {
        &mut self.slots[slot]
    }

    /// The slot of a mark, unless the registration it belongs to is over.
    pub(crate) fn slot_of(&self, mark: &Arc<Mark>) -> Option<u32> {
        let channel = self.slots.get(mark.slot)?;
        Arc::ptr_eq(&channel.join.mark, mark).then_some(mark.slot)
    }

    /// Whether there is a channel in this slot that stands in the queue of passes.
    pub(crate) fn is_queued(&self, slot: u32) -> bool {
        self.slots.get(slot).is_some_and(|channel| channel.queued)
    }

    /// Adds a stream to a channel and returns its place in the list.
    pub(crate) fn add(&mut self, slot: u32, key: Key) -> u32 {
        let channel = self.get_mut(slot);
        channel.subscribers.push(key);
        channel.join.mark.set_streams(channel.subscribers.len());
        channel.subscribers.len() as u32 - 1
    }

    /// Takes the stream at `at` out of a channel; leaves the channel with its last stream.
    pub(crate) fn remove(&mut self, slot: u32, at: u32, streams: &mut Slab<Stream>) {
        let channel = &mut self.slots[slot];
        channel.subscribers.swap_remove(at as usize);
        channel.join.mark.set_streams(channel.subscribers.len());
        if let Some(&moved) = channel.subscribers.get(at as usize) {
            let subscriptions = streams[moved].subscriptions_mut();
            let subscription = subscriptions.iter_mut().find(|s| s.slot == slot);
            subscription.expect("a subscriber has a subscription of its channel").at = at;
        }
        if let Some(pass) = &mut channel.pass {
            pass.next = pass.next.min(channel.subscribers.len());
        }
        if channel.subscribers.is_empty() {
            let channel = self.slots.remove(slot);
            self.by_name.remove(channel.join.channel.name());
            self.hub.leave(&channel.join);
            self.shrink();
        } else if channel.subscribers.capacity() > 4 * channel.subscribers.len() + 64 {
            channel.subscribers.shrink_to(2 * channel.subscribers.len());
        }
    }

    /// Gives memory back when most of it is unused.
    fn shrink(&mut self) {
        if self.by_name.capacity() > 4 * self.by_name.len() + 1024 {
            self.by_name.shrink_to(2 * self.by_name.len());
            self.slots.shrink();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The memory that a channel adds to a shard, as a sum: its slot, its place in the map, which is half empty at worst, and the
    /// smallest list of subscribers. The hub's part is asserted there.
    #[test]
    fn a_channel_costs_a_shard_at_most_200_bytes() {
        let slot = size_of::<Option<LocalChannel>>();
        let in_map = 2 * (size_of::<(ChannelName, u32)>() + 1);
        let subscribers = 4 * size_of::<Key>();
        assert!(slot + in_map + subscribers <= 200, "{slot} + {in_map} + {subscribers}");
    }
}
