//! The address that a request comes from, through proxies.
//!
//! Each proxy appends to `X-Forwarded-For`, or to `Forwarded` (RFC 7239), the address that it was reached from. Anyone can send
//! the field, so only entries of trusted proxies count, and only the field that they are known to write: a proxy that writes one
//! passes the other on as the client sent it. The list is read from its right end, which is the newest, for as long as the
//! writer is trusted. Example: 10.0.0.0/8 is trusted, and the peer 10.0.0.1 sends `X-Forwarded-For: 6.6.6.6, 203.0.113.9,
//! 10.0.0.2`. The peer wrote `10.0.0.2`, which wrote `203.0.113.9`. That address is not trusted, so it is the client, and
//! `6.6.6.6` is ignored.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// The networks of the trusted proxies, and how these tell the client's address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    field: ForwardedField,
}

/// The header field in which proxies tell the address that they were reached from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedField {
    /// The one that nearly all write.
    #[default]
    XForwardedFor,
    /// The one of RFC 7239.
    Forwarded,
}

impl ForwardedField {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }
}

impl TrustedProxies {
    /// Trusts proxies in these networks. IPv4 networks are written as IPv4.
    pub fn new(networks: Vec<IpNet>, field: ForwardedField) -> Self {
        Self { networks, field }
    }

    /// Whether the address is one of theirs.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Whether no proxy is trusted, so that the field need not be read.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// The field that they write.
    pub fn field(&self) -> ForwardedField {
        self.field
    }

    /// The client's address, from the values of the field in their order. `None` if the peer is no trusted proxy, or if a
    /// trusted proxy wrote no address. If all are trusted, the first address of the list.
    pub fn client<'a>(&self, peer: IpAddr, values: impl DoubleEndedIterator<Item = &'a [u8]>) -> Option<IpAddr> {
        let mut client = None;
        let mut writer = peer.to_canonical();
        for item in values.rev().flat_map(|value| ItemsFromRight::new(value, b',')) {
            let item = item.trim_ascii();
            if item.is_empty() {
                continue; // a list may have empty places
            }
            if !self.contains(writer) {
                break;
            }
            writer = match self.field {
                ForwardedField::XForwardedFor => address(std::str::from_utf8(item).ok()?),
                ForwardedField::Forwarded => address_of_element(item),
            }?;
            client = Some(writer);
        }
        client
    }
}

/// The parts of a list from its right end, where a separator in a quoted string separates nothing.
///
/// Quotes are counted from the right as well: what the trusted proxy has appended is well formed, and what stands to the left of
/// it, such as a quote that is never closed, cannot change how that is read.
struct ItemsFromRight<'a> {
    left: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> ItemsFromRight<'a> {
    fn new(value: &'a [u8], separator: u8) -> Self {
        Self { left: Some(value), separator }
    }
}

impl<'a> Iterator for ItemsFromRight<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let value = self.left.take()?;
        let mut is_quoted = false;
        for (at, &byte) in value.iter().enumerate().rev() {
            if byte == b'"' && !(is_quoted && is_escaped(value, at)) {
                is_quoted = !is_quoted;
            } else if byte == self.separator && !is_quoted {
                self.left = Some(&value[..at]);
                return Some(&value[at + 1..]);
            }
        }
        Some(value)
    }
}

/// Whether an odd number of backslashes stands before the byte.
fn is_escaped(value: &[u8], at: usize) -> bool {
    value[..at].iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1
}

/// The address in an element of `Forwarded`: its only parameter `for`.
fn address_of_element(element: &[u8]) -> Option<IpAddr> {
    let mut nodes = ItemsFromRight::new(element, b';').filter_map(|pair| {
        let (name, value) = std::str::from_utf8(pair).ok()?.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value.trim())
    });
    match (nodes.next(), nodes.next()) {
        (Some(node), None) => address(&unquoted(node)?),
        _ => None,
    }
}

