//! A free loopback port for a program that cannot report its port.
//!
//! The port is not reserved: a caller retries if it was taken in between.

use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener},
};

use crate::{
    error::{Doing, Error, Result},
    random::Random,
};

/// How far below the ephemeral range ports are picked.
const SPAN: u16 = 12_000;
const TRIES: usize = 200;

/// A port that nothing on loopback listens on, from below the system's ephemeral range.
///
/// The port does not come from `bind(0)`. A test kills its server and starts it again on the same port, and meanwhile a
/// client keeps reconnecting. In the ephemeral range the system may give such a client the very port that it dials.
/// Then the client is connected to itself, and the server cannot come back.
pub fn free_port() -> Result<u16> {
    let ceiling = ephemeral_floor();
    let mut random = Random::from_entropy();
    for _ in 0..TRIES {
        let offset = u16::try_from(random.below(u64::from(SPAN))).unwrap_or(0);
        let port = ceiling.saturating_sub(1 + offset).max(1_024);
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error).doing(format!("trying port {port}")),
        }
    }
    Err(Error::Protocol(format!("no free port found below {ceiling} in {TRIES} tries")))
}

fn ephemeral_floor() -> u16 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    range.split_whitespace().next().and_then(|low| low.parse().ok()).unwrap_or(32_768)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

    use super::*;

    #[test]
    fn a_free_port_can_be_bound_and_is_never_an_ephemeral_one() {
        let port = free_port().unwrap();
        assert!(port < ephemeral_floor());
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    }
}
