//! The PROXY protocol, versions 1 and 2: the first bytes of a connection, in which a balancer says from where it comes.
//!
//! Nothing in the bytes shows who wrote them, so callers take them from trusted proxies alone. This reads them without IO, as
//! they come. It never wants a byte that is not the header's: what follows is the client's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest line of version 1, its end included.
const LINE_BYTES_MAX: usize = 107;

/// Version 2 begins so.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and protocol, and the length of what follows.
const FIXED_BYTES: usize = 16;

/// The rest of version 2: the addresses take 36 bytes at most, and the balancer's remarks the others. A certificate's
/// name is the longest remark.
const REST_BYTES_MAX: usize = 2048;

/// The bytes of the longest header.
pub const PROXY_HEADER_BYTES_MAX: usize = FIXED_BYTES + REST_BYTES_MAX;

/// A header, as far as its bytes have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// All bytes so far belong to it, and more are to come.
    Incomplete,
    /// It ends after so many bytes.
    Complete {
        /// Its length.
        bytes: usize,
        /// From where the connection comes. None if the proxy speaks for itself, as for a probe of health, or does not know.
        client: Option<SocketAddr>,
    },
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyHeaderError {
    /// It begins otherwise.
    #[error("the connection does not begin with a header of the PROXY protocol")]
    NotProxied,
    /// A line of version 1 that says nothing.
    #[error("the PROXY line is not PROXY TCP4|TCP6 source destination port port, or PROXY UNKNOWN")]
    Line,
    /// Another version, command, family or length in version 2.
    #[error("the PROXY header is of no known version, command or family, or its addresses are cut short")]
    Fields,
    /// It is longer than any is.
    #[error(
        "the PROXY header is longer than {LINE_BYTES_MAX} bytes (version 1) or {PROXY_HEADER_BYTES_MAX} bytes (version 2)"
    )]
    TooLong,
}

/// Reads the header at the beginning of `bytes`.
pub fn read_proxy_header(bytes: &[u8]) -> Result<ProxyHeader, ProxyHeaderError> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(byte, with)| byte == with);
    if begins(SIGNATURE) {
        read_binary(bytes)
    } else if begins(b"PROXY ") {
        read_line(bytes)
    } else {
        Err(ProxyHeaderError::NotProxied)
    }
}

fn read_line(bytes: &[u8]) -> Result<ProxyHeader, ProxyHeaderError> {
    let within = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = within.windows(2).position(|pair| pair == b"\r\n") else {
        return match within.len() {
            LINE_BYTES_MAX => Err(ProxyHeaderError::TooLong),
            // A bare line end, which another reader could take for the end.
            _ if within.contains(&b'\n') => Err(ProxyHeaderError::Line),
            _ => Ok(ProxyHeader::Incomplete),
        };
    };
    if within[..end].contains(&b'\n') {
        return Err(ProxyHeaderError::Line); // as if its bytes had come one by one
    }
    let line = std::str::from_utf8(&within[..end]).map_err(|_| ProxyHeaderError::Line)?;
    let is_unknown = line.strip_prefix("PROXY UNKNOWN").is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
    // A proxy that does not know says whatever it likes behind that word.
    let client = if is_unknown { None } else { Some(client_of(line).ok_or(ProxyHeaderError::Line)?) };
    Ok(ProxyHeader::Complete { bytes: end + 2, client })
}

/// The source in a line that names one.
fn client_of(line: &str) -> Option<SocketAddr> {
    let words: Vec<_> = line.split(' ').collect();
    let (source, port) = match words[..] {
        ["PROXY", "TCP4", source, destination, port, destination_port] => {
            let _: (Ipv4Addr, u16) = (destination.parse().ok()?, port_of(destination_port)?);
            (IpAddr::V4(source.parse().ok()?), port)
        }
        ["PROXY", "TCP6", source, destination, port, destination_port] => {
            let _: (Ipv6Addr, u16) = (destination.parse().ok()?, port_of(destination_port)?);
            (IpAddr::V6(source.parse().ok()?), port)
        }
        _ => return None,
    };
    Some(SocketAddr::new(source, port_of(port)?))
}

