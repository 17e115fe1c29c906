//! The requests and answers of a connection that are not whole. Few connections have any, and not for long.

use bytes::Bytes;
use http::Request;

/// The parts of frames and requests that are under way. A connection keeps it only while there is something.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    /// The header block under way. Until its end no other frame may come.
    pub(super) block: Option<Block>,
    pub(super) receiving: Vec<Receiving>,
    pub(super) parked: Vec<Parked>,
    /// The streams that nobody owns yet, with the bytes of their heads. A head may be much longer than its block: a field is told by one byte.
    pub(super) heads: Vec<(u32, usize)>,
}

#[derive(Debug)]
pub(super) struct Block {
    pub(super) stream: u32,
    pub(super) ends_stream: bool,
    /// The client says that the stream depends on itself.
    pub(super) is_faulty: bool,
    pub(super) bytes: Vec<u8>,
}

/// A request whose body comes.
#[derive(Debug)]
pub(super) struct Receiving {
    pub(super) stream: u32,
    pub(super) request: Box<Request<()>>,
    pub(super) length: Option<u64>,
    pub(super) received: u64,
    /// The same with its padding: the client's window of the stream.
    pub(super) window_used: u32,
}

/// The rest of a small answer.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) stream: u32,
    pub(super) body: Bytes,
}

impl Unfinished {
    pub(super) fn is_empty(&self) -> bool {
        self.block.is_none() && self.receiving.is_empty() && self.parked.is_empty() && self.heads.is_empty()
    }

    /// Whether the client owes the rest of a request, or a window for an answer.
    pub(super) fn is_owed(&self) -> bool {
        self.block.is_some() || !self.receiving.is_empty() || !self.parked.is_empty()
    }

    /// The streams of requests that have not come whole, and of answers that have not gone out.
    pub(super) fn streams(&self) -> Vec<u32> {
        let receiving = self.receiving.iter().map(|one| one.stream);
        receiving.chain(self.parked.iter().map(|one| one.stream)).collect()
    }

    pub(super) fn is_receiving(&self, stream: u32) -> bool {
        self.receiving.iter().any(|one| one.stream == stream)
    }

    pub(super) fn head_bytes(&self) -> usize {
        self.heads.iter().map(|(_, bytes)| bytes).sum()
    }

    pub(super) fn parked_bytes(&self) -> usize {
        self.parked.iter().map(|one| one.body.len()).sum()
    }

    /// A request was decided, so nobody holds its head any more.
    pub(super) fn forget_head(&mut self, stream: u32) {
        self.heads.retain(|(of, _)| *of != stream);
    }

    /// A stream is closed.
    pub(super) fn forget(&mut self, stream: u32) {
        self.receiving.retain(|one| one.stream != stream);
        self.parked.retain(|one| one.stream != stream);
        self.forget_head(stream);
    }
}
