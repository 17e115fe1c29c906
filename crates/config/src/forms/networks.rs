//! Addresses, networks and servers.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use url::Url;

use crate::form::{Form, Shape, pieces};
use crate::redis_url::RedisUrl;

/// The address of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// An IP address and a port; port 0 lets the kernel choose one.
    Ip(SocketAddr),
    /// The absolute path of a unix socket.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Whether only clients on this machine reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Ip(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// Two listeners on one port also collide if one of them takes every interface. Where the kernel lets both bind, the
    /// narrower one takes connections away from the wider one. Port 0 is a different port each time. Addresses of IPv4 and of
    /// IPv6 stand beside each other: where both have a port, that of IPv6 takes connections of IPv6 alone.
    pub(crate) fn collides(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ip(one), Self::Ip(other)) => {
                let overlap = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
                let is_one_port = one.port() != 0 && one.port() == other.port();
                is_one_port && overlap && one.is_ipv4() == other.is_ipv4()
            }
            _ => self == other,
        }
    }
}

/// As it is written in the settings.
impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An IP address and a port, or a unix socket.
pub(crate) struct Address;

impl Form for Address {
    type Value = ListenAddress;
    const VALUE_NAME: &'static str = "IP:PORT";

    fn parse(&self, text: &str) -> Result<ListenAddress, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            let is_absolute = path.is_absolute();
            return is_absolute.then_some(ListenAddress::Unix(path)).ok_or_else(|| {
                format!("{text:?} names no socket by its whole path; write unix:/run/fantail/public.sock")
            });
        }
        text.parse().map(ListenAddress::Ip).map_err(|_| {
            format!(
                "{text:?} is not an IP address and a port; write 127.0.0.1:8080, 0.0.0.0:8080 for all interfaces, or unix:/path of a socket"
            )
        })
    }

    fn show(&self, value: &ListenAddress) -> String {
        value.to_string()
    }

    fn describe(&self) -> String {
        "an IP address and a port, or `unix:` and the path of a socket".to_owned()
    }
}

/// An IP network, or a single address.
pub(crate) struct Network;

impl Form for Network {
    type Value = IpNet;
    const VALUE_NAME: &'static str = "NETWORK";

    /// Addresses are compared in their IPv4 form where they have one, so a network is written in it.
    fn parse(&self, text: &str) -> Result<IpNet, String> {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let network = network.map_err(|_| {
            format!("{text:?} is neither an IP address nor a network; write 10.0.0.7, 10.0.0.0/8 or fd00::/8")
        })?;
        match network {
            IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some() => {
                Err(format!("{text:?} is an IPv4 address in the form of IPv6; write it as IPv4"))
            }
            network if network.trunc() != network => {
                Err(format!("{text:?} has bits behind its prefix; is {} meant?", network.trunc()))
            }
            network => Ok(network),
        }
    }

    fn show(&self, value: &IpNet) -> String {
        if value.prefix_len() == value.max_prefix_len() { value.addr().to_string() } else { value.to_string() }
    }

    fn describe(&self) -> String {
        "an IP address or a network".to_owned()
    }
}

/// The address of a Redis server, which may hold a password.
pub(crate) struct RedisAddress;

impl Form for RedisAddress {
    type Value = RedisUrl;
    const VALUE_NAME: &'static str = "URL";
    const IS_SECRET: bool = true;

    fn parse(&self, text: &str) -> Result<RedisUrl, String> {
        RedisUrl::parse(text).map_err(|reason| format!("{reason} (the value is not shown, as it may be secret)"))
    }

    fn show(&self, value: &RedisUrl) -> String {
        value.to_string()
    }

    fn describe(&self) -> String {
        "`redis://`, `rediss://` (TLS) or `unix://`".to_owned()
    }
}

/// The addresses of NATS servers. A secret in one is refused, so that none is ever shown.
pub(crate) struct NatsServers;

impl Form for NatsServers {
    type Value = Vec<String>;
    const VALUE_NAME: &'static str = "URL";
    const SHAPE: Shape = Shape::List;

    fn parse(&self, text: &str) -> Result<Vec<String>, String> {
        pieces(text).map(|piece| parse_nats_server(piece).map_err(str::to_owned)).collect()
    }

    fn show(&self, value: &Vec<String>) -> String {
        value.join(",")
    }

    fn describe(&self) -> String {
        "`nats://` or `tls://` with a host, each with a port or with 4222 for it".to_owned()
    }
}

