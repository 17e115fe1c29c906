//! Begins a connection without waiting for it, from a chosen source address.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use mio::net::TcpStream;
use socket2::{Domain, Protocol, Socket, Type};

/// Starts to connect; the socket becomes writable when that is done.
pub(crate) fn begin(target: SocketAddr, source: Option<Ipv4Addr>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // At the end of a run all streams are reset rather than closed. Thousands of connections in TIME_WAIT would make
    // the kernel search long for a free port, and slow down the opening of the next run.
    socket.set_linger(Some(Duration::ZERO))?;
    if let Some(source) = source.filter(|_| target.is_ipv4()) {
        // The kernel picks a port that is free on this address; when they run out, more source addresses help.
        socket.bind(&SocketAddrV4::new(source, 0).into())?;
    }
    match socket.connect(&target.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}
