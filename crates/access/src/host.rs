//! The host decision: whether a request is meant for this listener, by the name that it was sent to.
//!
//! A page of `evil.example` may let that name lead to `127.0.0.1` once it is loaded (DNS rebinding). Its browser then takes
//! the listener for the page's own site: it sends no `Origin` with a read, and the page sees the answer. But `Host` still
//! holds `evil.example`, and a page cannot change that. A request to an address is safe, since an address leads only to itself.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The hosts that a listener answers to, fixed at start: addresses, `localhost` and the names that were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostPolicy {
    any: bool,
    names: HashSet<String>,
}

impl HostPolicy {
    /// Answers to these names as well; a single `*` means any.
    pub fn new<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Self {
        let names: HashSet<_> = names.into_iter().map(|name| canonical(name.as_ref())).collect();
        Self { any: names.contains("*"), names }
    }

    /// Whether a request to this host, without its port, is meant for the listener.
    pub fn accepts(&self, host: &str) -> bool {
        if self.any || is_address(host) {
            return true;
        }
        let name = canonical(host);
        name == "localhost" || self.names.contains(&name)
    }
}

/// Upper and lower case mean the same, and so does a name with the root's dot at its end.
fn canonical(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Browsers write every address in this form, even if the URL has another.
fn is_address(host: &str) -> bool {
    let in_brackets = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match in_brackets {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<Ipv4Addr>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_localhost_are_accepted_without_being_named() {
        for host in ["127.0.0.1", "10.1.2.3", "0.0.0.0", "[::1]", "[fe80::1]", "localhost", "LOCALHOST", "localhost."] {
            assert!(HostPolicy::default().accepts(host), "{host}");
        }
    }

    #[test]
    fn names_are_accepted_if_they_are_listed_in_whatever_case() {
        let policy = HostPolicy::new(["fantail", "Edge.Example.com."]);
        for host in ["fantail", "FANTAIL", "fantail.", "edge.example.com", "edge.example.com."] {
            assert!(policy.accepts(host), "{host}");
        }
    }

    #[test]
    fn a_name_that_nobody_listed_is_refused_however_much_it_looks_like_one() {
        let policy = HostPolicy::new(["fantail"]);
        for (attack, host) in [
            ("the name that was made to lead here", "evil.example"),
            ("a listed name below another", "fantail.evil.example"),
            ("a listed name as an ending", "evilfantail"),
            ("localhost below another", "localhost.evil.example"),
            ("an address below another", "127.0.0.1.evil.example"),
            ("a service that makes names of addresses", "127-0-0-1.sslip.example"),
            ("an address that no browser writes so", "2130706433"),
            ("the same in hex", "0x7f000001"),
            ("an address with a dot behind it", "127.0.0.1."),
            ("an address without its brackets", "::1"),
            ("a star sent by a client", "*"),
            ("no name", ""),
        ] {
            assert!(!policy.accepts(host), "{attack}: {host}");
        }
    }

    #[test]
    fn a_star_accepts_any_name() {
        assert!(HostPolicy::new(["*"]).accepts("anything.example"));
    }
}
