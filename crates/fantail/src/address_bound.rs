//! A bound on what one client address may have, and which addresses it holds for.

use std::net::{IpAddr, Ipv4Addr};

use fantail_hub::Maker;

/// The channels that one public address may make, unless the operator says otherwise. One address has fewer connections
/// than this to a port of a node. So a proxy with a public address, such as that of a content network, never meets the
/// bound while its clients follow a channel each. And sixteen addresses are needed to use up the default of
/// `channels_max`.
pub(crate) const CHANNELS_MAX: usize = 1 << 16;

/// The connections that one public address may have open, unless the operator says otherwise: more than a company or a
/// carrier has behind one address, and far fewer than a node holds.
pub(crate) const CONNECTIONS_MAX: usize = 10_000;

/// The connections that one public address may open in a second. A company whose ten thousand pages come back after a restart
/// takes ten seconds for it.
pub(crate) const CONNECTIONS_PER_SECOND: usize = 1_000;

/// The rule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AddressBound {
    /// The most that one address may have.
    pub(crate) max: usize,
    /// It holds for addresses of private networks, too.
    private: bool,
}

impl AddressBound {
    /// The rule of a setting: 0 bounds public addresses only, by `unless_set`; another number bounds all.
    pub(crate) fn new(setting: usize, unless_set: usize) -> Self {
        match setting {
            0 => Self { max: unless_set, private: false },
            max => Self { max, private: true },
        }
    }

    /// The address as the bound counts it, if it holds for it.
    pub(crate) fn of(&self, address: IpAddr) -> Option<Maker> {
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
    fn only_public_addresses_are_bounded_unless_a_number_is_set() {
        let private =
            ["127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.1.1", "169.254.1.1", "100.64.0.1", "100.127.9.9"];
        let private = private.into_iter().chain(["::1", "fd00::1", "fe80::1", "::ffff:10.1.2.3"]);
        let public = ["203.0.113.9", "100.63.0.1", "100.128.0.1", "172.32.0.1", "2001:db8::1", "::ffff:203.0.113.9"];
        let all = private.map(|address| (address, false)).chain(public.map(|address| (address, true)));
        for (text, bounded) in all {
            let address = text.parse().expect("an address");
            assert_eq!(AddressBound::new(0, 9).of(address).is_some(), bounded, "{text}");
            assert_eq!(AddressBound::new(7, 9).of(address), Some(Maker::at(address)), "{text}");
        }
        assert_eq!([0, 7].map(|number| AddressBound::new(number, 9).max), [9, 7]);
    }
}
