//! Listening sockets, bound before any thread starts.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::Context;
use fantail_config::{Config, Internal};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// Connections that the kernel completes and holds; it cuts the number to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A peer that vanished is noticed after this much silence to a keepalive comment or a probe.
const PEER_TIMEOUT: Duration = Duration::from_secs(30);
const PROBE_AFTER: Duration = Duration::from_mins(1);
const PROBE_INTERVAL: Duration = Duration::from_secs(10);

pub(crate) struct Listeners {
    /// One socket for each shard, all on one address.
    pub(crate) public: Vec<TcpListener>,
    /// The address of the public sockets, with the port that the kernel chose if it was 0.
    pub(crate) public_address: SocketAddr,
    /// The encrypted ones in the same way, if there are any.
    pub(crate) tls: Option<(Vec<TcpListener>, SocketAddr)>,
    pub(crate) internal: TcpListener,
    pub(crate) health: Option<TcpListener>,
}

impl Listeners {
    /// Binds all of them, or none.
    pub(crate) fn bind(config: &Config) -> anyhow::Result<Self> {
        let Internal { internal_listen, health_listen, .. } = config.internal;
        let (public, public_address) = bind_public("listen", config.public.listen, config)?;
        let tls = config.tls.tls_listen.map(|address| bind_public("tls_listen", address, config)).transpose()?;
        let internal = bind_control("internal_listen", internal_listen)?;
        let health = health_listen.map(|address| bind_control("health_listen", address)).transpose()?;
        Ok(Self { public, public_address, tls, internal, health })
    }
}

/// Binds a socket per worker to one address (`SO_REUSEPORT`): the kernel spreads connections over them.
/// `setting` names the address.
fn bind_public(
    setting: &str,
    mut address: SocketAddr,
    config: &Config,
) -> anyhow::Result<(Vec<TcpListener>, SocketAddr)> {
    let workers = config.engine.workers;
    // Sockets that share a port share it with any other process of this user that asks to. A bind that does not ask
    // fails if another process is there already. Otherwise a forgotten process would get half of the connections.
    if !config.public.listen_shared {
        drop(bind(address, false).with_context(|| cannot_listen(setting, address))?);
    }
    let mut sockets = Vec::with_capacity(workers);
    for _ in 0..workers {
        let socket = bind(address, true).with_context(|| cannot_listen(setting, address))?;
        configure(&socket, config.streams.send_buffer_bytes).context("cannot set socket options")?;
        socket.listen(BACKLOG).with_context(|| cannot_listen(setting, address))?;
        let listener = TcpListener::from(socket);
        address = listener.local_addr().context("a bound socket has no address")?; // the port, if it was 0
        sockets.push(listener);
    }
    Ok((sockets, address))
}

/// Binds a listener of the control thread, which no other process shares. `setting` names its address.
fn bind_control(setting: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let socket = bind(address, false).with_context(|| cannot_listen(setting, address))?;
    socket.listen(BACKLOG).with_context(|| cannot_listen(setting, address))?;
    Ok(socket.into())
}

fn bind(address: SocketAddr, shared: bool) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Every accepted socket inherits this from its listener, without a system call of its own. The kernel doubles the size
/// of the send buffer. Without a bound, megabytes of kernel memory would hide a stopped reader.
fn configure(socket: &Socket, send_buffer_bytes: usize) -> std::io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(send_buffer_bytes)?;
    socket.set_tcp_user_timeout(Some(PEER_TIMEOUT))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_INTERVAL))
}

fn cannot_listen(setting: &str, address: SocketAddr) -> String {
    format!("cannot listen on {address} (setting {setting})")
}
