//! The streams and channels of a shard, each in a slot of its own.
//!
//! In pages, and not in one vector: a vector that doubles copies everything while all streams wait, leaves up to half of
//! its memory unused, and never shrinks by itself. Low slots are filled first, so that after a mass disconnect the last
//! pages empty and are given back.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::{Index, IndexMut};

use crate::streams::Key;

/// Slots per page, which are 16 KiB of streams.
pub(crate) const PAGE_SLOTS: usize = 256;

/// Values by key.
pub(crate) struct Slab<T> {
    pages: Vec<Box<[Option<T>]>>,
    /// Vacant slots of the pages that there are.
    free: BinaryHeap<Reverse<Key>>,
    len: usize,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Self { pages: Vec::new(), free: BinaryHeap::new(), len: 0 }
    }

    /// Values in it.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Slots, vacant ones too: every key is below it.
    pub(crate) fn slots(&self) -> usize {
        self.pages.len() * PAGE_SLOTS
    }

    /// The lowest vacant slot, which the next value gets.
    pub(crate) fn vacant_key(&mut self) -> Key {
        if self.free.is_empty() {
            let first = self.slots() as Key;
            self.pages.push((0..PAGE_SLOTS).map(|_| None).collect());
            self.free.extend((first..first + PAGE_SLOTS as Key).map(Reverse));
        }
        let Reverse(key) = self.free.peek().expect("a page was added if there was no vacant slot");
        *key
    }

    /// Puts a value into the lowest vacant slot.
    pub(crate) fn insert(&mut self, value: T) -> Key {
        let key = self.vacant_key();
        self.free.pop();
        self.pages[key as usize / PAGE_SLOTS][key as usize % PAGE_SLOTS] = Some(value);
        self.len += 1;
        key
    }

    /// Takes a value out.
    ///
    /// # Panics
    /// If the slot is vacant.
    pub(crate) fn remove(&mut self, key: Key) -> T {
        let slot = &mut self.pages[key as usize / PAGE_SLOTS][key as usize % PAGE_SLOTS];
        let value = slot.take().expect("only what is in the slab is taken out");
        self.free.push(Reverse(key));
        self.len -= 1;
        value
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        self.pages.get(key as usize / PAGE_SLOTS)?[key as usize % PAGE_SLOTS].as_ref()
    }

    /// All values with their keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        let slots = self.pages.iter().flat_map(|page| page.iter());
        slots.enumerate().filter_map(|(key, slot)| slot.as_ref().map(|value| (key as Key, value)))
    }

    /// Gives the vacant pages at the end back, if they are half of all or more. Call it now and then.
    pub(crate) fn shrink(&mut self) {
        if self.len > self.slots() / 2 || self.pages.is_empty() {
            return;
        }
        let is_vacant = |page: &[Option<T>]| page.iter().all(Option::is_none);
        let used = self.pages.iter().rposition(|page| !is_vacant(page)).map_or(0, |last| last + 1);
        if used <= self.pages.len() / 2 {
            self.pages.truncate(used);
            self.pages.shrink_to_fit();
            let slots = self.slots() as Key;
            self.free.retain(|Reverse(key)| *key < slots);
            self.free.shrink_to_fit();
        }
    }
}

impl<T> Index<Key> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, key: Key) -> &T {
        let slot = &self.pages[key as usize / PAGE_SLOTS][key as usize % PAGE_SLOTS];
        slot.as_ref().expect("a key in use names a value")
    }
}

impl<T> IndexMut<Key> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, key: Key) -> &mut T {
        let slot = &mut self.pages[key as usize / PAGE_SLOTS][key as usize % PAGE_SLOTS];
        slot.as_mut().expect("a key in use names a value")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_slots_and_low_slots_are_filled_first() {
        let mut slab = Slab::new();
        let keys: Vec<Key> = (0..600).map(|value| slab.insert(value)).collect();
        assert_eq!(keys, (0..600).collect::<Vec<_>>());
        assert_eq!((slab.remove(10), slab.remove(500), slab.len()), (10, 500, 598));
        assert!(slab.get(10).is_none() && slab.get(99_999).is_none());
        assert_eq!((slab.insert(-1), slab.insert(-2)), (10, 500));
        assert_eq!((slab[10], slab[500], slab[599]), (-1, -2, 599));
        assert_eq!(slab.iter().filter(|(_, value)| **value < 0).map(|(key, _)| key).collect::<Vec<_>>(), [10, 500]);
    }

    #[test]
    fn vacant_pages_are_given_back_and_their_slots_are_used_again() {
        let mut slab = Slab::new();
        for value in 0..1024 {
            slab.insert(value);
        }
        for key in 1..1024 {
            slab.remove(key);
        }
        slab.shrink();
        assert_eq!((slab.len(), slab.slots()), (1, 256));
        let keys: Vec<Key> = (0..600).map(|value| slab.insert(value)).collect();
        assert_eq!(keys, (1..=600).collect::<Vec<_>>());
    }

    #[test]
    #[should_panic(expected = "only what is in the slab")]
    fn nothing_is_taken_out_twice() {
        let mut slab = Slab::new();
        let key = slab.insert(());
        slab.remove(key);
        slab.remove(key);
    }
}
