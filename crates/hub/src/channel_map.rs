//! All channels by name, and how many there may be.
//!
//! Control plane and subscribe time only: no delivery goes through this map. Lock order: the map's, then a channel's.
//! Nobody who holds a channel's lock touches the map.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use fantail_wire::ChannelName;
use foldhash::fast::RandomState;

use crate::channel::ChannelState;
use crate::maker::Makers;
use crate::{Channel, Maker};

/// The map.
#[derive(Debug)]
pub(crate) struct ChannelMap {
    channels: DashMap<ChannelName, Arc<Channel>, RandomState>,
    /// Counted apart: the map's own length locks all its parts.
    count: AtomicUsize,
    channels_max: usize,
    makers: Makers,
}

/// There are as many channels as may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChannelsFull {
    /// On this node.
    #[error("this node already holds the most channels it may")]
    OfNode,
    /// Made by this address.
    #[error("this address has already made the most channels that one may")]
    OfAddress,
}

impl ChannelMap {
    /// There may be `channels_max`, and `per_maker_max` that were made by one maker.
    pub(crate) fn new(channels_max: usize, per_maker_max: usize) -> Self {
        let channels = DashMap::with_hasher(RandomState::default());
        Self { channels, count: AtomicUsize::new(0), channels_max, makers: Makers::new(per_maker_max) }
    }

    pub(crate) fn get(&self, name: &ChannelName) -> Option<Arc<Channel>> {
        self.channels.get(name).map(|entry| Arc::clone(entry.value()))
    }

    /// The channel of that name, or what `make` makes under the map's lock, for which `maker` is charged.
    pub(crate) fn get_or_make(
        &self,
        name: &ChannelName,
        maker: Option<Maker>,
        make: impl FnOnce() -> Channel,
    ) -> Result<Arc<Channel>, ChannelsFull> {
        if let Some(channel) = self.get(name) {
            return Ok(channel);
        }
        // Charged before the map is locked: nobody holds two of these locks.
        maker.map_or(Ok(()), |maker| self.makers.charge(maker))?;
        let one_more = |count| (count < self.channels_max).then_some(count + 1);
        if self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_err() {
            if let Some(maker) = maker {
                self.makers.discharge(maker);
            }
            return Err(ChannelsFull::OfNode);
        }
        match self.channels.entry(name.clone()) {
            Entry::Occupied(entry) => {
                // Another shard was faster.
                let channel = Arc::clone(entry.get());
                drop(entry);
                self.uncount(maker);
                Ok(channel)
            }
            Entry::Vacant(entry) => Ok(Arc::clone(&entry.insert(Arc::new(make())))),
        }
    }

    /// Takes a channel out if `forget`, which gets its state under both locks, says so.
    pub(crate) fn remove_if(&self, channel: &Channel, forget: impl FnOnce(&mut ChannelState) -> bool) -> bool {
        let is_removed = self.channels.remove_if(channel.name(), |_, _| forget(&mut channel.lock())).is_some();
        if is_removed {
            self.uncount(channel.maker());
        }
        is_removed
    }

    /// All channels there are now.
    pub(crate) fn all(&self) -> Vec<Arc<Channel>> {
        self.channels.iter().map(|entry| Arc::clone(entry.value())).collect()
    }

    /// Reads at most `max` channels whose names begin with `prefix`.
    pub(crate) fn matching<T>(&self, prefix: &str, max: usize, read: impl Fn(&Channel) -> T) -> Vec<T> {
        let matching = self.channels.iter().filter(|entry| entry.key().as_str().starts_with(prefix));
        matching.take(max).map(|entry| read(entry.value())).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// A channel that was counted is gone, or was not made.
    fn uncount(&self, maker: Option<Maker>) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        if let Some(maker) = maker {
            self.makers.discharge(maker);
        }
    }
}
