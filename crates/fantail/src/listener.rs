//! Listening sockets, bound before any thread starts.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::Context;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// Connections that the kernel completes and holds for us; it cuts the number to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A peer that vanished without a word is noticed after this much silence to a keepalive comment or a probe.
const PEER_TIMEOUT: Duration = Duration::from_secs(30);
const PROBE_AFTER: Duration = Duration::from_mins(1);
const PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// What every accepted socket inherits from its listener, without a system call of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SocketOptions {
    /// `SO_SNDBUF`; the kernel doubles it. Without a bound a stopped reader hides in megabytes of kernel memory.
    pub(crate) send_buffer_bytes: usize,
}

/// The public listener: one socket for each shard, all on one address.
pub(crate) struct PublicListeners {
    pub(crate) address: SocketAddr,
    pub(crate) sockets: Vec<TcpListener>,
}

/// Binds `shards` sockets to one address (`SO_REUSEPORT`): the kernel spreads connections over them. `shared` lets other
/// processes in, too.
pub(crate) fn bind_public(
    address: SocketAddr,
    shared: bool,
    shards: usize,
    options: SocketOptions,
) -> anyhow::Result<PublicListeners> {
    // Sockets that share a port share it with any other process of this user that asks to. A bind that does not ask
    // fails if somebody is there already: better than half of the connections going to a forgotten process.
    if !shared {
        drop(bind(address, false).with_context(|| cannot_listen("listen", address))?);
    }
    let mut address = address;
    let mut sockets = Vec::with_capacity(shards);
    for _ in 0..shards {
        let socket = bind(address, true).with_context(|| cannot_listen("listen", address))?;
        configure(&socket, options).context("cannot set socket options")?;
        socket.listen(BACKLOG).with_context(|| cannot_listen("listen", address))?;
        let listener = TcpListener::from(socket);
        address = listener.local_addr().context("a bound socket has no address")?; // the port, if it was 0
        sockets.push(listener);
    }
    Ok(PublicListeners { address, sockets })
}

/// Binds a listener of the control thread, which nobody shares. `setting` names its address.
pub(crate) fn bind_control(setting: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
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

fn configure(socket: &Socket, options: SocketOptions) -> std::io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(options.send_buffer_bytes)?;
    socket.set_tcp_user_timeout(Some(PEER_TIMEOUT))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_INTERVAL))
}

fn cannot_listen(setting: &str, address: SocketAddr) -> String {
    format!("cannot listen on {address} (setting {setting})")
}
