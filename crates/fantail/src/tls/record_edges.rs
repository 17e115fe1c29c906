//! A socket that gives out no more than one record of TLS at a time, for the length of a handshake.
//!
//! An HTTP/2 connection leaves rustls at the end of its handshake. rustls keeps what it has read of a record that has not come whole, and gives it
//! to nobody. So it is given the bytes up to the end of a record, and no more before it has taken those. Where it stands at such an end, it
//! holds nothing but text.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Type, version and length in front of a record.
const HEADER_BYTES: usize = 5;

/// The socket, and the place in its records.
pub(crate) struct RecordEdges {
    socket: TcpStream,
    /// None once the edges do not matter any more.
    place: Option<Place>,
}

/// The place in the record that is being read.
#[derive(Default)]
struct Place {
    header: [u8; HEADER_BYTES],
    /// Bytes of the header that were read.
    read: usize,
    /// Bytes behind the header that were not.
    left: usize,
}

impl RecordEdges {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self { socket, place: Some(Place::default()) }
    }

    /// From now on bytes are given out as they come.
    pub(super) fn ignore(&mut self) {
        self.place = None;
    }

    /// Whether all records were read whole.
    pub(super) fn are_between_records(&self) -> bool {
        self.place.as_ref().is_none_or(|place| place.read == 0 && place.left == 0)
    }

    pub(super) fn into_socket(self) -> TcpStream {
        self.socket
    }
}

impl Place {
    /// The most that may be read now.
    fn room(&self) -> usize {
        if self.left > 0 { self.left } else { HEADER_BYTES - self.read }
    }

    fn advance(&mut self, bytes: &[u8]) {
        if self.left > 0 {
            self.left -= bytes.len();
            return;
        }
        self.header[self.read..self.read + bytes.len()].copy_from_slice(bytes);
        self.read += bytes.len();
        if self.read == HEADER_BYTES {
            self.left = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
            self.read = 0;
        }
    }
}

impl AsyncRead for RecordEdges {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { socket, place } = self.get_mut();
        let Some(place) = place else { return Pin::new(socket).poll_read(context, buffer) };
        let room = place.room().min(buffer.remaining());
        let mut limited = ReadBuf::new(buffer.initialize_unfilled_to(room));
        ready!(Pin::new(socket).poll_read(context, &mut limited))?;
        let read = limited.filled().len();
        place.advance(limited.filled());
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for RecordEdges {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_read_ends_with_the_record_however_much_has_come() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it takes it");
        let (socket, _) = listener.accept().await.expect("it is there");
        let records = [&[22, 3, 1, 0, 3][..], b"abc", &[20, 3, 3, 0, 0], &[23, 3, 3, 0, 2], b"de", &[23, 3]].concat();
        client.write_all(&records).await.expect("there is room");
        let mut edges = RecordEdges::new(socket);
        let mut reads = Vec::new();
        let mut are_between = Vec::new();
        for _ in 0..6 {
            let mut buffer = [0; 100];
            let read = edges.read(&mut buffer).await.expect("it is there");
            reads.push(buffer[..read].to_vec());
            are_between.push(edges.are_between_records());
        }
        assert_eq!(reads.iter().map(Vec::len).collect::<Vec<_>>(), [5, 3, 5, 5, 2, 2]);
        assert_eq!(are_between, [false, true, true, false, true, false]);
        edges.ignore();
        client.write_all(&[3; 50]).await.expect("there is room");
        let mut buffer = [0; 100];
        assert_eq!(edges.read(&mut buffer).await.expect("it is there"), 50);
        assert_eq!(reads.concat(), records);
    }
}