/// Digits alone, and none that lead: the library reads `+80` as well.
fn port_of(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

fn read_binary(bytes: &[u8]) -> Result<ProxyHeader, ProxyHeaderError> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED_BYTES>() else {
        // A version or a command that is none is told at once.
        return if bytes.get(12).is_some_and(|&byte| !is_command(byte)) {
            Err(ProxyHeaderError::Fields)
        } else {
            Ok(ProxyHeader::Incomplete)
        };
    };
    let [.., command, family, high, low] = *fixed;
    if !is_command(command) {
        return Err(ProxyHeaderError::Fields);
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > REST_BYTES_MAX {
        return Err(ProxyHeaderError::TooLong);
    }
    let Some(rest) = rest.get(..length) else { return Ok(ProxyHeader::Incomplete) };
    let client = match (command & 0x0f, family) {
        // The proxy's own connection, whatever else it says; one that it does not know; and a socket in a file system.
        (0, _) | (1, 0x00 | 0x31) => None,
        (1, 0x11) => {
            let (source, rest) = rest.split_first_chunk::<4>().ok_or(ProxyHeaderError::Fields)?;
            Some((IpAddr::from(*source), rest.get(4..8).ok_or(ProxyHeaderError::Fields)?))
        }
        (1, 0x21) => {
            let (source, rest) = rest.split_first_chunk::<16>().ok_or(ProxyHeaderError::Fields)?;
            Some((IpAddr::from(*source), rest.get(16..20).ok_or(ProxyHeaderError::Fields)?))
        }
        // Datagrams, and what is not defined.
        _ => return Err(ProxyHeaderError::Fields),
    };
    let client = client.map(|(source, ports)| SocketAddr::new(source, u16::from_be_bytes([ports[0], ports[1]])));
    Ok(ProxyHeader::Complete { bytes: FIXED_BYTES + length, client })
}

/// Version 2, and LOCAL or PROXY.
fn is_command(byte: u8) -> bool {
    matches!(byte, 0x20 | 0x21)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    fn v4() -> Vec<u8> {
        [&[203, 0, 113, 9][..], &[192, 0, 2, 1], &4711_u16.to_be_bytes(), &443_u16.to_be_bytes()].concat()
    }

    fn v6() -> Vec<u8> {
        let source: Ipv6Addr = "2001:db8::1".parse().expect("an address");
        [&source.octets()[..], &[0; 16], &4711_u16.to_be_bytes(), &443_u16.to_be_bytes()].concat()
    }

    /// Every form with the client that it names.
    fn forms() -> Vec<(Vec<u8>, Option<&'static str>)> {
        let longest = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
        vec![
            (b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n".to_vec(), Some("203.0.113.9:4711")),
            (b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n".to_vec(), Some("0.0.0.0:0")),
            (b"PROXY TCP6 2001:db8::1 ::1 4711 443\r\n".to_vec(), Some("[2001:db8::1]:4711")),
            (longest.into(), Some("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe]:65535")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN whatever it likes \xc3\xa9\r\n".to_vec(), None),
            (binary(0x21, 0x11, &v4()), Some("203.0.113.9:4711")),
            (binary(0x21, 0x11, &[v4(), vec![0x03, 0, 4, 1, 2, 3, 4]].concat()), Some("203.0.113.9:4711")),
            (binary(0x21, 0x21, &v6()), Some("[2001:db8::1]:4711")),
            (binary(0x21, 0x21, &[v6(), vec![7; REST_BYTES_MAX - 36]].concat()), Some("[2001:db8::1]:4711")),
            (binary(0x21, 0x31, &[b'/'; 216]), None),
            (binary(0x21, 0x00, b""), None),
            (binary(0x20, 0x00, b""), None),
            (binary(0x20, 0x11, &v4()), None),
            (binary(0x20, 0xff, b"anything"), None),
        ]
    }

    #[test]
    fn every_form_names_its_client_and_ends_where_the_clients_own_bytes_begin() {
        for (header, client) in forms() {
            let client = client.map(|client| client.parse().expect("an address"));
            let read = read_proxy_header(&[&header[..], b"GET / HTTP/1.1\r\n\r\n"].concat());
            assert_eq!(read, Ok(ProxyHeader::Complete { bytes: header.len(), client }), "{}", header.escape_ascii());
        }
    }

    #[test]
    fn a_header_that_is_cut_short_anywhere_wants_more_and_names_nobody() {
        for (header, _) in forms() {
            for length in 0..header.len() {
                let read = read_proxy_header(&header[..length]);
                assert_eq!(read, Ok(ProxyHeader::Incomplete), "{}", header[..length].escape_ascii());
            }
        }
    }

    #[test]
    fn bytes_that_are_no_header_are_refused_with_the_reason() {
        use ProxyHeaderError::{Fields, Line, NotProxied, TooLong};
        for (attack, bytes, error) in [
            ("a request without it", b"GET / HTTP/1.1\r\n".to_vec(), NotProxied),
            ("TLS", b"\x16\x03\x01\x02\0".to_vec(), NotProxied),
            ("other letters", b"proxy TCP4 ".to_vec(), NotProxied),
            ("no blank", b"PROXY\r\n".to_vec(), NotProxied),
            ("a signature that goes wrong", b"\r\n\r\n\0\r\nQUIT\r".to_vec(), NotProxied),
            ("no end", [b"PROXY TCP4 ".to_vec(), vec![b'1'; 96]].concat(), TooLong),
            (
                "an end that comes too late",
                [b"PROXY UNKNOWN ".to_vec(), vec![b' '; 92], b"\r\n".to_vec()].concat(),
                TooLong,
            ),
            ("a bare line end", b"PROXY TCP4 203.0.113.9 192.0.2.1 1 2\n".to_vec(), Line),
            ("no addresses", b"PROXY TCP4\r\n".to_vec(), Line),
            ("a name", b"PROXY TCP4 localhost 192.0.2.1 1 2\r\n".to_vec(), Line),
            ("the other family", b"PROXY TCP4 2001:db8::1 ::1 1 2\r\n".to_vec(), Line),
            ("the other family", b"PROXY TCP6 203.0.113.9 192.0.2.1 1 2\r\n".to_vec(), Line),
            ("a port too large", b"PROXY TCP4 203.0.113.9 192.0.2.1 65536 2\r\n".to_vec(), Line),
            ("a port with a sign", b"PROXY TCP4 203.0.113.9 192.0.2.1 +80 2\r\n".to_vec(), Line),
            ("a port with a zero", b"PROXY TCP4 203.0.113.9 192.0.2.1 080 2\r\n".to_vec(), Line),
            ("a word more", b"PROXY TCP4 203.0.113.9 192.0.2.1 1 2 3\r\n".to_vec(), Line),
            ("two blanks", b"PROXY TCP4  203.0.113.9 192.0.2.1 1 2\r\n".to_vec(), Line),
            ("no such family", b"PROXY UDP4 203.0.113.9 192.0.2.1 1 2\r\n".to_vec(), Line),
            ("no text", b"PROXY UNKNOWN \xff\r\n".to_vec(), Line),
            ("version 1 in binary", binary(0x11, 0x11, &v4()), Fields),
            ("version 3", SIGNATURE.iter().copied().chain([0x31]).collect(), Fields),
            ("no such command", binary(0x22, 0x11, &v4()), Fields),
            ("datagrams", binary(0x21, 0x12, &v4()), Fields),
            ("no such family", binary(0x21, 0x41, &v4()), Fields),
            ("addresses cut short", binary(0x21, 0x11, &v4()[..11]), Fields),
            ("addresses of the other family", binary(0x21, 0x21, &v4()), Fields),
            ("memory", [binary(0x21, 0x11, b"")[..14].to_vec(), vec![0xff, 0xff]].concat(), TooLong),
        ] {
            assert_eq!(read_proxy_header(&bytes), Err(error), "{attack}: {}", bytes.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_within_its_bytes(
            prefix in prop::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 ", SIGNATURE, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0"]),
            tail in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [prefix, &tail[..]].concat();
            if let Ok(ProxyHeader::Complete { bytes: length, .. }) = read_proxy_header(&bytes) {
                prop_assert!(length <= bytes.len().min(PROXY_HEADER_BYTES_MAX));
                // More bytes behind it change nothing.
                prop_assert_eq!(read_proxy_header(&bytes[..length]), read_proxy_header(&bytes));
            }
        }
    }

    /// Found by mutations: the whole was taken, and a beginning of it was not.
    #[test]
    fn a_bare_line_feed_is_refused_however_the_bytes_come() {
        let line = b"PROXY UNKNOWN a\nb\r\n";
        for end in [line.len() - 2, line.len()] {
            assert_eq!(read_proxy_header(&line[..end]), Err(ProxyHeaderError::Line), "{end}");
        }
    }
}
