//! Values that only some streams have, by the key of the stream.
//!
//! Next to the slab and not in it: a stream that has none must not pay for it, and nothing on the way of an event looks here.
//! One value per slot, in pages like the slab's, which are there only once one of their slots has a value.

use crate::slab::PAGE_SLOTS;
use crate::streams::Key;

/// Values by the key of their stream.
pub(crate) struct SideTable<T> {
    pages: Vec<Option<Box<[Option<T>; PAGE_SLOTS]>>>,
}

impl<T> SideTable<T> {
    pub(crate) fn new() -> Self {
        Self { pages: Vec::new() }
    }

    pub(crate) fn get(&self, key: Key) -> Option<T>
    where
        T: Copy,
    {
        let (page, slot) = place(key);
        self.pages.get(page)?.as_ref()?[slot]
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (page, slot) = place(key);
        self.pages.get_mut(page)?.as_mut()?[slot].as_mut()
    }

    /// Keeps the value of a new stream, or that it has none.
    pub(crate) fn set(&mut self, key: Key, value: Option<T>) {
        let (page, slot) = place(key);
        if value.is_some() && page >= self.pages.len() {
            self.pages.resize_with(page + 1, || None);
        }
        match self.pages.get_mut(page) {
            Some(Some(page)) => page[slot] = value,
            Some(page) if value.is_some() => {
                page.get_or_insert_with(|| Box::new([const { None }; PAGE_SLOTS]))[slot] = value;
            }
            _ => {}
        }
    }

    /// Gives the pages back that are beyond so many slots.
    pub(crate) fn shrink(&mut self, slots: usize) {
        self.pages.truncate(slots.div_ceil(PAGE_SLOTS));
        self.pages.shrink_to_fit();
    }
}

fn place(key: Key) -> (usize, usize) {
    (key as usize / PAGE_SLOTS, key as usize % PAGE_SLOTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_by_slot_until_the_slot_is_anothers() {
        let mut table = SideTable::new();
        table.set(3, Some(30));
        table.set(700, Some(7000));
        assert_eq!([table.get(3), table.get(700)], [Some(30), Some(7000)]);
        assert_eq!([table.get(4), table.get(300), table.get(99_999)], [None; 3]);
        table.set(3, None);
        table.set(99_999, None);
        table.shrink(256);
        assert_eq!([table.get(3), table.get(700)], [None; 2]);
    }

    #[test]
    fn streams_without_a_value_cost_nothing_and_one_with_it_costs_its_value() {
        let mut table = SideTable::<u64>::new();
        for key in 0..10_000 {
            table.set(key, None);
        }
        assert_eq!(table.pages.capacity(), 0);
        table.set(0, Some(1));
        assert_eq!(table.pages.iter().flatten().count(), 1);
    }
}