/// A token, or what stands in a quoted string.
fn unquoted(value: &str) -> Option<Cow<'_, str>> {
    let Some(rest) = value.strip_prefix('"') else { return Some(value.into()) };
    let inner = rest.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(inner.into());
    }
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        text.push(if character == '\\' { characters.next()? } else { character });
    }
    Some(text.into())
}

/// An address as proxies write it: bare, in brackets, or with a port, which may be a word of the proxy's own (`_x`).
fn address(text: &str) -> Option<IpAddr> {
    let text = text.rsplit_once(":_").map_or(text, |(address, _)| address);
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
        let client = TrustedProxies::new(networks, ForwardedField::XForwardedFor)
            .client(peer.parse().expect("an address"), values);
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
    fn only_a_trusted_proxy_can_name_another_client() {
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

    fn forwarded(peer: &str, values: &[&str]) -> Option<String> {
        let networks = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().expect("a network"));
        let values = values.iter().map(|value| value.as_bytes());
        let proxies = TrustedProxies::new(networks.into(), ForwardedField::Forwarded);
        proxies.client(peer.parse().expect("an address"), values).map(|address| address.to_string())
    }

    #[test]
    fn the_field_of_the_standard_is_read_in_all_its_forms_from_its_right_end() {
        for (values, expected) in [
            (&["for=203.0.113.9"][..], "203.0.113.9"),
            (&["For=203.0.113.9;proto=https;by=10.0.0.1"], "203.0.113.9"),
            (&["by=10.0.0.1 ; FOR = \"203.0.113.9:4711\" ; host=\"a,b;for=6.6.6.6\""], "203.0.113.9"),
            (&["for=\"[2001:db8::1]\""], "2001:db8::1"),
            (&["for=\"[2001:db8::1]:4711\", for=\"[fd00::2]:_x\""], "2001:db8::1"),
            (&["for=6.6.6.6, for=203.0.113.9, for=10.0.0.2"], "203.0.113.9"),
            (&["for=6.6.6.6", "for=203.0.113.9", "for=10.0.0.2,"], "203.0.113.9"),
            (&["for=\"20\\3.0.113.9\""], "203.0.113.9"),
            (&["for=203.0.113.9;ext=\"a\\\",for=6.6.6.6\""], "203.0.113.9"),
        ] {
            assert_eq!(forwarded("10.0.0.1", values).as_deref(), Some(expected), "{values:?}");
        }
    }

    #[test]
    fn entries_of_a_client_change_nothing_to_the_right_of_them() {
        for (attack, left) in [
            ("another address", "for=6.6.6.6"),
            ("a quote that is never closed", "for=\""),
            ("a quoted comma", "for=\"6.6.6.6,"),
            ("an escape at the end", "for=\"6.6.6.6\\"),
            ("escaped quotes", "\\\"\\\""),
            ("no pair", "\0\u{ff},;=;,"),
        ] {
            for values in [&[&*format!("{left}, for=203.0.113.9")][..], &[left, "for=203.0.113.9"]] {
                assert_eq!(forwarded("10.0.0.1", values).as_deref(), Some("203.0.113.9"), "{attack}: {values:?}");
            }
        }
        for (attack, peer, value) in [
            ("a client that reaches us itself", "203.0.113.9", "for=1.2.3.4"),
            ("a trusted proxy that tells no address", "10.0.0.1", "for=1.2.3.4, for=unknown"),
            ("one that hides it", "10.0.0.1", "for=1.2.3.4, for=_hidden"),
            ("one that names two", "10.0.0.1", "for=1.2.3.4;for=203.0.113.9"),
            ("one that tells something else", "10.0.0.1", "for=1.2.3.4, proto=https"),
            ("one that writes the other form", "10.0.0.1", "203.0.113.9"),
            ("one whose quotes are broken", "10.0.0.1", "for=\"203.0.113.9"),
        ] {
            assert_eq!(forwarded(peer, &[value]), None, "{attack}");
        }
    }
}
