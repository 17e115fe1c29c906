//! From where the streams come that came through a trusted proxy.
//!
//! Next to the slab and not in it: a stream that came by itself must not pay for it, and nothing on the way of an event
//! looks here. One address of 16 bytes per slot, in pages like the slab's, which are there only once one of their slots
//! has an address.

use std::net::{IpAddr, Ipv6Addr};

use super::Key;
use crate::slab::PAGE_SLOTS;

type Page = Box<[Ipv6Addr; PAGE_SLOTS]>;

/// In the place of an address where none is known.
const UNKNOWN: Ipv6Addr = Ipv6Addr::UNSPECIFIED;

/// Addresses by the key of their stream.
#[derive(Default)]
pub(crate) struct Forwarded {
    pages: Vec<Option<Page>>,
}

impl Forwarded {
    pub(crate) fn get(&self, key: Key) -> Option<IpAddr> {
        let (page, slot) = place(key);
        let address = self.pages.get(page)?.as_ref()?[slot];
        (address != UNKNOWN).then(|| IpAddr::V6(address).to_canonical())
    }

    /// Keeps the address of a new stream, or that it has none.
    pub(crate) fn set(&mut self, key: Key, address: Option<IpAddr>) {
        let (page, slot) = place(key);
        if let Some(address) = address {
            if page >= self.pages.len() {
                self.pages.resize_with(page + 1, || None);
            }
            let page = self.pages[page].get_or_insert_with(|| Box::new([UNKNOWN; PAGE_SLOTS]));
            page[slot] = match address {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            };
        } else if let Some(Some(page)) = self.pages.get_mut(page) {
            page[slot] = UNKNOWN;
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
    fn addresses_are_kept_by_slot_until_the_slot_is_anothers() {
        let mut forwarded = Forwarded::default();
        let addresses: [IpAddr; 2] = ["203.0.113.9".parse().expect("v4"), "2001:db8::1".parse().expect("v6")];
        forwarded.set(3, Some(addresses[0]));
        forwarded.set(700, Some(addresses[1]));
        assert_eq!([forwarded.get(3), forwarded.get(700)], addresses.map(Some));
        assert_eq!([forwarded.get(4), forwarded.get(300), forwarded.get(99_999)], [None; 3]);
        forwarded.set(3, None);
        forwarded.set(99_999, None);
        forwarded.shrink(256);
        assert_eq!([forwarded.get(3), forwarded.get(700)], [None; 2]);
    }

    #[test]
    fn streams_without_an_address_cost_nothing_and_one_with_it_costs_16_bytes() {
        let mut forwarded = Forwarded::default();
        for key in 0..10_000 {
            forwarded.set(key, None);
        }
        assert_eq!(forwarded.pages.capacity(), 0);
        assert_eq!(size_of::<[Ipv6Addr; PAGE_SLOTS]>(), 16 * PAGE_SLOTS);
    }
}
