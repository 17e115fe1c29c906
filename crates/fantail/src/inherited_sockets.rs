//! Listening sockets that systemd bound before this process started (`LISTEN_FDS`).
//!
//! A listener of the settings takes the sockets of its own address, and binds one if there is none. So a socket unit adds no
//! setting: it repeats an address of the settings, and a socket of any other address is a fault.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::{Context, bail};
use fantail_config::ListenAddress;
use listenfd::ListenFd;

use crate::listening_socket::BoundSocket;

/// The sockets that no listener has taken yet, each with its address.
pub(crate) struct InheritedSockets(Vec<(ListenAddress, BoundSocket)>);

impl InheritedSockets {
    /// Takes them from the process's environment. Belongs before the first thread, since the variables are removed.
    pub(crate) fn take() -> anyhow::Result<Self> {
        let mut passed = ListenFd::from_env();
        let sockets = (0..passed.len()).map(|index| {
            // A socket that is no TCP socket is left at its place.
            let socket = match passed.take_tcp_listener(index) {
                Ok(socket) => socket.map(BoundSocket::Ip),
                Err(_) => passed.take_unix_listener(index)?.map(BoundSocket::Unix),
            };
            address_of(socket.expect("each index is asked for once"))
        });
        Ok(Self(sockets.collect::<io::Result<_>>().context("cannot use a socket that systemd passed (LISTEN_FDS)")?))
    }

    /// Takes all sockets that are bound to this address.
    pub(crate) fn bound_to(&mut self, address: &ListenAddress) -> Vec<BoundSocket> {
        self.0.extract_if(.., |(bound, _)| bound == address).map(|(_, socket)| socket).collect()
    }

    /// Clients of a socket that nobody serves would wait for ever.
    pub(crate) fn none_is_left(&self) -> anyhow::Result<()> {
        if let Some((address, _)) = self.0.first() {
            bail!("systemd passed a socket of {address}, and no listener of the settings has that address");
        }
        Ok(())
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
