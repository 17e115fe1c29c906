//! From where the streams come that came through a trusted proxy: 16 bytes per slot.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU128;

use super::Key;
use crate::side_table::SideTable;

/// Addresses by the key of their stream.
pub(crate) struct Forwarded(SideTable<NonZeroU128>);

impl Forwarded {
    pub(crate) fn new() -> Self {
        Self(SideTable::new())
    }

    pub(crate) fn get(&self, key: Key) -> Option<IpAddr> {
        let bits = self.0.get(key)?;
        Some(IpAddr::V6(Ipv6Addr::from_bits(bits.get())).to_canonical())
    }

    /// Keeps the address of a new stream, or that it has none. The address `::` is none.
    pub(crate) fn set(&mut self, key: Key, address: Option<IpAddr>) {
        let bits = address.map(|address| match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
            IpAddr::V6(v6) => v6.to_bits(),
        });
        self.0.set(key, bits.and_then(NonZeroU128::new));
    }

    /// Gives the memory back that is beyond so many slots.
    pub(crate) fn shrink(&mut self, slots: usize) {
        self.0.shrink(slots);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_in_its_own_family_and_costs_16_bytes() {
        let mut forwarded = Forwarded::new();
        for text in ["203.0.113.9", "2001:db8::1"] {
            let address: IpAddr = text.parse().expect("an address");
            forwarded.set(7, Some(address));
            assert_eq!(forwarded.get(7), Some(address));
        }
        forwarded.set(7, None);
        assert_eq!(forwarded.get(7), None);
        assert_eq!(size_of::<Option<NonZeroU128>>(), 16);
    }
}
