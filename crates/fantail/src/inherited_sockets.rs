//! Listening sockets that systemd bound before this process started (`LISTEN_FDS`).
//!
//! A listener of the settings takes the sockets of its own address, and binds one if there is none. So a socket unit adds no
//! setting: it repeats an address of the settings, and a socket of any other address is a fault.

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;

use fantail_config::ListenAddress;
use listenfd::ListenFd;

use crate::listening_socket::BoundSocket;

/// The socket unit and the settings do not fit one another. Starting again would not help.
#[derive(Debug)]
pub(crate) struct SocketUnitFault(String);

impl fmt::Display for SocketUnitFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SocketUnitFault {}

impl SocketUnitFault {
    pub(crate) fn new(told: impl Into<String>) -> Self {
        Self(told.into())
    }
}

/// The sockets that no listener has taken yet, each with its address.
pub(crate) struct InheritedSockets(Vec<(ListenAddress, BoundSocket)>);

impl InheritedSockets {
    /// Takes them from the process's environment. Belongs before the first thread, since the variables are removed.
    pub(crate) fn take() -> Result<Self, SocketUnitFault> {
        let mut passed = ListenFd::from_env();
        let sockets = (0..passed.len()).map(|index| {
            // A socket that is no TCP socket is left at its place.
            let socket = match passed.take_tcp_listener(index) {
                Ok(socket) => socket.map(BoundSocket::Ip),
                Err(_) => passed.take_unix_listener(index)?.map(BoundSocket::Unix),
            };
            address_of(socket.expect("each index is asked for once"))
        });
        sockets.collect::<io::Result<_>>().map(Self).map_err(|error| {
            let told = "cannot use a socket that systemd passed (LISTEN_FDS)";
            let remedy =
                "write each line of the socket unit as ListenStream=, with an address and a port or with a path";
            SocketUnitFault(format!("{told}: {error}; {remedy}"))
        })
    }

    /// Takes all sockets that are bound to this address.
    pub(crate) fn bound_to(&mut self, address: &ListenAddress) -> Vec<BoundSocket> {
        self.0.extract_if(.., |(bound, _)| bound == address).map(|(_, socket)| socket).collect()
    }

    /// Clients of a socket that nobody serves would wait for ever.
    pub(crate) fn none_is_left(&self) -> Result<(), SocketUnitFault> {
        let Some((address, _)) = self.0.first() else { return Ok(()) };
        let told = format!("systemd passed a socket of {address}, and no listener of the settings has that address");
        let remedy = "write it into listen, tls_listen, internal_listen or health_listen, or take its line out of the socket unit";
        Err(SocketUnitFault(format!("{told}; {remedy}")))
    }
}

fn address_of(socket: BoundSocket) -> io::Result<(ListenAddress, BoundSocket)> {
    let address = match &socket {
        BoundSocket::Ip(socket) => ip_address_of(socket)?,
        BoundSocket::Unix(socket) => unix_address_of(socket)?,
    };
    Ok((address, socket))
}

fn ip_address_of(socket: &TcpListener) -> io::Result<ListenAddress> {
    socket.set_nonblocking(true)?;
    socket.local_addr().map(ListenAddress::Ip)
}

fn unix_address_of(socket: &UnixListener) -> io::Result<ListenAddress> {
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    let path = address.as_pathname().map(Path::to_owned);
    path.map(ListenAddress::Unix).ok_or_else(|| io::Error::other("a unix socket needs a path"))
}