/// The reason does not quote the text, which may hold a password.
fn parse_nats_server(text: &str) -> Result<String, &'static str> {
    let url = Url::parse(text).map_err(|_| "an address is no URL; write nats://host:4222, or tls://host:4222")?;
    if !matches!(url.scheme(), "nats" | "tls") {
        return Err("the scheme of an address is nats, or tls");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "an address holds no user, password or token; nats_username, nats_password_file and nats_token_file do",
        );
    }
    let is_bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    match url.host_str() {
        Some(host) if is_bare && !host.is_empty() => {
            Ok(format!("{}://{host}:{}", url.scheme(), url.port().unwrap_or(4_222)))
        }
        _ => Err("an address is a scheme, a host and a port, and nothing else"),
    }
}

/// Hosts, each with a port, or with this one if none is written.
pub(crate) struct Servers {
    pub(crate) port: u16,
}

impl Form for Servers {
    type Value = Vec<String>;
    const VALUE_NAME: &'static str = "HOST:PORT";
    const SHAPE: Shape = Shape::List;

    fn parse(&self, text: &str) -> Result<Vec<String>, String> {
        pieces(text).map(|piece| parse_server(piece, self.port)).collect()
    }

    fn show(&self, value: &Vec<String>) -> String {
        value.join(",")
    }

    fn describe(&self) -> String {
        format!("hosts, each with a port or with {} for it", self.port)
    }
}

fn parse_server(text: &str, port: u16) -> Result<String, String> {
    let refused = || format!("{text:?} is not a host with a port; write redis.example:{port}, or [::1]:{port}");
    let url = Url::parse(&format!("redis://{text}")).map_err(|_| refused())?;
    let is_plain = url.username().is_empty() && url.password().is_none() && url.path().is_empty();
    match url.host_str() {
        Some(host) if is_plain && url.query().is_none() && url.fragment().is_none() && !text.contains('@') => {
            Ok(format!("{host}:{}", url.port().unwrap_or(port)))
        }
        _ => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    // A failed unwrap is how a test fails.
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::form::List;

    #[test]
    fn an_address_is_numeric() {
        for text in ["127.0.0.1:0", "0.0.0.0:8080", "[::]:8080"] {
            assert!(Address.parse(text).is_ok(), "{text}");
        }
        for text in ["", "8080", ":8080", "localhost:8080", "127.0.0.1", "127.0.0.1:65536", "::1:8080"] {
            assert!(Address.parse(text).is_err(), "{text}");
        }
    }

    fn networks(text: &str) -> Result<String, String> {
        let form = List { of: Network, described: "" };
        form.parse(text).map(|networks| form.show(&networks))
    }

    #[test]
    fn networks_are_written_with_their_prefix_and_single_addresses_without() {
        for (written, shown) in [
            ("10.0.0.0/8, fd00::/8,192.0.2.7", "10.0.0.0/8,fd00::/8,192.0.2.7"),
            ("192.0.2.7/32,::1", "192.0.2.7,::1"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            (",", ""),
        ] {
            assert_eq!(networks(written).unwrap(), shown, "{written:?}");
        }
    }

    #[test]
    fn a_text_that_is_no_network_is_refused_with_the_form_to_write() {
        for (written, reason) in [
            ("proxy", "neither an IP address nor a network"),
            ("10.0.0.0/33", "neither an IP address nor a network"),
            ("10.0.0.0/", "neither an IP address nor a network"),
            ("10.0.0.1/8", "is 10.0.0.0/8 meant?"),
            ("fd00::1/64", "is fd00::/64 meant?"),
            ("::ffff:10.0.0.0/104", "write it as IPv4"),
        ] {
            let refused = networks(&format!("192.0.2.7,{written}")).unwrap_err();
            assert!(refused.contains(reason) && refused.contains(written), "{refused}");
        }
    }

    #[test]
    fn an_address_of_nats_holds_no_secret_and_nothing_but_a_place() {
        let parse = |text: &str| NatsServers.parse(text);
        assert_eq!(
            parse("nats://n1, tls://n2:1,nats://[::1]/").unwrap(),
            ["nats://n1:4222", "tls://n2:1", "nats://[::1]:4222"]
        );
        for text in [
            "n1",
            "http://n1",
            "nats://",
            "nats://n1/x",
            "nats://hunter2@n1",
            "nats://a:hunter2@n1",
            "nats://n1?hunter2",
        ] {
            let refused = parse(text).unwrap_err();
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }

    #[test]
    fn servers_are_hosts_with_the_usual_port_unless_they_name_one() {
        let parse = |text: &str| Servers { port: 26_379 }.parse(text);
        assert_eq!(parse("s1, s2:1,[::1]").unwrap(), ["s1:26379", "s2:1", "[::1]:26379"]);
        assert_eq!(parse("").unwrap(), Vec::<String>::new());
        for text in ["s1:x", "s1:70000", ":26379", "s1/0", "user@s1", "redis://s1", "s1?x", "s1#x", "::1", "@s1"] {
            assert!(parse(text).unwrap_err().contains("is not a host with a port"), "{text}");
        }
    }
}
