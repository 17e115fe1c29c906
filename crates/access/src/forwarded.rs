//! The address that a request comes from, through proxies.
//!
//! Each proxy appends to `X-Forwarded-For` the address that it was reached from. Anyone can send the field, so only entries
//! of trusted proxies count. The list is read from its right end, which is the newest, for as long as the writer is trusted.
//! Example: 10.0.0.0/8 is trusted, and the peer 10.0.0.1 sends `X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.0.0.2`. The peer
//! wrote `10.0.0.2`, which wrote `203.0.113.9`. That address is not trusted, so it is the client, and `6.6.6.6` is ignored.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// The networks of the trusted proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Trusts proxies in these networks. IPv4 networks are written as IPv4.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether the address is one of theirs.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether no proxy is trusted, so that the field need not be read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The client's address, from the values of `X-Forwarded-For` in their order. `None` if the peer is no trusted
    /// proxy, or if a trusted proxy wrote no address. If all are trusted, the first address of the list.
    pub fn client<'a>(&self, peer: IpAddr, values: impl DoubleEndedIterator<Item = &'a [u8]>) -> Option<IpAddr> {
        let mut client = None;
        let mut writer = peer.to_canonical();
        for item in values.rev().flat_map(|value| value.rsplit(|&byte| byte == b',')) {
            let item = item.trim_ascii();
            if item.is_empty() {
                continue; // a list may have empty places
            }
            if !self.contains(writer) {
                break;
            }
            writer = address(item)?;
            client = Some(writer);
        }
        client
    }
}

/// An address as proxies write it: bare, in brackets, or with a port.
fn address(item: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(item).ok()?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse().map(|socket: SocketAddr| socket.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(trusted: &[&str], peer: &str, values: &[&str]) -> Option<String> {
        let networks = trusted.iter().map(|network| network.parse().expect("a network")).collect();
        let values = values.iter().map(|value| value.as_bytes());
        let client = TrustedProxies::new(networks).client(peer.parse().expect("an address"), values);
        client.map(|address| address.to_string())
    }

    #[test]
    fn the_client_is_the_first_from_the_right_whom_no_trusted_proxy_is() {
        let trusted = ["10.0.0.0/8", "fd00::/8"];
        for (values, expected) in [
            (&["203.0.113.9"][..], "203.0.113.9"),
            (&["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
            (&["6.6.6.6, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            (&["6.6.6.6", "203.0.113.9,10.0.0.2 ", "10.9.9.9"], "203.0.113.9"),
            (&["10.0.0.7, 203.0.113.9"], "203.0.113.9"),
            (&["garbage, 203.0.113.9"], "203.0.113.9"),
            (&["203.0.113.9, ,"], "203.0.113.9"),
            (&["203.0.113.9:4711"], "203.0.113.9"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["[2001:db8::1]:4711, fd00::2"], "2001:db8::1"),
            (&["::ffff:203.0.113.9"], "203.0.113.9"),
            (&["10.0.0.9, 10.0.0.2"], "10.0.0.9"),
        ] {
            for peer in ["10.0.0.1", "::ffff:10.0.0.1"] {
                assert_eq!(client(&trusted, peer, values).as_deref(), Some(expected), "{values:?}");
            }
        }
    }

    #[test]
    fn nobody_else_can_say_who_he_is() {
        for (attack, trusted, peer, values) in [
            ("a client that reaches us itself", &["10.0.0.0/8"][..], "203.0.113.9", &["1.2.3.4"][..]),
            ("a client where nobody is trusted", &[], "127.0.0.1", &["1.2.3.4"]),
            ("a neighbour of the trusted network", &["10.0.0.0/31"], "10.0.0.2", &["1.2.3.4"]),
            ("a trusted proxy that tells nothing", &["10.0.0.1/32"], "10.0.0.1", &[]),
            ("a trusted proxy that tells no address", &["10.0.0.1/32"], "10.0.0.1", &["1.2.3.4, unknown"]),
            ("a trusted proxy behind one that tells no address", &["10.0.0.0/8"], "10.0.0.1", &["unknown, 10.0.0.2"]),
        ] {
            assert_eq!(client(trusted, peer, values), None, "{attack}");
        }
    }
}
