//! Listening sockets, bound before any thread starts, or taken over from systemd.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use fantail_config::{Config, Internal, ListenAddress};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::inherited_sockets::{InheritedSockets, SocketUnitFault};
use crate::listening_socket::{BoundSocket, SocketFile, StagedSocket, bind_unix};

/// Connections that the kernel completes and holds; it cuts the number to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A peer that vanished is noticed after this much silence to a keepalive comment or a probe.
const PEER_TIMEOUT: Duration = Duration::from_secs(30);
const PROBE_AFTER: Duration = Duration::from_mins(1);
const PROBE_INTERVAL: Duration = Duration::from_secs(10);

pub(crate) struct Listeners {
    /// One of each address of `listen`, then of `tls_listen`.
    pub(crate) public: Vec<PublicListener>,
    pub(crate) internal: (BoundSocket, ListenAddress),
    pub(crate) health: Option<(BoundSocket, ListenAddress)>,
    /// The names of the unix sockets among them.
    pub(crate) files: Vec<SocketFile>,
}

/// An address on which every shard listens.
pub(crate) struct PublicListener {
    /// With the port that the kernel chose if it was 0.
    pub(crate) address: ListenAddress,
    pub(crate) is_tls: bool,
    /// One for each shard.
    pub(crate) sockets: Vec<BoundSocket>,
}

impl Listeners {
    /// Binds all of them, or none. A listener whose address is among the inherited sockets takes those.
    pub(crate) fn bind(config: &Config, inherited: InheritedSockets) -> anyhow::Result<Self> {
        let Internal { internal_listen, health_listen, .. } = &config.internal;
        let mut binding = Binding { config, inherited, ipv4_ports: ipv4_ports(config), files: Vec::new() };
        let plain = config.public.listen.iter().map(|address| ("listen", address));
        let encrypted = config.tls.tls_listen.iter().map(|address| ("tls_listen", address));
        let public = plain.chain(encrypted).map(|(setting, address)| {
            let told = || cannot_listen(setting, address);
            let (sockets, address) = binding.bind_public(address).with_context(told)?;
            Ok(PublicListener { address, is_tls: setting == "tls_listen", sockets })
        });
        let public = public.collect::<anyhow::Result<_>>()?;
        let mut control = |setting, address| {
            let told = || cannot_listen(setting, address);
            binding.bind_control(address).with_context(told)
        };
        let internal = control("internal_listen", internal_listen)?;
        let health = health_listen.as_ref().map(|address| control("health_listen", address)).transpose()?;
        binding.inherited.none_is_left()?;
        // Nothing can fail any more, so names may be taken from another process now.
        let files = binding.files.into_iter().map(StagedSocket::take_name).collect::<anyhow::Result<_>>()?;
        Ok(Self { public, internal, health, files })
    }
}

struct Binding<'a> {
    config: &'a Config,
    inherited: InheritedSockets,
    /// The ports on which a socket of IPv6 must leave those of IPv4 alone.
    ipv4_ports: Vec<u16>,
    files: Vec<StagedSocket>,
}

/// The ports of the settings' IPv4 addresses.
fn ipv4_ports(config: &Config) -> Vec<u16> {
    let (internal, health) = (&config.internal.internal_listen, &config.internal.health_listen);
    let addresses = config.public.listen.iter().chain(&config.tls.tls_listen).chain([internal]).chain(health);
    let ports = addresses.filter_map(|address| match address {
        ListenAddress::Ip(address) if address.is_ipv4() => Some(address.port()),
        _ => None,
    });
    ports.collect()
}

