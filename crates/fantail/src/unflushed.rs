//! A socket that remembers whether the last write went out whole.
//!
//! A client may pipeline a subscribe behind another request. If it does not read, the earlier answer is still in the
//! HTTP server's buffer when the subscribe is parsed, and taking the socket then would lose it.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(crate) struct Unflushed<S> {
    socket: S,
    /// The last write was not cut short, so the writer keeps nothing back: it writes all that it has before it reads
    /// another request.
    flushed: Rc<Cell<bool>>,
}

impl<S> Unflushed<S> {
    /// The socket, and whether the writer above keeps nothing back.
    pub(crate) fn new(socket: S) -> (Self, Rc<Cell<bool>>) {
        let flushed = Rc::new(Cell::new(true));
        (Self { socket, flushed: Rc::clone(&flushed) }, flushed)
    }

    pub(crate) fn into_inner(self) -> S {
        self.socket
    }

    fn note(&self, offered: usize, written: &Poll<io::Result<usize>>) {
        self.flushed.set(matches!(written, Poll::Ready(Ok(n)) if *n == offered));
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unflushed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unflushed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.note(buf.len(), &written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.note(bufs.iter().map(|buf| buf.len()).sum(), &written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
