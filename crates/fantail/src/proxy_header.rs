//! The header of the PROXY protocol, taken off a connection before its first request.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use fantail_access::{PROXY_HEADER_BYTES_MAX, ProxyHeader, read_proxy_header};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Takes the header and no byte more. Returns from where the connection comes, if the proxy names somebody.
///
/// The bytes are looked at before they are taken. As long as the header is not whole they all belong to it, so that waiting
/// for more never finds the same bytes again.
pub(crate) async fn take(socket: &mut TcpStream) -> anyhow::Result<Option<SocketAddr>> {
    let mut header = Vec::with_capacity(128);
    let mut seen = [0; 512];
    loop {
        let count = socket.peek(&mut seen).await.context("cannot read the header")?;
        if count == 0 {
            bail!("the connection ended within its header");
        }
        let taken = header.len();
        header.extend_from_slice(&seen[..count]);
        let read = read_proxy_header(&header)?;
        if let ProxyHeader::Complete { bytes, .. } = read {
            header.truncate(bytes);
        }
        socket.read_exact(&mut header[taken..]).await?;
        if let ProxyHeader::Complete { client, .. } = read {
            return Ok(client);
        }
        debug_assert!(header.len() < PROXY_HEADER_BYTES_MAX, "it would have been refused");
    }
}