impl Binding<'_> {
    /// Binds a socket per worker to one address (`SO_REUSEPORT`): the kernel spreads connections over them. The workers share
    /// a unix socket, and the first of them that comes gets the connection.
    fn bind_public(&mut self, address: &ListenAddress) -> anyhow::Result<(Vec<BoundSocket>, ListenAddress)> {
        let (workers, send_buffer_bytes) = (self.config.engine.workers, self.config.streams.send_buffer_bytes);
        let inherited = self.inherited.bound_to(address);
        if !inherited.is_empty() {
            return Ok((share_out(&inherited, workers, send_buffer_bytes)?, address.clone()));
        }
        let mut address = match address {
            ListenAddress::Ip(address) => *address,
            ListenAddress::Unix(path) => {
                let socket = self.bind_unix(path)?;
                socket.set_send_buffer_size(send_buffer_bytes)?;
                let socket = BoundSocket::Unix(socket.into());
                let sockets = (0..workers).map(|_| socket.share()).collect::<Result<_, _>>()?;
                return Ok((sockets, address.clone()));
            }
        };
        // Sockets that share a port share it with any other process of this user that asks to. A bind that does not ask
        // fails if another process is there already. Otherwise a forgotten process would get half of the connections.
        if !self.config.public.listen_shared {
            drop(self.bind_ip(address, false)?);
        }
        let mut sockets = Vec::with_capacity(workers);
        for _ in 0..workers {
            let socket = self.bind_ip(address, true)?;
            configure(&socket, send_buffer_bytes).context("cannot set socket options")?;
            socket.listen(BACKLOG)?;
            let listener = std::net::TcpListener::from(socket);
            address = listener.local_addr().context("a bound socket has no address")?; // the port, if it was 0
            sockets.push(BoundSocket::Ip(listener));
        }
        Ok((sockets, ListenAddress::Ip(address)))
    }

    /// Binds a listener of the control loop, which no other process shares.
    fn bind_control(&mut self, address: &ListenAddress) -> anyhow::Result<(BoundSocket, ListenAddress)> {
        let mut inherited = self.inherited.bound_to(address);
        if inherited.len() > 1 {
            let told = "systemd passed several sockets, and one thread serves this address";
            bail!(SocketUnitFault::new(format!("{told}; leave one ListenStream= line for it in the socket unit")));
        }
        if let Some(socket) = inherited.pop() {
            return Ok((socket, address.clone()));
        }
        match address {
            ListenAddress::Unix(path) => Ok((BoundSocket::Unix(self.bind_unix(path)?.into()), address.clone())),
            ListenAddress::Ip(address) => {
                let socket = self.bind_ip(*address, false)?;
                socket.listen(BACKLOG)?;
                let listener = std::net::TcpListener::from(socket);
                let address = listener.local_addr().context("a bound socket has no address")?;
                Ok((BoundSocket::Ip(listener), ListenAddress::Ip(address)))
            }
        }
    }

    fn bind_unix(&mut self, path: &Path) -> anyhow::Result<Socket> {
        let public = &self.config.public;
        let (socket, file) = bind_unix(path, public.unix_socket_mode, public.listen_shared, BACKLOG)?;
        self.files.push(file);
        Ok(socket)
    }

    fn bind_ip(&self, address: SocketAddr, shared: bool) -> std::io::Result<Socket> {
        // `[::]` alone takes connections of IPv4 as well, where the system says so.
        bind(address, shared, address.is_ipv6() && self.ipv4_ports.contains(&address.port()))
    }
}

fn bind(address: SocketAddr, shared: bool, is_ipv6_alone: bool) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    if is_ipv6_alone {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Gives each worker a socket that systemd bound. Workers share what is fewer than they are. A socket without a worker would
/// hold connections that nobody accepts.
fn share_out(sockets: &[BoundSocket], workers: usize, send_buffer_bytes: usize) -> anyhow::Result<Vec<BoundSocket>> {
    let count = sockets.len();
    if count > workers {
        let told = format!("systemd passed {count} sockets of one address, which is more than workers ({workers})");
        bail!(SocketUnitFault::new(format!("{told}; raise workers, or leave so many ListenStream= lines for it")));
    }
    for socket in sockets {
        match socket {
            BoundSocket::Ip(socket) => configure(&SockRef::from(socket), send_buffer_bytes)?,
            BoundSocket::Unix(socket) => SockRef::from(socket).set_send_buffer_size(send_buffer_bytes)?,
        }
    }
    Ok(sockets.iter().cycle().take(workers).map(BoundSocket::share).collect::<Result<_, _>>()?)
}

/// Every accepted socket inherits this from its listener, without a system call of its own. The kernel doubles the size
/// of the send buffer. Without a bound, megabytes of kernel memory would hide a stopped reader.
fn configure(socket: &Socket, send_buffer_bytes: usize) -> std::io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(send_buffer_bytes)?;
    socket.set_tcp_user_timeout(Some(PEER_TIMEOUT))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_INTERVAL))
}

fn cannot_listen(setting: &str, address: &ListenAddress) -> String {
    format!("cannot listen on {address} (setting {setting})")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failed unwrap is the failed test

    use super::*;

    fn sockets(count: usize) -> Vec<BoundSocket> {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let bind = |_| {
            let socket = bind(address, true, false).unwrap();
            socket.listen(BACKLOG).unwrap();
            BoundSocket::Ip(socket.into())
        };
        (0..count).map(bind).collect()
    }

    fn address(socket: &BoundSocket) -> SocketAddr {
        let BoundSocket::Ip(socket) = socket else { panic!("it is bound to an address") };
        socket.local_addr().unwrap()
    }

    #[test]
    fn workers_share_inherited_sockets_and_each_socket_has_a_worker() {
        let inherited = sockets(2);
        let [first, second] = [address(&inherited[0]), address(&inherited[1])];
        let shared = share_out(&inherited, 3, 65_536).unwrap();
        assert_eq!(shared.iter().map(address).collect::<Vec<_>>(), [first, second, first]);
        let told = share_out(&inherited, 1, 65_536).err().unwrap().to_string();
        assert!(
            told.starts_with("systemd passed 2 sockets of one address, which is more than workers (1); "),
            "{told}"
        );
    }

    #[test]
    fn inherited_sockets_get_the_options_of_bound_ones() {
        let shared = share_out(&sockets(1), 1, 65_536).unwrap();
        let BoundSocket::Ip(socket) = &shared[0] else { panic!("it is bound to an address") };
        assert!(SockRef::from(socket).tcp_nodelay().unwrap() && SockRef::from(socket).keepalive().unwrap());
    }
}
