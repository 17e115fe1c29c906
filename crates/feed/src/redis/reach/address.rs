//! A host and a port, as operators write them and servers tell them.

use std::fmt;

/// A host, by name or number, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Address {
    /// Reads `host:port`; an IPv6 address may stand in brackets or not.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = port.parse().ok()?;
        (!host.is_empty()).then(|| Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for (text, host, port) in [("s1:26379", "s1", 26379), ("10.0.0.1:1", "10.0.0.1", 1), ("[::1]:2", "::1", 2)] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address, Address { host: host.into(), port });
            assert_eq!(address.to_string(), text);
        }
        for text in ["", "s1", ":26379", "s1:", "s1:x", "s1:65536", "[]:1"] {
            assert!(Address::parse(text).is_none(), "{text}");
        }
    }
}
