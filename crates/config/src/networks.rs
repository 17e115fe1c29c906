//! IP networks, such as those of proxies.

use std::net::IpAddr;

use ipnet::IpNet;

/// A comma separates networks, as it does origins.
pub(crate) fn parse_networks(texts: &[String]) -> Result<Vec<IpNet>, String> {
    let pieces = texts.iter().flat_map(|text| text.split(',')).map(str::trim);
    pieces.filter(|piece| !piece.is_empty()).map(parse_network).collect()
}

/// Addresses are compared in their IPv4 form where they have one, so a network is written in it.
fn parse_network(text: &str) -> Result<IpNet, String> {
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

/// The list as it would be written; a network of one address is that address.
pub(crate) fn show_networks(networks: &[IpNet]) -> String {
    networks.iter().map(show_network).collect::<Vec<_>>().join(",")
}

fn show_network(network: &IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() { network.addr().to_string() } else { network.to_string() }
}

#[cfg(test)]
mod tests {
    // A failed unwrap is how a test fails.
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn parse(texts: &[&str]) -> Result<String, String> {
        let texts: Vec<_> = texts.iter().map(ToString::to_string).collect();
        parse_networks(&texts).map(|networks| show_networks(&networks))
    }

    #[test]
    fn networks_are_written_with_their_prefix_and_single_addresses_without() {
        for (written, shown) in [
            (&["10.0.0.0/8, fd00::/8", "192.0.2.7"][..], "10.0.0.0/8,fd00::/8,192.0.2.7"),
            (&["192.0.2.7/32,::1"], "192.0.2.7,::1"),
            (&["0.0.0.0/0"], "0.0.0.0/0"),
            (&["", ","], ""),
        ] {
            assert_eq!(parse(written).unwrap(), shown, "{written:?}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_what_to_write() {
        for (written, reason) in [
            ("proxy", "neither an IP address nor a network"),
            ("10.0.0.0/33", "neither an IP address nor a network"),
            ("10.0.0.0/", "neither an IP address nor a network"),
            ("10.0.0.1/8", "is 10.0.0.0/8 meant?"),
            ("fd00::1/64", "is fd00::/64 meant?"),
            ("::ffff:10.0.0.0/104", "write it as IPv4"),
        ] {
            let refused = parse(&["192.0.2.7", written]).unwrap_err();
            assert!(refused.contains(reason) && refused.contains(written), "{refused}");
        }
    }
}
