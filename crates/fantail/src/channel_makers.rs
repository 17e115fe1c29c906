//! Which addresses are charged for the channels that they make, and how many each may make.

use std::net::{IpAddr, Ipv4Addr};

use fantail_hub::Maker;

/// The channels that one public address may make, unless the operator says otherwise. One address has fewer connections
/// than this to a port of a node, so a proxy with a public address, such as that of a content network, never meets it
/// while its clients follow a channel each. And it takes sixteen addresses to use up the default of `channels_max`.
const CHANNELS_MAX: usize = 1 << 16;

/// The rule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChannelMakers {
    /// Channels that one address may make.
    pub(crate) channels_max: usize,
    /// Addresses of private networks are charged too.
    private: bool,
}

impl ChannelMakers {
    /// The rule of a setting: 0 charges public addresses only, another number all.
    pub(crate) fn new(channels_per_address_max: usize) -> Self {
        match channels_per_address_max {
            0 => Self { channels_max: CHANNELS_MAX, private: false },
            channels_max => Self { channels_max, private: true },
        }
    }

    /// The address that is charged for the channels of a stream.
    pub(crate) fn maker(&self, address: IpAddr) -> Option<Maker> {
        (self.private || !is_private(address)).then(|| Maker::at(address))
    }
}

/// An address of this machine or of a private network is mostly that of a proxy, which stands for all of its clients.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local() || is_shared(v4),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// 100.64.0.0/10, which clouds and carriers use inside (RFC 6598).
fn is_shared(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    first == 100 && (64..128).contains(&second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_charged_unless_a_number_is_set() {
        let private =
            ["127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.1.1", "169.254.1.1", "100.64.0.1", "100.127.9.9"];
        let private = private.into_iter().chain(["::1", "fd00::1", "fe80::1", "::ffff:10.1.2.3"]);
        let public = ["203.0.113.9", "100.63.0.1", "100.128.0.1", "172.32.0.1", "2001:db8::1", "::ffff:203.0.113.9"];
        let all = private.map(|address| (address, false)).chain(public.map(|address| (address, true)));
        for (text, charged) in all {
            let address = text.parse().expect("an address");
            assert_eq!(ChannelMakers::new(0).maker(address).is_some(), charged, "{text}");
            assert_eq!(ChannelMakers::new(7).maker(address), Some(Maker::at(address)), "{text}");
        }
        assert_eq!([0, 7].map(|number| ChannelMakers::new(number).channels_max), [65_536, 7]);
    }
}
