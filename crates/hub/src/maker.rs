//! How many channels each client address has made.
//!
//! A channel costs memory here, and subscriptions in Redis, until it is forgotten, however soon the stream that asked for
//! it is gone. So an address is charged for the channels that exist because of it, and not for what its streams follow at
//! the moment. The channel remembers its maker; a stream does not, and stays as small as it is. Looked at only when a
//! channel is made or forgotten.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU64;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use foldhash::fast::RandomState;

use crate::ChannelsFull;

/// Set in the key of an IPv4 address. No network of IPv6 that is in use has such a key.
const V4: u64 = 1 << 32;

/// The maker of a channel, which is charged for it: an IPv4 address, or the /64 network of an IPv6 address, since one host has all of such
/// a network's addresses to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Maker(NonZeroU64);

/// Channels by maker. It has no more entries than there are channels.
#[derive(Debug)]
pub(crate) struct Makers {
    channels: DashMap<Maker, usize, RandomState>,
    channels_max: usize,
}

impl Maker {
    /// The maker at this address.
    pub fn at(address: IpAddr) -> Self {
        let key = match address.to_canonical() {
            IpAddr::V4(v4) => V4 | u64::from(v4.to_bits()),
            IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
        };
        // The network of `::1` is 0.
        Self(NonZeroU64::new(key).unwrap_or(NonZeroU64::MIN))
    }
}

impl fmt::Display for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.0.get();
        match key & !u64::from(u32::MAX) {
            V4 => Ipv4Addr::from_bits(key as u32).fmt(f),
            _ if self.0 == NonZeroU64::MIN => write!(f, "::/64"),
            _ => write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(key) << 64)),
        }
    }
}

impl Makers {
    /// Each may make so many channels.
    pub(crate) fn new(channels_max: usize) -> Self {
        Self { channels: DashMap::with_hasher(RandomState::default()), channels_max }
    }

    /// One channel more, if it may.
    pub(crate) fn charge(&self, maker: Maker) -> Result<(), ChannelsFull> {
        let mut channels = self.channels.entry(maker).or_insert(0);
        if *channels >= self.channels_max {
            return Err(ChannelsFull::OfAddress);
        }
        *channels += 1;
        Ok(())
    }

    /// One less.
    pub(crate) fn discharge(&self, maker: Maker) {
        let Entry::Occupied(mut channels) = self.channels.entry(maker) else { return };
        *channels.get_mut() -= 1;
        if *channels.get() == 0 {
            channels.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> Maker {
        Maker::at(address.parse().expect("an address"))
    }

    #[test]
    fn an_ipv4_address_is_one_maker_and_so_is_a_network_of_ipv6() {
        assert_eq!(at("203.0.113.9"), at("::ffff:203.0.113.9"));
        assert_ne!(at("203.0.113.9"), at("203.0.113.8"));
        assert_eq!(at("2001:db8:1:2::1"), at("2001:db8:1:2:ffff::9"));
        assert_ne!(at("2001:db8:1:2::1"), at("2001:db8:1:3::1"));
        assert_ne!(at("0.0.0.0"), at("::1"));
        let shown = ["203.0.113.9", "0.0.0.0", "2001:db8:1:2::1", "::1"].map(|address| at(address).to_string());
        assert_eq!(shown, ["203.0.113.9", "0.0.0.0", "2001:db8:1:2::/64", "::/64"]);
    }

    #[test]
    fn a_maker_without_channels_is_not_remembered() {
        let makers = Makers::new(2);
        let one = at("203.0.113.9");
        for _ in 0..2 {
            assert_eq!([makers.charge(one), makers.charge(one)], [Ok(()); 2]);
            assert_eq!(makers.charge(one), Err(ChannelsFull::OfAddress));
            assert_eq!(makers.charge(at("203.0.113.8")), Ok(()), "another has its own");
            makers.discharge(at("203.0.113.8"));
            makers.discharge(one);
            assert_eq!(makers.charge(one), Ok(()));
            makers.discharge(one);
            makers.discharge(one);
            assert!(makers.channels.is_empty());
        }
    }
}
